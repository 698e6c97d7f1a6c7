"""A run with a baseline: which checks are known to fail, in every process, and what the run comes to in the end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from bnconform.judge.outcome import Outcome
from bnconform.judge.subject import Subject
from bnconform.judge.suite import conformance_tests
from bnconform.results import baseline, baseline_check, run_result
from bnconform.results.baseline import ANY, BaselineEntry, BaselineError
from bnconform.results.baseline_check import BaselineVerdict, Suite
from bnconform.results.result import Result
from bnconform.spec.catalogue import requirements
from bnconform.spec.formats import DTYPES

Force = list[str]
"""An entry in force on one device: backend, device, dtype or ANY, requirement, verdict, reason. JSON-ready."""


@dataclass
class KnownFailures:
    """What is known in this run.

    Attributes:
        force: the entries that are in force here, each for one device; a worker process needs no more.
        path, entries: the baseline, in the process that reports.
    """

    force: Sequence[Force]
    path: str = ""
    entries: tuple[BaselineEntry, ...] = ()
    _known: dict[tuple[str, str, str], list[Force]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for entry in self.force:
            backend, device, _, requirement, *_ = entry
            self._known.setdefault((backend, device, requirement), []).append(entry)

    def reason(self, outcome: Outcome) -> str | None:
        """Why a failed check is accepted; None where it is not known, or is worse than what is."""
        for _, _, dtype, _, verdict, reason in self._known.get(
            (outcome.backend, outcome.device, outcome.requirement), ()
        ):
            if dtype in (ANY, outcome.dtype) and baseline.covers(verdict, outcome.verdict):
                return reason
        return None

    def judge(self, result: Result, level: str) -> BaselineVerdict:
        """The run beside the baseline."""
        return baseline_check.judge(self.entries, [result], level, suite())


def load(path: Path, subjects: Sequence[Subject], result: str | None = None) -> KnownFailures:
    """What is known to fail in a run of these subjects; BaselineError for a file that cannot be used.

    Args:
        result: where the run's result will be written.
    """
    if result and os.path.realpath(result) == os.path.realpath(path):
        raise BaselineError(f"--json {result} would overwrite the baseline; give another file")
    entries = baseline.read(path, requirements())
    environment = run_result.result((), (), subjects, datetime.now(UTC), 0.0).environment
    places = dict.fromkeys((subject.name, subject.device) for subject in subjects)
    force = [
        [backend, device, entry.dtype, entry.requirement, entry.verdict, entry.reason]
        for entry in entries
        for backend, device in places
        if entry.on(backend, device) and not entry.when.fails(environment, device)
    ]
    return KnownFailures(force, str(path), entries)


@cache
def suite() -> Suite:
    """What a run of all checks shows."""
    tests = [(test, test.once) for test in conformance_tests()]
    return Suite(
        {dtype: {test.rule.id for test, once in tests if not once and test.cases(dtype)} for dtype in DTYPES},
        {test.rule.id for test, once in tests if once},
    )
