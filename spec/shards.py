"""A batch that is spread over replicas, in one array of rows.

A shard is what one replica is given: (N_i, C, *S_i), where N_i may be 0, and both may differ from shard to shard. All
of them together are kept as rows, (n, C, 1, ...) of the rank of a shard: one row for each sample and position, shard
after shard, in the order of the axes. For statistics of channels a row is a sample like any other, so that the one
batch which replicas are to agree with is the rows themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

Shards = tuple[tuple[int, ...], ...]
"""By replica the shape of its shard without the channels, (N_i, *S_i)."""


def shapes_of(shards: Sequence[Array]) -> Shards:
    """Their shapes without the channels."""
    return tuple((len(shard), *shard.shape[2:]) for shard in shards)


def counts(shapes: Shards) -> tuple[int, ...]:
    """The values a channel, n_i, of each shard."""
    return tuple(math.prod(shape) for shape in shapes)


def join(shards: Sequence[Array]) -> Array:
    """The rows of shards (N_i, C, *S_i): (n, C, 1, ...)."""
    channels, ndim = shards[0].shape[1], shards[0].ndim
    flat = [np.moveaxis(shard, 1, -1).reshape(-1, channels) for shard in shards]
    return np.concatenate(flat).reshape((-1, channels) + (1,) * (ndim - 2))


def split(rows: Array, shapes: Shards) -> list[Array]:
    """The shards of rows."""
    channels, start, found = rows.shape[1], 0, []
    for shape, count in zip(shapes, counts(shapes), strict=True):
        part = rows[start : start + count].reshape(*shape, channels)
        found.append(np.ascontiguousarray(np.moveaxis(part, -1, 1)))
        start += count
    return found


def slices_of(shapes: Shards) -> list[slice]:
    """Which rows are those of each replica."""
    ends = np.cumsum([0, *counts(shapes)]).tolist()
    return [slice(start, end) for start, end in pairwise(ends)]
