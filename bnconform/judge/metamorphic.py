"""The judgement of a relation: the observed difference of two results against the sum of their bounds.

Nothing of the verdict rests on the oracle's value: at the specified point the exact results cancel. At a declared
point they may not, and their exact difference is what is due.
"""

from __future__ import annotations

import numpy as np

from bnconform.cases.metamorphic import Relation
from bnconform.execution.trace import Trace
from bnconform.judge.error_ratio import shares
from bnconform.judge.judgement import Comparison, Judgement, judge
from bnconform.spec.behaviour import Behaviour
from bnconform.spec.exact import arithmetic, exact, floats


def related(relation: Relation, traces: list[Trace], point: Behaviour) -> Judgement:
    """Compare what the two traces show, name by name in the order of observation."""
    first, second = (judge(trace, point) for trace in traces)
    found = Judgement(point, problems=first.problems + second.problems, crashed=first.crashed or second.crashed)
    if found.problems:
        return found
    found.refusals = min(first.refusals, second.refusals)
    with arithmetic(), np.errstate(all="ignore"):
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
            for left, right in zip(lefts, rights, strict=True):
                if left.unspecified or right.unspecified:
                    found.comparisons.append(right if right.unspecified else left)
                    continue
                observed = mapping(exact(left.observed))
                due = mapping(left.exact)
                # At the specified point due equals right.exact, and the first run's image is itself what is due.
                expected = observed + (right.exact - due)
                bound = np.abs(mapping(left.bound) - mapping(left.bound * 0)) + right.bound
                share = shares(right.observed, expected, bound)
                both = ~np.isfinite(floats(due)) & ~np.isfinite(floats(right.exact))
                share = np.where(both & ~np.isfinite(right.observed.astype(np.float64)), 0.0, share)
                found.comparisons.append(Comparison(right.step, name, right.observed, expected, bound, share))
    return found
