"""One observation of two sides: how far each is from its truth, how far they are from each other, and what that is.

Where both are within their bounds of one truth, they are within the sum of the bounds of each other: what only rounding
did is never named as a difference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bnconform.judge.judgement import Comparison as Placed
from bnconform.results.comparison import BOTH, DRIFT, FACTOR, FIRST, SECOND, Measure, Number
from bnconform.results.observations import decode
from bnconform.results.operands import Operand
from bnconform.results.result import Observation
from bnconform.spec.exact import Floats, arithmetic, floats
from bnconform.spec.formats import format_of, ulp

AGREE = 2.0**-64
"""Truths agree within this part of the bounds: the oracle evaluates other formulas to some 2**-300."""


@dataclass(frozen=True)
class Separation:
    """How far two arrays are apart: where most, and there in ulp and over both bounds together."""

    index: tuple[int, ...]
    ulp: float
    error_ratio: float


def difference_of(first: Operand, second: Operand, one: Observation | None, other: Observation | None) -> Number:
    """What can be said of an observation; None where a side has none.

    Raises:
        Incomparable: where an observation is no array of its program's shape.
    """
    known = one or other
    assert known is not None
    row = first.rows.get(known.requirement) or second.rows.get(known.requirement)
    plain = Number(known.requirement, row.level if row else "", known.case, known.step, known.name, "unknown")
    if one is None or other is None:
        verdicts = [side.rows[known.requirement].verdict for side in (first, second) if known.requirement in side.rows]
        return replace(plain, says="answered on one side only" + (f" ({' | '.join(verdicts)})" if verdicts else ""))
    (by_one, _, left), (by_other, _, right) = first.standing(one), second.standing(other)
    if left is None or right is None:
        return _compare_bits(plain, one, other)
    agree = _agree(left, right)
    if one.program != other.program and not agree:
        return replace(plain, says="the two ran different programs, as one lacks what the other has")
    apart = between(left, right)
    plain = replace(
        plain, index=apart.index, ulp=apart.ulp, share=apart.error_ratio,
        first=_measure(left, by_one, apart.index), second=_measure(right, by_other, apart.index),
    )  # fmt: skip
    return _classify(plain, left, right, agree)


def _classify(plain: Number, left: Placed, right: Placed, agree: bool) -> Number:
    assert plain.first and plain.second and plain.share is not None
    if left.unspecified or right.unspecified:
        return replace(plain, says="nothing fixes it at the point of one side")
    if _same(left.observed, right.observed):
        return replace(plain, kind="identical")
    out = left.worst > 1, right.worst > 1
    if all(out) and agree and plain.share <= 1:
        return replace(plain, kind="alike", moved=BOTH)
    if any(out):
        return replace(plain, kind="outside", moved=BOTH if all(out) else FIRST if out[0] else SECOND)
    if not agree and plain.share > 1:
        return replace(plain, kind="convention")
    if plain.first.dtype != plain.second.dtype:
        return replace(plain, kind="dtype")
    if agree:
        ratios = _count(left), _count(right)
        if max(ratios) > DRIFT and max(ratios) >= FACTOR * min(ratios):
            return replace(plain, kind="drift", moved=FIRST if ratios[0] > ratios[1] else SECOND)
    return replace(plain, kind="rounding")


def _compare_bits(plain: Number, one: Observation, other: Observation) -> Number:
    """Of a program that this version does not have only the bits can be compared."""
    if one.program != other.program:
        return replace(plain, says="the two ran different programs")
    left, right = decode(one.array), decode(other.array)
    if _same(left, right):
        return replace(plain, kind="identical")
    return replace(plain, says="not the same, and this version of bnconform does not know what is due")


def _same(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> bool:
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


def _agree(left: Placed, right: Placed) -> bool:
    """Whether both are due the same: what is infinite or NaN in one truth is so in the other."""
    if left.exact.shape != right.exact.shape:
        return False
    finite = left.exact.finite
    if (finite != right.exact.finite).any():
        return False
    with arithmetic():
        distance = floats(abs(left.exact.exact_at(finite) - right.exact.exact_at(finite)))
    return bool((distance <= AGREE * _both(left, right)[finite]).all())


def _both(left: Placed, right: Placed) -> Floats:
    return np.asarray(np.broadcast_to(left.bound + right.bound, left.observed.shape), np.float64)


def between(left: Placed, right: Placed) -> Separation:
    """How far two arrays are apart; infinity where it is right stands for the largest number of its dtype."""
    if not left.observed.size:
        return Separation((), 0.0, 0.0)
    one, other = _finite(left), _finite(right)
    both_lost = ~np.isfinite(one) & ~np.isfinite(other)
    known = np.isfinite(one) & np.isfinite(other)
    off = np.where(both_lost, 0.0, np.inf)
    off[known] = np.abs(one[known] - other[known])
    with np.errstate(all="ignore"):
        both = _both(left, right)
        ratio = np.where((off == 0) | np.isinf(both), 0.0, off / both)
        index = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
        size = np.maximum(np.abs(one), np.abs(other))[index]
        dtypes = [str(side.observed.dtype) for side in (left, right)]
        coarser = max(dtypes, key=lambda name: format_of(name).unit_roundoff)
        units = float(off[index] / ulp(np.asarray(size), coarser)) if np.isfinite(size) else float(off[index])
    return Separation(tuple(map(int, index)), units, float(ratio[index]))


def _finite(side: Placed) -> Floats:
    values = side.observed.astype(np.float64)
    right = np.isinf(values) & (np.broadcast_to(side.error_ratio, values.shape) <= 1) & side.exact.finite
    return np.where(right, np.sign(values) * format_of(str(side.observed.dtype)).largest, values)


def _count(side: Placed) -> float:
    """The largest error ratio, where no error counts for less than one ulp of what is due."""
    due = side.exact.nearest
    with np.errstate(all="ignore"):
        least = ulp(np.where(np.isfinite(due), due, 0.0), str(side.observed.dtype)) / side.bound
    least = np.where(np.isfinite(least), least, 0.0)
    return float(np.maximum(side.error_ratio, least).max(initial=0.0))


def _measure(side: Placed, point: str, index: tuple[int, ...]) -> Measure:
    got, due = (float(side.observed[index]), float(side.exact.nearest[index])) if side.observed.size else (0.0, 0.0)
    return Measure(str(side.observed.dtype), point, side.worst, side.ulps(), got, due)
