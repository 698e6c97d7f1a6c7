"""A user's own Keras model, on TensorFlow: what it predicts, how far rounding may move that, what a tool makes of it.

As `own_torch` does it, with Keras' own cloning: the model in float64 is a clone whose layers have that policy; what
moves a result, or hides a BatchNorm from a tool, is a layer that the clone has besides. The model must be functional or
Sequential, as others cannot be cloned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bnconform.backends.deployments.own_torch import ROUNDOFF
from bnconform.backends.keras_layers import activate
from bnconform.backends.runner.own_models import (
    AGREED,
    LOWER_OPERATIONS,
    OPERATIONS,
    RUNS,
    Given,
    OwnModelError,
    factory,
    two_inputs,
)

Array = np.ndarray[Any, np.dtype[Any]]
Call = Callable[..., Any]

LINEAR = ("Dense", "Conv1D", "Conv2D", "Conv3D", "DepthwiseConv1D", "DepthwiseConv2D", "Conv1DTranspose",
          "Conv2DTranspose", "Conv3DTranspose")  # fmt: skip
"""The classes whose layers sum products with a kernel."""


class OwnKeras:
    """A Keras model.

    Attributes:
        model: as its factory made it. x, example: what is predicted, and other values of the same shape.
    """

    def __init__(self, place: str, given: Given) -> None:
        keras = self.keras = activate("tensorflow")
        made = factory(place)()
        model, own = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
        if not isinstance(model, keras.Model):
            raise OwnModelError(f"{place} gives a {type(model).__name__} and no keras.Model")
        if not hasattr(model, "operations") and not isinstance(model, keras.Sequential):
            raise OwnModelError(f"{place} gives a model of a class of its own, which Keras cannot clone; give one that "
                                "is functional or Sequential")  # fmt: skip
        if len(model.outputs) != 1 or len(model.inputs) != 1:
            raise OwnModelError(f"{place} gives a model of several inputs or outputs; give one of one each")
        self.model, self.place = model, place
        self.dtype = str(model.variables[0].dtype)
        if self.dtype not in ROUNDOFF:
            raise OwnModelError(f"{place} gives a model in {self.dtype}; give one in {', '.join(ROUNDOFF)}")
        own = None if own is None else np.asarray(own)
        self.x, self.example = two_inputs(place, given, own, self.dtype)

    def facts(self) -> Mapping[str, Any]:
        """What it is: its dtype, its BatchNorms with what stands around each, the shape of x."""
        return {
            "dtype": self.dtype, "shape": list(self.x.shape), "norms": list(self._around()), "traced": True,
        }  # fmt: skip

    def reference(self, lower: str = "") -> tuple[Array, Array]:
        """(y, spread): as `bnconform.backends.deployments.own_torch.OwnTorch.reference` has them."""
        wide = self._clone(lambda layer, given, more: layer(*given, **more), "float64")
        x = self.x.astype(np.float64)
        y = np.asarray(wide(x, training=False))
        spread = np.zeros(len(y))
        for seed in range(RUNS):
            moved = self._clone(
                self._moving(np.random.default_rng(seed), LOWER_OPERATIONS * ROUNDOFF.get(lower, 0.0)), "float64"
            )
            off = np.abs(np.asarray(moved(x, training=False)) - y).reshape(len(y), -1)
            spread = np.maximum(spread, off.max(axis=1, initial=0.0))
        return y, spread

    def deploy(self, adapter: Any, hidden: Sequence[str]) -> Array:
        """What a tool's result predicts of x, with these BatchNorms hidden from it."""
        barrier = _barrier(self.keras)

        def call(layer: Any, given: Sequence[Any], more: Mapping[str, Any]) -> Any:
            if layer.name not in hidden:
                return layer(*given, **more)
            return barrier(layer(barrier(given[0]), *given[1:], **more))

        model = self._clone(call, self.dtype)
        return np.asarray(adapter.deploy(adapter.own(model), self.example.copy())(self.x.copy()))

    def _clone(self, call: Call, dtype: str) -> Any:
        """The model anew, in a dtype, each layer called by `call(layer, given, more)`; its weights are the model's."""
        keras = self.keras
        others: dict[str, Any] = {}

        def make(layer: Any) -> Any:
            config = layer.get_config()
            others[layer.name] = other = type(layer).from_config({**config, "dtype": dtype})
            return other

        def call_layer(layer: Any, *given: Any, **more: Any) -> Any:
            own = self._layers().get(layer.name)
            if own is not None and own.weights:
                if not layer.built:
                    layer.build(given[0].shape)
                layer.set_weights(own.get_weights())
            return call(layer, given, more)

        source = self.model
        if isinstance(source, keras.Sequential):
            entry = keras.Input(source.inputs[0].shape[1:], dtype=source.inputs[0].dtype)
            y = entry
            for layer in source.layers:
                y = layer(y)
            source = keras.Model(entry, y)
        entry = keras.Input(source.inputs[0].shape[1:], dtype=dtype)
        return keras.models.clone_model(source, input_tensors=entry, clone_function=make, call_function=call_layer)

    def _layers(self) -> Mapping[str, Any]:
        return {layer.name: layer for layer in self.model.layers}

    def _moving(self, random: Any, lower: float) -> Call:
        """Calls a layer and moves what it gives; `lower` is what rounding to a lower dtype may change, relatively."""
        keras, roundoff = self.keras, ROUNDOFF[self.dtype]
        others = OPERATIONS * roundoff + lower
        move = _move(keras)
        sizes: dict[str, Any] = {}

        def call(layer: Any, given: Sequence[Any], more: Mapping[str, Any]) -> Any:
            y = layer(*given, **more)
            if not hasattr(y, "shape") or "float" not in str(y.dtype):
                return y
            signs = random.choice((-1.0, 1.0), tuple(size or 1 for size in y.shape[1:]))
            kind = type(layer).__name__
            if kind not in (*LINEAR, "BatchNormalization"):
                return move(others, signs)(y)
            if layer.name not in sizes:
                sizes[layer.name] = _of_sizes(layer)
            terms = np.prod(layer.kernel.shape[:-1]) if kind in LINEAR else 0
            weight = AGREED * float(terms) ** 0.5 * roundoff + others
            size = sizes[layer.name](keras.ops.abs(given[0]), **more)
            return move(weight, signs)(y, size)

        return call

    def _around(self) -> Iterator[Mapping[str, Any]]:
        """Each BatchNorm with its name, and what stands before and after it."""
        layers = self.model.layers
        for layer in layers:
            if type(layer).__name__ != "BatchNormalization":
                continue
            shape = [size or len(self.x) for size in layer.input.shape] if len(layer._inbound_nodes) == 1 else []
            before = [other for other in layers if other is not layer and _feeds(other, layer)]
            after = [other for other in layers if other is not layer and _feeds(layer, other)]
            found: dict[str, Any] = {"calls": len(layer._inbound_nodes), "readers": len(after)}
            if before:
                found |= {
                    "before": f"{type(before[0]).__name__} {before[0].name}",
                    "before_calls": len(before[0]._inbound_nodes),
                    "before_readers": sum(_feeds(before[0], other) for other in layers),
                }
            if after:
                found["after"] = f"{type(after[0]).__name__} {after[0].name}"
            yield {"name": layer.name, "kind": "BatchNormalization", "shape": shape, **found}


