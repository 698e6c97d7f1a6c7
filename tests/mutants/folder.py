"""A right folder, from which wrong ones are made by overriding one piece; and how both are entered in the catalogue.

It evaluates a model with NumPy in the model's dtype, each BatchNorm folded into the layer before it, or after it, where
that is right: one reader, one call, running statistics, evaluation, and channels that are the layer's output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from bnconform.backends.runner.deployments import ModelData, NodeData
from bnconform.spec.formats import DTYPES as ALL_DTYPES
from bnconform.spec.graph import Array
from bnconform.spec.oracle import linear_maps
from bnconform.tests.mutants import catalogue
from bnconform.tests.mutants.catalogue import Mutant

Made = TypeVar("Made", bound=type)
Predict = Callable[[Array], Array]

DTYPES = ("float32",)
"""The dtypes in which wrong folders are judged where nothing else is said."""


@dataclass(frozen=True)
class FolderMutant(Mutant):
    """A mutant that deploys models (`bnconform.backends.deployments`)."""

    def load(self, model: ModelData, device: str) -> Any:
        """A folder with the model."""
        return self.build_layer(model)  # type: ignore[arg-type]  # of folders the class is kept in its place

    def deploy(self, original: Any, example: Array) -> Predict:
        """What it predicts by."""
        found: Predict = original.deploy(example)
        return found

    @property
    def lower_precision(self) -> Mapping[str, str]:
        """What the folder's class declares."""
        found: Mapping[str, str] = getattr(self.build_layer, "LOWER", {})
        return found

    def parameters(self, original: Any) -> Mapping[str, Array]:
        """The model's arrays and modes."""
        found: Mapping[str, Array] = original.parameters()
        return found


def wrong_folder(*killers: str, thread: str = "", dtypes: tuple[str, ...] = DTYPES) -> Callable[[Made], Made]:
    """Enter a folder among the wrong implementations, as `bnconform.tests.mutants.catalogue.wrong` does a layer."""

    def enter(made: Made) -> Made:
        name, says = catalogue._name(made), catalogue._sentence(made)
        catalogue._add(catalogue.WRONG, FolderMutant(name, says, made, killers, thread=thread, dtypes=dtypes))
        return made

    return enter


def right_folder(made: Made) -> Made:
    """Enter a folder among the right implementations, in every dtype, or those in which it declares a lower one."""
    name, says = catalogue._name(made), catalogue._sentence(made)
    dtypes = tuple(getattr(made, "LOWER", {})) or ALL_DTYPES
    catalogue._add(catalogue.RIGHT, FolderMutant(name, says, made, dtypes=dtypes))
    return made


@dataclass
class Folded:
    """A model while it is folded: its nodes, and arrays that are its own."""

    nodes: list[NodeData]
    arrays: dict[str, Array] = field(default_factory=dict)

    def array(self, layer: str, name: str) -> Array | None:
        """An array of a layer, or None."""
        return self.arrays.get(f"{layer}.{name}")

    def readers(self, name: str) -> list[NodeData]:
        """The nodes that read a result."""
        return [node for node in self.nodes if name in node.inputs]

    def calls(self, layer: str) -> int:
        """How often a layer is called."""
        return sum(node.layer == layer for node in self.nodes)

    def source(self, node: NodeData) -> NodeData | None:
        """What a node reads first; None for the model's input."""
        return next((other for other in self.nodes if other.name == node.inputs[0]), None)

    def drop(self, node: NodeData) -> None:
        """Let those who read a node read what it reads."""
        kept = [other for other in self.nodes if other is not node]
        source = node.inputs[0]
        self.nodes = [
            replace(other, inputs=tuple(source if name == node.name else name for name in other.inputs))
            for other in kept
        ]


@dataclass(frozen=True)
class FoldedModel:
    """What predicts by what has been folded."""

    folder: Folder
    folded: Folded

    def __call__(self, x: Array) -> Array:
        """The prediction."""
        with np.errstate(all="ignore"):
            return self.folder.evaluate(self.folded, x)

    def layers(self) -> dict[str, tuple[Array, Array | None]]:
        """The layers that are left."""
        return self.folder.layers(self.folded)


LINEAR = ("linear", "convolution", "transposed_convolution")


