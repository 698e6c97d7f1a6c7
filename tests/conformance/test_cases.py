"""Conformance: every probe and relation of every requirement whose check is no more than that, a test each."""

from __future__ import annotations

from bnconform.judge.check import Check
from bnconform.judge.marks import checks_catalogue


@checks_catalogue
def test_case(check: Check) -> None:
    """What the probe's program shows lies within its bound of what is specified, or of what is declared."""
    check.run()
