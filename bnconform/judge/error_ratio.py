"""How far an observation lies from what is due, over its bound: LAPACK's test ratio, element by element."""

from __future__ import annotations

import numpy as np

from bnconform.cases.program import Array
from bnconform.judge.truths.expansion import Expansion, Mask
from bnconform.spec.exact import Floats, arithmetic, exact, floats

NEAR, SUBNORMAL = 1e-9, 1e-290
"""How near to the limit a ratio is taken exactly, and below which size of the exact value."""


def error_ratios(got: Array, due: Expansion, bound: Floats, largest: float = np.inf) -> Floats:
    """|got - due| / bound, element by element.

    Where the exact result is not finite the observed one must not be either (which of NaN and the infinities depends
    on the order of operations). Where the exact result may round beyond the format's largest number, infinity of the
    right sign is right.

    Args:
        got, due, bound: of one shape, or the bound broadcastable to it.
        largest: the largest number of the format that is observed.
    """
    observed = got.astype(np.float64)
    finite = np.isfinite(observed)
    with np.errstate(all="ignore"):
        if due.is_plain and finite.all():
            ratio = _over(np.abs(observed - due.parts[0] - due.parts[1]), bound)
            near = np.abs(ratio - 1) < NEAR
            return _exactly(ratio, near, observed, due, bound) if near.any() else ratio
        return _with_infinities(observed, finite, due, bound, largest)


def _with_infinities(observed: Floats, finite: Mask, due: Expansion, bound: Floats, largest: float) -> Floats:
    high, low = due.parts[0], due.parts[1]
    both = finite & due.finite
    ratio = _over(np.where(both, np.abs(observed - high - low), 0.0), bound)
    # Two roundings of 2**-53 decide nothing, but near the limit; and where float64 ends they are not all there is.
    narrow = (np.abs(ratio - 1) < NEAR) | ~np.isfinite(high) | ((np.abs(high) < SUBNORMAL) & (high != 0))
    narrow &= both
    if narrow.any():
        ratio = _exactly(ratio, narrow, observed, due, bound)
    overflows = (np.abs(high) + bound >= largest) & np.isinf(observed) & (np.sign(high) == np.sign(observed))
    ratio = np.where(due.finite & ~finite & ~overflows, np.inf, ratio)
    ratio = np.where(~due.finite & finite, np.inf, ratio)
    return np.asarray(np.where(np.isnan(ratio), np.inf, ratio), np.float64)


def _exactly(ratio: Floats, where: Mask, observed: Floats, due: Expansion, bound: Floats) -> Floats:
    """The ratios with those of a mask computed from the exact distance."""
    with arithmetic():
        off = floats(abs(exact(observed[where]) - due.exact_at(where)))
    ratio[where] = _over(off, np.broadcast_to(bound, observed.shape)[where])
    return ratio


def _over(off: Floats, bound: Floats) -> Floats:
    ratio = np.asarray(off / bound)
    # Nothing is off by nothing, whatever the bound; and no distance counts where there is no bound.
    return np.asarray(np.where((off == 0) | np.isposinf(bound), 0.0, ratio))
