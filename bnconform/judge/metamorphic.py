"""The judgement of a relation: the observed difference of two results against the sum of their bounds.

Nothing of the verdict rests on the oracle's value: at the specified point the exact results cancel. At a declared
point they may not, and their exact difference is what is due.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bnconform.cases.metamorphic import MetamorphicRelation
from bnconform.execution.trace import Trace
from bnconform.judge.error_ratio import error_ratios
from bnconform.judge.judgement import Comparison, Judgement, judge
from bnconform.judge.truths.expansion import Expansion
from bnconform.spec.behaviour import Behaviour
from bnconform.spec.exact import Floats, arithmetic, exact, floats

NOTHING = 2.0**-60
"""The part of a bound that decides nothing: ratios are float64."""


def relate(relation: MetamorphicRelation, traces: list[Trace], point: Behaviour) -> Judgement:
    """Compare what the two traces show, name by name in the order of observation."""
    first, second = (judge(trace, point) for trace in traces)
    found = Judgement(point, problems=first.problems + second.problems, crashed=first.crashed or second.crashed)
    if found.problems:
        return found
    found.refusals = min(first.refusals, second.refusals)
    with arithmetic():
        for name, mapping in relation.maps:
            lefts = [comparison for comparison in first.comparisons if comparison.name == name]
            rights = [comparison for comparison in second.comparisons if comparison.name == name]
            if not lefts and not rights and (found.refusals or name not in traces[1].program.observes):
                continue  # refused on both sides, as is due at this point, or left out as unsupported
            if len(lefts) != len(rights) or not lefts:
                found.problems.append(
                    (-1, f"{name} was seen {len(lefts)} times in the one run and {len(rights)} in the other")
                )
                continue
            found.comparisons += [_relate(left, right, mapping) for left, right in zip(lefts, rights, strict=True)]
    return found


def _relate(left: Comparison, right: Comparison, mapping: Callable[[Any], Any]) -> Comparison:
    """The second observation against the image of the first, within both bounds together."""
    if left.unspecified or right.unspecified:
        return right if right.unspecified else left
    bound = np.abs(mapping(left.bound) - mapping(np.zeros_like(left.bound))) + right.bound
    expected = _cancel(left, right, mapping, bound)
    lost = np.zeros(right.exact.shape, bool)
    if expected is None:
        due = np.asarray(mapping(left.exact.exact()), dtype=object)
        # The first run's image, and what is due beside it where the exact results do not cancel.
        values = mapping(exact(left.observed)) + (right.exact.exact() - due)
        expected = Expansion.of(np.asarray(values, dtype=object), bound)
        lost = ~np.isfinite(floats(due)) & ~np.isfinite(right.exact.nearest)
    ratio = error_ratios(right.observed, expected, bound)
    if lost.any():
        ratio = np.where(lost & ~np.isfinite(right.observed.astype(np.float64)), 0.0, ratio)
    return Comparison(right.step, right.name, right.observed, expected, bound, ratio)


def _cancel(left: Comparison, right: Comparison, mapping: Callable[[Any], Any], bound: Floats) -> Expansion | None:
    """The first run's image as what is due, where the two exact results differ by nothing that the bound could show.

    None where they differ, where one is not finite, or where the map adds something and so may round.
    """
    observed = left.observed.astype(np.float64)
    if not (left.exact.is_plain and right.exact.is_plain and np.isfinite(observed).all()):
        return None
    if mapping(np.zeros(observed.shape)).any():
        return None
    first, second, third = (right.exact.parts[k] - mapping(left.exact.parts[k]) for k in range(3))
    if (np.abs(first + second + third) > NOTHING * bound).any():
        return None
    return Expansion.of(np.asarray(mapping(observed), np.float64))
