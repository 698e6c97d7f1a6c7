"""TensorFlow's functions: tf.nn.moments with tf.nn.batch_normalization, and FusedBatchNormV3 in both data formats.

Functions have no state: running statistics, weight and bias are kept here for them, and start at 0, 1, 1 and 0 because
the adapter says so; `num_batches_tracked` is absent, and `momentum=None` unsupported. A layer is shown zeros when it is
built, so that TensorFlow refuses a dtype or rank then.

tf.nn has no running statistics. Training normalises by the moments of the batch and moves nothing; evaluation
normalises by the statistics that were loaded, or by those of the batch where there are none to load. tf.nn.moments of
half-precision input are in half precision, and tf.nn.batch_normalization refuses them beside a scale in single: they
are cast to its dtype, which changes no value.

The fused operation is called through tf.compat.v1.nn.fused_batch_norm. Its `exponential_avg_factor` is the weight of
the new batch, and it returns the moved statistics, which are kept here. Where the factor is 1 it takes no statistics in
training; so it is called, too, where none are tracked.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bnconform.backends.tensorflow_tensors import (
    Array,
    assert_on,
    devices,
    gradients_in_turn,
    on,
    tangent_of_tangent,
    to_array,
    to_tensor,
)

Gradients = tuple[Array, Array | None, Array | None]

INITIAL = {"running_mean": 0.0, "running_var": 1.0, "weight": 1.0, "bias": 0.0}
REQUIRED = "the operation requires scale and offset"


class FunctionLayer:
    """Variables, and the function that they are given to; `options` are its own, or none for its defaults."""

    axis = -1

    def __init__(self, kept: dict[str, Any], device: str, **options: Any) -> None:
        self.kept = kept
        self.device = device
        self.options = options

    def call(self, x: Any, training: bool) -> tuple[Any, dict[str, Any]]:
        """y, and the statistics that the function moved."""
        raise NotImplementedError

    def array(self, tensor: Any) -> Array:
        """A copy of a tensor, its channels at axis 1; WrongDevice where it lies elsewhere than the layer."""
        assert_on(tensor, self.device)
        return to_array(tensor, self.axis)

    def forward(self, x: Array, *, training: bool) -> Array:
        """y, its channels at axis 1."""
        with on(self.device):
            y, moved = self.call(to_tensor(x, self.axis), training)
            for name, value in moved.items():
                self.kept[name].assign(value)
            return self.array(y)

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients for x, weight and bias, by GradientTape; nothing is moved."""
        return self._record(x, training)[2](grad_output)

    def vjp(self, x: Array, *, training: bool) -> tuple[Array, Callable[[Array], Gradients]]:
        """(y, pullback), by a persistent GradientTape; the statistics move."""
        y, moved, pullback = self._record(x, training)
        with on(self.device):
            for name, value in moved.items():
                self.kept[name].assign(value)
            return self.array(y), pullback

    def _record(self, x: Array, training: bool) -> tuple[Any, dict[str, Any], Callable[[Array], Gradients]]:
        """y, the statistics that the function moved, and what gives the gradients."""
        import tensorflow as tf

        with on(self.device):
            given = to_tensor(x, self.axis)
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(given)
                y, moved = self.call(given, training)
        parameters = {name: self.kept[name] for name in ("weight", "bias") if name in self.kept}

        def pullback(grad_output: Array) -> Gradients:
            wanted = [given, *parameters.values()]
            with on(self.device):
                found = tape.gradient(y, wanted, output_gradients=to_tensor(grad_output, self.axis))
                grad_x, *rest = (self.array(gradient) for gradient in found)
            by_name = dict(zip(parameters, rest, strict=True))
            return grad_x, by_name.get("weight"), by_name.get("bias")

        return y, moved, pullback

    def jvp(self, x: Array, tangent: Array, *, training: bool) -> tuple[Array, Array | None]:
        """(y, tangent_y), by a ForwardAccumulator; the statistics move."""
        import tensorflow as tf

        with on(self.device):
            given, direction = (to_tensor(array, self.axis) for array in (x, tangent))
            with tf.autodiff.ForwardAccumulator(given, direction) as accumulator:
                y, moved = self.call(given, training)
            for name, value in moved.items():
                self.kept[name].assign(value)
            tangent_y = accumulator.jvp(y)  # None where TensorFlow finds y unconnected to x: handed on as it is
            return self.array(y), None if tangent_y is None else self.array(tangent_y)

    def hvp(self, x: Array, grad_output: Array, vector: Array, *, training: bool) -> Gradients:
        """The derivatives of the gradients along the vector, by nested GradientTapes; nothing is moved."""
        import tensorflow as tf

        parameters = {name: self.kept[name] for name in ("weight", "bias") if name in self.kept}
        with on(self.device):
            given, upstream, direction = (to_tensor(array, self.axis) for array in (x, grad_output, vector))
            with tf.GradientTape() as outer:
                outer.watch(given)
                with tf.GradientTape() as inner:
                    inner.watch(given)
                    y, _ = self.call(given, training)
                grad_x = inner.gradient(y, given, output_gradients=upstream)
            # What no derivative flows to is asked for as zeros, of TensorFlow.
            found = outer.gradient(
                grad_x, [given, *parameters.values()], output_gradients=direction, unconnected_gradients="zero"
            )
            by_x, *rest = (self.array(gradient) for gradient in found)
        by_name = dict(zip(parameters, rest, strict=True))
        return by_x, by_name.get("weight"), by_name.get("bias")

    def third(self, x: Array, grad_output: Array, vector: Array, second: Array, *, training: bool) -> Array:
        """The derivative of that of the gradient along the vector, along a second one; nothing is moved."""
        with on(self.device):
            given, *upstream = (to_tensor(array, self.axis) for array in (x, grad_output, vector, second))
            return self.array(gradients_in_turn(lambda x: self.call(x, training)[0], given, upstream))

    def jvp_jvp(self, x: Array, tangent: Array, second: Array, *, training: bool) -> Array | None:
        """The derivative of the tangent along a second one, by nested ForwardAccumulators; nothing is moved."""
        with on(self.device):
            given, one, other = (to_tensor(array, self.axis) for array in (x, tangent, second))
            found = tangent_of_tangent(lambda x: self.call(x, training)[0], given, one, other)
            return None if found is None else self.array(found)

    def vmap(self, xs: Array, *, training: bool) -> Array:
        """ys, by tf.vectorized_map over the batches; nothing is moved."""
        import tensorflow as tf

        with on(self.device):
            given = tf.stack([to_tensor(x, self.axis) for x in xs])
            ys = tf.vectorized_map(lambda x: self.call(x, training)[0], given)
            return np.stack([self.array(y) for y in ys])

    def vmap_layers(
        self, xs: Array, states: Sequence[Mapping[str, Array]], *, training: bool
    ) -> tuple[Array, list[dict[str, Array | None]]]:
        """(ys, states), by tf.vectorized_map over batches and what each function is given; nothing of this is moved."""
        import tensorflow as tf

        def call(given: Any) -> Any:
            layer = copy.copy(self)
            x, layer.kept = given
            y, moved = layer.call(x, training)
            return y, {**layer.kept, **moved}

        with on(self.device):
            own = {name: tf.convert_to_tensor(variable) for name, variable in self.kept.items()}
            each = [{**own, **{name: tf.convert_to_tensor(state[name]) for name in state}} for state in states]
            stacked = {name: tf.stack([state[name] for state in each]) for name in own}
            ys, after = tf.vectorized_map(call, (tf.stack([to_tensor(x, self.axis) for x in xs]), stacked))
            shown = [
                {name: np.array(after[name][lane].numpy()) if name in after else None for name in INITIAL}
                for lane in range(len(states))
            ]
            return np.stack([self.array(y) for y in ys]), shown

    def jacrev(self, x: Array, *, training: bool) -> Array:
        """dy/dx, by GradientTape.jacobian, which maps the rows; nothing is moved."""
        import tensorflow as tf

        with on(self.device):
            given = to_tensor(x, self.axis)
            with tf.GradientTape() as tape:
                tape.watch(given)
                y, _ = self.call(given, training)
            found = tape.jacobian(y, given)
            assert_on(found, self.device)
        axis = self.axis % x.ndim
        return np.array(np.moveaxis(found.numpy(), (axis, x.ndim + axis), (1, x.ndim + 1)), order="C")

    def eval_shape(self, x: Array, *, training: bool) -> tuple[tuple[int, ...], str]:
        """(shape, dtype) of y, of the signature of a tf.function that is never run."""
        import tensorflow as tf

        given = np.moveaxis(x, 1, self.axis)
        with on(self.device):
            function = tf.function(lambda x: self.call(x, training)[0])
            y = function.get_concrete_function(tf.TensorSpec(given.shape, given.dtype)).structured_outputs
        shape = y.shape.as_list()
        shape.insert(1, shape.pop(self.axis))
        return tuple(shape), str(y.dtype.name)

    def state(self) -> dict[str, Array | None]:
        """Copies of the variables."""
        for variable in self.kept.values():
            assert_on(variable, self.device)
        return {name: np.array(self.kept[name].numpy()) if name in self.kept else None for name in INITIAL}

    def load(self, state: Mapping[str, Array | None]) -> None:
        """Assign the given entries; KeyError for one that does not exist, TensorFlow's ValueError for another shape."""
        for name, value in state.items():
            if value is not None:
                self.kept[name].assign(value)