def _feeds(one: Any, other: Any) -> bool:
    """Whether a layer's result is read by another one."""
    parents = (node for mine in other._inbound_nodes for node in mine.parent_nodes)
    return any(node.operation is one for node in parents)


def _of_sizes(layer: Any) -> Any:
    """The same layer with the sizes of its weights: what it gives of sizes is the sum of all sizes."""
    config = {**layer.get_config(), "name": f"{layer.name}_sizes"}
    if config.get("activation") not in (None, "linear"):
        config["activation"] = "linear"
    made = type(layer).from_config(config)
    made.build(layer.input.shape if layer._inbound_nodes else layer.get_build_config()["input_shape"])
    signs = [-1.0 if "moving_mean" in one.path else 1.0 for one in layer.weights]
    made.set_weights([s * np.abs(value) for s, value in zip(signs, layer.get_weights(), strict=True)])
    return made


def _barrier(keras: Any) -> Call:
    """relu(x) - relu(-x), which is x, and which no tool takes for nothing."""
    relu, negative = keras.ops.relu, keras.ops.negative
    return lambda x: keras.ops.subtract(relu(x), relu(negative(x)))


def _move(keras: Any) -> Any:
    """A layer that adds numbers of given signs, in proportion to sizes, or to the sample's largest number."""

    class Move(keras.layers.Layer):
        """y + weight signs size."""

        def __init__(self, weight: float, signs: Array) -> None:
            super().__init__(dtype="float64")
            self.weight, self.signs = weight, signs

        def call(self, y: Any, size: Any = None) -> Any:
            if size is None:
                axes = tuple(range(1, len(y.shape)))
                size = keras.ops.max(keras.ops.abs(y), axis=axes, keepdims=True)
            return y + self.weight * keras.ops.convert_to_tensor(self.signs, dtype="float64") * size

    return Move
