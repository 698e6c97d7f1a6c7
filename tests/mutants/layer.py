"""BatchNorm by the book in NumPy, cut into the pieces that a fault changes.

A wrong implementation overrides one piece and leaves the rest. Inside, a batch is `values` of shape (C, n): the n
values of each channel, contiguous, in the arithmetic of the layer (float64 where the input or the parameters are,
otherwise float32). Nothing is shared with the oracle or with a backend.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnconform.spec.config import Config
from bnconform.spec.formats import numpy_dtype

Array = NDArray[Any]
Entries = dict[str, Array | None]
Gradients = tuple[Array, Array | None, Array | None]


class Layer:
    """A right layer of the contract in backends/__init__.py."""

    keeps_strides = True
    frozen = False

    def __init__(self, config: Config) -> None:
        self.config = config
        self.kept = numpy_dtype(config.param_dtype)
        self.work = np.dtype(np.float64 if "float64" in (config.dtype, config.param_dtype) else np.float32)
        self.entries: Entries = self.initial()

    def initial(self) -> Entries:
        """The state of a new layer: statistics 0 and 1, no batch counted, weight 1 and bias 0."""
        size = self.config.num_features
        tracked = self.config.track_running_stats
        return {
            "running_mean": np.zeros(size, self.kept) if tracked else None,
            "running_var": np.ones(size, self.kept) if tracked else None,
            "num_batches_tracked": np.zeros((), np.int64) if tracked else None,
            "weight": np.ones(size, self.kept) if self.config.weight else None,
            "bias": np.zeros(size, self.kept) if self.config.bias else None,
        }

    # -- forward -------------------------------------------------------------------------------------------------

    def forward(self, x: Array, *, training: bool) -> Array:
        """y, as x in shape and dtype; ValueError for input that has no answer."""
        with np.errstate(all="ignore"):
            self.check(x, training)
            values = self.channels(x)
            mean, variance = self.normalizing(values, x, training)
            if training and self.tracked and not self.frozen:
                self.remember(values, x)
            return self.reshape_like(self.affine(self.normalise(values, mean, variance, training), training), x)

    def check(self, x: Array, training: bool) -> None:
        """Refuse another rank, another number of channels, and one value a channel in training."""
        if x.ndim != self.config.ndim:
            raise ValueError(f"x has rank {x.ndim}; this layer takes {self.config.ndim}")
        if x.shape[1] != self.config.num_features:
            raise ValueError(f"x has {x.shape[1]} channels; this layer has {self.config.num_features}")
        if self.from_batch(training) and x.size == x.shape[1]:
            raise ValueError("one value per channel has no variance")

    def channels(self, x: Array) -> Array:
        """X as (C, n), contiguous, in the layer's arithmetic."""
        return np.ascontiguousarray(np.moveaxis(x, 1, 0).reshape(x.shape[1], x.size // x.shape[1]), self.work)

    def reshape_like(self, values: Array, x: Array) -> Array:
        """(C, n) back in the shape and dtype of x, contiguous."""
        shape = (x.shape[1], x.shape[0], *x.shape[2:])
        return np.array(np.moveaxis(values.reshape(shape), 0, 1), x.dtype, order="C")

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """The mean and variance, each (C,), that normalise."""
        if self.from_batch(training):
            return self.moments(values)
        return self.entry("running_mean"), self.entry("running_var")

    def moments(self, values: Array) -> tuple[Array, Array]:
        """The mean and the biased variance of a batch, each (C,), two-pass; 0 and 1 of an empty one."""
        if not values.shape[1]:
            return np.zeros(len(values), values.dtype), np.ones(len(values), values.dtype)
        mean = values.mean(axis=1)
        return mean, np.square(values - mean[:, None]).mean(axis=1)

    def normalise(self, values: Array, mean: Array, variance: Array, training: bool) -> Array:
        """Z = (x - mean) / sqrt(variance + eps), (C, n)."""
        return np.asarray((values - mean[:, None]) * self.inverse_std(variance, training)[:, None])

    def inverse_std(self, variance: Array, training: bool) -> Array:
        """1 / sqrt(variance + eps), (C,)."""
        return np.asarray(1 / np.sqrt(variance + self.work.type(self.config.eps)))

    def affine(self, z: Array, training: bool) -> Array:
        """Weight times z plus bias, (C, n)."""
        y = self.entry("weight")[:, None] * z if self.config.weight else z
        return self.shift(y)

    def shift(self, values: Array) -> Array:
        """The values plus the bias where there is one, (C, n)."""
        return values + self.entry("bias")[:, None] if self.config.bias else values

    # -- the running statistics ----------------------------------------------------------------------------------

    def remember(self, values: Array, x: Array) -> None:
        """Count the batch, and move the running statistics by it unless it is empty."""
        self.count()
        if not values.shape[1]:
            return
        mean, variance = self.memory_of(values)
        weight = self.batch_weight()
        self.entries["running_mean"] = self.blend(self.entry("running_mean"), mean, weight)
        self.entries["running_var"] = self.blend(self.entry("running_var"), variance, weight)

    def count(self) -> None:
        """One training batch more."""
        self.entries["num_batches_tracked"] = np.asarray(self.batches + 1, np.int64)

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """What of a batch is remembered: its mean and its unbiased variance, each (C,)."""
        mean, variance = self.moments(values)
        n = values.shape[1]
        return mean, variance * self.work.type(n / (n - 1))

    def batch_weight(self) -> float:
        """The weight of the new batch, which has been counted already."""
        return 1 / self.batches if self.config.momentum is None else self.config.momentum

    def blend(self, old: Array, new: Array, weight: float) -> Array:
        """(1 - weight) old + weight new, (C,), in the dtype that is kept."""
        return np.asarray((self.work.type(1 - weight) * old + self.work.type(weight) * new).astype(self.kept))

    # -- backward ------------------------------------------------------------------------------------------------

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """(grad_x, grad_weight, grad_bias) of sum(y * grad_output); the state stays as it is."""
        with np.errstate(all="ignore"):
            self.check(x, training)
            self.check_upstream(x, grad_output)
            values, upstream = self.channels(x), self.channels(self.fitting(x, grad_output))
            mean, variance = self.normalizing(values, x, training)
            z = self.normalise(values, mean, variance, training)
            grad_x = self.reshape_like(self.input_gradient(values, z, upstream, variance, training), x)
            by_weight = by_bias = None
            if self.config.weight:
                by_weight = self.weight_gradient(values, z, upstream, training).astype(self.kept)
            if self.config.bias:
                by_bias = self.bias_gradient(upstream, training).astype(self.kept)
            return grad_x, by_weight, by_bias

    def vjp(self, x: Array, *, training: bool) -> tuple[Array, Callable[[Array], Gradients]]:
        """(y, pullback): the pass is recorded as x and the layer as they are before it."""
        recorded, given = copy.deepcopy(self), x.copy()
        y = self.forward(x, training=training)
        return y, lambda grad_output: recorded.backward(given, grad_output, training=training)

    def check_upstream(self, x: Array, grad_output: Array) -> None:
        """Refuse an upstream gradient of another shape than the output."""
        if grad_output.shape != x.shape:
            raise ValueError(f"grad_output has shape {grad_output.shape}; the output has {x.shape}")

    def fitting(self, x: Array, grad_output: Array) -> Array:
        """The upstream gradient, in the shape of x."""
        return grad_output

    def input_gradient(self, values: Array, z: Array, upstream: Array, variance: Array, training: bool) -> Array:
        """The gradient for x, (C, n): through mean and variance where the batch's normalise."""
        scale = self.gradient_scale(variance, training)
        if self.from_batch(training) and values.shape[1]:
            upstream = self.through_statistics(z, upstream)
        return np.asarray(scale[:, None] * upstream)

    def gradient_scale(self, variance: Array, training: bool) -> Array:
        """Weight / sqrt(variance + eps), (C,)."""
        factor = self.inverse_std(variance, training)
        return self.entry("weight") * factor if self.config.weight else factor

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """G - mean(g) - z mean(g z), (C, n)."""
        mean = upstream.mean(axis=1, keepdims=True)
        return np.asarray(upstream - mean - z * (upstream * z).mean(axis=1, keepdims=True))

    def weight_gradient(self, values: Array, z: Array, upstream: Array, training: bool) -> Array:
        """The sum of g z, (C,)."""
        return np.asarray((upstream * z).sum(axis=1))

    def bias_gradient(self, upstream: Array, training: bool) -> Array:
        """The sum of g, (C,)."""
        return np.asarray(upstream.sum(axis=1))

    # -- state ---------------------------------------------------------------------------------------------------

    def state(self) -> Entries:
        """Copies of what the layer remembers."""
        return {name: None if value is None else value.copy() for name, value in self.entries.items()}

    def load(self, state: Mapping[str, Array]) -> None:
        """Set some entries; ValueError, nothing set, for one that this layer does not have or of another shape."""
        for name, value in state.items():
            current = self.entries.get(name)
            if current is None:
                raise ValueError(f"this layer has no {name}")
            if np.shape(value) != current.shape:
                raise ValueError(f"{name} has shape {np.shape(value)}; this layer's has {current.shape}")
        for name, value in state.items():
            self.entries[name] = np.array(value, np.int64 if name == "num_batches_tracked" else self.kept)

    def reset(self) -> None:
        """Make statistics and counter as when new."""
        fresh = self.initial()
        self.entries |= {name: fresh[name] for name in ("running_mean", "running_var", "num_batches_tracked")}

    def gradient_history(self) -> list[str]:
        """The names of statistics that carry a gradient history: none."""
        return []

    def set(self, **options: Any) -> None:
        """Change momentum or eps, or whether the running statistics move."""
        self.frozen = not options.pop("track_running_stats", not self.frozen)
        self.config = replace(self.config, **options)

    @property
    def has_parameters(self) -> bool:
        """Whether there is a weight, a bias, or both."""
        return self.config.weight or self.config.bias

    @property
    def tracked(self) -> bool:
        """Whether there are running statistics."""
        return self.entries["running_mean"] is not None

    @property
    def batches(self) -> int:
        """How many batches have been counted."""
        return int(self.present("num_batches_tracked"))

    def from_batch(self, training: bool) -> bool:
        """Whether the batch's statistics normalise, rather than the running ones."""
        return training or not self.tracked

    def present(self, name: str) -> Array:
        """An entry that this layer has."""
        value = self.entries[name]
        assert value is not None
        return value

    def entry(self, name: str) -> Array:
        """An entry that this layer has, in its arithmetic."""
        return self.present(name).astype(self.work)
