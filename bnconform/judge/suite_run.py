"""A run of the suite without pytest: the checks of some subjects, one after the other, each failure explained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bnconform.cases.probes import Case
from bnconform.diagnosis import causes
from bnconform.errors import USER_ERRORS
from bnconform.execution.selection import once_each
from bnconform.judge.check import Check
from bnconform.judge.outcome import CRASHED, UNTRUSTED, VIOLATES, Outcome
from bnconform.judge.subject import AdapterError, Subject
from bnconform.judge.suite import Test, conformance_tests
from bnconform.results.completeness import ColumnSelection
from bnconform.results.failure import VIOLATION
from bnconform.spec.catalogue import requirements

AHEAD = 6
"""Checks whose programs may be under way while one is judged."""

Checks = Counter[tuple[str, str]]
"""How many checks, by the label of their subject and their requirement."""


@dataclass(frozen=True)
class PlannedCheck:
    """One check that the suite makes of a subject."""

    subject: Subject
    test: Test
    case: Case | None

    @property
    def place(self) -> tuple[str, str]:
        """Where it is counted."""
        return self.subject.label, self.test.rule.id

    @property
    def name(self) -> str:
        """What stands in brackets in the id of pytest's test: BACKEND:DEVICE-DTYPE-REQUIREMENT-CASE."""
        case = self.test.words if self.case is None else self.case.name
        return f"{self.subject.label}-{self.test.rule.id}-{case}"

    def check(self, folder: Path | None = None) -> Check:
        """What the test is given; failing cases are written into the folder."""
        return Check(self.subject, self.test.rule, self.case, folder)

    def rerun(self, subject: Subject) -> list[Outcome]:
        """What the same check records of a subject."""
        return self.test.run(subject, self.case)


def plan_checks(subjects: Sequence[Subject], only: Collection[str] = ()) -> list[PlannedCheck]:
    """Every check of the suite, one subject after the other; of these requirements, where some are given."""
    singles = once_each(subjects)
    found = []
    for subject in subjects:
        for test in conformance_tests():
            if (only and test.rule.id not in only) or (test.once and all(subject is not one for one in singles)):
                continue
            if not test.fits(subject):
                continue
            cases = test.cases(subject.dtype, subject.cost)
            found += [PlannedCheck(subject, test, case) for case in (cases if test.over_cases else (None,))]
    return found


def count_checks(checks: Sequence[PlannedCheck]) -> Checks:
    """How many there are, by place."""
    return Counter(check.place for check in checks)


def column(subject: Subject, plan: Checks, selected: Checks, finished: Checks) -> ColumnSelection:
    """What was asked of a subject, of all that the suite asks, and which requirements lack a check."""
    wanted = tuple(name for name in requirements() if selected[subject.label, name])
    lacking = left_out(subject.label, plan, finished)
    return ColumnSelection(subject.name, subject.device, subject.dtype, wanted, lacking)


def left_out(label: str, plan: Checks, finished: Checks) -> dict[str, tuple[str, ...]]:
    """By level, the requirements of which a subject lacks a check."""
    found: dict[str, tuple[str, ...]] = {}
    for name, rule in requirements().items():
        if finished[label, name] < plan[label, name]:
            found[rule.level] = (*found.get(rule.level, ()), name)
    return found


@dataclass
class SuiteRun:
    """Checks that are made one after the other, the next programs under way while the last one is judged.

    Attributes:
        checks: what is made. folder: where failing cases are written, or None.
        finished: those that are done. outcomes: what they recorded.
    """

    checks: Sequence[PlannedCheck]
    folder: Path | None = None
    finished: list[PlannedCheck] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[PlannedCheck, list[Outcome]]]:
        """Make the checks; each with what it recorded, as soon as it is done."""
        for number, planned_check in enumerate(self.checks):
            self._send_ahead(number)
            outcomes = self._judge(planned_check)
            self.outcomes += outcomes
            self.finished.append(planned_check)
            yield planned_check, outcomes

    def _send_ahead(self, number: int) -> None:
        subject = self.checks[number].subject
        programs = []
        for other in self.checks[number : number + 1 + AHEAD]:
            if other.subject is not subject or other.case is None:
                break
            programs += other.check().ahead()
        if programs:
            subject.runs.ahead(programs)

    def _judge(self, planned_check: PlannedCheck) -> list[Outcome]:
        subject, clock = planned_check.subject, planned_check.subject.clock
        calls, seconds = clock.calls, clock.seconds
        check = planned_check.check(self.folder)
        outcomes = planned_check.test.conduct(check)
        if not outcomes:
            text = "the check compared nothing"
            outcomes.append(check._outcome(UNTRUSTED, headline=text, message=text))
        worst = outcomes[-1]
        if worst.verdict in (VIOLATES, CRASHED) and worst.failure is not None and worst.failure.kind == VIOLATION:
            try:
                causes.note(worst, subject, planned_check.rerun)
            except AdapterError:  # an explanation is none; the verdict stands without one
                pass
            except USER_ERRORS:
                raise
            except Exception as error:
                check.note_internal_error(error)
        outcomes[0].calls, outcomes[0].seconds = clock.calls - calls, clock.seconds - seconds
        return outcomes
