"""The values of a row: of a family, and fit for the way in which they are to lie in memory."""

from __future__ import annotations

import math

import numpy as np

from bnconform.cases.covering.factors import COUNTS, Levels
from bnconform.cases.inputs import rng, upstream, values
from bnconform.cases.program import Array
from bnconform.spec.formats import Format, format_of, is_half

SHAPES = {
    ("3", "15"): (15,), ("4", "15"): (3, 5), ("5", "15"): (3, 1, 5),
    ("4", "tall"): (5, 1), ("5", "tall"): (5, 1, 1), ("4", "wide"): (1, 7), ("5", "wide"): (1, 1, 7),
    ("3", "256"): (256,), ("4", "256"): (8, 32), ("5", "256"): (2, 8, 16),
    ("3", "257"): (257,), ("4", "257"): (257, 1), ("5", "257"): (1, 257, 1),
    ("3", "1031"): (1031,), ("4", "1031"): (1, 1031), ("5", "1031"): (1, 1, 1031),
}  # fmt: skip
"""The positions' axes by rank and level; where there is one position, ones."""


def shape(levels: Levels, samples: int | None = None) -> tuple[int, ...]:
    """(N, C, *S) of the main call, or of another one with so many samples."""
    rank, positions = levels["rank"], levels["positions"]
    axes = (1,) * (int(rank) - 2) if positions == "1" else SHAPES[rank, positions]
    assert math.prod(axes) == COUNTS[positions]
    return (int(levels["samples"]) if samples is None else samples, int(levels["channels"]), *axes)


def inputs(levels: Levels, dtype: str, seed: int, samples: int | None = None, *, plain: bool = False) -> Array:
    """X in float64, for a main call; `plain`: of the ordinary family, for a call before it."""
    size = shape(levels, samples)
    x = values(size, seed, offset=0.4, spread=1.1)
    if plain:
        return x
    x = _family(levels["values"], x, dtype, seed)
    return repeat_shared(x, levels["x_layout"])


def gradients(levels: Levels, seed: int) -> Array:
    """grad_output in float64."""
    size = shape(levels)
    g = repeat_shared(upstream(size, seed), levels["grad_layout"])
    family = levels["values"]
    if family.endswith("in_grad"):
        g = _spoilt(g, math.nan if family == "nan_in_grad" else math.inf, seed)
        g = repeat_shared(g, levels["grad_layout"])
    return g


def _family(family: str, x: Array, dtype: str, seed: int) -> Array:
    """The values of a family, made of ordinary ones."""
    n = max(x.size // max(x.shape[1], 1), 1)
    form = format_of(dtype)
    if family == "large_mean":
        return np.asarray(x + 30.0 * np.sign(x.mean(axis=(0, *range(2, x.ndim)), keepdims=True) + 0.01))
    if family == "near_constant":
        return np.asarray(1.5 + x * (2.0**-6 if is_half(dtype) else 2.0**-10))
    if family == "constant_channel":
        x = x.copy()
        x[:, seed % x.shape[1]] = 0.75
        return x
    if family == "huge":
        return x * _largest(form, n)
    if family == "tiny":
        return x * 2.0 ** (-3 if form.name == "float16" else -20)
    if family == "subnormal":
        return x * (float(np.ldexp(1.0, -10)) if form.name == "float16" else form.underflow * 2.0**-4)
    if family in ("nan_in_x", "infinity_in_x"):
        return _spoilt(x, math.nan if family == "nan_in_x" else -math.inf, seed)
    return x


def _largest(form: Format, n: int) -> float:
    """A power of two by which ordinary values, below 16, may be multiplied: n of their squares stay in the format."""
    return 2.0 ** math.floor(math.log2(math.sqrt(form.largest / (4 * n)) / 16))


def _spoilt(x: Array, value: float, seed: int) -> Array:
    """The same with one element, of one channel, that is not a number."""
    x = x.copy()
    generator = rng(8, seed, *x.shape)
    x[tuple(int(generator.integers(length)) for length in x.shape)] = value
    return x


def repeat_shared(x: Array, layout: str) -> Array:
    """The values with those repeated that share memory in a layout, so that they can lie in it."""
    if layout == "expanded_batch":
        return np.array(np.broadcast_to(x[:1], x.shape))
    if layout == "expanded_channels":
        return np.array(np.broadcast_to(x[:, :1], x.shape))
    if layout == "expanded_positions":
        return np.array(np.broadcast_to(x[..., :1], x.shape))
    if layout == "expanded_everywhere":
        return np.array(np.broadcast_to(x[(slice(0, 1),) * x.ndim], x.shape))
    if layout == "overlapping":
        # Windows, one further on each time: element [..., i, j] is that of [..., 0, i + j].
        line = np.concatenate([x[..., 0, :], x[..., 1:, -1]], axis=-1)
        index = np.add.outer(np.arange(x.shape[-2]), np.arange(x.shape[-1]))
        return np.array(line[..., index])
    return x
