"""Random programs of several steps, shrunk to the shortest one that fails."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Flaky

from cases.program import Program
from cases.strategies import programs

from .check import Check, Violation
from .outcome import CONFORMS, DEVIATES, Outcome

EXAMPLES = 25
"""Programs a subject; a backend that is slow to start gets two."""


def explore(check: Check) -> None:
    """Judge random programs; the outcome is that of all of them, or of the shortest that fails.

    The programs are the same in every run, so that a run which found nothing says the same when nothing changed.
    """
    __tracebackhide__ = True
    subject = check.subject
    passed: list[Outcome] = []

    @settings(
        max_examples=2 if subject.slow else EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        print_blob=False,
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(program=programs(frozenset(subject.unsupported)))
    def holds(program: Program) -> None:
        check.outcomes.clear()
        if program.steps:
            check.program(program.cast(subject.dtype, subject.param_dtype), name="sequence")
            passed.append(check.outcomes[-1])

    violation: Violation | None = None
    try:
        holds()
    except Violation as found:
        violation = found
    except Flaky:
        check.outcomes.clear()
        check.require(False, "a program that failed, run again", "other answers", "the same answers")
    if violation is not None:
        # The notes that Hypothesis adds say how it found the program; the message already shows the program.
        raise Violation(str(violation)) from None
    worst = max(passed, key=lambda outcome: (outcome.verdict == DEVIATES, outcome.bound_share or 0.0))
    worst.checks = sum(outcome.checks for outcome in passed)
    worst.needed = sorted({name for outcome in passed for name in outcome.needed})
    worst.contradicted = sorted({name for outcome in passed for name in outcome.contradicted})
    assert worst.verdict in (CONFORMS, DEVIATES) or not worst.checks
    check.outcomes[:] = [worst]
