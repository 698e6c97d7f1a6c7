"""Families of inputs, in float64 and reproducible: what they are for is said of each.

All dimensions differ from each other and from C, variances are far from 1, and means are moderate beside the standard
deviation unless a family is about the opposite, so that every reasonable algorithm passes a `must`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bnconform.cases.program import Array

SHAPES: Mapping[int, tuple[int, ...]] = {2: (7, 3), 3: (4, 3, 5), 4: (2, 3, 4, 5), 5: (2, 3, 4, 1, 5)}
"""One shape a rank, (N, C, *S), with C = 3: frameworks that compile per shape meet few."""

SMALL: Mapping[int, tuple[int, ...]] = {2: (4, 3), 3: (2, 3, 2), 4: (1, 3, 2, 2), 5: (1, 3, 1, 2, 2)}
"""Four values a channel: estimators, epsilons and small relative errors show most clearly."""


def rng(*seed: int) -> np.random.Generator:
    """A generator of its own for each use."""
    return np.random.default_rng(seed)


def values(shape: tuple[int, ...], seed: int = 0, offset: float = 0.6, spread: float = 1.7) -> Array:
    """Normal values whose mean and standard deviation differ from channel to channel.

    Channel c has a mean of about offset * (-1)**c * (1 + c/2) and a standard deviation of about spread * (1 + c/3).
    """
    channel = np.arange(shape[1]).reshape((1, -1) + (1,) * (len(shape) - 2)) % 7
    centre = offset * np.where(channel % 2, -1.0, 1.0) * (1 + channel / 2)
    return np.asarray(rng(1, seed, *shape).normal(size=shape) * spread * (1 + channel / 3) + centre)


def uneven(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Values whose mean and spread vary with sample, channel and position: the axes of the statistics show."""
    result = rng(2, seed, *shape).normal(size=shape)
    for axis, length in enumerate(shape):
        ramp = np.linspace(-1.5, 2.0, length) if length > 1 else np.zeros(1)
        result = result + ramp.reshape([-1 if a == axis else 1 for a in range(len(shape))]) * (1 + axis / 2)
    return np.asarray(result)


def grid(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Multiples of 1/8 in [-4, 4]: exact in every dtype, also after adding 4 or scaling by 4."""
    return rng(3, seed, *shape).integers(-32, 33, size=shape) / 8


def symmetric(variances: tuple[float, ...], pairs: int = 2) -> Array:
    """(2 * pairs, C): +s and -s in turn, s the root of each channel's variance; the mean is 0, the variance known."""
    signs = np.where(np.arange(2 * pairs) % 2, -1.0, 1.0).reshape(-1, 1)
    return np.asarray(signs * np.sqrt(np.asarray(variances)).reshape(1, -1))


def upstream(shape: tuple[int, ...], seed: int = 0) -> Array:
    """A random upstream gradient with a mean of its own."""
    return np.asarray(rng(4, seed, *shape).normal(size=shape) * 1.3 + 0.4)


def parameters(channels: int, seed: int = 0) -> dict[str, Array]:
    """A weight with both signs, away from 0 and 1, and a bias."""
    generator = rng(5, seed, channels)
    signs = np.where(np.arange(channels) % 2, -1.0, 1.0)
    return {"weight": signs * generator.uniform(0.4, 2.4, channels), "bias": generator.normal(size=channels) * 1.5}


def statistics(channels: int, seed: int = 0) -> dict[str, Array]:
    """A running mean and a running variance, far from 0 and 1."""
    generator = rng(6, seed, channels)
    return {
        "running_mean": generator.normal(size=channels) * 1.2 + 0.3,
        "running_var": generator.uniform(0.15, 5.0, channels),
    }


def everything(channels: int, seed: int = 0) -> dict[str, Array]:
    """Parameters and statistics."""
    return parameters(channels, seed) | statistics(channels, seed)


def ill_conditioned(shape: tuple[int, ...], ratio: float, seed: int = 0) -> Array:
    """Mean over standard deviation of `ratio` in every channel, the sign of the mean alternating."""
    sign = np.where(np.arange(shape[1]) % 2, -1.0, 1.0).reshape((1, -1) + (1,) * (len(shape) - 2))
    return np.asarray(rng(7, seed, *shape).normal(size=shape) + ratio * sign)
