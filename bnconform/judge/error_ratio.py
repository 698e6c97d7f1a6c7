"""How far an observation lies from what is due, as a share of its bound."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from bnconform.cases.program import Array
from bnconform.spec.exact import Exact, Floats, exact, floats, is_finite

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
    high, low, due_finite = _split(due)
    observed = got.astype(np.float64)
    finite = np.isfinite(observed)
    with np.errstate(all="ignore"):
        off = np.where(finite & due_finite, np.abs(observed - high - low), 0.0)
        share = _over(off, bound)
        # Two roundings of 2**-53 decide nothing, but near the limit; and where float64 ends they are not all there is.
        narrow = (np.abs(share - 1) < NEAR) | ~np.isfinite(high) | ((np.abs(high) < SUBNORMAL) & (high != 0))
        narrow &= finite & due_finite
        if narrow.any():
            share[narrow] = _over(
                floats(abs(exact(got[narrow]) - due[narrow])), np.broadcast_to(bound, got.shape)[narrow]
            )
        overflows = (np.abs(high) + bound >= largest) & np.isinf(observed) & (np.sign(high) == np.sign(observed))
    share = np.where(due_finite & ~finite & ~overflows, np.inf, share)
    share = np.where(~due_finite & finite, np.inf, share)
    return np.asarray(np.where(np.isnan(share), np.inf, share), np.float64)


NEAR, SUBNORMAL = 1e-9, 1e-290
"""How near to the limit a share is taken exactly, and below which size of the exact value."""


def _over(off: Floats, bound: Floats) -> Floats:
    return np.asarray(np.where(off == 0, 0.0, np.where(np.isposinf(bound), 0.0, off / bound)))


_SPLIT: OrderedDict[int, tuple[Exact, Floats, Floats, NDArray[np.bool_]]] = OrderedDict()


def _split(due: Exact) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """An exact array as the sum of two float64, with which of it is finite; kept, as many results are due the same."""
    found = _SPLIT.get(id(due))
    if found is None:
        high, finite = floats(due), is_finite(due)
        whole = exact(np.where(np.isfinite(high), high, 0.0))
        low = np.where(np.isfinite(high), floats(due - whole), 0.0)
        _SPLIT[id(due)] = found = due, high, low, finite
        if len(_SPLIT) > SPLITS:
            _SPLIT.popitem(last=False)
    return found[1:]


SPLITS = 512
"""Exact arrays of which the parts are kept."""