class MomentsLayer(FunctionLayer):
    """tf.nn.moments, where the batch normalises, and tf.nn.batch_normalization; the channels are the last axis."""

    def call(self, x: Any, training: bool) -> tuple[Any, dict[str, Any]]:
        """y, and nothing moved."""
        import tensorflow as tf

        batch = training or "running_mean" not in self.kept
        given = tf.nn.moments(x, list(range(x.ndim - 1))) if batch else [self.kept[n] for n in list(INITIAL)[:2]]
        parameters = {"offset": self.kept.get("bias"), "scale": self.kept.get("weight")}
        kind = next((value.dtype for value in parameters.values() if value is not None), None)
        if batch and kind is not None:
            given = [tf.cast(moment, kind) for moment in given]
        return tf.nn.batch_normalization(x, *given, **parameters, **self.options), {}


class FusedLayer(FunctionLayer):
    """tf.compat.v1.nn.fused_batch_norm on N(D)HWC."""

    formats: Mapping[int, str] = {4: "NHWC", 5: "NDHWC"}

    def call(self, x: Any, training: bool) -> tuple[Any, dict[str, Any]]:
        """y, and the running statistics moved."""
        import tensorflow as tf

        names = [name for name in ("running_mean", "running_var") if name in self.kept]
        training = training or not names
        taken = names if not training or self.options.get("exponential_avg_factor", 1.0) != 1 else []
        y, *statistics = tf.compat.v1.nn.fused_batch_norm(
            x,
            self.kept["weight"],
            self.kept["bias"],
            *(self.kept[name] for name in taken),
            is_training=training,
            data_format=self.formats.get(x.ndim, "NHWC"),
            **self.options,
        )
        return y, dict(zip(names, statistics, strict=False)) if training else {}

    def saved_statistics(self, x: Array, *, training: bool) -> dict[str, Array]:
        """reserve_space_1 and reserve_space_2: mean and variance for the gradient; nothing is moved."""
        import tensorflow as tf

        names = [name for name in ("running_mean", "running_var") if name in self.kept]
        training = training or not names
        with on(self.device):
            given = to_tensor(x, self.axis)
            nothing = tf.zeros((0,), self.kept["weight"].dtype)
            taken = [nothing, nothing] if training else [self.kept[name] for name in names]
            found = tf.raw_ops.FusedBatchNormV3(
                x=given, scale=self.kept["weight"], offset=self.kept["bias"], mean=taken[0], variance=taken[1],
                epsilon=self.options["epsilon"], is_training=training,
                data_format=self.formats.get(given.ndim, "NHWC"),
            )  # fmt: skip
            return {"mean": self.array(found.reserve_space_1), "variance": self.array(found.reserve_space_2)}


