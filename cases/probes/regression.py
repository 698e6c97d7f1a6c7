"""The regression cases as probes: what once broke an implementation is asked of every other."""

from __future__ import annotations

from collections.abc import Iterator

from bnconform.cases import regression
from bnconform.cases.program import Probe


def probes() -> Iterator[Probe]:
    """Each regression case, in every dtype in which it is the same program."""
    for case in regression.cases():
        yield Probe(case.requirement, f"frozen-{case.name}", case.program, case.quality, case.dtypes)
