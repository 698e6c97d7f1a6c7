"""Batches on which right arithmetic is held against the bounds, and the oracle's answers to them, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnconform.spec import oracle
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.config import Config
from bnconform.spec.error_bounds.error_model import error_model_of
from bnconform.spec.error_bounds.forward import ForwardErrors, running_errors
from bnconform.spec.error_bounds.gradients import bias_gradient, input_gradient, weight_gradient
from bnconform.spec.exact import arithmetic, exact, floats
from bnconform.spec.formats import is_half, numpy_dtype, parameter_dtype

Array = NDArray[Any]
QUANTITIES = ("y", "running_mean", "running_var", "grad_x", "grad_weight", "grad_bias")


@dataclass(frozen=True)
class Batch:
    """One batch: x and g (n, C) in the input's dtype, the state's arrays (C,) in the parameters'.

    `quality` names the error model by which it is judged; `stable` batches are ill-conditioned, for stable algorithms
    alone.
    """

    name: str
    x: Array
    g: Array
    state: dict[str, Array]
    eps: float
    momentum: float
    training: bool
    quality: str

    @property
    def stable(self) -> bool:
        """Whether only stable algorithms are held against it."""
        return "stable" in self.quality.split()


@dataclass(frozen=True)
class Due:
    """The oracle's answers, each as the sum of two float64 numbers, and their bounds."""

    high: dict[str, Array]
    low: dict[str, Array]
    bound: dict[str, Array]

    def shares(self, name: str, got: Array) -> Array:
        """|got - due| / bound where the bound is finite; infinite where `got` is not."""
        got = np.asarray(got, np.float64)
        with np.errstate(all="ignore"):
            error = np.abs((got - self.high[name]) - self.low[name])
            share = np.where(error == 0, 0.0, error / self.bound[name])
        share = np.where(np.isfinite(got), share, np.inf)
        return np.asarray(share[np.isfinite(self.bound[name])])


def due(batch: Batch, quality: str | None = None, point: Behaviour = SPECIFIED) -> Due:
    """What the oracle and the bounds say of a batch at a point of the space."""
    dtype = batch.x.dtype.name
    config = Config(
        num_features=batch.x.shape[1], eps=batch.eps, momentum=batch.momentum, ndim=2,
        dtype=dtype, param_dtype=parameter_dtype(dtype),
    )  # fmt: skip
    with arithmetic(), np.errstate(all="ignore"):
        state = oracle.initial_state(config)
        state = oracle.State(
            running_mean=exact(batch.state["running_mean"]), running_var=exact(batch.state["running_var"]),
            num_batches_tracked=state.num_batches_tracked,
            weight=exact(batch.state["weight"]), bias=exact(batch.state["bias"]),
        )  # fmt: skip
        model = error_model_of(config, point, quality=batch.quality if quality is None else quality)
        record = oracle.backward(config, point, state, exact(batch.x), exact(batch.g), training=batch.training)
        forward = record.forward
        running = running_errors(config, point, state, forward, model)
        values = (
            forward.y, forward.state.running_mean, forward.state.running_var,
            record.grad_x, record.grad_weight, record.grad_bias,
        )  # fmt: skip
        bounds = (
            ForwardErrors(forward, model).output, *running,
            input_gradient(record, model), weight_gradient(record, model), bias_gradient(record, model),
        )  # fmt: skip
        high = {name: floats(value) for name, value in zip(QUANTITIES, values, strict=True) if value is not None}
        low = {
            name: floats(value - exact(high[name]))
            for name, value in zip(QUANTITIES, values, strict=True)
            if value is not None
        }
    return Due(high, low, dict(zip(QUANTITIES, bounds, strict=True)))


def _state(rng: np.random.Generator, channels: int, dtype: str, size: float) -> dict[str, Array]:
    weight = rng.uniform(-2, 2, channels)
    weight[::17] = 0
    values = {
        "running_mean": rng.standard_normal(channels) * size,
        "running_var": rng.uniform(0.1, 3, channels) * size**2,
        "weight": weight,
        "bias": rng.standard_normal(channels),
    }
    return {name: value.astype(numpy_dtype(parameter_dtype(dtype))) for name, value in values.items()}


def _shapes() -> tuple[tuple[int, int, float], ...]:
    """(n, C, momentum): many channels where n is small."""
    return (2, 700, 1.0), (3, 600, 0.1), (4, 500, 0.3), (5, 300, 0.9), (8, 200, 0.1), (16, 90, 0.01), (64, 30, 0.5)


@cache
def batches(dtype: str, narrow: bool, seed: int = 0) -> tuple[tuple[Batch, Due], ...]:
    """The batches for a dtype, well-conditioned and ill-conditioned, with what is due for each.

    Args:
        narrow: whether half-precision input is to be computed in its own format, which has neither the range nor the
            precision for the extreme batches; otherwise it is judged as accumulated in single precision.
    """
    rng = np.random.default_rng(seed)
    target = numpy_dtype(dtype)
    narrow = narrow and is_half(dtype)
    quality = "" if narrow or not is_half(dtype) else "single"
    eps = 1e-2 if narrow else 1e-5
    found: list[Batch] = []

    def add(
        name: str, x: Array, momentum: float, *, training: bool = True, stable: bool = False, size: float = 1.0
    ) -> None:
        # A few channels whose gradient is constant or zero, and one that stands alone.
        g = rng.standard_normal(x.shape)
        g[:, ::11], g[:, 1::23] = 0.5, 0.0
        words = f"{quality} stable" if stable else quality
        state = _state(rng, x.shape[1], dtype, size)
        found.append(Batch(name, x.astype(target), g.astype(target), state, eps, momentum, training, words))

    for n, channels, momentum in _shapes():
        mean, deviation = rng.uniform(-2, 2, channels), np.exp(rng.uniform(-1, 1, channels))
        add(f"normal_{n}", (rng.standard_normal((n, channels)) + mean) * deviation, momentum)
    add("evaluation", rng.standard_normal((6, 150)) * 3 + 1, 0.1, training=False)
    for n in (3, 17):
        outliers = rng.standard_normal((n, 120))
        outliers[0] *= 40
        add(f"outlier_first_{n}", outliers, 1.0)
        add(f"uniform_positive_{n}", rng.uniform(0, 3, (n, 120)), 0.1)
    constant = np.broadcast_to(rng.standard_normal(100) * 3, (7, 100)).copy()
    constant[3, ::5] = 0.0
    add("constant", constant, 0.1)
    add("around_epsilon", rng.standard_normal((8, 120)) * np.sqrt(eps) * np.exp(rng.uniform(-3, 3, 120)), 0.1)
    if dtype != "float16":
        for size in (1e15, 1e-15):
            add(f"size_{size:g}", (rng.standard_normal((5, 120)) + 0.5) * size, 0.1, size=size)
    for ratio in (10.0, 1e2, 1e3, 1e4)[: 1 if narrow else 2 if is_half(dtype) else 4]:
        add(f"mean_{ratio:g}_std", rng.standard_normal((6, 150)) + ratio, 0.1, stable=True)
    return tuple((batch, due(batch)) for batch in found)


READ_BACK = SPECIFIED.but(training_statistics="running_updated")
"""The point at which the statistics normalise that the batch has just moved."""


@cache
def read_back_batches(dtype: str, narrow: bool) -> tuple[tuple[Batch, Due], ...]:
    """The training batches of `batches`, with what is due where the statistics that they have moved normalise."""
    return tuple((batch, due(batch, point=READ_BACK)) for batch, _ in batches(dtype, narrow) if batch.training)
