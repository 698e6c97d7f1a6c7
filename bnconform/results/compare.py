"""The comparison of results: verdicts, conventions, and for each observation which side is how far from the truth.

Both sides are placed against the exact truth of their own programs, each at the point at which it stands, so that
machines that never met are compared through what is due and not only through each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from bnconform.results.comparison import (
    FIRST,
    KINDS,
    SECOND,
    Convention,
    Number,
    Pair,
    ResultComparison,
    VerdictDifference,
    severity,
)
from bnconform.results.completeness import Column, partial, reason
from bnconform.results.difference import difference_of
from bnconform.results.failure import VIOLATION
from bnconform.results.matching import Pairs, find_pairs, narrow, pair
from bnconform.results.operands import Incomparable, Operand, operands
from bnconform.results.result import Result, Row
from bnconform.spec.behaviour import SPECIFIED, decisions


def compare(
    first: tuple[str, Result],
    second: tuple[str, Result],
    *,
    backends: Sequence[str] = (),
    dtypes: Sequence[str] = (),
    chosen: Sequence[str] = (),
) -> ResultComparison:
    """One file against another, each given as its path and what it holds.

    Args:
        backends, dtypes: only these, where some are given. chosen: pairs as `A=B`, and then only these.

    Raises:
        Incomparable: where a file has what this version cannot place, or the two have no subject in common.
        MatchingError: where a chosen pair is none.
    """
    (left_path, left), (right_path, right) = first, second
    left_operands, right_operands = operands(left_path, left), operands(right_path, right)
    ours, theirs = (narrow(list(found), backends, dtypes) for found in (left_operands, right_operands))
    if chosen:
        pairs: Pairs = [pair for text in chosen for pair in find_pairs(text, ours, theirs)]
        alone: list[tuple[str, str]] = []
    else:
        pairs, ours_alone, theirs_alone = pair(ours, theirs)
        alone = [(FIRST, _words(one)) for one in ours_alone] + [(SECOND, _words(one)) for one in theirs_alone]
    if not pairs:
        raise Incomparable(
            f"{left_path} and {right_path} have no subject in common: {_all_words(ours)} in the first, "
            f"{_all_words(theirs)} in the other"
        )
    warnings = [
        f"{path} has no observations: no numbers can be compared; run the suite of this version again with --json"
        for path, result in (first, second)
        if not result.observations
    ]
    made = tuple(_pair(left_operands[one], right_operands[other]) for one, other in dict.fromkeys(pairs))
    if not warnings and not any(pair.compared for pair in made):
        warnings.append(f"{left_path} and {right_path} have no observation in common that this version can place")
    warnings += [
        f"{path} is only a part of a run: {part}; {reason(result)}"
        for path, result in (first, second)
        if (part := partial(result))
    ]
    return ResultComparison(left_path, right_path, _environment(left, right), made, tuple(alone), tuple(warnings))


def _words(subject: Column) -> str:
    return f"{subject[0]}:{subject[1]} {subject[2]}"


def _all_words(found: Sequence[Column]) -> str:
    shown = ", ".join(map(_words, found[:4])) or "nothing"
    return f"{shown} and {len(found) - 4} more" if len(found) > 4 else shown


def _environment(first: Result, second: Result) -> tuple[tuple[str, str, str], ...]:
    """What differs in where the two were reached; the time is not among it."""

    def versions(result: Result) -> dict[str, str]:
        one = result.environment
        heads = {"bnconform": one.bnconform, "Python": one.python, "platform": one.platform}
        devices = {f"device {name}": what for name, what in one.devices.items()}
        return heads | {name: version for name, version in one.packages.items() if name != "bnconform"} | devices

    ours, theirs = versions(first), versions(second)
    names = dict.fromkeys([*ours, *theirs])
    found = [(name, ours.get(name, "none"), theirs.get(name, "none")) for name in names]
    return tuple((name, one, other) for name, one, other in found if one != other)


def _pair(first: Operand, second: Operand) -> Pair:
    both = [name for name in first.rows if name in second.rows]
    verdicts = [
        VerdictDifference(name, one.level, one.verdict, other.verdict, _reason_for(one), _reason_for(other))
        for name in both
        if _differ(one := first.rows[name], other := second.rows[name])
    ]
    numbers = sorted(_numbers(first, second), key=_order)
    return Pair(
        first.subject[:2], second.subject[:2], first.subject[2], len(both),
        tuple(sorted(verdicts, key=severity)),
        tuple(name for name in first.rows if name not in second.rows),
        tuple(name for name in second.rows if name not in first.rows),
        tuple(_conventions(first, second, numbers)), tuple(numbers),
    )  # fmt: skip


def _order(number: Number) -> tuple[int, float, str, str, str]:
    worst = max((side.share for side in (number.first, number.second) if side), default=0.0)
    return list(KINDS).index(number.kind), -worst, number.requirement, number.case, number.name


def _differ(one: Row, other: Row) -> bool:
    policies = one.level == "may" and one.summary != other.summary
    return one.verdict != other.verdict or one.diagnosis != other.diagnosis or policies


def _reason_for(row: Row) -> str:
    """The explanation of a verdict in a few words."""
    if row.diagnosis:
        return " and ".join(f"{part.coordinate} = {part.value}" for part in row.diagnosis)
    if row.failure is not None and row.failure.kind == VIOLATION:
        return f"not met: {row.failure.title}"
    return row.summary if row.verdict != "conforms" or row.level == "may" else ""


def _numbers(first: Operand, second: Operand) -> Iterator[Number]:
    for place in dict.fromkeys([*first.observations, *second.observations]):
        yield difference_of(first, second, first.observations.get(place), second.observations.get(place))


DTYPE_OF = {"output_dtype": ("y", "grad_x"), "statistics_dtype": ("running_mean", "running_var")}
"""The observations whose dtype, and no number, tells a decision's values apart."""


