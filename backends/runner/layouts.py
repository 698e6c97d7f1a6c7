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


def _misalign(values: Array) -> Array:
    return _contiguous(values, past=1)


def _fortran(values: Array) -> Array:
    return np.array(values, order="F")


def _channels_last(values: Array) -> Array:
    return np.moveaxis(np.array(np.moveaxis(values, 1, -1), order="C"), -1, 1)


def _batch_last(values: Array) -> Array:
    return np.moveaxis(np.array(np.moveaxis(values, 0, -1), order="C"), -1, 0)


def _swap(values: Array) -> Array:
    return np.swapaxes(np.array(np.swapaxes(values, 0, 1), order="C"), 0, 1)


def _step(values: Array) -> Array:
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


def _reverse(values: Array) -> Array:
    return np.array(values[::-1], order="C")[::-1]


def _faithful(laid: Array, values: Array) -> Array:
    """The array as it was laid, or a contiguous one where values that would share memory are not equal.

    What a program gives is what is judged: a layout must never change a number of it.
    """
    return laid if laid.tobytes() == values.tobytes() else _contiguous(values)


def _expand(*axes: int) -> Callable[[Array], Array]:
    """A layout with stride 0 along axes, or along all: the first element stands for the others."""

    def expand(values: Array) -> Array:
        along = {axis % values.ndim for axis in axes} if axes else set(range(values.ndim))
        part = tuple(slice(0, 1) if axis in along else slice(None) for axis in range(values.ndim))
        first = np.array(values[part], order="C")
        strides = tuple(0 if axis in along else stride for axis, stride in enumerate(first.strides))
        return _faithful(np.lib.stride_tricks.as_strided(first, values.shape, strides), values)

    return expand


def _reverse_along(axis: int) -> Callable[[Array], Array]:
    return lambda values: np.flip(np.array(np.flip(values, axis), order="C"), axis)


def _channels_last_slice(values: Array) -> Array:
    """Some channels of a wider channels-last array."""
    last = np.moveaxis(values, 1, -1)
    wide = np.full((*last.shape[:-1], last.shape[-1] + 5), 33, values.dtype)
    wide[..., 2 : 2 + last.shape[-1]] = last
    return np.moveaxis(wide[..., 2 : 2 + last.shape[-1]], -1, 1)


def _swap_with_positions(values: Array) -> Array:
    """The channels behind the first axis of positions, N, H, C, W; contiguous where there is none."""
    if values.ndim < 3:
        return _contiguous(values)
    return np.swapaxes(np.array(np.swapaxes(values, 1, 2), order="C"), 1, 2)


def _transpose_positions(values: Array) -> Array:
    return np.swapaxes(np.array(np.swapaxes(values, -2, -1), order="C"), -2, -1)


def _overlapping(values: Array) -> Array:
    """Windows of a line, along the last two axes, each one element further on than the one before."""
    line = np.ascontiguousarray(np.concatenate([values[..., 0, :], values[..., 1:, -1]], axis=-1))
    strides = (*line.strides[:-1], line.itemsize, line.itemsize)
    return _faithful(np.lib.stride_tricks.as_strided(line, values.shape, strides), values)


def _read_only(values: Array) -> Array:
    made = _contiguous(values)
    made.flags.writeable = False
    return made


LAYOUTS: Mapping[str, Callable[[Array], Array]] = {
    "contiguous": _contiguous,
    "fortran": _fortran,
    "channels_last": _channels_last,
    "batch_last": _batch_last,
    "batch_channel_swapped": _swap,
    "every_other_element": _step,
    "slice_with_offset": _offset,
    "every_third_sample": _batch_stepped,
    "reversed_batch": _reverse,
    "expanded_batch": _expand(0),
    "unaligned": _misalign,
    "reversed_channels": _reverse_along(1),
    "reversed_width": _reverse_along(-1),
    "expanded_channels": _expand(1),
    "expanded_positions": _expand(-1),
    "expanded_everywhere": _expand(),
    "channels_last_slice": _channels_last_slice,
    "transposed_positions": _transpose_positions,
    "overlapping": _overlapping,
    "read_only": _read_only,
    "channel_position_swapped": _swap_with_positions,
}
"""How an array lies in memory: `contiguous` begins at a multiple of 64 bytes, `unaligned` one element later;
the `expanded` ones (stride 0) and `overlapping` are for arrays that are equal where memory is the same; others stay
contiguous."""
