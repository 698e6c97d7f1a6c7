"""Adapters that the smoke check refuses: each breaks the contract in one way that only an adapter can."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bnconform.backends.numpy_layer import Array, NumpyBackend, NumpyLayer


class Tensor:
    """What a framework has instead of NumPy's arrays."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def numpy(self) -> Array:
        """The array."""
        return self.array


class Adapter(NumpyBackend):
    """The NumPy backend with layers of another class, `_Layer`."""

    _Layer: type[NumpyLayer] = NumpyLayer

    def __init__(self) -> None:
        self.name = type(self).__name__

    def build(self, config: Any, device: str) -> Any:
        """A layer of that class."""
        layer = super().build(config, device)
        layer.__class__ = self._Layer
        return layer


class ForwardGivesATensor(Adapter):
    """The output is what the framework returned."""

    class _Layer(NumpyLayer):
        def forward(self, x: Array, *, training: bool) -> Any:
            """Without the last step."""
            return Tensor(super().forward(x, training=training))


class ForwardGivesNothing(Adapter):
    """The `return` is missing."""

    class _Layer(NumpyLayer):
        def forward(self, x: Array, *, training: bool) -> Any:
            """Compute, and forget."""
            super().forward(x, training=training)


class ForwardLeavesChannelsLast(Adapter):
    """The channels, moved to the end for the framework, stay there."""

    class _Layer(NumpyLayer):
        def forward(self, x: Array, *, training: bool) -> Array:
            """Y as (N, H, W, C)."""
            return np.moveaxis(super().forward(x, training=training), 1, -1).copy()


class ForwardTakesNoMode(Adapter):
    """The layer has one mode."""

    class _Layer(NumpyLayer):
        def forward(self, x: Array) -> Array:  # type: ignore[override]
            """In training, always."""
            return super().forward(x, training=True)


class ForwardMisspellsTheMode(Adapter):
    """The mode is called as in another framework."""

    class _Layer(NumpyLayer):
        def forward(self, x: Array, *, train: bool) -> Array:  # type: ignore[override]
            """As JAX's libraries call it."""
            return super().forward(x, training=train)


class ForwardMisspellsAnAttribute(Adapter):
    """A name that the layer does not have."""

    class _Layer(NumpyLayer):
        def forward(self, x: Array, *, training: bool) -> Array:
            """By a module that is called otherwise."""
            found: Array = self.modul(x)  # type: ignore[attr-defined]
            return found


class ForwardTakesTensors(Adapter):
    """The array is used as though it were a tensor."""

    class _Layer(NumpyLayer):
        def forward(self, x: Array, *, training: bool) -> Array:
            """With a method that arrays do not have."""
            found: Array = x.contiguous()  # type: ignore[attr-defined]
            return found


class ForwardImportsWhatIsNotThere(Adapter):
    """The framework is not installed, or misspelt."""

    class _Layer(NumpyLayer):
        def forward(self, x: Array, *, training: bool) -> Any:
            """By a framework that does not exist."""
            import no_such_framework  # type: ignore[import-not-found]

            return no_such_framework.batch_norm(x)


class BackwardMisspellsAName(Adapter):
    """A variable that is not there."""

    class _Layer(NumpyLayer):
        def backward(self, x: Array, grad_output: Array, *, training: bool) -> Any:
            """With a name of another function."""
            return grad  # type: ignore[name-defined]  # noqa: F821


class BackwardGivesGradXAlone(Adapter):
    """The gradients for the parameters are left out."""

    class _Layer(NumpyLayer):
        def backward(self, x: Array, grad_output: Array, *, training: bool) -> Any:
            """For x alone."""
            return super().backward(x, grad_output, training=training)[0]


class BackwardTakesNoGradient(Adapter):
    """The gradient of y is assumed to be ones."""

    class _Layer(NumpyLayer):
        def backward(self, x: Array, *, training: bool) -> Any:  # type: ignore[override]
            """Of the sum of y."""
            return super().backward(x, np.ones_like(x), training=training)


class StateCannotBeRead(Adapter):
    """The state is asked of a driver that is gone."""

    class _Layer(NumpyLayer):
        def state(self) -> Any:
            """Never comes to an answer."""
            raise RuntimeError("the driver is gone")


class StateGivesValues(Adapter):
    """The state comes without names."""

    class _Layer(NumpyLayer):
        def state(self) -> Any:
            """In the order of the dict."""
            return list(super().state().values())


class StateMisspellsAKey(Adapter):
    """The running variance is called as in another framework."""

    class _Layer(NumpyLayer):
        def state(self) -> dict[str, Array | None]:
            """With moving_variance."""
            return {name.replace("running_var", "runing_var"): value for name, value in super().state().items()}


class StateGivesTensors(Adapter):
    """The entries are what the framework keeps."""

    class _Layer(NumpyLayer):
        def state(self) -> Any:
            """Without the last step."""
            return {name: None if value is None else Tensor(value) for name, value in super().state().items()}


class StateKeepsAxesForBroadcasting(Adapter):
    """The statistics have the axes with which the framework broadcasts them."""

    class _Layer(NumpyLayer):
        def state(self) -> dict[str, Array | None]:
            """As (1, C, 1, 1)."""
            return {
                name: value if value is None or value.ndim == 0 else value.reshape(1, -1, 1, 1)
                for name, value in super().state().items()
            }


class LoadLoadsNothing(Adapter):
    """What is given to load is dropped."""

    class _Layer(NumpyLayer):
        def load(self, state: Mapping[str, Array | None]) -> None:
            """Nothing."""


class LoadTakesKeywords(Adapter):
    """The entries are arguments of their own."""

    class _Layer(NumpyLayer):
        def load(self, **state: Array) -> None:  # type: ignore[override]
            """Each by its name."""
            super().load(state)


class BuildGivesOneLayerTwice(Adapter):
    """The layer is made once."""

    def __init__(self) -> None:
        super().__init__()
        self.layer: Any = None

    def build(self, config: Any, device: str) -> Any:
        """The first one."""
        self.layer = self.layer or super().build(config, device)
        return self.layer


class BuildTakesNoDevice(Adapter):
    """There is one device."""

    def build(self, config: Any) -> Any:  # type: ignore[override]
        """On the CPU."""
        return super().build(config, "cpu")


class BuildMisspellsTheConfiguration(Adapter):
    """A field that the configuration does not have."""

    def build(self, config: Any, device: str) -> Any:
        """With the name of another framework."""
        return NumpyLayer(config.num_features, eps=config.epsilon)


class BuildDefaultGivesNothing(Adapter):
    """The default layer is left for later."""

    def build_default(self, num_features: int, device: str) -> Any:
        """Nothing yet."""


class BuildDefaultTakesTheConfiguration(Adapter):
    """The default layer is asked for as any other."""

    def build_default(self, num_features: int, device: str, config: Any) -> Any:  # type: ignore[override]
        """With an argument too many."""
        return super().build(config, device)
