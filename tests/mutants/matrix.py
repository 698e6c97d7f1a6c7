"""The kill matrix: every implementation of the catalogue against every requirement.

A wrong implementation is killed by a requirement whose checks it fails; by a requirement of level `may`, which fails
nobody, if what is noted of it is not what is noted of the right layer. The requirements that must kill a wrong one run
all their cases; any other stops at the first that kills it, so that its margin is that case's, and leaves out cases of
more than LARGE elements.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import cache
from zlib import crc32

from bnconform.cases.covering.rows import CoveringRow
from bnconform.cases.models.rows import ModelCase
from bnconform.cases.probes import Case, cases_of
from bnconform.cases.program import Probe, Program
from bnconform.diagnosis.causes import Point, candidates, explain
from bnconform.judge.outcome import CRASHED, UNSUPPORTED, UNTRUSTED, VIOLATES, Outcome
from bnconform.judge.subject import Subject
from bnconform.judge.suite import Test, conformance_tests
from bnconform.judge.truths.truth import process_truths
from bnconform.results.result import Difference
from bnconform.spec.catalogue import requirements
from bnconform.tests.mutants.catalogue import DTYPES, Mutant, every
from bnconform.tests.mutants.layer import Layer
from bnconform.tests.mutants.masks import Masked

LARGE = 1_000
RIGHT_ROWS, WRONG_ROWS, THOROUGH_ROWS = 12, 32, 3
"""Of so many rows of the covering array one is asked of a right implementation, of a wrong one that another requirement
must kill, and of a right one where everything is asked. Which one it is depends on the implementation, so that together
they are asked every row."""

KEPT = 256 * 2**20
"""Bytes of truths that are kept here, where every program is asked of some two hundred implementations."""

NOT_A_NUMBER = float("inf")
"""The margin of a failure that no number describes."""


@dataclass
class Verdict:
    """What the suite said of one implementation in one dtype.

    Attributes:
        killed: requirement -> the largest distance over its bound (infinite for what is no number).
        messages: requirement -> the first failure's whole text, or what was noted.
        untrusted: requirements of which some check compared nothing.
        diagnoses: the points that explain what the implementation shows, where the fault is one of the space.
        explains, failing: how many of the killers' failing checks the first of them explains, of how many.
    """

    mutant: str
    dtype: str
    killed: dict[str, float] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    untrusted: list[str] = field(default_factory=list)
    diagnoses: list[Point] = field(default_factory=list)
    explains: int = 0
    failing: int = 0
    seconds: float = 0.0

    @property
    def accusations(self) -> dict[str, str]:
        """The requirements of level must that it fails."""
        return {name: self.messages[name] for name in self.killed if requirements()[name].level == "must"}


def judge(mutant: Mutant, dtype: str, only: Iterable[str] = (), *, until_killed: bool = False) -> Verdict:
    """Run the suite on one implementation.

    Args:
        only: the requirements that are asked; none for all.
        until_killed: whether one that has failed is asked no more; else all of its cases are judged, so that the
            margin is that of the clearest, and every failure must be explained.
    """
    begin = time.perf_counter()
    process_truths().memory.budget = KEPT
    subject = Subject(mutant.name, mutant, "cpu", dtype, brief=True)
    verdict = Verdict(mutant.name, dtype)
    chosen = frozenset(only)
    stride = WRONG_ROWS if mutant.killers else RIGHT_ROWS if chosen else THOROUGH_ROWS
    for test in conformance_tests():
        if (chosen and test.rule.id not in chosen) or not test.fits(subject):
            continue
        names = test.rule.id in mutant.killers
        for case in test.cases(dtype):
            about = test.rule.id in mutant.killers or (not mutant.killers and (dtype == DTYPES[0] or not chosen))
            if not about and case is not None and case.name in _large(test.rule.id, dtype):
                continue
            if not about and test.rule.id in verdict.killed:
                break
            if test.rule.id in verdict.killed and (until_killed or isinstance(case, CoveringRow | ModelCase)):
                break
            if isinstance(case, CoveringRow | ModelCase) and not names and not is_due(mutant, case.number, stride):
                continue
            outcomes = test.run(subject, case)
            _count(verdict, test, outcomes)
            if mutant.explanation and test.rule.id in mutant.killers and _has_failed(outcomes):
                _explain(verdict, subject, test, case)
    verdict.seconds = time.perf_counter() - begin
    return verdict


def is_due(mutant: Mutant, number: int, stride: int) -> bool:
    """Whether the row of a covering array that has this number is one of those that are asked of an implementation."""
    return (number + crc32(mutant.name.encode())) % stride == 0


@cache
def _large(requirement: str, dtype: str) -> frozenset[str]:
    """The names of a requirement's cases that have more than LARGE elements of input."""
    return frozenset(
        case.name for case in cases_of(requirement, dtype) if isinstance(case, Probe) and _size(case.program) > LARGE
    )


def _size(program: Program) -> int:
    return max((step.x.size for step in program.steps if step.x is not None), default=0)


def _count(verdict: Verdict, test: Test, outcomes: Iterable[Outcome]) -> None:
    for outcome in outcomes:
        name = outcome.requirement
        if outcome.verdict == UNTRUSTED and not outcome.vacuous:
            verdict.untrusted.append(name)
        told = test.rule.level == "may" and outcome.verdict != UNSUPPORTED and bool(outcome.message)
        if told and outcome.message != _note(test.rule.id, verdict.dtype):
            verdict.killed[name] = NOT_A_NUMBER
        elif outcome.verdict in (VIOLATES, CRASHED):
            share = outcome.bound_share
            margin = share if share is not None and share > 1 else NOT_A_NUMBER
            verdict.killed[name] = max(margin, verdict.killed.get(name, 0.0))
        else:
            continue
        verdict.messages.setdefault(name, outcome.message)


