"""Keras 3's BatchNormalization under keras.remat, on each backend that has derivatives; all else is that of the rows
without.

On JAX, where the function that is run again must be pure, it is the layer's stateless_call, whose state the layer has
afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bnconform.backends.keras_backends import (
    Array,
    Gradients,
    KerasJaxLayer,
    KerasLayer,
    KerasTensorflowLayer,
    KerasTorchLayer,
)
from bnconform.backends.keras_layers import KerasJax, KerasTensorflow, KerasTorch


class RematLayer(KerasLayer):
    """A Keras layer whose steps with recomputation are under keras.remat."""

    def recomputed(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The gradients for x, weight and bias."""
        with self.scope():
            return self._as_gradients(self.step(self.tensor(x), self.tensor(grad_output), training))

    def step(self, x: Any, grad_output: Any, training: bool) -> Any:
        """The gradients for x and each trainable variable, tensors to tensors."""
        raise NotImplementedError

    def again(self, training: bool) -> Callable[[Any], Any]:
        """The pass, which is run again for the gradients."""
        import keras

        found: Callable[[Any], Any] = keras.remat(lambda x: self.layer(x, training=training))
        return found


class RematTensorflowLayer(RematLayer, KerasTensorflowLayer):
    """On TensorFlow, where keras.remat is tf.recompute_grad."""

    def step(self, x: Any, grad_output: Any, training: bool) -> Any:
        """By GradientTape."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            y = self.again(training)(x)
        return tape.gradient(y, [x, *self.parameters()], output_gradients=grad_output)


class RematTorchLayer(RematLayer, KerasTorchLayer):
    """On PyTorch, where keras.remat is torch.utils.checkpoint."""

    def step(self, x: Any, grad_output: Any, training: bool) -> Any:
        """By autograd."""
        import torch

        y = self.again(training)(x.requires_grad_())
        wanted = [x, *(variable.value for variable in self.layer.trainable_variables)]
        return torch.autograd.grad(y, wanted, grad_output)


class RematJaxLayer(RematLayer, KerasJaxLayer):
    """On JAX, where keras.remat is jax.checkpoint."""

    def step(self, x: Any, grad_output: Any, training: bool) -> Any:
        """By jax.vjp; the layer's variables are given what the pass makes of them."""
        import jax
        import keras

        state = [variable.value for variable in self.layer.non_trainable_variables]

        def call(x: Any, *parameters: Any) -> tuple[Any, Any]:
            found: tuple[Any, Any] = self.layer.stateless_call(parameters, state, x, training=training)
            return found

        _, pull, moved = jax.vjp(keras.remat(call), x, *self.parameters(), has_aux=True)
        for variable, value in zip(self.layer.non_trainable_variables, moved, strict=True):
            variable.assign(value)
        return pull(grad_output)


class KerasTensorflowRemat(KerasTensorflow):
    """BatchNormalization on TensorFlow, eager, under keras.remat."""

    name = "keras+tensorflow+remat"
    layer = RematTensorflowLayer


class KerasJaxRemat(KerasJax):
    """BatchNormalization on JAX under keras.remat."""

    name = "keras+jax+remat"
    layer = RematJaxLayer


class KerasTorchRemat(KerasTorch):
    """BatchNormalization on PyTorch, eager, under keras.remat."""

    name = "keras+torch+remat"
    layer = RematTorchLayer
