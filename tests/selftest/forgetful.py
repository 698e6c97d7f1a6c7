"""Layers whose faults show only in a sequence of calls, each found by a program of a known length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bnconform.spec.config import Config
from bnconform.tests.mutants.layer import Array, Layer


class FreezesAfterTen(Layer):
    """The running statistics no longer move after ten training passes."""

    passes = 0

    def remember(self, values: Array, x: Array) -> None:
        self.passes += 1
        if self.passes <= 10:
            super().remember(values, x)
        else:
            self.count()


class CounterReset(Layer):
    """Loading a state without a counter sets the counter back to 0."""

    def load(self, state: Mapping[str, Array]) -> None:
        super().load(state)
        if self.tracked and "num_batches_tracked" not in state:
            self.entries["num_batches_tracked"] = np.zeros((), np.int64)


class LoadForgets(Layer):
    """Loading the weight alone sets the running variance back to 1."""

    def load(self, state: Mapping[str, Array]) -> None:
        super().load(state)
        if self.tracked and set(state) == {"weight"}:
            self.entries["running_var"] = np.ones(self.config.num_features, self.kept)


class StaleCache(Layer):
    """Evaluation goes on with the statistics of its first pass until a training pass moves them, loaded or not."""

    cached: tuple[Array, Array] | None = None

    def remember(self, values: Array, x: Array) -> None:
        super().remember(values, x)
        self.cached = None

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        if self.from_batch(training):
            return super().normalizing(values, x, training)
        self.cached = self.cached or super().normalizing(values, x, training)
        return self.cached


class LastModeGradient(Layer):
    """The evaluation gradient is that of training where the pass before was one of training."""

    last = False

    def forward(self, x: Array, *, training: bool) -> Array:
        self.last = training
        return super().forward(x, training=training)

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        return super().backward(x, grad_output, training=training or self.last)


class NinthPass(Layer):
    """The ninth forward pass of a layer gives twice what it should."""

    passes = 0

    def forward(self, x: Array, *, training: bool) -> Array:
        self.passes += 1
        y = super().forward(x, training=training)
        return y * 2 if self.passes == 9 else y


CALLS = {FreezesAfterTen: 11, CounterReset: 3, LoadForgets: 2, StaleCache: 3, LastModeGradient: 2, NinthPass: 9}
"""The calls of the shortest program that shows each fault."""


@dataclass
class Backend:
    """A backend of the contract with layers of one kind."""

    kind: type[Layer]
    deviations: dict[str, str] = field(default_factory=dict)
    unsupported: dict[str, str] = field(default_factory=dict)
    slow_to_start: bool = False

    @property
    def name(self) -> str:
        """The kind's."""
        return self.kind.__name__

    def devices(self) -> list[str]:
        """The CPU."""
        return ["cpu"]

    def build(self, config: Config, device: str) -> Any:
        """A layer of the kind."""
        return self.kind(config)

    def build_default(self, num_features: int, device: str) -> Any:
        """A layer of the kind with the specified defaults."""
        return self.kind(Config(num_features))


class Same(Backend):
    """A backend that builds each configuration once and gives the same layer ever after."""

    def __init__(self) -> None:
        super().__init__(Layer)
        self.built: dict[Config, Layer] = {}

    def build(self, config: Config, device: str) -> Any:
        """The layer that was built for the configuration."""
        return self.built.setdefault(config, self.kind(config))


class Unsteady(Backend):
    """A backend one pass in a hundred of which is wrong, whatever the layer."""

    def __init__(self) -> None:
        super().__init__(Layer)
        self.passes = 0

    def build(self, config: Config, device: str) -> Any:
        """A layer that counts its passes here."""
        layer, forward = self.kind(config), Layer.forward

        def counting(x: Array, *, training: bool) -> Array:
            self.passes += 1
            y = forward(layer, x, training=training)
            return y + 1 if self.passes % 100 == 0 else y

        layer.forward = counting  # type: ignore[method-assign]
        return layer
