"""A built Keras layer behind arrays, for each of Keras' backends; shared by the Keras adapters.

The channels are the last axis, Keras' default: axis 1 is moved there and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnconform.backends import tensorflow_tensors, torch_tensors

Array = NDArray[Any]
Gradients = tuple[Array, Array | None, Array | None]

NAMES = {"running_mean": "moving_mean", "running_var": "moving_variance", "weight": "gamma", "bias": "beta"}
"""What Keras calls the state."""


class KerasLayer:
    """A built keras layer behind arrays; subclasses know the tensors of one Keras backend."""

    def __init__(self, layer: Any, device: str) -> None:
        self.layer = layer
        self.device = device

    def forward(self, x: Array, *, training: bool) -> Array:
        """y, its channels moved back to axis 1."""
        with self.scope():
            return self.array(self.call(self.tensor(x), training))

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The gradients for x, weight and bias, through one more forward pass."""
        with self.scope():
            found = self.gradients(self.tensor(x), self.tensor(grad_output), training)
            grad_x, *rest = (self.array(gradient) for gradient in found)
        return (grad_x, rest[0], rest[1]) if rest else (grad_x, None, None)

    def state(self) -> dict[str, Array | None]:
        """Copies of the layer's variables."""
        variables = {name: getattr(self.layer, theirs) for name, theirs in NAMES.items()}
        return {name: None if found is None else np.array(found.numpy()) for name, found in variables.items()}

    def load(self, state: Mapping[str, Array | None]) -> None:
        """Assign the given entries; KeyError for one that the layer does not have."""
        for name, value in state.items():
            if value is not None:
                variable = getattr(self.layer, NAMES.get(name, ""), None)
                if variable is None:
                    raise KeyError(f"the layer has no {name}")
                with self.scope():
                    variable.assign(value)

    def scope(self) -> AbstractContextManager[Any]:
        """What must hold around every call: the device."""
        import keras

        device: AbstractContextManager[Any] = keras.device(self.device.replace("cuda", "gpu"))
        return device

    def tensor(self, array: Array) -> Any:
        """The array as a tensor, channels last."""
        raise NotImplementedError

    def array(self, tensor: Any) -> Array:
        """A copy of the tensor as an array, its channels at axis 1."""
        raise NotImplementedError

    def call(self, x: Any, training: bool) -> Any:
        """One forward pass, tensor to tensor."""
        return self.layer(x, training=training)

    def gradients(self, x: Any, grad_output: Any, training: bool) -> Any:
        """Those of sum(y * grad_output) for x and each trainable variable: gamma, beta."""
        raise NotImplementedError


class TensorflowLayer(KerasLayer):
    """On TensorFlow, with GradientTape."""

    def scope(self) -> AbstractContextManager[Any]:
        """See `tensorflow_tensors.on`."""
        device: AbstractContextManager[Any] = tensorflow_tensors.on(self.device)
        return device

    def tensor(self, array: Array) -> Any:
        """See `tensorflow_tensors.to_tensor`."""
        return tensorflow_tensors.to_tensor(array)

    def array(self, tensor: Any) -> Array:
        """See `tensorflow_tensors.to_array`."""
        return tensorflow_tensors.to_array(tensor)

    def gradients(self, x: Any, grad_output: Any, training: bool) -> Any:
        """By GradientTape, which wants TensorFlow's own variables."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            y = self.layer(x, training=training)
        return tape.gradient(y, [x, *self.parameters()], output_gradients=grad_output)

    def parameters(self) -> list[Any]:
        """TensorFlow's variables in the layer's trainable ones."""
        return [variable.value for variable in self.layer.trainable_variables]


class JaxLayer(KerasLayer):
    """On JAX, with jax.vjp through stateless_call."""

    def scope(self) -> AbstractContextManager[Any]:
        """The device, and float64, which JAX has only where it is switched on."""
        import jax

        stack = ExitStack()
        stack.enter_context(jax.enable_x64(self.layer.variable_dtype == "float64"))
        stack.enter_context(super().scope())
        return stack

    def tensor(self, array: Array) -> Any:
        """A copy as a JAX array, as JAX may look at it later; it has no strides to keep."""
        import jax.numpy as jnp

        return jnp.array(np.moveaxis(array, 1, -1))

    def array(self, tensor: Any) -> Array:
        """A contiguous copy."""
        return np.array(np.moveaxis(np.asarray(tensor), -1, 1) if tensor.ndim > 1 else tensor, order="C")

    def gradients(self, x: Any, grad_output: Any, training: bool) -> Any:
        """By jax.vjp; what the pass makes of the state is dropped."""
        import jax

        parameters = [variable.value for variable in self.layer.trainable_variables]
        state = [variable.value for variable in self.layer.non_trainable_variables]

        def call(x: Any, *parameters: Any) -> Any:
            return self.layer.stateless_call(parameters, state, x, training=training)[0]

        return jax.vjp(call, x, *parameters)[1](grad_output)


class TorchLayer(KerasLayer):
    """On PyTorch, with autograd."""

    def tensor(self, array: Array) -> Any:
        """A view of a tensor with the array's strides."""
        return torch_tensors.to_tensor(array, self.device).movedim(1, -1)

    def array(self, tensor: Any) -> Array:
        """See `torch_tensors.to_array`."""
        return torch_tensors.to_array(tensor.movedim(-1, 1) if tensor.ndim > 1 else tensor)

    def gradients(self, x: Any, grad_output: Any, training: bool) -> Any:
        """By autograd."""
        import torch

        y = self.layer(x.requires_grad_(), training=training)
        parameters = [variable.value for variable in self.layer.trainable_variables]
        return torch.autograd.grad(y, [x, *parameters], grad_output)