class FusedFirstLayer(FusedLayer):
    """tf.compat.v1.nn.fused_batch_norm on NC(D)HW."""

    axis = 1
    formats: Mapping[int, str] = {4: "NCHW", 5: "NCDHW"}


class TfNN:
    """tf.nn.moments and tf.nn.batch_normalization."""

    name = "tf.nn"
    layer: type[FunctionLayer] = MomentsLayer
    # The caller keeps the running averages, and the adapter must not: that would be a formula of its own.
    deviations: Mapping[str, str] = {"training_update": "never"}
    documented: Mapping[str, str] = {
        "training_update": "https://www.tensorflow.org/api_docs/python/tf/nn/batch_normalization: 'mean and variance "
        "in this case would typically be the outputs of tf.nn.moments(..., keepdims=False) during training, or running "
        "averages thereof during inference'"
    }
    unsupported: Mapping[str, str] = {
        "momentum_none": "the functions keep no average, so that there is no momentum to give them",
        "masked": "tf.nn.moments and tf.nn.batch_normalization take no mask",
    }

    def devices(self) -> list[str]:
        """See `tensorflow_tensors.devices`."""
        return devices()

    def build(self, config: Any, device: str) -> FunctionLayer:
        """A layer of this configuration that has seen zeros; NotImplementedError where there is no way to ask."""
        for lacking in ("momentum_none",) * (config.momentum is None) + (config.dtype,):
            if lacking in self.unsupported:
                raise NotImplementedError(self.unsupported[lacking])
        return self.make_layer(config, device, variance_epsilon=config.eps)

    def build_default(self, num_features: int, device: str) -> FunctionLayer:
        """NotImplementedError: tf.nn.batch_normalization asks for an epsilon, and keeps no average."""
        raise NotImplementedError("tf.nn.batch_normalization has no default for epsilon, and keeps no average")

    def make_layer(self, config: Any, device: str, **options: Any) -> FunctionLayer:
        """A layer with these options that has seen zeros."""
        tracked = {"running_mean", "running_var"} if config.track_running_stats else set()
        names = tracked | {name for name in ("weight", "bias") if getattr(config, name)}
        found = self.layer(variables(names, config.num_features, config.param_dtype, device), device, **options)
        x = to_tensor(np.zeros((2, config.num_features, *(1,) * (config.ndim - 2)), config.dtype), found.axis)
        found.call(x, False)
        return found


