"""Right where a layer has a weight or a bias alone, by unusual means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bnconform.spec.config import Config
from bnconform.tests.mutants.catalogue import right
from bnconform.tests.mutants.layer import Array, Entries, Layer

Gradients = tuple[Array, Array | None, Array | None]


@right
class OneParameterFixed(Layer):
    """A layer with one parameter computes with both, one of them fixed, and shows nothing of that one."""

    def initial(self) -> Entries:
        """Weight 1 and bias 0, whichever are there."""
        size = self.config.num_features
        return super().initial() | {"weight": np.ones(size, self.kept), "bias": np.zeros(size, self.kept)}

    def affine(self, z: Array, training: bool) -> Array:
        """Weight times z plus bias, always."""
        return self.entry("weight")[:, None] * z + self.entry("bias")[:, None]

    def state(self) -> Entries:
        """Without what is fixed."""
        shown = {"weight": self.config.weight, "bias": self.config.bias}
        return {name: value if shown.get(name, True) else None for name, value in super().state().items()}

    def load(self, state: Mapping[str, Array]) -> None:
        """ValueError for what is fixed."""
        for name, there in (("weight", self.config.weight), ("bias", self.config.bias)):
            if name in state and not there:
                raise ValueError(f"this layer has no {name}")
        super().load(state)


@right
class KnowsBothOrNone(Layer):
    """An adapter that was written when a layer had both parameters or none, and reads `config.affine`."""

    def __init__(self, config: Config) -> None:
        super().__init__(replace(_with_both(config), affine=bool(config.affine)))


@right
class GradientsOfZeroDropped(Layer):
    """The backward pass computes gradients for both parameters and hands over those that exist."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """By a layer with both, in the same state."""
        whole = Layer(_with_both(self.config))
        whole.entries |= {name: value for name, value in self.entries.items() if value is not None}
        whole.entries |= {name: None for name in ("running_mean", "running_var") if self.entries[name] is None}
        grad_x, grad_weight, grad_bias = whole.backward(x, grad_output, training=training)
        return grad_x, grad_weight if self.config.weight else None, grad_bias if self.config.bias else None


def _with_both(config: Config) -> Config:
    """The same configuration with a weight and a bias."""
    names = ("num_features", "eps", "momentum", "track_running_stats", "ndim", "dtype", "param_dtype")
    return replace(Config(), **{name: getattr(config, name) for name in names})
