"""Which points of the behaviour space explain a failing check, and what explains all failing checks of a backend.

The first violation of a subject starts a search over the survey (`diagnosis.search`); each failing check is then
run again on the supposition that the implementation stands where the search says. A point is believed for the checks
that hold there, and for no others.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from bnconform.diagnosis import search
from bnconform.diagnosis.failure_conditions import narrowest
from bnconform.diagnosis.kept_traces import KeptTraces
from bnconform.judge.outcome import CONFORMS, CRASHED, DEVIATES, VIOLATES, Outcome
from bnconform.judge.subject import Subject
from bnconform.render import messages
from bnconform.results.result import Diagnosis, Difference
from bnconform.spec.behaviour import Behaviour
from bnconform.spec.catalogue import requirement

MOST = 4
"""Points that a failing check is tried at."""

Point = tuple[Difference, ...]
"""What differs from the point that the adapter declares, in the order of the space."""

_HINTS: dict[str, list[Behaviour]] = {}
"""Points that explained a backend on another device or in another dtype, by its name: tried before any search."""


def candidates(subject: Subject) -> list[Behaviour]:
    """The points that explain what the subject shows in the survey; none where its own point does, or nothing does."""
    if subject.candidates is None:
        subject.candidates = _searched(subject)
    return subject.candidates


def _searched(subject: Subject) -> list[Behaviour]:
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
    if points and not found.unexplained:
        _HINTS.setdefault(subject.name, []).extend(points)
    return points if 2 * found.unexplained <= found.total else []


def explained(
    subject: Subject, rerun: Callable[[Subject], Sequence[Outcome]], *, conditions: bool = True
) -> tuple[list[Point], bool]:
    """The points at which a failing check holds, and whether they explain no more than checks like this one.

    Where the survey shows nothing wrong, or nothing that can be explained, a decision may differ under a condition,
    such as rank 3: the points that explained an earlier failing check are tried, then all neighbours.

    Args:
        rerun: runs the check on the subject that it is given, and returns what it recorded.
        conditions: whether to look for such points.
    """
    kept = KeptTraces(subject.runs)

    def holds(point: Behaviour) -> bool:
        outcomes = rerun(replace(subject, assumed=point, brief=True, session=kept, prepared={}))
        return bool(outcomes) and all(outcome.verdict in (CONFORMS, DEVIATES) for outcome in outcomes)

    points = [point for point in candidates(subject) if holds(point)]
    if points or candidates(subject):
        return _differences(subject, points), False
    if not conditions:
        return [], True
    points = [point for point in subject.conditional if holds(point)]
    if not points and subject.searches < SEARCHES:
        subject.searches += 1
        tried = _within(PATIENCE, (point for _, _, point in subject.declared.neighbours()), holds)
        # What many explain, none does: the check shows too little.
        points = tried if len(tried) <= MOST_CONDITIONAL else []
        subject.conditional += points
    return _differences(subject, points), True


SEARCHES, PATIENCE, MOST_CONDITIONAL = 8, 5.0, 3
"""Failing checks that are tried at every neighbour, seconds that this may take, and points that may remain."""


def _within(seconds: float, points: Iterable[Behaviour], holds: Callable[[Behaviour], bool]) -> list[Behaviour]:
    """The points at which a check holds; none where there is no time to try them all, as a part of them misleads."""
    end = time.perf_counter() + seconds
    found = []
    for point in points:
        if time.perf_counter() > end:
            return []
        if holds(point):
            found.append(point)
    return found


def _differences(subject: Subject, points: Iterable[Behaviour]) -> list[Point]:
    return [_point(point.differences(subject.declared).items()) for point in points]


def note(outcome: Outcome, subject: Subject, rerun: Callable[[Subject], Sequence[Outcome]]) -> None:
    """Write into the outcome of a failing check at which points it would have held.

    An implementation that is slow to start is not asked the survey's questions for the sake of quality alone.
    """
    decides = outcome.level == "must" or requirement(outcome.requirement).coordinates
    if subject.slow and not decides and subject.candidates is None:
        return
    # Of quality no decision tells: it is a matter of how something is computed, and bounds differ from point to point.
    points, conditional = explained(subject, rerun, conditions=outcome.level == "must")
    outcome.conditional = conditional and outcome.level == "must"
    outcome.explained = [[list(part) for part in point] for point in points]
    outcome.steady = subject.steady


def diagnosed(outcomes: Sequence[Outcome]) -> tuple[list[Outcome], list[Diagnosis]]:
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
        while rest:
            points, chosen = _best([outcomes[i] for i in rest])
            if points and 2 * len(chosen) < len(rest) and outcomes[rest[chosen[0]]].conditional:
                points = ()
            group = [rest[k] for k in chosen] if points else _alike(outcomes, rest)
            everywhere = points and not any(outcomes[i].conditional for i in group)
            where = "" if everywhere else narrowest([outcomes[i] for i in group], [outcomes[i] for i in mine])
            text = _words(points, len(group), total, where)
            found.append(Diagnosis(backend, points, len(group) if points else 0, total, text))
            for i in group:
                result[i] = _told(outcomes[i], points, text)
            rest = [i for i in rest if i not in group]
    return result, found


def _alike(outcomes: Sequence[Outcome], rest: Sequence[int]) -> list[int]:
    """Those of the rest that may have one cause: failures of a must; each quality fails for a reason of its own."""

    def kind(i: int) -> str:
        return "" if outcomes[i].level == "must" else outcomes[i].requirement

    first = kind(rest[0])
    return [i for i in rest if kind(i) == first]


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
    return tuple(Difference(coordinate, value) for coordinate, value in entries)


def words(points: Sequence[Point]) -> str:
    """The points in words: what differs together with `and`, what cannot be told apart with `or`."""
    return " or ".join(
        " and ".join(f"{coordinate} = {value}" for coordinate, value in point) or "what is declared" for point in points
    )


def _words(points: Sequence[Point], explains: int, failing: int, where: str) -> str:
    checks = f"{explains} of {failing} failing check{'' if failing == 1 else 's'}"
    if points:
        return f"{words(points)} (explains {checks}){f', but {where}' if where else ''}"
    unexplained = f"no decision of the behaviour space explains {checks}"
    return f"{unexplained}; {where}" if where else unexplained


def _told(outcome: Outcome, points: tuple[Point, ...], text: str) -> Outcome:
    diagnosis = [{"coordinate": coordinate, "value": value} for coordinate, value in (points[0] if points else ())]
    if outcome.failure is None:
        return replace(outcome, diagnosis=diagnosis)
    failure = replace(outcome.failure, cause=text)
    return replace(outcome, diagnosis=diagnosis, failure=failure, message=messages.message(failure))
