"""What makes a failing check fail, where no decision explains it: a fitted relation, and circumstances by experiment.

A cause is looked for once a subject: a later failing check that it explains is told the same. What is found travels
with the outcome as plain data (`ExperimentResult.record`), and `bnconform.diagnosis.causes` makes sentences of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from bnconform.cases.program import PASSES, RESULTS, TRANSFORMED, Program
from bnconform.diagnosis.experiments import variations as vary
from bnconform.diagnosis.experiments.circumstances import Circumstance
from bnconform.diagnosis.experiments.experiment import circumstances, small, vary_operands
from bnconform.diagnosis.experiments.trials import CALL, FailingCall, Trials, relative_error, run
from bnconform.diagnosis.relations.fitting import Cause, Fit, alone, fit, fit_one
from bnconform.diagnosis.relations.recorded_relations import as_plain, family_of_recorded, is_of_recorded
from bnconform.diagnosis.relations.relation import Relation
from bnconform.execution.trace import Trace
from bnconform.judge.judgement import Judgement, agrees, judge
from bnconform.judge.subject import AdapterError, Ended, NotRecorded, Subject
from bnconform.spec.behaviour import Behaviour

EXPERIMENTS = 12
"""Causes that are looked for by experiment, of one subject in one run."""

PROGRAMS, SECONDS = 260, 6.0
"""The budget of one experiment: programs that are run, which is what ends it, and seconds, for slow implementations."""

SLOW_PROGRAMS = 16
"""The same for an implementation to which each shape costs seconds."""

REPEATS = 3
"""How often a failing program is run again, to see whether it always answers the same."""

MISSING = "{} is None in the place of an array"
"""What is told of a result that is not there; `relations.fitting.sentence` fills in the names."""


class CallExplanation(Protocol):
    """What a failure comes from, as far as it says which calls it explains: a relation, or a decision."""

    def covers(self, call: FailingCall) -> bool:
        """Whether it explains everything that is wrong of a call."""
        ...

    def hides(self, call: FailingCall) -> bool:
        """Whether nothing of it would show in a call."""
        ...


@dataclass(frozen=True)
class Decided:
    """A decision, or several, that hold under circumstances only."""

    point: Behaviour
    quality: str = ""

    def covers(self, call: FailingCall) -> bool:
        """Whether the call holds at the point."""
        return agrees(call.trace, self.point, self.quality)

    def hides(self, call: FailingCall) -> bool:
        """Whether a call that holds where it should holds at the point, too."""
        return agrees(call.trace, self.point, self.quality)


@dataclass(frozen=True)
class ExperimentResult:
    """What an experiment came to.

    Attributes:
        targets: the names of what was wrong in the call that was looked at, or CALL.
        quantities: of everything that this call shows, what is wrong; () where all of it is.
        explanation: what fits; None where nothing does. causes: the same in words, the simplest first; () for a
            decision, or for nothing.
        steady: whether the same program always answers the same.
        asked: programs that were run; is_cut: whether more would have been.
        can_ask: False of a recording.
    """

    targets: frozenset[str]
    quantities: tuple[str, ...] = ()
    explanation: CallExplanation | None = None
    causes: tuple[Cause, ...] = ()
    where: tuple[Circumstance, ...] = ()
    steady: bool = True
    asked: int = 0
    is_cut: bool = False
    can_ask: bool = True

    def record(self) -> dict[str, Any]:
        """JSON-ready data for the outcome."""
        return {
            "causes": list(self.causes),
            "quantities": list(self.quantities),
            "where": [one.words for one in self.where],
            "steady": self.steady,
            "cut": self.asked if self.is_cut else 0,
            "can_ask": self.can_ask,
        }

    def explains(self, program: Program, call: FailingCall, wrong: frozenset[str]) -> bool:
        """Whether another failing call has this cause, under these circumstances."""
        if not self.steady:
            return bool(wrong & self.targets)
        if not all(one.has(program) for one in self.where):
            return False
        if self.explanation is not None:
            return bool(call.comparisons) and self.explanation.covers(call)
        return bool(wrong) and wrong <= self.targets | set(self.quantities)


@dataclass
class ExperimentResults:
    """What has been found of one subject so far; `experiments` counts those that were made."""

    found: list[ExperimentResult] = field(default_factory=list)
    experiments: int = 0

    @property
    def relations(self) -> list[Relation]:
        """Those that explained something, each once."""
        fits = [one.explanation for one in self.found if isinstance(one.explanation, Fit)]
        every = {relation.words: relation for fit in fits for known in fit.relations.values() for relation in known}
        return list(every.values())


def narrow(
    subject: Subject, trace: Trace, quality: str = "", point: Behaviour | None = None, *, known_only: bool = False
) -> ExperimentResult | None:
    """What makes a failing program fail; None where that cannot be said any more, or nothing in it is wrong.

    Args:
        point: the decisions that explain it under circumstances that are to be found, where some do.
        known_only: whether no experiment is made: what was found before explains it, or nothing does.
    """
    declared = subject.declared
    judged = judge(trace, declared, quality)
    place = _first_wrong(judged)
    if place is None:
        return None
    number, wrong = place
    program = _up_to(trace.program, number, wrong)
    known: ExperimentResults = (
        subject.findings if isinstance(subject.findings, ExperimentResults) else ExperimentResults()
    )
    subject.findings = known
    call = FailingCall(
        _cut(trace, number), tuple(one for one in judged.comparisons if one.step == number and one.name in wrong)
    )
    if any(step.shards for step in trace.program.steps):
        return None  # such a call names shapes, so that none can be changed by itself
    if is_recorded := any(step.pass_number for step in trace.program.steps):
        if CALL in wrong or not is_of_recorded(call):
            return None
        call = as_plain(call)
    decided = None if point is None else Decided(point, quality)
    for one in known.found:
        if known_only and one.explanation is None:
            continue
        if one.explains(call.trace.program, call, wrong):
            narrower = one.explanation.of(call) if isinstance(one.explanation, Fit) else None
            return one if narrower is None else replace(one, causes=tuple(narrower.causes))
    if known_only:
        return None
    if is_recorded:
        # Such a call names another, so that none can be left out or changed by itself: no experiment is made.
        alike = fit_one(call, (*alone(), *family_of_recorded(declared)))
        return None if alike is None else ExperimentResult(wrong, _names_of(wrong), alike, tuple(alike.causes))
    if any(step.op in TRANSFORMED for step in call.trace.program.steps):
        # Such a call holds several batches in one array, or answers for a whole one: nothing is changed by itself.
        alike = None if CALL in wrong else fit_one(call, tuple(alone()))
        return None if alike is None else ExperimentResult(wrong, _names_of(wrong), alike, tuple(alike.causes))
    if known.experiments >= EXPERIMENTS:
        return None
    known.experiments += 1
    found = _experiment(subject, program, wrong, call, quality, decided, known.relations)
    known.found.append(found)
    return found


def _first_wrong(judged: Judgement) -> tuple[int, frozenset[str]] | None:
    """The first call that shows something wrong, and the names of what is wrong of it."""
    wrong = [(one.step, one.name) for one in judged.comparisons if one.worst > 1]
    wrong += [(max(step, 0), CALL) for step, _ in judged.problems]
    if not wrong:
        return None
    first = min(step for step, _ in wrong)
    found = {name for step, name in wrong if step == first}
    missing = [name for step, name in judged.missing if step == first]
    if found == {CALL} and len(missing) == sum(max(step, 0) == first for step, _ in judged.problems):
        found |= {*missing}  # nothing else is wrong
    return first, frozenset(found)


def _cut(trace: Trace, number: int) -> Trace:
    program = replace(trace.program, steps=trace.program.steps[: number + 1])
    return replace(trace, program=program, steps=trace.steps[: number + 1])


def _up_to(program: Program, number: int, wrong: frozenset[str]) -> Program:
    """The calls up to the failing one, of which only what is wrong is observed."""
    steps = [replace(step, observe=frozenset()) for step in program.steps[: number + 1]]
    last = program.steps[number]
    steps[-1] = replace(last, observe=last.observe if CALL in wrong else last.observe & wrong)
    return replace(program, steps=tuple(steps))


def _experiment(
    subject: Subject,
    program: Program,
    wrong: frozenset[str],
    call: FailingCall,
    quality: str,
    decided: Decided | None,
    known: Sequence[Relation],
) -> ExperimentResult:
    budget = SLOW_PROGRAMS if subject.slow else PROGRAMS
    trials = Trials(subject, wrong, subject.declared, quality, programs=budget, seconds=SECONDS)
    trials.relative = max((relative_error(one) for one in call.comparisons if one.worst > 1), default=np.inf)
    try:
        if program.reads == "end" and trials.show(program.read_always):
            program = program.read_always  # reading makes no difference to it
        if not _is_steady(trials, program, call):
            return ExperimentResult(wrong, _names_of(wrong), steady=False, asked=trials.asked)
        quantities = _quantities(subject, program, wrong, quality)
        base = small(trials, program)
        explanation: CallExplanation | None = _fit(trials, base, known) or decided
        trials.hides = None if explanation is None else explanation.hides
        where = circumstances(trials, base)
        if isinstance(explanation, Fit):
            explanation = _confirm(trials, explanation, known) or decided
    except NotRecorded:
        alone = fit([call], subject.declared) if call.comparisons else None
        causes = tuple(alone.causes) if alone is not None else ()
        return ExperimentResult(wrong, _names_of(wrong), alone or decided, causes, can_ask=False)
    causes = tuple(explanation.causes) if isinstance(explanation, Fit) else _missing(wrong, call)
    return ExperimentResult(
        wrong, quantities, explanation, causes, tuple(where), asked=trials.asked, is_cut=trials.is_cut
    )


def _is_steady(trials: Trials, program: Program, call: FailingCall) -> bool:
    """Whether the failing program fails again, with the same numbers to within twice their bounds."""
    shown = [call.comparisons]
    for _ in range(REPEATS):
        try:
            trace = run(trials.subject, program)
        except NotRecorded:
            raise
        except (Ended, AdapterError):
            return True
        found = judge(trace, trials.point, trials.quality)
        trials.asked += 1
        if trials.see(trace, found) is not True:
            return False
        shown.append(trials.compare(found, len(program.steps) - 1))
    trials.show(program)
    return all(_alike(one, other) for one, other in pairwise(shown))


def _alike(one: Sequence[Any], other: Sequence[Any]) -> bool:
    names = {comparison.name: comparison for comparison in other}
    for comparison in one:
        again = names.get(comparison.name)
        if again is None:
            return False
        first, second = (c.observed.astype(np.float64) for c in (comparison, again))
        same = (first == second) | (np.isnan(first) & np.isnan(second))
        with np.errstate(all="ignore"):
            near = np.abs(first - second) <= 2 * comparison.bound
        if not (same | near).all():
            return False
    return True


def _missing(wrong: frozenset[str], call: FailingCall) -> tuple[Cause, ...]:
    """The cause where a call answers None in the place of arrays; none where something else is wrong of it."""
    names = _names_of(wrong) if CALL in wrong and not call.comparisons else ()
    return ([[MISSING, *names]],) if names else ()


def _names_of(wrong: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(wrong - {CALL}))


EVERYTHING: Mapping[str, tuple[str, ...]] = {
    **RESULTS,
    "forward": ("y", "running_mean", "running_var", "num_batches_tracked"),
}
"""What a call shows, by operation."""


def _quantities(subject: Subject, program: Program, wrong: frozenset[str], quality: str) -> tuple[str, ...]:
    """What of all that the failing call shows is wrong; () where everything is, or nothing can be said."""
    step = vary.last(program)
    if CALL in wrong or step.op not in PASSES:
        return _names_of(wrong)
    every = vary.with_last(program, observe=step.observe | set(EVERYTHING[step.op]))
    try:
        trace = run(subject, every)
    except NotRecorded:
        raise
    except (Ended, AdapterError):
        return _names_of(wrong)
    found = judge(trace, subject.declared, quality)
    mine = [one for one in found.comparisons if one.step == len(program.steps) - 1 and not one.unspecified]
    bad = {one.name for one in mine if one.worst > 1} | wrong
    return tuple(sorted(bad)) if any(one.name not in bad for one in mine) else ()


def _fit(trials: Trials, base: Program, known: Sequence[Relation]) -> Fit | None:
    """The relation that holds of the failing program and of those that differ from it in the operands."""
    if CALL in trials.targets:
        return None
    for program in vary_operands(base):
        trials.show(program)
    return fit(trials.failing, trials.point, known)


def _confirm(trials: Trials, found: Fit, known: Sequence[Relation]) -> Fit | None:
    """The relation, if it holds of everything that failed since; or another one that does."""
    for call in trials.failing:
        narrower = found.of(call)
        if narrower is None:
            return fit(trials.failing, trials.point, known)
        if narrower.relations.keys() == found.relations.keys():
            found = narrower
    return found
