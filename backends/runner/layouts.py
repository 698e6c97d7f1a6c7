"""How an array lies in memory: copies of the same values with other strides.

The names are those of `bnconform.cases.program.LAYOUTS`, which a program carries; only this side makes strides of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BOUNDARY = 64
"""Bytes at whose multiples frameworks that take over an array without a copy want it to start; one line of a cache."""


def _contiguous(values: Array, past: int = 0) -> Array:
    """Row-major, from `past` elements after a boundary on: where memory happens to be free decides nothing.

    At least 64 bytes lie before it and after it, filled, so that whoever reads or writes there is seen to.
    """
    if not values.size:
        return np.array(values, order="C")
    room = np.full(values.nbytes + past * values.itemsize + 3 * BOUNDARY, 0x5A, np.uint8)
    start = BOUNDARY + -room.ctypes.data % BOUNDARY + past * values.itemsize
    made = room[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    made[...] = values
    return made


def _unaligned(values: Array) -> Array:
    return _contiguous(values, past=1)


def _fortran(values: Array) -> Array:
    return np.array(values, order="F")


def _channels_last(values: Array) -> Array:
    return np.moveaxis(np.array(np.moveaxis(values, 1, -1), order="C"), -1, 1)


def _batch_last(values: Array) -> Array:
    return np.moveaxis(np.array(np.moveaxis(values, 0, -1), order="C"), -1, 0)


def _swapped(values: Array) -> Array:
    return np.swapaxes(np.array(np.swapaxes(values, 0, 1), order="C"), 0, 1)


def _stepped(values: Array) -> Array:
    wide = np.full((*values.shape[:-1], 2 * values.shape[-1]), 77, values.dtype)
    wide[..., ::2] = values
    return wide[..., ::2]


def _offset(values: Array) -> Array:
    wide = np.full(tuple(length + 3 for length in values.shape), -55, values.dtype)
    part = wide[tuple(slice(2, 2 + length) for length in values.shape)]
    part[...] = values
    return part


def _batch_stepped(values: Array) -> Array:
    wide = np.full((3 * values.shape[0], *values.shape[1:]), 99, values.dtype)
    wide[1::3] = values
    return wide[1::3]


def _reversed(values: Array) -> Array:
    return np.array(values[::-1], order="C")[::-1]


def _expanded(values: Array) -> Array:
    first = np.array(values[:1], order="C")
    return np.lib.stride_tricks.as_strided(first, values.shape, (0, *first.strides[1:]))


LAYOUTS: Mapping[str, Callable[[Array], Array]] = {
    "contiguous": _contiguous,
    "fortran": _fortran,
    "channels_last": _channels_last,
    "batch_last": _batch_last,
    "batch_channel_swapped": _swapped,
    "every_other_element": _stepped,
    "slice_with_offset": _offset,
    "every_third_sample": _batch_stepped,
    "reversed_batch": _reversed,
    "expanded_batch": _expanded,
    "unaligned": _unaligned,
}
"""How an array lies in memory: `contiguous` begins at a multiple of 64 bytes, `unaligned` one element later;
`expanded_batch` (stride 0) is for arrays that are equal along axis 0."""
