"""Small models as Keras models, on TensorFlow; shared by the adapters.

Keras' convolutions and poolings have their channels last, and its dense layers map the last axis: so a result lies as
the layer that reads it needs it, and `Permute` stands where that changes. A model whose first layer is a convolution
takes its input with the channels last, as one that is written by hand does. Padding is by `ZeroPadding`, as Keras has
none in numbers, and what a transposed convolution adds at its border is taken away by `Cropping`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bnconform.backends.keras_layers import activate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bnconform.backends.runner.deployments import ModelData, NodeData

    Array = NDArray[Any]

FIRST, LAST = "first", "last"
"""Where the channels of a result lie: axis 1, or the last axis."""

CONVOLUTIONS = ("convolution", "transposed_convolution")
POOLINGS = ("average_pooling", "max_pooling")

DOUBLED = "a Keras layer has no mode of its own: the call says whether the model trains"


class KerasModel:
    """A model and how its arrays lie.

    Attributes:
        model: keras.Model. entry, exit: where the channels of its input and of its prediction lie.
    """

    def __init__(self, model: Any, entry: str, exit_: str) -> None:
        self.model, self.entry, self.exit = model, entry, exit_


class KerasDeployment:
    """What the deployments of Keras share."""

    unsupported: ClassVar[Mapping[str, str]] = {}
    deviations: ClassVar[Mapping[str, str]] = {}

    def devices(self) -> list[str]:
        """The CPU."""
        return ["cpu"]

    def load(self, model: ModelData, device: str) -> KerasModel:
        """The Keras model; NotImplementedError for what Keras has no layers for."""
        keras = activate("tensorflow")
        keras.backend.clear_session()
        if any(node.options.get("training") for node in model.layers().values()):
            raise NotImplementedError(DOUBLED)
        return KerasBuilder(keras, model).build()

    def own(self, model: Any) -> KerasModel:
        """A user's own model, whose input and prediction lie as they are."""
        return KerasModel(model, FIRST, FIRST)

    def parameters(self, original: KerasModel) -> dict[str, Array]:
        """Every variable, by its path."""
        return {f"{i} {one.path}": np.array(one) for i, one in enumerate(original.model.variables)}

    def deploy(self, original: KerasModel, example: Array) -> Callable[[Array], Array]:
        """What the tool makes of it, between arrays whose channels are at axis 1."""
        predict = self.deploy_tool(original.model, move_channels(example, original.entry))
        return lambda x: move_channels_back(np.asarray(predict(move_channels(x, original.entry))), original.exit)

    def deploy_tool(self, model: Any, example: Array) -> Callable[[Array], Any]:
        """What the tool makes of a Keras model: a function of arrays as the model takes them."""
        raise NotImplementedError


