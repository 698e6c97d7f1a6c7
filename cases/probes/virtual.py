"""Probes of batches past the sizes that virtual batches have, at every rank."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.program import GRADIENTS, Array, Probe, Program, backward, forward, load
from bnconform.spec.behaviour import BUT_BFLOAT16
from bnconform.spec.config import Config
from bnconform.spec.formats import DTYPES

STATISTICS = ("running_mean", "running_var")
SHOWN = (*STATISTICS, "num_batches_tracked")
MOMENTUM, EPSILON = 0.3, 0.1
FULL = ("float64", "float32")
"""Where a sum over more than 300 values has bounds that tell something; up to that float16 has, too."""

SHAPES: dict[str, tuple[int, ...]] = {
    "50-rank2": (50, 2),
    "45-rank3": (45, 2, 2),
    "40-rank4": (40, 2, 1, 2),
    "35-rank5": (35, 2, 1, 1, 2),
    "64-rank2": (64, 2),
    "200-rank2": (200, 2),
    "256-rank3": (256, 1, 2),
    "1100-rank2": (1100, 1),
    "1030-rank4": (1030, 1, 1, 2),
}
"""Some of them are divided by what a piece has, and most are not."""

LAST: dict[str, tuple[int, ...]] = {
    "33-rank2": (33, 2),
    "33-rank4": (33, 2, 1, 1),
    "129-rank2": (129, 2),
    "129-rank4": (129, 1, 1, 1),
    "1025-rank2": (1025, 1),
}
"""One sample more, of one value a channel."""

WITH_GRADIENTS = ("50-rank2", "45-rank3", "40-rank4", "35-rank5", "200-rank2", "1100-rank2")


def probes() -> Iterator[Probe]:
    """What normalises, what is remembered, what flows back, and a last sample that is alone."""
    for name, shape in SHAPES.items():
        x, config = _growing_values(shape), _config(shape)
        state = load(**inputs.everything(shape[1]))
        dtypes = _dtypes(shape)
        yield Probe("BN-VIRTUAL-TRAIN", name, Program(config, (state, forward(x, "y"))), dtypes=dtypes)
        yield Probe("BN-VIRTUAL-RUN", name, Program(config, (state, forward(x, *SHOWN))), dtypes=dtypes)
        if name in WITH_GRADIENTS:
            step = backward(x, inputs.upstream(shape, 3), *GRADIENTS)
            yield Probe("BN-VIRTUAL-GRAD", name, Program(config, (state, step)), dtypes=dtypes)
    for name, shape in LAST.items():
        x, dtypes = _growing_values(shape), _dtypes(shape)
        state = load(**inputs.everything(shape[1]))
        step = forward(x, "y", *STATISTICS)
        yield Probe("BN-VIRTUAL-LAST", name, Program(_config(shape), (state, step)), dtypes=dtypes)


def _dtypes(shape: tuple[int, ...]) -> tuple[str, ...]:
    """Those in which the bounds tell something."""
    values = math.prod(shape) // shape[1]
    return DTYPES if values < 100 else BUT_BFLOAT16 if values < 300 else FULL


def _config(shape: tuple[int, ...]) -> Config:
    given: dict[str, Any] = {"num_features": shape[1], "ndim": len(shape), "eps": EPSILON, "momentum": MOMENTUM}
    return Config(**given)


def _growing_values(shape: tuple[int, ...]) -> Array:
    """Values whose mean grows along the batch, so that each piece has another one."""
    ramp = np.linspace(-2.0, 2.0, shape[0]).reshape(-1, *(1,) * (len(shape) - 1))
    return np.asarray(inputs.values(shape, 60, offset=0.3, spread=0.5) + ramp)
