"""The network's arrays for frameworks whose channels lie last."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FLATTENED = (16, 4, 4)
"""The channels, rows and columns that dense1 reads."""


def channels_last(images: Array) -> Array:
    """(N, C, H, W) as (N, H, W, C)."""
    return np.ascontiguousarray(np.moveaxis(images, 1, -1))


def weight_last(name: str, weight: Array) -> Array:
    """A weight as (..., inputs, outputs): of a convolution (5, 5, inputs, outputs), of a dense layer (inputs, outputs).

    The inputs of dense1 are in the order in which channels that lie last are flattened.
    """
    if weight.ndim == 4:
        return np.ascontiguousarray(weight.transpose(2, 3, 1, 0))
    if name == "dense1":
        weight = weight.reshape(-1, *FLATTENED).transpose(0, 2, 3, 1).reshape(len(weight), -1)
    return np.ascontiguousarray(weight.T)
