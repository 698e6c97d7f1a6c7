"""Keras 3 on three of its backends: a Sequential, compiled with SGD and fit batch by batch by train_on_batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bnconform.backends.jax_arrays import precision
from bnconform.backends.keras_layers import KerasTensorflow, activate
from bnconform.backends.training.layouts import channels_last, weight_last

Array = NDArray[Any]

LAYERS = {"conv1": 6, "conv2": 16, "dense1": 120, "dense2": 84, "dense3": 10}
NORMS = ("norm1", "norm2", "norm3", "norm4")


class KerasLeNet:
    """The model; the loss of a batch is the metric that Keras shows for it, after a reset."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def step(self, images: Array, labels: Array) -> float:
        """One step of SGD; the loss before it."""
        self.model.reset_metrics()
        return float(np.ravel(self.model.train_on_batch(channels_last(images), labels))[0])

    def evaluate(self, images: Array, labels: Array) -> float:
        """The loss of test_on_batch."""
        self.model.reset_metrics()
        return float(np.ravel(self.model.test_on_batch(channels_last(images), labels))[0])

    def statistics(self) -> list[tuple[Array, Array]]:
        """The variables of each BatchNormalization."""
        norms = [self.model.get_layer(name) for name in NORMS]
        return [tuple(np.array(part.numpy()) for part in (norm.moving_mean, norm.moving_variance)) for norm in norms]  # type: ignore[misc]


class KerasTensorflowNetwork:
    """keras.layers.BatchNormalization on TensorFlow."""

    deviations: ClassVar[Mapping[str, str]] = KerasTensorflow.deviations
    backend = "tensorflow"

    def build(self, weights: Mapping[str, Array], options: Any) -> KerasLeNet:
        """The network with these weights."""
        keras = activate(self.backend)
        keras.config.set_floatx(options.dtype)
        keras.config.set_dtype_policy(options.dtype)
        layers = keras.layers
        kept = {"momentum": 1 - options.momentum, "epsilon": options.eps}
        parts = [keras.Input((28, 28, 1))]
        for name, units in LAYERS.items():
            if name == "dense1":
                parts.append(layers.Flatten())
            kind = layers.Conv2D(units, 5, name=name) if name.startswith("conv") else layers.Dense(units, name=name)
            parts.append(kind)
            if name == "dense3":
                break
            norm = NORMS[list(LAYERS).index(name)]
            parts += [layers.BatchNormalization(name=norm, **kept), layers.Activation("sigmoid")]
            if name.startswith("conv"):
                parts.append(layers.AveragePooling2D(2, 2))
        model = keras.Sequential(parts)
        for name in LAYERS:
            model.get_layer(name).set_weights([weight_last(name, weights[f"{name}.weight"]), weights[f"{name}.bias"]])
        for name in NORMS:
            norm = model.get_layer(name)
            norm.gamma.assign(weights[f"{name}.weight"])
            norm.beta.assign(weights[f"{name}.bias"])
        model.compile(keras.optimizers.SGD(options.rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return KerasLeNet(model)


class KerasJaxNetwork(KerasTensorflowNetwork):
    """The same on JAX, in its 64-bit mode where the dtype is float64."""

    backend = "jax"

    def build(self, weights: Mapping[str, Array], options: Any) -> KerasLeNet:
        """The network with these weights."""
        activate(self.backend)
        # For the whole process, which trains one network: Keras' own steps enter no context.
        import jax

        jax.config.update("jax_enable_x64", options.dtype == "float64")
        with precision(options.dtype == "float64"):
            return super().build(weights, options)


class KerasTorchNetwork(KerasTensorflowNetwork):
    """The same on PyTorch."""

    backend = "torch"