class Folder:
    """The right one; see the module."""

    FOLDS_AFTER, FOLDS_BEFORE = True, False
    """Whether a BatchNorm is folded into the layer that it follows, and into the one that follows it."""

    def __init__(self, model: ModelData) -> None:
        self.model = model
        self.arrays = dict(model.arrays)
        self.dtype = np.dtype(next(iter(self.arrays.values())).dtype) if self.arrays else None
        self.training = {layer: bool(node.options.get("training")) for layer, node in model.layers().items()}

    def parameters(self) -> dict[str, Array]:
        """Arrays and modes, copied."""
        modes = {f"{layer}.training": np.array(float(mode)) for layer, mode in self.training.items()}
        return {**{name: value.copy() for name, value in self.arrays.items()}, **modes}

    def deploy(self, example: Array) -> Predict:
        """Fold, and predict by what has come of it."""
        folded = Folded(list(self.model.nodes), {name: value.copy() for name, value in self.arrays.items()})
        with np.errstate(all="ignore"):
            self.fold(folded)

        return FoldedModel(self, folded)

    def layers(self, folded: Folded) -> dict[str, tuple[Array, Array | None]]:
        """(weight, bias) of each layer that is left, as they are shown."""
        left = {node.layer for node in folded.nodes if node.kind in LINEAR}
        found = {layer: (folded.array(layer, "weight"), folded.array(layer, "bias")) for layer in left}
        return {layer: (weight, bias) for layer, (weight, bias) in found.items() if weight is not None}

    # -- what is folded into what ------------------------------------------------------------------------------------

    def fold(self, folded: Folded) -> None:
        """Fold what may be folded, one BatchNorm after the other."""
        for norm in [node for node in folded.nodes if node.kind == "batch_normalization"]:
            current = next((node for node in folded.nodes if node.name == norm.name), None)
            if current is None or not self.is_constant(folded, current):
                continue
            before = folded.source(current)
            if self.FOLDS_AFTER and before is not None and self.may_follow(folded, before, current):
                self.into_before(folded, before, current)
            elif self.FOLDS_BEFORE and self.may_precede(folded, current):
                self.into_after(folded, current)

    def is_constant(self, folded: Folded, norm: NodeData) -> bool:
        """Whether a BatchNorm is a fixed map."""
        return folded.array(norm.layer, "running_mean") is not None and not self.training[norm.layer]

    def may_follow(self, folded: Folded, layer: NodeData, norm: NodeData) -> bool:
        """Whether a BatchNorm may be folded into what it follows."""
        return (
            layer.kind in LINEAR
            and self.is_read_once(folded, layer)
            and self.is_called_once(folded, layer, norm)
            and self.has_channels(folded, layer, norm)
        )

    def is_read_once(self, folded: Folded, node: NodeData) -> bool:
        """Whether a result has no other reader."""
        return len(folded.readers(node.name)) == 1

    def is_called_once(self, folded: Folded, layer: NodeData, norm: NodeData) -> bool:
        """Whether neither layer is called elsewhere."""
        return folded.calls(layer.layer) == 1 and folded.calls(norm.layer) == 1

    def has_channels(self, folded: Folded, layer: NodeData, norm: NodeData) -> bool:
        """Whether the channels, axis 1, are the layer's output."""
        return layer.kind != "linear" or self.rank() == 2

    def rank(self) -> int:
        """The rank of what linear layers read: they come first, or after what keeps it."""
        return len(self.model.shape)

    def may_precede(self, folded: Folded, norm: NodeData) -> bool:
        """Whether a BatchNorm may be folded into what reads it."""
        readers = folded.readers(norm.name)
        if not readers or readers[0].kind not in LINEAR[:2] or not self.is_read_once(folded, norm):
            return False
        layer = readers[0]
        if layer.kind == "linear" and self.rank() != 2:
            return False
        return self.is_called_once(folded, layer, norm) and not self.is_padded(layer)

    def is_padded(self, layer: NodeData) -> bool:
        """Whether a convolution has a border that no BatchNorm made."""
        return any(layer.options.get("padding", ()))

    # -- constants, and how they are merged --------------------------------------------------------------------------

    def constants(self, folded: Folded, norm: NodeData) -> tuple[Array, Array]:
        """(k, b') of a BatchNorm, each (C,)."""
        arrays = [folded.array(norm.layer, name) for name in ("weight", "bias", "running_mean", "running_var")]
        weight, bias, mean, variance = arrays
        assert mean is not None and variance is not None
        factor = self.factor(weight, variance, norm.options["epsilon"])
        return factor, self.shift(bias, factor, mean)

    def factor(self, weight: Array | None, variance: Array, epsilon: float) -> Array:
        """The factor, k."""
        root = np.sqrt(variance + variance.dtype.type(epsilon))
        return np.asarray((np.ones_like(variance) if weight is None else weight) / root)

    def shift(self, bias: Array | None, factor: Array, mean: Array) -> Array:
        """What is added, b'."""
        return np.asarray((np.zeros_like(mean) if bias is None else bias) - factor * mean)

    def into_before(self, folded: Folded, layer: NodeData, norm: NodeData) -> None:
        """Fold a BatchNorm into the layer that it follows."""
        factor, shift = self.constants(folded, norm)
        weight, bias = folded.array(layer.layer, "weight"), folded.array(layer.layer, "bias")
        assert weight is not None
        folded.arrays[f"{layer.layer}.weight"] = self.scale(layer, weight, factor)
        merged = self.bias_of_merge(bias, factor, shift)
        if merged is not None:
            folded.arrays[f"{layer.layer}.bias"] = merged
        folded.drop(norm)

    def scale(self, layer: NodeData, weight: Array, factor: Array) -> Array:
        """The weight, each output channel times its factor."""
        if layer.kind != "transposed_convolution":
            return np.asarray(weight * factor.reshape((-1,) + (1,) * (weight.ndim - 1)))
        groups = layer.options["groups"]
        split = weight.reshape(groups, -1, *weight.shape[1:])
        of_group = factor.reshape((groups, 1, -1) + (1,) * (weight.ndim - 2))
        return np.asarray((split * of_group).reshape(weight.shape))

    def bias_of_merge(self, bias: Array | None, factor: Array, shift: Array) -> Array | None:
        """The bias of the layer, folded."""
        return np.asarray(shift if bias is None else factor * bias + shift)

    def into_after(self, folded: Folded, norm: NodeData) -> None:
        """Fold a BatchNorm into the linear layer or convolution that reads it."""
        factor, shift = self.constants(folded, norm)
        layer = folded.readers(norm.name)[0]
        weight, bias = folded.array(layer.layer, "weight"), folded.array(layer.layer, "bias")
        assert weight is not None
        groups = layer.options.get("groups", 1)
        split = weight.reshape(groups, -1, *weight.shape[1:])
        shape = (groups, 1, -1) + (1,) * (weight.ndim - 2)
        folded.arrays[f"{layer.layer}.weight"] = (split * factor.reshape(shape)).reshape(weight.shape)
        added = (split * shift.reshape(shape)).reshape(len(weight), -1).sum(axis=1, dtype=weight.dtype)
        folded.arrays[f"{layer.layer}.bias"] = added if bias is None else bias + added
        folded.drop(norm)

    # -- evaluation --------------------------------------------------------------------------------------------------

    def evaluate(self, folded: Folded, x: Array) -> Array:
        """The prediction, in the dtype of x."""
        results = {"x": x}
        last = x
        for node in folded.nodes:
            inputs = [results[name] for name in node.inputs]
            last = results[node.name] = self.operation(folded, node, inputs)
        return last

    def operation(self, folded: Folded, node: NodeData, inputs: list[Array]) -> Array:
        """What one node gives."""
        x, o = inputs[0], node.options
        if node.kind in LINEAR:
            return self.linear(folded, node, x)
        if node.kind == "batch_normalization":
            return self.normalize(folded, node, x)
        if node.kind in ("average_pooling", "max_pooling"):
            filling = 0 if node.kind == "average_pooling" else -np.inf
            seen = linear_maps.windows(x, o["kernel"], o["stride"], o["padding"], filling)
            average = node.kind == "average_pooling"
            return np.asarray(
                seen.sum(axis=0, dtype=x.dtype) / x.dtype.type(len(seen)) if average else seen.max(axis=0)
            )
        if node.kind == "sigmoid":
            return np.asarray(1 / (1 + np.exp(-x)), x.dtype)
        if node.kind == "relu":
            return np.asarray(np.maximum(x, x.dtype.type(0)))
        if node.kind == "add":
            return np.asarray(x + inputs[1])
        if node.kind == "concatenate":
            return np.concatenate(inputs, axis=1)
        return x.reshape(len(x), *(o["to"] if node.kind == "reshape" else (-1,)))

    def linear(self, folded: Folded, node: NodeData, x: Array) -> Array:
        """A linear layer or a convolution."""
        weight, bias, o = folded.array(node.layer, "weight"), folded.array(node.layer, "bias"), node.options
        assert weight is not None
        if node.kind == "linear":
            y = linear_maps.linear(x, weight)
            return np.asarray(y if bias is None else y + bias, x.dtype)
        y = linear_maps.CONVOLUTIONS[node.kind](x, weight, o["stride"], o["padding"], o["dilation"], o["groups"])
        return np.asarray(y if bias is None else y + linear_maps.along_channels(bias, y.ndim), x.dtype)

    def normalize(self, folded: Folded, norm: NodeData, x: Array) -> Array:
        """A BatchNorm that was not folded."""
        if self.is_constant(folded, norm):
            factor, shift = self.constants(folded, norm)
            return self.affine(x, factor, shift)
        return self.by_batch(folded, norm, x)

    def affine(self, x: Array, factor: Array, shift: Array) -> Array:
        """Of each channel, k x + b'."""
        along = linear_maps.along_channels
        return np.asarray(x * along(factor, x.ndim) + along(shift, x.ndim), x.dtype)

    def by_batch(self, folded: Folded, norm: NodeData, x: Array) -> Array:
        """By the statistics of the batch, in two passes."""
        axes = (0, *range(2, x.ndim))
        mean = x.mean(axis=axes, keepdims=True, dtype=x.dtype)
        centred = x - mean
        variance = (centred * centred).mean(axis=axes, dtype=x.dtype)
        weight, bias = folded.array(norm.layer, "weight"), folded.array(norm.layer, "bias")
        factor = self.factor(weight, variance, norm.options["epsilon"])
        return self.affine(centred, factor, np.zeros_like(factor) if bias is None else bias)
