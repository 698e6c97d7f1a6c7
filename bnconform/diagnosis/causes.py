"""Which points of the behaviour space explain a failing check, and what explains all failing checks of a backend.

The first violation of a subject starts a search over the distinguishing programs (`diagnosis.search`); each failing
check is then run again on the supposition that the implementation stands where the search says. A point is believed for
the checks that hold there, and for no others.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from bnconform.cases.program import MASKED_REPLICATED
from bnconform.diagnosis import search
from bnconform.diagnosis.crashes import common_crash
from bnconform.diagnosis.folds import causes as of_folds
from bnconform.diagnosis.kept_traces import KeptTraces
from bnconform.diagnosis.narrowing import narrow
from bnconform.diagnosis.relations.fitting import Cause, relations_of, sentence
from bnconform.diagnosis.where import common_circumstances
from bnconform.execution.trace import Trace
from bnconform.judge.judgement import can_act, judge
from bnconform.judge.outcome import CONFORMS, CRASHED, DEVIATES, VIOLATES, Outcome
from bnconform.judge.subject import Subject
from bnconform.render import messages
from bnconform.results.result import Diagnosis, Difference
from bnconform.spec.behaviour import OF_ABILITY, Behaviour
from bnconform.spec.catalogue import requirement

MOST = 4
"""Points that a failing check is tried at."""

Point = tuple[Difference, ...]
"""What differs from the point that the adapter declares, in the order of the space."""

_HINTS: dict[str, list[Behaviour]] = {}
"""Points that explained a backend on another device or in another dtype, by its name: tried before any search."""


def candidates(subject: Subject) -> list[Behaviour]:
    """The points that explain what the distinguishing programs show; none where its own point does, or nothing does."""
    if subject.candidates is None:
        subject.candidates = _search(subject)
    return subject.candidates


def _search(subject: Subject) -> list[Behaviour]:
    evidence = search.gather(subject)
    base = subject.declared
    subject.steady = evidence.steady
    if not evidence.traces or not evidence.wrong(base):
        return []
    for hint in _HINTS.get(subject.name, ()):
        if evidence.holds(evidence.traces, hint):
            return [hint]
    found = search.explain(evidence, base)
    # Where nothing explains everything, what explains most is worth trying on the failing checks, which decide.
    points = [point for point in found.points if point != base][:MOST]
    subject.is_partly_explained = bool(found.unexplained)
    if points and not found.unexplained:
        _HINTS.setdefault(subject.name, []).extend(points)
    if 2 * found.unexplained <= found.total:
        return points
    subject.conditional += points  # what `identify` names may hold for some checks all the same
    return []


Rerun = Callable[[Subject], Sequence[Outcome]]
"""Runs a check on the subject that it is given, and returns what it recorded."""


@dataclass(frozen=True)
class Explained:
    """The points at which a failing check holds.

    Attributes:
        conditional: whether they explain no more than checks like this one.
        is_cut_short: whether the search ended before all were tried.
    """

    points: list[Behaviour]
    conditional: bool = False
    is_cut_short: bool = False


def explain(
    subject: Subject, rerun: Rerun, *, conditions: bool = True, failing: tuple[Trace, str] | None = None
) -> Explained:
    """The points at which a failing check holds.

    Where those show nothing wrong, or nothing that explains this check, a decision may differ under a condition,
    such as rank 3: the points that explained an earlier failing check are tried, then all neighbours.

    Args:
        conditions: whether to look for such points.
        failing: the trace that the check failed on, with the quality of its bounds, where it was one: it is judged
            again instead of the whole check. For random sequences it is the shortest that fails.
    """
    kept = KeptTraces(subject.runs)

    def holds(point: Behaviour) -> bool:
        if failing is not None:
            judged = judge(failing[0], point, failing[1], brief=True)
            return judged.holds and bool(judged.checks)  # where nothing is told, nothing is explained
        outcomes = rerun(replace(subject, assumed=point, brief=True, session=kept, prepared={}))
        return bool(outcomes) and all(outcome.verdict in (CONFORMS, DEVIATES) for outcome in outcomes)

    points = [point for point in candidates(subject) if holds(point)]
    if points or not conditions:
        return Explained(points, conditional=not points and not candidates(subject))
    points = [point for point in subject.conditional if holds(point)]
    cut_short = False
    if not points and subject.searches < SEARCHES:
        subject.searches += 1
        tried, cut_short = _within(PATIENCE, (point for _, _, point in subject.declared.neighbours()), holds)
        # What many explain, none does: the check shows too little.
        points = tried if len(tried) <= MOST_CONDITIONAL else []
        subject.conditional += points
    return Explained(points, conditional=True, is_cut_short=cut_short)


SEARCHES, PATIENCE, MOST_CONDITIONAL = 8, 5.0, 3
"""Failing checks that are tried at every neighbour, seconds that this may take, and points that may remain."""


def _within(
    seconds: float, points: Iterable[Behaviour], holds: Callable[[Behaviour], bool]
) -> tuple[list[Behaviour], bool]:
    """The points at which a check holds, and False; none, and True, where there is no time to try them all."""
    end = time.perf_counter() + seconds
    found = []
    for point in points:
        if time.perf_counter() > end:
            return [], True
        if holds(point):
            found.append(point)
    return found, False


def _differences(subject: Subject, points: Iterable[Behaviour]) -> list[Point]:
    return [_point(point.differences(subject.declared).items()) for point in points]


def note(outcome: Outcome, subject: Subject, rerun: Callable[[Subject], Sequence[Outcome]]) -> None:
    """Write into the outcome of a failing check at which points it would have held.

    An implementation that is slow to start is not asked the distinguishing programs for the sake of quality alone. How
    replicas weigh what masks select is no quality: for that one decision is looked for, and nothing called again.
    """
    if subject.is_deployment:  # no decision of a layer explains it
        of_folds.note(outcome, subject)
        return
    asked = requirement(outcome.requirement)
    decides = outcome.level == "must" or asked.decisions
    failing = subject.failing
    if failing is not None and (outcome.failure is None or outcome.failure.call != failing[0].program.describe()):
        failing = None  # of another check
    alone = [] if decides or failing is None else _explain_replicas_with_masks(subject, *failing)
    if subject.slow and not decides and not alone and subject.candidates is None:
        return
    subject.failing = None
    # Of quality no decision tells: it is a matter of how something is computed, and bounds differ from point to point.
    found = Explained(alone) if alone else explain(subject, rerun, conditions=outcome.level == "must", failing=failing)
    outcome.conditional = found.conditional and outcome.level == "must"
    outcome.explained = [[list(part) for part in point] for point in _differences(subject, found.points)]
    outcome.is_cut_short = found.is_cut_short
    outcome.steady = subject.steady
    if not found.points or outcome.conditional or subject.is_partly_explained:
        point = found.points[0] if found.points else None
        is_quality = outcome.level != "must"
        shown = [] if failing is None else [failing]
        if failing is None and not outcome.died:
            shown = _traces(subject, rerun)
        for trace, quality in shown:
            # Of a quality no cause is looked for: either a must has shown it, or it is a matter of how well.
            made = narrow(subject, trace, quality, point, known_only=is_quality)
            if made is not None:
                outcome.narrowed = made.record()
                outcome.steady = outcome.steady and made.steady
                return


def _explain_replicas_with_masks(subject: Subject, trace: Trace, quality: str) -> list[Behaviour]:
    """The points at which a trace of replicas with masks holds that differ in one decision about either."""
    if not any(step.op in MASKED_REPLICATED for step in trace.program.steps):
        return []
    near = [
        point
        for name, _, point in subject.declared.neighbours()
        if name in OF_ABILITY and can_act(name, point, trace.program)
    ]
    found = []
    for point in near:
        judged = judge(trace, point, quality)
        if judged.holds and judged.checks:
            found.append(point)
    return found if len(found) <= MOST_CONDITIONAL else []


def _traces(subject: Subject, rerun: Rerun) -> list[tuple[Trace, str]]:
    """What the check is made of, run again: the trace of each of its programs."""
    kept = KeptTraces(subject.runs)
    rerun(replace(subject, brief=True, session=kept, prepared={}))
    judged = [trace for trace in kept.traces if trace.program.reads == "always" and not trace.program.watch]
    return [(trace, "") for trace in judged if trace.program.observes and not (trace.ended or trace.fault)][:MOST]


def diagnose(outcomes: Sequence[Outcome]) -> tuple[list[Outcome], list[Diagnosis]]:
    """The outcomes with what explains them written into them, and the diagnoses of each backend that fails.

    For each backend the point that explains most of its failing checks comes first, then the one that explains most of
    the rest; for what nothing explains, the narrowest description of where it shows.
    """
    result = list(outcomes)
    found: list[Diagnosis] = []
    for backend in dict.fromkeys(outcome.backend for outcome in outcomes):
        mine = [i for i, outcome in enumerate(outcomes) if outcome.backend == backend]
        rest = [i for i in mine if outcomes[i].verdict in (VIOLATES, CRASHED) and not outcomes[i].about_declaration]
        total = len(rest)
        if rest and outcomes[rest[0]].model is not None:
            for group, text, is_known in of_folds.diagnose(outcomes, rest):
                found.append(of_folds.diagnosis(backend, group, total, text, known=is_known))
                for i in group:
                    result[i] = _tell(outcomes[i], (), found[-1].text)
            continue
        while rest:
            one = _next_cause(outcomes, rest, mine)
            failing = [outcomes[i] for i in one.group]
            everywhere = one.shared or (one.points and not any(outcome.conditional for outcome in failing))
            where = "" if everywhere else common_circumstances(failing, [outcomes[i] for i in mine], one.cause)
            text = _words(one, failing, total, where, others=bool(found and found[-1].backend == backend))
            explains = len(one.group) if one.points or one.cause or one.shared else 0
            found.append(Diagnosis(backend, one.points, explains, total, text))
            for i in one.group:
                result[i] = _tell(outcomes[i], one.points, text)
            rest = [i for i in rest if i not in one.group]
    return result, found


@dataclass(frozen=True)
class _Cause:
    """What explains a group of failing checks: decisions, or a relation in words, or what crashes share, or nothing."""

    points: tuple[Point, ...]
    cause: str
    group: list[int]
    shared: str = ""


def _next_cause(outcomes: Sequence[Outcome], rest: Sequence[int], mine: Sequence[int]) -> _Cause:
    """What explains most of the rest; where nothing explains any of it, those that have one cause.

    Args:
        mine: the numbers of all checks of the backend.
    """
    points, chosen = _best([outcomes[i] for i in rest])
    cause, fitted = _best_fitted(outcomes, rest)
    if points and 2 * len(chosen) < len(rest) and outcomes[rest[chosen[0]]].conditional and not cause:
        points = ()
    if points and len(chosen) >= len(fitted):
        return _Cause(points, "", [rest[k] for k in chosen])
    if cause:
        return _Cause((), cause, fitted)
    crash = common_crash(outcomes, rest, mine)
    if crash is not None:
        return _Cause((), "", crash.group, crash.sentence)
    return _Cause((), "", _alike(outcomes, rest))


def _best_fitted(outcomes: Sequence[Outcome], rest: Sequence[int]) -> tuple[str, list[int]]:
    """The fitted cause that explains most of the rest, the simplest of several, and what it explains."""
    groups: dict[tuple[str, ...], dict[int, Cause]] = {}
    places: Counter[tuple[str, ...]] = Counter()
    for i in rest:
        for place, cause in enumerate(outcomes[i].narrowed.get("causes", ())):
            groups.setdefault(relations_of(cause), {})[i] = cause
            places[relations_of(cause)] += place
    if not groups:
        return "", []
    best = min(groups, key=lambda relations: (-len(groups[relations]), places[relations]))
    return sentence(groups[best].values()), list(groups[best])


def _alike(outcomes: Sequence[Outcome], rest: Sequence[int]) -> list[int]:
    """Those of the rest that may have one cause: failures of a must; each quality fails for a reason of its own."""

    def kind(i: int) -> object:
        outcome = outcomes[i]
        if not outcome.steady:
            return False
        if outcome.narrowed:
            return True
        return "" if outcome.level == "must" else outcome.requirement

    # What was found by experiment first: it says more than what is left.
    first = next((i for i in rest if outcomes[i].narrowed), rest[0])
    return [i for i in rest if kind(i) == kind(first)]


def _best(failing: Sequence[Outcome]) -> tuple[tuple[Point, ...], list[int]]:
    """The points that explain most of the failing checks, and which ones they explain."""
    counts: Counter[Point] = Counter(point for outcome in failing for point in set(map(_point, outcome.explained)))
    if not counts:
        return (), []
    most = max(counts.values())
    fewest = min(len(point) for point, count in counts.items() if count == most)
    points = tuple(sorted(point for point, count in counts.items() if count == most and len(point) == fewest))
    return points, [k for k, outcome in enumerate(failing) if points[0] in map(_point, outcome.explained)]


def _point(entries: Iterable[Sequence[str]]) -> Point:
    return tuple(Difference(decision, value) for decision, value in entries)


def words(points: Sequence[Point]) -> str:
    """The points in words: what differs together with `and`, what cannot be told apart with `or`."""
    return " or ".join(
        " and ".join(f"{decision} = {value}" for decision, value in point) or "what is declared" for point in points
    )


def _words(one: _Cause, failing: Sequence[Outcome], total: int, where: str, *, others: bool = False) -> str:
    """The sentence on failing checks of one cause.

    Args:
        others: whether other checks of the backend have been explained before.
    """
    checks = f"{len(failing)} of {total} failing check{'' if total == 1 else 's'}"
    if one.points:
        return f"{words(one.points)} (explains {checks}){f', but {where}' if where else ''}"
    if one.cause:
        return f"{one.cause} (explains {checks}){f'; {where}' if where else ''}"
    if one.shared:
        return one.shared
    qualities = {outcome.requirement for outcome in failing if outcome.level != "must" and not outcome.narrowed}
    if len(qualities) == 1 and all(outcome.level != "must" for outcome in failing):
        # A quality is named by its requirement: no decision is looked for.
        unexplained = f"{qualities.pop()}, {checks}"
    elif any(outcome.is_cut_short for outcome in failing):
        unexplained = f"nothing explains {checks} so far, as the search of the behaviour space was cut short"
    elif any(outcome.explained for outcome in failing):
        unexplained = f"no decision of the behaviour space explains all of {checks}"
    elif others:
        unexplained = f"nothing of that explains {checks}"
    else:
        unexplained = f"no decision of the behaviour space explains {checks}"
    return f"{unexplained}; {where}" if where else unexplained


def _tell(outcome: Outcome, points: tuple[Point, ...], text: str) -> Outcome:
    diagnosis = [{"coordinate": decision, "value": value} for decision, value in (points[0] if points else ())]
    if outcome.failure is None:
        return replace(outcome, diagnosis=diagnosis)
    failure = replace(outcome.failure, cause=text)
    return replace(outcome, diagnosis=diagnosis, failure=failure, message=messages.message(failure))
