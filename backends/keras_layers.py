"""Keras 3: keras.layers.BatchNormalization on each of its backends, eager; `keras_compiled` has the compiled rows.

Keras' momentum weighs the old value, so the layer is given 1 - momentum. Half-precision input with single-precision
statistics is Keras' policy mixed_float16 (or mixed_bfloat16), passed to the layer; `center` is the bias and `scale` the
weight.
The channels are the last axis, Keras' default: the adapter moves axis 1 there and back. In the rows with +axis1 they
stay at axis 1, and the layer is told so.

Keras chooses its backend when it is first imported, once for the process: a row that finds another one there raises
`OtherBackend`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from bnconform.backends import tensorflow_tensors, torch_tensors
from bnconform.backends.keras_backends import (
    KerasJaxLayer,
    KerasLayer,
    KerasNumpyLayer,
    KerasTensorflowLayer,
    KerasTorchLayer,
)
from bnconform.backends.torch_transforms import REFUSED


class OtherBackend(RuntimeError):
    """Keras was imported with another backend before."""

    is_refusal = False


def activate(backend: str) -> Any:
    """Keras on this backend; OtherBackend where the process has it on another."""
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = backend
        tensorflow_tensors.prepare()
    import keras

    if keras.backend.backend() != backend:
        raise OtherBackend(
            f"Keras already runs on {keras.backend.backend()} in this process, so it cannot run on {backend}; "
            "judge one Keras backend a process"
        )
    return keras


def policy(config: Any) -> str:
    """The name of Keras' dtype policy for these dtypes of input and state."""
    return config.dtype if config.dtype == config.param_dtype else f"mixed_{config.dtype}"


class KerasTensorflow:
    """BatchNormalization on TensorFlow, eager."""

    name = "keras+tensorflow"
    backend = "tensorflow"
    layer: type[KerasLayer] = KerasTensorflowLayer
    axis = -1
    # Its formulas for y and for moving_var have the same var(batch).
    deviations: Mapping[str, str] = {"running_variance": "biased"}
    documented: Mapping[str, str] = {
        "running_variance": "https://keras.io/api/layers/normalization_layers/batch_normalization/: "
        "'moving_var = moving_var * momentum + var(batch) * (1 - momentum)'"
    }
    unsupported: Mapping[str, str] = {
        "momentum_none": "Keras has no cumulative average; it makes a float of its momentum",
        "track_running_stats_off": "Keras' layer always has running statistics",
    }

    def devices(self) -> list[str]:
        """See `tensorflow_tensors.devices`."""
        activate(self.backend)
        return tensorflow_tensors.devices()

    def build(self, config: Any, device: str) -> KerasLayer:
        """A layer of this configuration; NotImplementedError where there is no way to ask."""
        return self.make_layer(self.shape(config.ndim, config.num_features), device, self.layer_options(config))

    def build_lazy(self, config: Any, device: str) -> KerasLayer:
        """A layer of this configuration that is not built: Keras does that for the first input."""
        return self.unbuilt(device, self.layer_options(config))

    def layer_options(self, config: Any) -> dict[str, Any]:
        """What Keras is given for a configuration; NotImplementedError where there is no way to ask."""
        if not config.track_running_stats:
            raise NotImplementedError(self.unsupported["track_running_stats_off"])
        parameters = {"center": config.bias, "scale": config.weight}
        momentum = None if config.momentum is None else 1 - config.momentum
        return {"momentum": momentum, "epsilon": config.eps, "dtype": policy(config), **parameters}

    def build_default(self, num_features: int, device: str) -> KerasLayer:
        """A layer with Keras' own defaults."""
        return self.make_layer(self.shape(4, num_features), device, {})

    def shape(self, ndim: int, num_features: int) -> tuple[int | None, ...]:
        """That of inputs of this rank, as far as it is known when a layer is built."""
        found: list[int | None] = [None] * ndim
        found[self.axis] = num_features
        return tuple(found)

    def make_layer(self, shape: tuple[int | None, ...], device: str, options: dict[str, Any]) -> KerasLayer:
        """A layer of these options, built for inputs of this shape."""
        found = self.unbuilt(device, options)
        with found.scope():
            found.layer.build(shape)
        return found

    def unbuilt(self, device: str, options: dict[str, Any]) -> KerasLayer:
        """A layer of these options, told of the axis of its channels where that is not the last."""
        keras = activate(self.backend)
        where = {} if self.axis == -1 else {"axis": self.axis}
        return self.layer(keras.layers.BatchNormalization(**options, **where), device, self.axis)


class KerasJax(KerasTensorflow):
    """BatchNormalization on JAX, operation by operation."""

    name = "keras+jax"
    backend = "jax"
    layer = KerasJaxLayer
    slow_to_start = True

    def devices(self) -> list[str]:
        """The devices that JAX reports."""
        activate(self.backend)
        import jax

        found = [device for device in jax.devices() if device.platform != "cpu"]
        return ["cpu", *(f"{device.platform.replace('gpu', 'cuda')}:{device.id}" for device in found)]


class KerasTorch(KerasTensorflow):
    """BatchNormalization on PyTorch, eager."""

    name = "keras+torch"
    backend = "torch"
    layer = KerasTorchLayer
    unsupported: Mapping[str, str] = {
        **KerasTensorflow.unsupported,
        "vmap_tracked": REFUSED["vmap_tracked"],
        "jacobian_tracked": REFUSED["jacobian_tracked"],
    }

    def devices(self) -> list[str]:
        """See `torch_tensors.devices`."""
        activate(self.backend)
        return torch_tensors.devices()


class KerasNumpy(KerasTensorflow):
    """BatchNormalization on NumPy."""

    name = "keras+numpy"
    backend = "numpy"
    layer = KerasNumpyLayer
    unsupported: Mapping[str, str] = {
        **KerasTensorflow.unsupported,
        "backward": "Keras on NumPy infers only: there are no gradients",
    }

    def devices(self) -> list[str]:
        """The CPU: it is NumPy."""
        activate(self.backend)
        return ["cpu"]


class KerasTensorflowFirst(KerasTensorflow):
    """The same on TensorFlow with the channels at axis 1."""

    name = "keras+tensorflow+axis1"
    axis = 1


class KerasJaxFirst(KerasJax):
    """The same on JAX with the channels at axis 1."""

    name = "keras+jax+axis1"
    axis = 1


class KerasTorchFirst(KerasTorch):
    """The same on PyTorch with the channels at axis 1."""

    name = "keras+torch+axis1"
    axis = 1


class KerasNumpyFirst(KerasNumpy):
    """The same on NumPy with the channels at axis 1."""

    name = "keras+numpy+axis1"
    axis = 1