def _conventions(first: Operand, second: Operand, numbers: Iterable[Number]) -> Iterator[Convention]:
    """The decisions in which the two differ and that show in their dtype, each with what bears it out."""
    ours, theirs = first.values(), second.values()
    numbers = list(numbers)
    for name, kind in decisions().items():
        specified = str(getattr(SPECIFIED, name)), "specified"
        (one, one_by), (other, other_by) = ours.get(name, specified), theirs.get(name, specified)
        if one == other:
            yield from _answer_alike(first, second, numbers, name)
        elif any(first.subject[2] in kind(value).dtypes for value in {one, other} - {specified[0]}):
            shown = [number.label for number in numbers if _shows(first, second, number, name, one, other)]
            yield Convention(name, one, other, one_by, other_by, tuple(shown))


def _answer_alike(first: Operand, second: Operand, numbers: Iterable[Number], name: str) -> Iterator[Convention]:
    """A decision of which both are said to have one value, and answer as if they had two."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for number in numbers:
        if number.kind == "convention" and number.first and number.second:
            one, other = (_value_found(side, number, name) for side in (first, second))
            if one != other and _shows(first, second, number, name, one, other):
                key = one, other, number.first.point, number.second.point
                found.setdefault(key, []).append(number.label)
    for key, shown in found.items():
        yield Convention(name, *key, tuple(shown))


def _value_found(side: Operand, number: Number, name: str) -> str:
    """The value of a decision at which a side's answer was found to stand."""
    _, point, _ = side.standing(side.observations[number.place(side.subject[2])])
    return point.deviations.get(name, str(getattr(SPECIFIED, name)))


def _shows(first: Operand, second: Operand, number: Number, name: str, one: str, other: str) -> bool:
    """Whether each side's answer is within its bound with its own value of a decision and not with the other's."""
    if number.first is None or number.second is None:
        return False
    if number.first.dtype != number.second.dtype and number.name in DTYPE_OF.get(name, ()):
        return True
    return number.kind == "convention" and all(
        _tells(side, number, name, own, others) for side, own, others in ((first, one, other), (second, other, one))
    )


def _tells(side: Operand, number: Number, name: str, own: str, others: str) -> bool:
    observation = side.observations[number.place(side.subject[2])]
    _, point, _ = side.standing(observation)

    def within(value: str) -> bool:
        at = SPECIFIED.but(**{**point.deviations, name: value}).differences()
        found = side.place(observation, replace(point, deviations=at))
        return found is not None and found.worst <= 1

    return within(own) and not within(others)
