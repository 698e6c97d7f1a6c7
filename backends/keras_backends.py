"""A built Keras layer behind arrays, for each of Keras' backends; shared by the Keras adapters.

The channels are the last axis, Keras' default: axis 1 is moved there and back; or they stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnconform.backends import jax_arrays, tensorflow_tensors, torch_tensors
from bnconform.backends.jax_transforms import backward_thrice, forward_twice

Array = NDArray[Any]
Gradients = tuple[Array, Array | None, Array | None]

NAMES = {"running_mean": "moving_mean", "running_var": "moving_variance", "weight": "gamma", "bias": "beta"}
"""What Keras calls the state."""


class KerasLayer:
    """A built keras layer behind arrays; subclasses know the tensors of one Keras backend."""

    def __init__(self, layer: Any, device: str, axis: int = -1) -> None:
        self.layer = layer
        self.device = device
        self.axis = axis

    def forward(self, x: Array, *, training: bool) -> Array:
        """y, its channels at axis 1."""
        with self.scope():
            return self.array(self.call(self.tensor(x), training))

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The gradients for x, weight and bias, through one more forward pass."""
        with self.scope():
            return self._as_gradients(self.gradients(self.tensor(x), self.tensor(grad_output), training))

    def vjp(self, x: Array, *, training: bool) -> tuple[Array, Callable[[Array], Gradients]]:
        """(y, pullback), by the means of the Keras backend."""
        with self.scope():
            y, pulled = self.record(self.tensor(x), training)
            shown = self.array(y)

        def pullback(grad_output: Array) -> Gradients:
            with self.scope():
                return self._as_gradients(pulled(self.tensor(grad_output)))

        return shown, pullback

    def jvp(self, x: Array, tangent: Array, *, training: bool) -> tuple[Array, Array]:
        """(y, tangent_y), by the means of the Keras backend."""
        with self.scope():
            y, tangent_y = self.tangent(self.tensor(x), self.tensor(tangent), training)
            return self.array(y), self.array(tangent_y)

    def hvp(self, x: Array, grad_output: Array, vector: Array, *, training: bool) -> Gradients:
        """The derivatives of the gradients along the vector, by the means of the Keras backend."""
        with self.scope():
            given, upstream, direction = (self.tensor(array) for array in (x, grad_output, vector))
            return self._as_gradients(self.second(given, upstream, direction, training))

    def third(self, x: Array, grad_output: Array, vector: Array, second: Array, *, training: bool) -> Array:
        """The derivative of that of the gradient along the vector, along a second one, by the Keras backend."""
        with self.scope():
            given, *upstream = (self.tensor(array) for array in (x, grad_output, vector, second))
            return self.array(self.thrice(given, upstream, training))

    def masked(self, x: Array, mask: Array, *, training: bool) -> Array:
        """The output of a pass with a mask."""
        with self.scope():
            return self.array(self.layer(self.tensor(x), training=training, mask=self.mask(mask, x.ndim)))

    def masked_backward(self, x: Array, mask: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The gradients for x, weight and bias of a pass with a mask, through one more forward pass."""
        with self.scope():
            selecting = self.mask(mask, x.ndim)
            given, upstream = self.tensor(x), self.tensor(grad_output)
            return self._as_gradients(self.record(given, training, mask=selecting)[1](upstream))

    def vmap(self, xs: Array, *, training: bool) -> Array:
        """ys, by the map of the Keras backend over the batches."""
        with self.scope():
            ys = self.map_pass(self.stack([self.tensor(x) for x in xs]), training)
            return np.stack([self.array(y) for y in ys])

    def jacrev(self, x: Array, *, training: bool) -> Array:
        """dy/dx in reverse mode, by the means of the Keras backend."""
        with self.scope():
            return self.whole(self.jacobian(self.tensor(x), training))

    def eval_shape(self, x: Array, *, training: bool) -> tuple[tuple[int, ...], str]:
        """(shape, dtype) of y, by Keras' compute_output_spec."""
        import keras

        given = keras.KerasTensor(np.moveaxis(x, 1, self.axis).shape, dtype=x.dtype.name)
        with self.scope():
            y = self.layer.compute_output_spec(given, training=training)
        shape = list(y.shape)
        shape.insert(1, shape.pop(self.axis))
        return tuple(shape), str(y.dtype)

    def whole(self, found: Any) -> Array:
        """A Jacobian (N, *S, C, N, *S, C), a tensor, as (N, C, *S, N, C, *S)."""
        rank = found.ndim // 2
        axis = self.axis % rank
        as_array = self.plain(found)
        return np.array(np.moveaxis(as_array, (axis, rank + axis), (1, rank + 1)), order="C")

    def plain(self, tensor: Any) -> Array:
        """A copy of the tensor as an array, its axes as they are."""
        return np.asarray(tensor)

    def stack(self, tensors: list[Any]) -> Any:
        """The tensors along a new first axis."""
        import keras

        return keras.ops.stack(tensors)

    def map_pass(self, xs: Any, training: bool) -> Any:
        """The layer mapped over the first axis of xs."""
        raise NotImplementedError

    def jacobian(self, x: Any, training: bool) -> Any:
        """dy/dx, of the shape of y and that of x after it."""
        raise NotImplementedError

    def mask(self, mask: Array, ndim: int) -> Any:
        """A mask for inputs of this rank, as Keras asks for it: with an axis less than they have, the last.

        One that is not the same along that axis has no such form. It is given as what Keras documents, "of shape
        broadcastable to `inputs` tensor".
        """
        whole = np.moveaxis(mask.reshape((1,) * (ndim - mask.ndim) + mask.shape), 1, self.axis)
        return self.mask_tensor(whole[..., 0] if whole.shape[-1] == 1 else whole)

    def mask_tensor(self, mask: Array) -> Any:
        """A mask as a tensor of the Keras backend, of the dtype that it has."""
        import keras

        return keras.ops.convert_to_tensor(mask)

    def freeze(self, frozen: bool) -> None:
        """Set the layer's attribute trainable."""
        self.layer.trainable = not frozen

    def _as_gradients(self, found: Any) -> Gradients:
        """The gradients as arrays, each in its place; a layer that is not trainable has that for x alone."""
        grad_x, *rest = (self.array(gradient) for gradient in found)
        there = [name for name in ("weight", "bias") if getattr(self.layer, NAMES[name], None) is not None]
        by_name = dict(zip(there, rest, strict=True)) if rest else {}
        return grad_x, by_name.get("weight"), by_name.get("bias")

    def state(self) -> dict[str, Array | None]:
        """Copies of the layer's variables."""
        variables = {name: getattr(self.layer, theirs, None) for name, theirs in NAMES.items()}
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

    def set(self, **options: Any) -> None:
        """Assign to the layer's attributes; Keras' momentum weighs the old value."""
        if options.get("momentum", 0) is None:
            raise NotImplementedError("Keras has no cumulative average")
        if "track_running_stats" in options:
            raise NotImplementedError("Keras' layer always has running statistics")
        if "momentum" in options:
            self.layer.momentum = 1 - options["momentum"]
        if "eps" in options:
            self.layer.epsilon = options["eps"]

    def scope(self) -> AbstractContextManager[Any]:
        """What must hold around every call: the device."""
        import keras

        if not hasattr(keras, "device"):  # as in 3.0.0
            if self.device != "cpu":
                raise NotImplementedError(
                    f"Keras {keras.__version__} has no keras.device: it cannot be told {self.device}"
                )
            return nullcontext()
        device: AbstractContextManager[Any] = keras.device(self.device.replace("cuda", "gpu"))
        return device

    def tensor(self, array: Array) -> Any:
        """The array as a tensor, its channels at the axis of the layer."""
        raise NotImplementedError

    def array(self, tensor: Any) -> Array:
        """A copy of the tensor as an array, its channels at axis 1."""
        raise NotImplementedError

    def call(self, x: Any, training: bool) -> Any:
        """One forward pass, tensor to tensor."""
        return self.layer(x, training=training)

    def gradients(self, x: Any, grad_output: Any, training: bool) -> Any:
        """Those of sum(y * grad_output) for x and each trainable variable: gamma, beta."""
        return self.record(x, training)[1](grad_output)

    def record(self, x: Any, training: bool, **call: Any) -> tuple[Any, Callable[[Any], Any]]:
        """y, and what gives the gradients for an upstream one, more than once; `call` is what the layer is given."""
        raise NotImplementedError

    def tangent(self, x: Any, direction: Any, training: bool) -> tuple[Any, Any]:
        """y, and its derivative along a direction of x."""
        raise NotImplementedError

    def second(self, x: Any, grad_output: Any, vector: Any, training: bool) -> Any:
        """The derivatives of the gradients for x and each trainable variable along a vector; 0 where none flows."""
        raise NotImplementedError

    def thrice(self, x: Any, upstream: Sequence[Any], training: bool) -> Any:
        """The gradient for x, and that of its product with what comes upstream, in turn; 0 where none flows."""
        raise NotImplementedError


class KerasTensorflowLayer(KerasLayer):
    """On TensorFlow, with GradientTape."""

    def scope(self) -> AbstractContextManager[Any]:
        """See `tensorflow_tensors.on`."""
        device: AbstractContextManager[Any] = tensorflow_tensors.on(self.device)
        return device

    def tensor(self, array: Array) -> Any:
        """See `tensorflow_tensors.to_tensor`."""
        return tensorflow_tensors.to_tensor(array, self.axis)

    def array(self, tensor: Any) -> Array:
        """See `tensorflow_tensors.to_array`; WrongDevice where the tensor lies elsewhere than the layer."""
        tensorflow_tensors.assert_on(tensor, self.device)
        return tensorflow_tensors.to_array(tensor, self.axis)

    def state(self) -> dict[str, Array | None]:
        """Copies of the layer's variables; WrongDevice where one lies elsewhere than the layer."""
        for variable in self.variables():
            tensorflow_tensors.assert_on(variable, self.device)
        return super().state()

    def variables(self) -> list[Any]:
        """TensorFlow's variables in all of the layer's."""
        return [variable.value for variable in self.layer.variables]

    def gradients(self, x: Any, grad_output: Any, training: bool) -> Any:
        """By GradientTape, which wants TensorFlow's own variables."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            y = self.layer(x, training=training)
        return tape.gradient(y, [x, *self.parameters()], output_gradients=grad_output)

    def record(self, x: Any, training: bool, **call: Any) -> tuple[Any, Callable[[Any], Any]]:
        """By a persistent GradientTape."""
        import tensorflow as tf

        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = self.layer(x, training=training, **call)
        wanted = [x, *self.parameters()]
        return y, lambda grad_output: tape.gradient(y, wanted, output_gradients=grad_output)

    def tangent(self, x: Any, direction: Any, training: bool) -> tuple[Any, Any]:
        """By a ForwardAccumulator."""
        import tensorflow as tf

        with tf.autodiff.ForwardAccumulator(x, direction) as accumulator:
            y = self.layer(x, training=training)
        return y, accumulator.jvp(y)

    def second(self, x: Any, grad_output: Any, vector: Any, training: bool) -> Any:
        """By nested GradientTapes; what no derivative flows to is asked for as zeros."""
        import tensorflow as tf

        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = self.layer(x, training=training)
            grad_x = inner.gradient(y, x, output_gradients=grad_output)
        return outer.gradient(grad_x, [x, *self.parameters()], output_gradients=vector, unconnected_gradients="zero")

    def thrice(self, x: Any, upstream: Sequence[Any], training: bool) -> Any:
        """By nested GradientTapes; what no derivative flows to is asked for as zeros."""
        return tensorflow_tensors.gradients_in_turn(lambda x: self.layer(x, training=training), x, upstream)

    def jvp_jvp(self, x: Array, tangent: Array, second: Array, *, training: bool) -> Array | None:
        """The derivative of the tangent along a second one, by nested ForwardAccumulators."""
        with self.scope():
            given, one, other = (self.tensor(array) for array in (x, tangent, second))
            found = tensorflow_tensors.tangent_of_tangent(lambda x: self.layer(x, training=training), given, one, other)
            return None if found is None else self.array(found)

    def stack(self, tensors: list[Any]) -> Any:
        """By tf.stack."""
        import tensorflow as tf

        return tf.stack(tensors)

    def map_pass(self, xs: Any, training: bool) -> Any:
        """By tf.vectorized_map."""
        import tensorflow as tf

        return tf.vectorized_map(lambda x: self.layer(x, training=training), xs)

    def jacobian(self, x: Any, training: bool) -> Any:
        """By GradientTape.jacobian, which maps the rows."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            y = self.layer(x, training=training)
        return tape.jacobian(y, x)

    def parameters(self) -> list[Any]:
        """TensorFlow's variables in the layer's trainable ones."""
        return [variable.value for variable in self.layer.trainable_variables]


class KerasJaxLayer(KerasLayer):
    """On JAX, with jax.vjp through stateless_call."""

    def scope(self) -> AbstractContextManager[Any]:
        """The device, and float64, which JAX has only where it is switched on."""
        stack = ExitStack()
        stack.enter_context(jax_arrays.precision(self.layer.variable_dtype == "float64"))
        stack.enter_context(super().scope())
        return stack

    def tensor(self, array: Array) -> Any:
        """A copy as a JAX array, as JAX may look at it later; it has no strides to keep."""
        import jax.numpy as jnp

        return jnp.array(np.moveaxis(array, 1, self.axis))

    def array(self, tensor: Any) -> Array:
        """A contiguous copy."""
        return np.array(np.moveaxis(np.asarray(tensor), self.axis, 1) if tensor.ndim > 1 else tensor, order="C")

    def record(self, x: Any, training: bool, **call: Any) -> tuple[Any, Callable[[Any], Any]]:
        """By jax.vjp; what the pass makes of the state is dropped."""
        import jax

        return jax.vjp(self.pure(training, **call), x, *self.parameters())  # type: ignore[no-any-return]

    def tangent(self, x: Any, direction: Any, training: bool) -> tuple[Any, Any]:
        """By jax.jvp."""
        import jax

        call, parameters = self.pure(training), self.parameters()
        return jax.jvp(lambda x: call(x, *parameters), (x,), (direction,))  # type: ignore[no-any-return]

    def second(self, x: Any, grad_output: Any, vector: Any, training: bool) -> Any:
        """By jax.jvp of jax.vjp."""
        import jax

        call, parameters = self.pure(training), self.parameters()
        return jax.jvp(lambda x: jax.vjp(call, x, *parameters)[1](grad_output), (x,), (vector,))[1]

    def thrice(self, x: Any, upstream: Sequence[Any], training: bool) -> Any:
        """By jax.vjp of jax.vjp of jax.vjp."""
        call, parameters = self.pure(training), self.parameters()
        return backward_thrice(lambda x: call(x, *parameters), x, *upstream)

    def jvp_jvp(self, x: Array, tangent: Array, second: Array, *, training: bool) -> Array:
        """The derivative of the tangent along a second one, by jax.jvp of jax.jvp."""
        call, parameters = self.pure(training), self.parameters()
        with self.scope():
            operands = (self.tensor(array) for array in (x, tangent, second))
            return self.array(forward_twice(lambda x: call(x, *parameters), *operands))

    def map_pass(self, xs: Any, training: bool) -> Any:
        """By jax.vmap; what the passes make of the state is dropped."""
        import jax

        call, parameters = self.pure(training), self.parameters()
        return jax.vmap(lambda x: call(x, *parameters))(xs)

    def jacobian(self, x: Any, training: bool) -> Any:
        """By jax.jacrev."""
        import jax

        call, parameters = self.pure(training), self.parameters()
        return jax.jacrev(lambda x: call(x, *parameters))(x)

    def jacfwd(self, x: Array, *, training: bool) -> Array:
        """dy/dx in forward mode, by jax.jacfwd."""
        import jax

        with self.scope():
            call, parameters = self.pure(training), self.parameters()
            return self.whole(jax.jacfwd(lambda x: call(x, *parameters))(self.tensor(x)))

    def vmap_layers(
        self, xs: Array, states: Sequence[Mapping[str, Array]], *, training: bool
    ) -> tuple[Array, list[dict[str, Array | None]]]:
        """(ys, states), by jax.vmap of stateless_call over batches and stacked variables; the layer stays."""
        import jax

        own = [variable.value for variable in self.layer.variables]
        each = []
        for state in states:
            self.load(state)
            kept = self.layer.trainable_variables, self.layer.non_trainable_variables
            each.append(tuple([variable.value for variable in variables] for variables in kept))
        with self.scope():
            stacked = jax.tree.map(lambda *found: jax.numpy.stack(found), *each)
            given = self.stack([self.tensor(x) for x in xs])

            def call(trained: Any, state: Any, x: Any) -> Any:
                return self.layer.stateless_call(trained, state, x, training=training)

            ys, moved = jax.vmap(call)(*stacked, given)
            after = []
            for lane, (trained, _) in enumerate(each):
                found = [*trained, *(value[lane] for value in moved)]
                variables = [*self.layer.trainable_variables, *self.layer.non_trainable_variables]
                for variable, value in zip(variables, found, strict=True):
                    variable.assign(value)
                after.append(self.state())
            for variable, value in zip(self.layer.variables, own, strict=True):
                variable.assign(value)
            return np.stack([self.array(y) for y in ys]), after

    def parameters(self) -> list[Any]:
        """JAX's arrays of the trainable variables."""
        return [variable.value for variable in self.layer.trainable_variables]

    def pure(self, training: bool, **given: Any) -> Callable[..., Any]:
        """Y as a function of x and the parameters."""
        state = [variable.value for variable in self.layer.non_trainable_variables]

        def call(x: Any, *parameters: Any) -> Any:
            return self.layer.stateless_call(parameters, state, x, training=training, **given)[0]

        return call


class KerasNumpyLayer(KerasLayer):
    """On NumPy, which has no derivatives."""

    jvp: Any = None
    hvp: Any = None
    third: Any = None
    vmap: Any = None
    jacrev: Any = None
    masked_backward: Any = None

    def scope(self) -> AbstractContextManager[Any]:
        """Nothing: there is one device, and in old versions keras.device fails on this backend."""
        return nullcontext()

    def tensor(self, array: Array) -> Any:
        """The array itself, as a view with the channels at the axis of the layer."""
        return np.moveaxis(array, 1, self.axis)

    def array(self, tensor: Any) -> Array:
        """A contiguous copy."""
        return np.array(np.moveaxis(tensor, self.axis, 1) if tensor.ndim > 1 else tensor, order="C")


class KerasTorchLayer(KerasLayer):
    """On PyTorch, with autograd."""

    def tensor(self, array: Array) -> Any:
        """A view of a tensor with the array's strides."""
        return torch_tensors.to_tensor(array, self.device).movedim(1, self.axis)

    def array(self, tensor: Any) -> Array:
        """See `torch_tensors.to_array`."""
        return torch_tensors.to_array(tensor.movedim(self.axis, 1) if tensor.ndim > 1 else tensor)

    def gradient_history(self) -> list[str]:
        """The statistics that ask for a gradient, or were computed from what does."""
        return [
            name for name in ("running_mean", "running_var") if getattr(self.layer, NAMES[name]).value.requires_grad
        ]

    def record(self, x: Any, training: bool, **call: Any) -> tuple[Any, Callable[[Any], Any]]:
        """By autograd, which keeps x: so it is given a copy, as the caller may write to x."""
        import torch

        x = x.clone().requires_grad_()
        y = self.layer(x, training=training, **call)
        wanted = [x, *(variable.value for variable in self.layer.trainable_variables)]

        def pull(grad_output: Any) -> Any:
            # What is not trainable any more has no gradient to ask for.
            asked = [tensor for tensor in wanted if tensor.requires_grad]
            return torch.autograd.grad(y, asked, grad_output, retain_graph=True)

        return y, pull

    def tangent(self, x: Any, direction: Any, training: bool) -> tuple[Any, Any]:
        """By forward-mode automatic differentiation."""
        from torch.autograd import forward_ad

        with forward_ad.dual_level():
            y = self.layer(forward_ad.make_dual(x, direction), training=training)
            return tuple(forward_ad.unpack_dual(y))

    def second(self, x: Any, grad_output: Any, vector: Any, training: bool) -> Any:
        """By autograd through a backward pass."""
        import torch

        y = self.layer(x.requires_grad_(), training=training)
        # grad_output asks for its gradient, so that the one for x always has a graph, if only to zeros.
        (grad_x,) = torch.autograd.grad(y, x, grad_output.requires_grad_(), create_graph=True)
        wanted = [x, *(variable.value for variable in self.layer.trainable_variables)]
        return torch.autograd.grad(grad_x, wanted, vector, materialize_grads=True)

    def thrice(self, x: Any, upstream: Sequence[Any], training: bool) -> Any:
        """By autograd through autograd through a backward pass."""
        import torch

        found = self.layer(x.requires_grad_(), training=training)
        for one in upstream:
            (found,) = torch.autograd.grad(found, x, one.requires_grad_(), create_graph=True, materialize_grads=True)
        return found

    def map_pass(self, xs: Any, training: bool) -> Any:
        """By torch.func.vmap."""
        from torch.func import vmap

        return vmap(lambda x: self.layer(x, training=training))(xs)

    def jacobian(self, x: Any, training: bool) -> Any:
        """By torch.func.jacrev."""
        from torch.func import jacrev

        return jacrev(lambda x: self.layer(x, training=training))(x)

    def plain(self, tensor: Any) -> Array:
        """See `torch_tensors.to_array`."""
        return torch_tensors.to_array(tensor)

    def gradients(self, x: Any, grad_output: Any, training: bool) -> Any:
        """By autograd, of x as it lies."""
        import torch

        y = self.layer(x.requires_grad_(), training=training)
        wanted = [x, *(variable.value for variable in self.layer.trainable_variables)]
        return torch.autograd.grad(y, wanted, grad_output)
