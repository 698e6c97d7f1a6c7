"""The search for the point of the behaviour space that explains all that the distinguishing programs show.

Evidence is these programs as they ran on one subject. A point explains a program if every observation of it
lies within its bound there. First the neighbours of the base are tried, then pairs of decisions, and then, for an
implementation that differs in more, the best of them step by step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import cast

import numpy as np

from bnconform.cases.distinguishing import distinguishing_programs
from bnconform.cases.program import PASSES, Program
from bnconform.execution.trace import LacksAbility, Trace
from bnconform.judge.judgement import Judgement, judge
from bnconform.judge.subject import Ended, Subject
from bnconform.judge.truths.truth import WatchedBehaviour
from bnconform.spec.behaviour import SPECIFIED, Behaviour, OutputDtype, StatisticsDtype, decisions
from bnconform.spec.config import Config

WIDTH = {"float64": 3, "float32": 2, "float16": 1, "bfloat16": 1}
MOST_PAIRS = 1500
"""Pairs that are tried, those first that explain most one by one."""

Atom = tuple[int, str]
"""An observation: the number of the step and the name of what is observed, or "the call"."""


@dataclass(frozen=True)
class View:
    """One program's run as seen from one point.

    Attributes:
        wrong: the observations that do not hold.
        vague: those of which the point says nothing, as no finite bound can be given there.
        mark: differs where the point expects something else of the program.
        worst: the largest distance over its bound, infinite for what is no number, and where it is.
    """

    wrong: frozenset[Atom]
    vague: frozenset[Atom]
    mark: int
    worst: tuple[float, Atom] | None


@dataclass
class Evidence:
    """What a subject shows in the distinguishing programs.

    Attributes:
        traces: by the program's name; without those that could not be asked (`refused`: name -> what was raised).
        ended: of those, at which the process died or was ended.
        steady: whether the same program, run twice, shows the same bits, and comes to its end twice.
    """

    traces: dict[str, Trace] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    steady: bool = True
    _views: dict[tuple[str, Behaviour], View] = field(default_factory=dict)
    _alike: dict[str, dict[tuple[str, ...], dict[tuple[str, ...], View]]] = field(default_factory=dict)

    def view(self, name: str, point: Behaviour) -> View:
        """How a program looks from a point: as from any other that has the same decisions, of those that are read."""
        found = self._views.get((name, point))
        if found is None:
            known = self._alike.setdefault(name, {})
            for names, views in known.items():
                found = views.get(tuple(str(getattr(point, one)) for one in names))
                if found is not None:
                    break
            else:
                watched = WatchedBehaviour(point)
                seen_from = cast(Behaviour, watched)
                trace = self.traces[name]
                found = view(trace, judge(trace, seen_from), seen_from)
                read = {one: str(value) for one, value in watched.decisions_read.items()}
                known.setdefault(tuple(read), {})[tuple(read.values())] = found
            self._views[name, point] = found
        return found

    def holds(self, names: Iterable[str], point: Behaviour) -> bool:
        """Whether the point explains all of these programs."""
        return not any(self.view(name, point).wrong for name in names)

    def wrong(self, point: Behaviour) -> dict[str, frozenset[Atom]]:
        """The observations that a point does not explain, by program."""
        views = {name: self.view(name, point).wrong for name in self.traces}
        return {name: atoms for name, atoms in views.items() if atoms}


def view(trace: Trace, judgement: Judgement, point: Behaviour) -> View:
    """The observations of a judged trace, those that do not hold and those that say nothing."""
    wrong: set[Atom] = set()
    vague: set[Atom] = set()
    parts: list[object] = []
    worst: list[tuple[float, Atom]] = []
    for comparison in judgement.comparisons:
        atom = comparison.step, comparison.name
        if comparison.worst > 1:
            wrong.add(atom)
            worst.append((comparison.worst, atom))
        elif not np.isfinite(comparison.bound[comparison.exact.finite]).all():
            vague.add(atom)
        parts.append((comparison.step, comparison.name, comparison.error_ratio.tobytes()))
    for step, what in judgement.problems:
        wrong.add((step, "the call"))
        worst.append((np.inf, (step, "the call")))
        parts.append((step, what))
    for atom, fits in _dtypes(trace, point):
        parts.append((atom, fits))
        if not fits:
            wrong.add(atom)
            worst.append((np.inf, atom))
    return View(frozenset(wrong), frozenset(vague), hash(tuple(parts)), max(worst, default=None))


def _dtypes(trace: Trace, point: Behaviour) -> Iterator[tuple[Atom, bool]]:
    """Whether outputs and statistics have the dtypes of the point; statistics and their like may be wider."""
    config = trace.program.config
    output, kept = dtypes(config, point)
    for number, seen in enumerate(trace.steps):
        for name in sorted(seen.step.observe):
            value = seen.values.get(name, seen.after.get(name))
            if value is None or value.dtype.kind == "i" or name in ("weight", "bias"):
                continue
            got = str(value.dtype)
            if name in ("y", "grad_x"):
                yield (number, f"the dtype of {name}"), got == (output if name == "y" else config.dtype)
            else:
                yield (number, f"the dtype of {name}"), got == kept or WIDTH[got] > WIDTH[config.param_dtype]


def dtypes(config: Config, point: Behaviour) -> tuple[str, str]:
    """The dtypes of the output and of the statistics at a point."""
    output = config.dtype if point.output_dtype is OutputDtype.INPUT else config.param_dtype
    kept = config.param_dtype if point.statistics_dtype is StatisticsDtype.PARAMETER else config.dtype
    return output, kept


def gather(subject: Subject, programs: Mapping[str, Program] | None = None) -> Evidence:
    """Run the distinguishing programs on a subject, without what it says it lacks or has no method for."""
    evidence = Evidence()
    lacking = set(subject.unsupported)
    every = distinguishing_programs() if programs is None else programs
    for name, program in every.items():
        fitted = program.without(lacking).cast(subject.dtype, subject.param_dtype)
        if fitted.features() & lacking or not fitted.observes:
            continue
        try:
            trace = subject.run(fitted)
        except Ended as how:
            evidence.refused[name] = str(how)
            evidence.ended.append(name)
            continue
        if isinstance(trace.broken, LacksAbility):
            continue  # which is nothing that it refuses
        if trace.broken is not None:
            evidence.refused[name] = str(trace.broken)
            continue
        evidence.traces[name] = trace
        if len(evidence.traces) == 1:
            evidence.steady = _is_repeated(subject, fitted, trace)
    _set_aside(evidence)
    return evidence


def _set_aside(evidence: Evidence) -> None:
    """Move what raised to `refused`, where no pass of that kind and mode is ever answered: a crash decides nothing."""
    answered = {
        (seen.step.op, seen.step.training)
        for trace in evidence.traces.values()
        for seen in trace.steps
        if seen.step.op in PASSES and not seen.raised and not seen.misfit
    }
    for name, trace in list(evidence.traces.items()):
        for seen in trace.steps:
            failed = seen.raised or seen.misfit
            if failed and seen.step.op in PASSES and (seen.step.op, seen.step.training) not in answered:
                evidence.refused[name] = str(failed)
                del evidence.traces[name]
                break


def _is_repeated(subject: Subject, program: Program, trace: Trace) -> bool:
    """Whether a program that is run again shows what it showed; not where it does not come to its end this time."""
    try:
        return _answer_bytes(trace) == _answer_bytes(subject.run(program))
    except Ended:
        return False


def _answer_bytes(trace: Trace) -> list[bytes | None]:
    return [
        None if value is None else value.tobytes()
        for seen in trace.steps
        for value in (*seen.values.values(), *seen.after.values())
    ]


@dataclass(frozen=True)
class Explanation:
    """The outcome of a search.

    Attributes:
        points: the points that explain most, the simplest first; more than one where the evidence cannot tell.
        unexplained: how many observations the first of them leaves; 0 if it explains everything.
        total: how many observations the base leaves.
    """

    points: tuple[Behaviour, ...]
    unexplained: int
    total: int


def explain(evidence: Evidence, base: Behaviour = SPECIFIED) -> Explanation:
    """The simplest points that explain the evidence, or the best that steps from the base come to."""
    left = evidence.wrong(base)
    total = sum(len(atoms) for atoms in left.values())
    if not left:
        return Explanation((base,), 0, 0)
    names = sorted(left, key=lambda name: _cost(evidence.traces[name]))
    rest = [name for name in evidence.traces if name not in left]
    found = _telling(evidence, left, [p for _, _, p in base.neighbours() if evidence.holds((*names, *rest), p)])
    if not found:
        found = _telling(evidence, left, _pairs(evidence, base, names, rest))
    if found:
        return Explanation(tuple(found), 0, total)
    best = _climb(evidence, base)
    unexplained = sum(len(atoms) for atoms in evidence.wrong(best).values())
    return Explanation((best,), unexplained, total)


def _telling(evidence: Evidence, left: Mapping[str, frozenset[Atom]], points: list[Behaviour]) -> list[Behaviour]:
    """The points that bound at least half of what they are to explain, those that bound most first."""
    ranked = []
    for number, point in enumerate(points):
        vague = sum(len(atoms & evidence.view(name, point).vague) for name, atoms in left.items())
        if 2 * vague <= sum(map(len, left.values())):
            ranked.append((vague, number))
    return [points[number] for vague, number in sorted(ranked) if vague == min(ranked)[0]]


def _cost(trace: Trace) -> int:
    return sum(step.x.size for step in trace.program.steps if step.x is not None)


def _pairs(evidence: Evidence, base: Behaviour, names: list[str], rest: list[str]) -> list[Behaviour]:
    """The points two decisions away that explain everything.

    A pair is tried if each program that the base does not explain looks different from one of its two alone: what
    neither changes, both together are not expected to change. One may undo what the other does, though, so pairs
    with a program less follow.
    """
    plain = {name: evidence.view(name, base) for name in names}
    singles = []
    for decision, value, point in base.neighbours():
        changed = frozenset(name for name in names if evidence.view(name, point).mark != plain[name].mark)
        if changed:
            fixed = sum(len(plain[name].wrong - evidence.view(name, point).wrong) for name in changed)
            singles.append((decision, value, changed, fixed))
    pairs = []
    for one, other in combinations(singles, 2):
        if one[0] != other[0]:
            missed = len(names) - len(one[2] | other[2])
            if missed <= 1:
                pairs.append((missed, -one[3] - other[3], one[:2], other[:2]))
    found: list[Behaviour] = []
    for _, _, one_value, other_value in sorted(pairs)[:MOST_PAIRS]:
        point = base.but(**dict((one_value, other_value)))
        if evidence.holds((*names, *rest), point):
            found.append(point)
    return found


def _climb(evidence: Evidence, base: Behaviour) -> Behaviour:
    """The point that changing one decision at a time, each time the one that explains most, comes to.

    Where no change explains more, one that was made is taken back together with each: two decisions may explain the
    same, and the first that was taken may have been the wrong one.
    """
    point, left = base, evidence.wrong(base)
    while left:
        changed = point.differences(base)
        reverted = [point.but(**{name: str(getattr(base, name))}) for name in changed]
        for starts in ([point], reverted):
            best = _best_next(evidence, starts, left)
            if best is not None:
                break
        else:
            break
        point, left = best, evidence.wrong(best)
    return _drop_idle_changes(evidence, base, point)


def _best_next(
    evidence: Evidence, starts: Iterable[Behaviour], left: Mapping[str, frozenset[Atom]]
) -> Behaviour | None:
    """The neighbour of one of the starts that leaves least unexplained, if that is less than `left`."""
    ranked: list[tuple[int, int, Behaviour]] = []
    for start in starts:
        names = sorted({*left, *evidence.wrong(start)})
        # A part of the programs ranks the neighbours well enough; all of them where that part shows none.
        ranked += _rank(evidence, start, names[:: max(1, -(-len(names) // SAMPLE))]) or _rank(evidence, start, names)
    ranked = [(after, order, neighbour) for order, (after, _, neighbour) in enumerate(ranked)]
    scored = [
        (sum(len(atoms) for atoms in evidence.wrong(neighbour).values()), order, neighbour)
        for _, order, neighbour in sorted(ranked, key=lambda one: one[:2])[:NEIGHBOURS_TRIED]
    ]
    best = min(scored, key=lambda one: one[:2], default=None)
    return None if best is None or best[0] >= sum(map(len, left.values())) else best[2]


def _rank(evidence: Evidence, start: Behaviour, names: Sequence[str]) -> list[tuple[int, int, Behaviour]]:
    """The neighbours that leave less of these programs, with how much that is."""
    found: list[tuple[int, int, Behaviour]] = []
    before = sum(len(evidence.view(name, start).wrong) for name in names)
    for _, _, neighbour in start.neighbours():
        after = sum(len(evidence.view(name, neighbour).wrong) for name in names)
        if after < before:
            found.append((after, len(found), neighbour))
    return found


SAMPLE = 10
"""Programs by which the neighbours are ranked, of all that are wrong, evenly."""

NEIGHBOURS_TRIED = 10
"""Neighbours that are tried on everything at each step of the climb: those that leave least of what was left."""


def _drop_idle_changes(evidence: Evidence, base: Behaviour, point: Behaviour) -> Behaviour:
    """The point without the changes that explain nothing."""
    count = sum(len(atoms) for atoms in evidence.wrong(point).values())
    for decision in point.differences(base):
        without = point.but(**{decision: str(getattr(base, decision))})
        if sum(len(atoms) for atoms in evidence.wrong(without).values()) <= count:
            point = without
    return point


@dataclass(frozen=True)
class Refutation:
    """Why a decision does not have a value: what the program `name` shows is `margin` times its bound off there."""

    name: str
    atom: Atom
    margin: float


def alternatives(evidence: Evidence, point: Behaviour) -> dict[str, dict[str, Refutation | None]]:
    """For each decision, each value other than the point's with the observation that refutes it most clearly.

    None means that the evidence cannot tell the value from the point's.
    """
    found: dict[str, dict[str, Refutation | None]] = {name: {} for name in decisions()}
    for decision, value, neighbour in point.neighbours():
        refuting: list[Refutation] = []
        for name in evidence.traces:
            seen = evidence.view(name, neighbour)
            if seen.worst is not None and seen.wrong - evidence.view(name, point).wrong:
                refuting.append(Refutation(name, seen.worst[1], seen.worst[0]))
        # A number says more than a difference that is none, such as a refusal.
        finite = [one for one in refuting if one.margin < np.inf]
        found[decision][value] = max(finite or refuting, key=lambda one: one.margin, default=None)
    return found
