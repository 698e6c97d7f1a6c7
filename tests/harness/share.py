"""How far an observation lies from what is due, as a share of its bound."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from cases.program import Array
from spec.exact import Exact, Floats, exact, floats, is_finite

from .truth import numbers

SMALL, MOST = 2048, 8192
"""Elements up to which, and comparisons of which, shares are kept: right layers show the same bits over and over."""

_KEPT: OrderedDict[tuple[object, ...], tuple[Exact, Floats, Floats]] = OrderedDict()


def shares(got: Array, due: Exact, bound: Floats, largest: float = np.inf) -> Floats:
    """|got - due| / bound, element by element.

    Where the exact result is not finite the observed one must not be either (which of NaN and the infinities depends
    on the order of operations). Where the exact result may round beyond the format's largest number, infinity of the
    right sign is right.
    """
    if got.size > SMALL:
        return _shares(got, due, bound, largest)
    # What is due and its bound are kept with the shares, so that their identities stay theirs.
    key = id(due), id(bound), largest, got.shape, str(got.dtype), got.tobytes()
    found = _KEPT.get(key)
    if found is None:
        _KEPT[key] = found = due, bound, _shares(got, due, bound, largest)
        if len(_KEPT) > MOST:
            _KEPT.popitem(last=False)
    return found[2]


def _shares(got: Array, due: Exact, bound: Floats, largest: float) -> Floats:
    observed = numbers(got)
    finite, due_finite = is_finite(observed), is_finite(due)
    both = finite & due_finite
    difference = observed - due
    off = floats(abs(difference if both.all() else np.where(both, difference, exact(0.0))))
    with np.errstate(all="ignore"):
        share = np.where(off == 0, 0.0, np.where(np.isposinf(bound), 0.0, off / bound))
        value = floats(due)
        overflows = (
            (np.abs(value) + bound >= largest)
            & np.isinf(floats(observed))
            & (np.sign(value) == np.sign(floats(observed)))
        )
    share = np.where(due_finite & ~finite & ~overflows, np.inf, share)
    share = np.where(~due_finite & finite, np.inf, share)
    return np.asarray(np.where(np.isnan(share), np.inf, share), np.float64)
