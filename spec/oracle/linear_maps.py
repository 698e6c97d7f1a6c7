"""The linear operations of small networks, over arrays of any arithmetic: 320-bit numbers, fractions, or floats.

Of values they give values, and of magnitudes with the magnitudes of weights the sums of the magnitudes of all terms, of
which error bounds are made. Nothing here knows BatchNorm.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def linear(x: Array, weight: Array) -> Array:
    """(..., F) times (O, F): (..., O)."""
    return np.asarray(np.tensordot(x, weight, axes=((x.ndim - 1,), (1,))))


def convolution(
    x: Array, weight: Array, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int
) -> Array:
    """The cross-correlation that frameworks call convolution: (N, C, *S) with (O, C / groups, *K) to (N, O, *S')."""
    padded = pad(x, padding)
    kernel = weight.shape[2:]
    sizes = [
        (size - d * (k - 1) - 1) // s + 1
        for size, k, s, d in zip(padded.shape[2:], kernel, stride, dilation, strict=True)
    ]
    split = _groups(padded, groups)
    weights = weight.reshape(groups, -1, *weight.shape[1:])
    result = np.zeros((groups, x.shape[0], weights.shape[1], *sizes), x.dtype)
    for offset in product(*map(range, kernel)):
        window = tuple(
            slice(k * d, k * d + s * (size - 1) + 1, s)
            for k, d, s, size in zip(offset, dilation, stride, sizes, strict=True)
        )
        for group in range(groups):
            part = np.tensordot(
                weights[_place(group, ..., *offset)], split[_place(group, ..., *window)], axes=((1,), (1,))
            )
            result[group] += np.moveaxis(part, 0, 1)
    return _join(result)


def transpose_of_convolution(
    x: Array, weight: Array, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int
) -> Array:
    """The transpose of a convolution: (N, C, *S) with (C, O / groups, *K) to (N, O, *S')."""
    kernel = weight.shape[2:]
    sizes = [
        (size - 1) * s + d * (k - 1) + 1 for size, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)
    ]
    split = _groups(x, groups)
    weights = weight.reshape(groups, -1, *weight.shape[1:])
    result = np.zeros((groups, x.shape[0], weight.shape[1], *sizes), x.dtype)
    for offset in product(*map(range, kernel)):
        window = tuple(
            slice(k * d, k * d + s * (size - 1) + 1, s)
            for k, d, s, size in zip(offset, dilation, stride, x.shape[2:], strict=True)
        )
        for group in range(groups):
            part = np.tensordot(weights[_place(group, ..., *offset)], split[group], axes=((0,), (1,)))
            result[_place(group, ..., *window)] += np.moveaxis(part, 0, 1)
    inner = tuple(slice(p, size - p) for p, size in zip(padding, sizes, strict=True))
    return np.asarray(_join(result)[_place(..., *inner)])


def windows(x: Array, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], filling: Any) -> Array:
    """What each position of a pooling sees: (prod(K), N, C, *S'), the border filled with a number."""
    padded = pad(x, padding, filling)
    sizes = [(size - k) // s + 1 for size, k, s in zip(padded.shape[2:], kernel, stride, strict=True)]
    found = [
        padded[_place(..., *(slice(k, k + s * (n - 1) + 1, s) for k, s, n in zip(offset, stride, sizes, strict=True)))]
        for offset in product(*map(range, kernel))
    ]
    return np.stack(found)


def pad(x: Array, padding: Sequence[int], filling: Any = 0) -> Array:
    """With so many positions more on both sides of each axis."""
    if not any(padding):
        return x
    return np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)), constant_values=filling)


def along_channels(values: Array, ndim: int, axis: int = 1) -> Array:
    """(C,) as (1, C, 1, ...), or with its entries along another axis."""
    shape = [1] * ndim
    shape[axis] = -1
    return values.reshape(shape)


def _place(*parts: Any) -> Any:
    """An index of several parts."""
    return parts


def _groups(x: Array, groups: int) -> Array:
    """(N, C, *S) as (groups, N, C / groups, *S)."""
    return np.moveaxis(x.reshape(x.shape[0], groups, -1, *x.shape[2:]), 1, 0)


def _join(x: Array) -> Array:
    """(groups, N, O / groups, *S) as (N, O, *S)."""
    moved = np.moveaxis(x, 0, 1)
    return moved.reshape(moved.shape[0], -1, *moved.shape[3:])


CONVOLUTIONS = {"convolution": convolution, "transposed_convolution": transpose_of_convolution}
"""The convolution of each kind of node."""
