"""The kill matrix: every implementation of the catalogue against every requirement."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.harness.outcome import CRASHED, VIOLATES, Outcome
from tests.harness.subject import Subject
from tests.harness.suite import conformance_tests

from .catalogue import Mutant


@dataclass
class Verdict:
    """What the suite said of one implementation in one dtype.

    Attributes:
        killed: requirement -> the largest distance over its bound (infinite for what is no number).
        messages: requirement -> the first failure's whole text.
        levels: requirement -> its level, for those killed.
    """

    mutant: str
    dtype: str
    killed: dict[str, float] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    levels: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def judged(mutant: Mutant, dtype: str, only: Iterable[str] = ()) -> Verdict:
    """Run the suite on one implementation: every case of every requirement, or of those in `only`."""
    begin = time.perf_counter()
    subject = Subject(mutant.name, mutant, "cpu", dtype)
    verdict = Verdict(mutant.name, dtype)
    chosen = frozenset(only)
    for test in conformance_tests():
        if chosen and test.rule.id not in chosen:
            continue
        for case in test.cases(dtype):
            for outcome in test.run(subject, case):
                if outcome.verdict in (VIOLATES, CRASHED):
                    _kill(verdict, outcome)
    verdict.seconds = time.perf_counter() - begin
    return verdict


def _kill(verdict: Verdict, outcome: Outcome) -> None:
    margin = outcome.bound_share if outcome.bound_share is not None and outcome.bound_share > 1 else float("inf")
    name = outcome.requirement
    verdict.killed[name] = max(margin, verdict.killed.get(name, 0.0))
    verdict.messages.setdefault(name, outcome.message)
    verdict.levels[name] = outcome.level