def move_channels(x: Array, place: str) -> Array:
    """An array whose channels are at axis 1, as a model takes it."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)) if place == LAST and x.ndim > 2 else x


def move_channels_back(y: Array, place: str) -> Array:
    """What a model gives, with its channels at axis 1."""
    return np.ascontiguousarray(np.moveaxis(y, -1, 1)) if place == LAST and y.ndim > 2 else y


class KerasBuilder:
    """A Keras model from nodes.

    Attributes:
        found: the symbolic result of each node, by its name; places: where its channels lie.
    """

    def __init__(self, keras: Any, model: ModelData) -> None:
        self.keras, self.model, self.layers = keras, model, keras.layers
        self.made_layers: dict[str, Any] = {}
        convolves = any(node.kind in (*CONVOLUTIONS, *POOLINGS) for node in model.nodes)
        maps = any(node.kind == "linear" for node in model.nodes) and len(model.shape) > 2
        first = next((node.kind for node in model.nodes if node.kind in (*CONVOLUTIONS, "linear")), "")
        last = convolves and not (maps and first == "linear")
        self.entry = LAST if last and len(model.shape) > 2 else FIRST
        shape = model.shape[1:]
        shape = (*shape[1:], shape[0]) if self.entry == LAST else shape
        self.input = keras.Input(shape, dtype=model.dtype)
        self.found: dict[str, Any] = {"x": self.input}
        self.places = {"x": self.entry}

    def build(self) -> KerasModel:
        """The whole."""
        for node in self.model.nodes:
            self.found[node.name], self.places[node.name] = self._result(node)
        name = self.model.nodes[-1].name
        return KerasModel(self.keras.Model(self.input, self.found[name]), self.entry, self.places[name])

    def _result(self, node: NodeData) -> tuple[Any, str]:
        name = node.inputs[0]
        rank = len(self.found[name].shape)
        if node.kind in CONVOLUTIONS:
            return self._convolution(node, self._at(name, LAST)), LAST
        if node.kind in POOLINGS:
            return self._pooling(node, self._at(name, LAST)), LAST
        if node.kind == "linear":
            return self._dense(node)(self._at(name, FIRST)), FIRST
        place = self.places[name]
        if node.kind == "batch_normalization":
            axis = -1 if place == LAST else 1
            return self._norm(node, axis)(self.found[name]), place
        if node.kind in ("relu", "sigmoid"):
            return self.layers.Activation(node.kind, dtype=self.model.dtype)(self.found[name]), place
        if node.kind in ("add", "concatenate"):
            both = [self.found[name], self._at(node.inputs[1], place)]
            if node.kind == "add":
                return self.layers.Add(dtype=self.model.dtype)(both), place
            axis = 1 if place == FIRST or rank == 2 else -1
            return self.layers.Concatenate(axis=axis, dtype=self.model.dtype)(both), place
        given = self._at(name, FIRST)
        if node.kind == "flatten":
            return self.layers.Flatten(dtype=self.model.dtype)(given), FIRST
        return self.layers.Reshape(tuple(node.options["to"]), dtype=self.model.dtype)(given), FIRST

    def _at(self, name: str, place: str) -> Any:
        """A result with its channels where they are needed."""
        found, now = self.found[name], self.places[name]
        rank = len(found.shape)
        if now == place or rank == 2:
            return found
        axes = (*range(2, rank), 1) if place == LAST else (rank - 1, *range(1, rank - 1))
        return self.layers.Permute(axes, dtype=self.model.dtype)(found)

    def _layer(self, node: NodeData, make: Callable[[], Any], *weights: Array | None) -> Any:
        """The layer of a node, made once; its weights are set when it is built, at its first call."""
        if node.layer not in self.made_layers:
            made = make()
            given = [one for one in weights if one is not None]

            def call(x: Any) -> Any:
                y = made(x)
                made.set_weights(given)
                return y

            self.made_layers[node.layer] = call
        return self.made_layers[node.layer]

    def _dense(self, node: NodeData) -> Any:
        weight, bias = (self.model.array(node.layer, name) for name in ("weight", "bias"))
        assert weight is not None
        return self._layer(
            node,
            lambda: self.layers.Dense(len(weight), use_bias=bias is not None, dtype=self.model.dtype),
            weight.T, bias,
        )  # fmt: skip

    def _norm(self, node: NodeData, axis: int) -> Any:
        names = ("weight", "bias", "running_mean", "running_var")
        arrays = [self.model.array(node.layer, name) for name in names]
        if arrays[2] is None:
            raise NotImplementedError("Keras has no BatchNormalization without moving statistics")
        return self._layer(
            node,
            lambda: self.layers.BatchNormalization(
                axis=axis, epsilon=node.options["epsilon"], scale=arrays[0] is not None, center=arrays[1] is not None,
                dtype=self.model.dtype,
            ),
            *arrays,
        )  # fmt: skip

    def _convolution(self, node: NodeData, x: Any) -> Any:
        o, weight, bias = node.options, *(self.model.array(node.layer, name) for name in ("weight", "bias"))
        assert weight is not None
        spatial = weight.ndim - 2
        settings = {
            "strides": tuple(o["stride"]), "dilation_rate": tuple(o["dilation"]), "use_bias": bias is not None,
            "padding": "valid", "dtype": self.model.dtype,
        }  # fmt: skip
        kernel = tuple(weight.shape[2:])
        if node.kind == "transposed_convolution":
            if o["groups"] > 1:
                raise NotImplementedError("Keras has no transposed convolution with groups")
            kind = getattr(self.layers, f"Conv{spatial}DTranspose")
            turned = np.moveaxis(weight, (0, 1), (-1, -2))
            call = self._layer(node, lambda: kind(weight.shape[1], kernel, **settings), turned, bias)
            return self._crop(call(x), x, node, kernel)
        if any(o["padding"]):
            x = getattr(self.layers, f"ZeroPadding{spatial}D")(_each(o["padding"]), dtype=self.model.dtype)(x)
        if o["groups"] == x.shape[-1] and o["groups"] > 1 and spatial < 3:
            many = len(weight) // o["groups"]
            turned = np.moveaxis(weight[:, 0].reshape(o["groups"], many, *kernel), (0, 1), (-2, -1))
            kind = getattr(self.layers, f"DepthwiseConv{spatial}D")
            return self._layer(node, lambda: kind(kernel, depth_multiplier=many, **settings), turned, bias)(x)
        kind = getattr(self.layers, f"Conv{spatial}D")
        turned = np.moveaxis(weight, (0, 1), (-1, -2))
        return self._layer(node, lambda: kind(len(weight), kernel, groups=o["groups"], **settings), turned, bias)(x)

    def _crop(self, y: Any, x: Any, node: NodeData, kernel: tuple[int, ...]) -> Any:
        """A transposed convolution without what its padding takes away, and what Keras adds at the end."""
        o, cuts = node.options, []
        for axis, (size, k) in enumerate(zip(x.shape[1:-1], kernel, strict=True)):
            whole = (size - 1) * o["stride"][axis] + o["dilation"][axis] * (k - 1) + 1
            padding = o["padding"][axis]
            cuts.append((padding, padding + y.shape[1 + axis] - whole))
        if not any(cut for pair in cuts for cut in pair):
            return y
        kind = getattr(self.layers, f"Cropping{len(kernel)}D")
        return kind(cuts[0] if len(cuts) == 1 else tuple(cuts), dtype=self.model.dtype)(y)

    def _pooling(self, node: NodeData, x: Any) -> Any:
        o = node.options
        spatial = len(o["kernel"])
        kind = "AveragePooling" if node.kind == "average_pooling" else "MaxPooling"
        padding = "valid"
        if any(o["padding"]) and node.kind == "average_pooling":
            x = getattr(self.layers, f"ZeroPadding{spatial}D")(_each(o["padding"]), dtype=self.model.dtype)(x)
        elif any(o["padding"]):
            if any(k != 2 * p + 1 for k, p in zip(o["kernel"], o["padding"], strict=True)) or set(o["stride"]) != {1}:
                raise NotImplementedError("Keras has no such padding of a maximum")
            padding = "same"
        made = getattr(self.layers, f"{kind}{spatial}D")
        return made(tuple(o["kernel"]), strides=tuple(o["stride"]), padding=padding, dtype=self.model.dtype)(x)


def _each(padding: list[int]) -> Any:
    """A padding of each axis as Keras takes it: of one axis a number."""
    return padding[0] if len(padding) == 1 else tuple(padding)
