"""Probes of replicas with masks: as many values selected of each shard, unequal numbers of them, and nothing of one.

The truth is one layer's over the whole batch with one mask. What is hidden lies far from what is selected, and the
means of replicas lie apart, so that it shows how each weighs. All shards of a probe have one shape, as a framework that
maps one function over an axis takes no others, and nearly all probes have the same, for frameworks that compile for
each.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.probes.replicas import COUNTER, FAR, MEAN, VARIANCE, shards, upstream
from bnconform.cases.program import (
    REPLICA_GRADIENTS,
    Array,
    Probe,
    Program,
    Step,
    load,
    masked_replicated,
    masked_replicated_vjp,
)
from bnconform.spec.config import Config

EPSILON, MOMENTUM = 0.1, 0.3
SHAPES = ((4, 3), (4, 3))
"""Two replicas with four samples each."""

EQUAL = ("1101", "0111")
"""By replica, which samples its mask selects: as many of each."""

UNEQUAL = ("1111", "0110")
NOTHING = ("1101", "0000")
"""Unequal numbers, and nothing of the last."""


def probes() -> Iterator[Probe]:
    """Replicas with masks."""
    yield Probe("BN-MASK-REP-STATS", "rank2", _program(_forward(EQUAL, "y")))
    yield Probe("BN-MASK-REP-STATS", "rank4", _of_positions())
    yield Probe("BN-MASK-REP-RUN", "rank2", _program(_forward(EQUAL, MEAN, VARIANCE, COUNTER)))
    xs, masks = operands(EQUAL)
    poisoned = [xs[0], np.where(masks[1], xs[1], np.nan)]
    hidden = masked_replicated(poisoned, masks, "y", MEAN, VARIANCE)
    yield Probe("BN-MASK-REP-HIDDEN", "nan-in-one-shard", _program(hidden))
    yield Probe("BN-MASK-REP-UNEQUAL", "four-and-two", _program(_forward(UNEQUAL, "y", MEAN, VARIANCE)))
    yield Probe("BN-MASK-REP-NONE", "last", _program(_forward(NOTHING, "y", MEAN, VARIANCE)))
    yield Probe("BN-MASK-REP-GRAD", "rank2", _program(_backward(EQUAL)))
    for name, words in (("four-and-two", UNEQUAL), ("one-selects-nothing", NOTHING)):
        yield Probe("BN-MASK-REP-GRAD-UNEQUAL", name, _program(_backward(words)))


def operands(words: tuple[str, ...]) -> tuple[list[Array], list[Array]]:
    """Shards of SHAPES, and masks of samples, written as a 1 for each that is selected."""
    masks = [np.array([one == "1" for one in word]).reshape(-1, 1) for word in words]
    return hide(shards(SHAPES), masks), masks


def hide(xs: list[Array], masks: list[Array]) -> list[Array]:
    """The shards with values far away where their masks hide them."""
    return [np.where(mask, x, x * 2 + 3 * FAR) for x, mask in zip(xs, masks, strict=True)]


def _forward(words: tuple[str, ...], *observe: str) -> Step:
    return masked_replicated(*operands(words), *observe)


def _backward(words: tuple[str, ...]) -> Step:
    return masked_replicated_vjp(*operands(words), upstream(SHAPES), "grad_x", *REPLICA_GRADIENTS)


def _of_positions() -> Program:
    """Shards of rank 4, of which masks select other positions, as many of each."""
    shapes = ((2, 3, 2, 2), (2, 3, 2, 2))
    masks = [np.arange(8).reshape(2, 1, 2, 2) % 4 != number for number in range(2)]
    return _program(masked_replicated(hide(shards(shapes), masks), masks, "y"), ndim=4)


def _program(step: Step, ndim: int = 2) -> Program:
    """A step from a state that is no default in any entry."""
    config = Config(ndim=ndim, eps=EPSILON, momentum=MOMENTUM)
    return Program(config, (load(**inputs.everything(3)), step))
