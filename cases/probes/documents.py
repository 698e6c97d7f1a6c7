"""The golden cases as probes: what the source documents compute, one probe a requirement that a case illustrates.

That the oracle reproduces every printed number is shown by the self-tests; a subject within its bound of the oracle
therefore reproduces it too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bnconform.cases import golden
from bnconform.cases.program import OBSERVABLES, Probe

DTYPES = ("float64", "float32")
"""The documents print four decimals, more than half precision holds."""


def probes() -> Iterator[Probe]:
    """Each case observes, for one requirement, what the document prints that illustrates it."""
    for case in golden.cases():
        program = case.program()
        shown = [[e for e in step.expect if e.observable in OBSERVABLES] for step in case.steps]
        for requirement in sorted({e.requirement for seen in shown for e in seen}):
            steps = tuple(
                replace(call, observe=frozenset(e.observable for e in seen if e.requirement == requirement))
                for seen, call in zip(shown, program.steps, strict=True)
            )
            yield Probe(requirement, f"document-{case.name}", replace(program, steps=steps), dtypes=DTYPES)
