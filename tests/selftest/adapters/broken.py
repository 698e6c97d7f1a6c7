"""Adapters that break the contract, one way each, and are named for it; all else is the NumPy layer's.

What the smoke check would refuse at once (see `contract` beside this) happens at rank 2 alone, or in evaluation, where
it does not look, so that the suite has to say it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bnconform.backends.numpy_layer import Array, NumpyBackend, NumpyLayer


class Broken(NumpyBackend):
    """The NumPy backend with layers of another class."""

    kind: type[NumpyLayer] = NumpyLayer

    def __init__(self) -> None:
        self.name = type(self).__name__

    def build(self, config: Any, device: str) -> Any:
        """A layer of the class's kind."""
        layer = super().build(config, device)
        layer.__class__ = self.kind
        return layer


class _List(NumpyLayer):
    def forward(self, x: Array, *, training: bool) -> Any:
        y = super().forward(x, training=training)
        return y.tolist() if x.ndim == 2 else y


class ForwardGivesAList(Broken):
    """The output is a list of numbers."""

    kind = _List


class _None(NumpyLayer):
    def forward(self, x: Array, *, training: bool) -> Any:
        y = super().forward(x, training=training)
        return None if x.ndim == 2 else y


class ForwardGivesNone(Broken):
    """The output is forgotten."""

    kind = _None


class _Shape(NumpyLayer):
    def forward(self, x: Array, *, training: bool) -> Array:
        return super().forward(x, training=training).reshape(-1)


class ForwardGivesAnotherShape(Broken):
    """The output is flat."""

    kind = _Shape


class _Dtype(NumpyLayer):
    def forward(self, x: Array, *, training: bool) -> Array:
        return super().forward(x, training=training).astype(np.float64)


class ForwardGivesAnotherDtype(Broken):
    """The output is in double precision, whatever the input is in."""

    kind = _Dtype


class _Integers(NumpyLayer):
    def forward(self, x: Array, *, training: bool) -> Array:
        return super().forward(x, training=training).astype(np.int64)


class ForwardGivesIntegers(Broken):
    """The output has a dtype that no layer's has."""

    kind = _Integers


class _Raises(NumpyLayer):
    def forward(self, x: Array, *, training: bool) -> Array:
        raise RuntimeError("the kernel was\nnot found")


class ForwardRaises(Broken):
    """Every forward pass fails."""

    kind = _Raises


class _Exits(NumpyLayer):
    def forward(self, x: Array, *, training: bool) -> Array:
        raise SystemExit(0)


class ForwardExits(Broken):
    """Every forward pass asks Python to end, with success."""

    kind = _Exits


class _Mutates(NumpyLayer):
    def forward(self, x: Array, *, training: bool) -> Array:
        y = super().forward(x, training=training)
        x -= 1
        return y


class ForwardChangesItsInput(Broken):
    """The output is right, but x is not what it was."""

    kind = _Mutates


class _Pair(NumpyLayer):
    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Any:
        gradients = super().backward(x, grad_output, training=training)
        return gradients if training else gradients[:2]


class BackwardGivesTwo(Broken):
    """The gradient for the bias is left out."""

    kind = _Pair


class _StateList(NumpyLayer):
    def state(self) -> Any:
        return list(super().state().values()) if self.ndim == 2 else super().state()


class StateGivesAList(Broken):
    """The state comes without names."""

    kind = _StateList


class _StateShape(NumpyLayer):
    def state(self) -> dict[str, Array | None]:
        axes = (1, -1) if self.ndim == 2 else (-1,)
        return {
            name: value if value is None or value.ndim == 0 else value.reshape(axes)
            for name, value in super().state().items()
        }


class StateGivesAnotherShape(Broken):
    """The statistics have an axis too many."""

    kind = _StateShape


class _Fraction(NumpyLayer):
    def state(self) -> dict[str, Array | None]:
        return {**super().state(), "num_batches_tracked": np.array(0.5)}


class StateCountsInFractions(Broken):
    """The counter is no whole number."""

    kind = _Fraction


class _Counters(NumpyLayer):
    def state(self) -> dict[str, Array | None]:
        return {**super().state(), "num_batches_tracked": np.array([np.nan])}


class StateCountsNothing(Broken):
    """The counter is not a number."""

    kind = _Counters


class _CounterLists(NumpyLayer):
    def state(self) -> Any:
        return {**super().state(), "num_batches_tracked": [[1], [1, 2]]}


class StateCountsInLists(Broken):
    """The counter is a list of lists of unlike lengths, of which NumPy makes no array."""

    kind = _CounterLists


class _StateRaises(NumpyLayer):
    def state(self) -> dict[str, Array | None]:
        found = super().state()
        mean = found["running_mean"]
        if mean is not None and mean.dtype == np.float32:
            raise KeyError("running_mean")
        return found


class StateRaises(Broken):
    """The state cannot be shown in single precision; in double, where the smoke check looks, it can."""

    kind = _StateRaises


class _LoadRaises(NumpyLayer):
    def load(self, state: Mapping[str, Array | None]) -> None:
        raise TypeError("load takes tensors")


class LoadRaises(Broken):
    """Nothing can be loaded."""

    kind = _LoadRaises


class BuildRaises(Broken):
    """No layer can be built."""

    def build(self, config: Any, device: str) -> Any:
        """Fail."""
        raise OSError("no driver")


class BuildExits(Broken):
    """Building a layer asks Python to end, with success."""

    def build(self, config: Any, device: str) -> Any:
        """Exit."""
        raise SystemExit(0)