class TfFused(TfNN):
    """FusedBatchNormV3, channels last."""

    name = "tf.fused+nhwc"
    layer = FusedLayer
    deviations: Mapping[str, str] = {}
    documented: Mapping[str, str] = {}
    unsupported: Mapping[str, str] = {
        "momentum_none": "the operation keeps no count of batches; its factor is a number",
        "masked": "the operation has no input for a mask",
        **dict.fromkeys(("affine_off", "weight_alone", "bias_alone"), REQUIRED),
        "rank_2": "the operation knows ranks 4 and 5",
        "rank_3": "the operation knows ranks 4 and 5",
        "float64": "the operation takes float32, float16 and bfloat16",
    }

    def build_default(self, num_features: int, device: str) -> FunctionLayer:
        """All four variables, and the function's own defaults."""
        return self.layer(variables(set(INITIAL), num_features, "float32", device), device)

    def build(self, config: Any, device: str) -> FunctionLayer:
        """A layer of this configuration that has seen zeros; NotImplementedError where there is no way to ask."""
        if config.momentum is None:
            raise NotImplementedError(self.unsupported["momentum_none"])
        if not (config.weight and config.bias):
            raise NotImplementedError(REQUIRED)
        factor = config.momentum if config.track_running_stats else 1.0
        return self.make_layer(config, device, epsilon=config.eps, exponential_avg_factor=factor)


class TfFusedFirst(TfFused):
    """FusedBatchNormV3, channels first."""

    name = "tf.fused+nchw"
    layer = FusedFirstLayer


def variables(names: set[str], size: int, dtype: str, device: str) -> dict[str, Any]:
    """A variable for each name, with the value that it starts at."""
    import tensorflow as tf

    with on(device):
        return {n: tf.Variable(tf.fill((size,), tf.cast(v, dtype))) for n, v in INITIAL.items() if n in names}