@cache
def _note(requirement: str, dtype: str) -> str:
    """What a requirement of level may notes of the right layer, or of that with masks where it is about those."""
    tests = [test for test in conformance_tests() if test.rule.id == requirement]
    for layer in (Layer, Masked):
        subject = Subject("layer", Mutant("layer", "the right layer", layer), "cpu", dtype)
        found = [outcome for test in tests for case in test.cases(dtype) for outcome in test.run(subject, case)]
        if any(outcome.verdict != UNSUPPORTED for outcome in found):
            return "".join(outcome.message for outcome in found)
    return ""


def _has_failed(outcomes: Iterable[Outcome]) -> bool:
    return any(outcome.verdict in (VIOLATES, CRASHED) for outcome in outcomes)


def _explain(verdict: Verdict, subject: Subject, test: Test, case: Case | None) -> None:
    """Count a failing check, and whether the first explanation holds for it."""
    found = candidates(subject)
    verdict.diagnoses = [tuple(Difference(*pair) for pair in p.differences().items()) for p in found]
    if found and all(one.verdict == UNSUPPORTED for one in test.run(replace(subject, assumed=found[0]), case)):
        return  # the first of them leaves open what is due here, and cannot be refuted
    verdict.failing += 1
    points = explain(subject, lambda supposed: test.run(supposed, case)).points
    verdict.explains += bool(verdict.diagnoses) and candidates(subject)[0] in points


Task = tuple[str, str, tuple[str, ...], bool]
"""The name of an implementation, a dtype, the requirements to judge it by (() for all), whether until they kill it."""


def tasks(names: Iterable[str], thorough: bool = False, quick: bool = False) -> list[Task]:
    """What is judged by what.

    A right implementation is judged by every must in single and double precision, with the large cases in single. A
    wrong one gets a whole row in the first of its dtypes; in the others only the requirements that must kill it are
    asked.

    Args:
        thorough: everything by everything, in every dtype.
        quick: no whole rows, and of what must kill a wrong one no more than it takes, so that what else it fails is not
            seen; a right one in one of the two dtypes.
    """
    musts = tuple(name for name, rule in requirements().items() if rule.level == "must")
    found: list[Task] = []
    for mutant in (every()[name] for name in names):
        dtypes = mutant.dtypes if mutant.killers or thorough else DTYPES
        if quick and not mutant.killers:
            # By other digits than those that say which rows are due, so that each dtype is asked every row.
            dtypes = (DTYPES[crc32(mutant.name.encode()) // RIGHT_ROWS % len(DTYPES)],)
        for number, dtype in enumerate(dtypes):
            whole = thorough or (bool(mutant.killers) and number == 0 and not quick)
            only = () if whole else mutant.killers or musts
            found.append((mutant.name, dtype, only, quick and bool(mutant.killers)))
    return found


def _judge(task: Task) -> Verdict:
    name, dtype, only, until_killed = task
    return judge(every()[name], dtype, only, until_killed=until_killed)


def run(
    todo: Sequence[Task], workers: int | None = None, done: Callable[[Verdict], None] | None = None
) -> list[Verdict]:
    """The verdicts on all tasks, in their order, found in several processes; `done` is called with each as it comes."""
    found: dict[Task, Verdict] = {}
    # Tasks that ask for the same truths follow each other: those of one dtype, and first those with the large cases.
    ordered = sorted(todo, key=lambda task: (task[1], bool(every()[task[0]].killers), bool(task[2])))
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        waiting = {pool.submit(_judge, task): task for task in ordered}
        for future in as_completed(waiting):
            found[waiting[future]] = verdict = future.result()
            if done is not None:
                done(verdict)
    return [found[task] for task in todo]


# -- what the matrix shows ---------------------------------------------------------------------------------------


def survivors(verdicts: Iterable[Verdict]) -> Iterator[str]:
    """Each wrong implementation that a requirement which must catch it lets pass, in words."""
    for verdict in verdicts:
        for name in every()[verdict.mutant].killers:
            if name not in verdict.killed:
                yield f"{verdict.mutant} in {verdict.dtype} passes {name}"


def accusations(verdicts: Iterable[Verdict]) -> Iterator[str]:
    """Each right implementation that a must accuses, with the accusation."""
    for verdict in verdicts:
        if not every()[verdict.mutant].killers:
            for name, message in verdict.accusations.items():
                yield f"{verdict.mutant} in {verdict.dtype} is accused of {name}:\n{message}"


def find_unnamed(verdicts: Iterable[Verdict]) -> Iterator[str]:
    """Each fault of the behaviour space that the diagnosis does not name first, for every failing check."""
    for verdict in verdicts:
        due = every()[verdict.mutant].explanation
        if not due or not verdict.failing:
            continue
        if tuple(verdict.diagnoses[:1]) != (due,) or verdict.explains < verdict.failing:
            yield (
                f"{verdict.mutant} in {verdict.dtype} is diagnosed as {verdict.diagnoses[:2]}, which explains "
                f"{verdict.explains} of {verdict.failing} failing checks"
            )


def idle(verdicts: Iterable[Verdict]) -> list[str]:
    """The requirements that kill nothing."""
    killing = {name for verdict in verdicts if every()[verdict.mutant].killers for name in verdict.killed}
    return [name for name in requirements() if name not in killing]


def margin(verdicts: Iterable[Verdict]) -> float:
    """The smallest margin by which one implementation is killed by a requirement that names its fault."""
    return min(verdict.killed.get(name, 0.0) for verdict in verdicts for name in every()[verdict.mutant].killers)
