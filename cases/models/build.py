"""A row of the table as a network: its nodes, its weights and its trained state, all made from the row alone.

No two axes are of one size unless the row says so, and the weights are drawn anew for each row.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from bnconform.cases.covering.factors import Levels
from bnconform.cases.models.factors import RANKS, TRANSPOSED, is_convolution
from bnconform.spec.formats import numpy_dtype
from bnconform.spec.graph import INPUT, Array, Graph, Node

SAMPLES = 3
POSITIONS: dict[int, tuple[int, ...]] = {3: (11,), 4: (8, 9), 5: (5, 6, 7)}
"""By the rank of x, so large that a kernel of three with a dilation of two has room."""

IN, OUT, EQUAL = 4, 6, 4
"""Channels, or features, of the input; of the output, where it is wider; and where all are of one width."""

ROWS = 5
"""The channels of what a linear layer maps along its last axis, where the widths are unequal."""

HEAD = 3
"""Features of a linear layer at the end."""

LARGE = 1e4
"""The large mean."""


class Builder:
    """The network of a row, node by node.

    Attributes:
        nodes, arrays: so far. shapes: of each result, without the samples.
    """

    def __init__(self, levels: Levels) -> None:
        self.levels = levels
        self.nodes: list[Node] = []
        self.arrays: dict[str, Array] = {}
        self._random = np.random.default_rng(zlib.crc32(repr(sorted(levels.items())).encode()))
        self.shapes: dict[str, tuple[int, ...]] = {INPUT: self._input()}

    def _input(self) -> tuple[int, ...]:
        layer, equal = self.levels["layer"], self.levels["width"] == "equal"
        if not layer.startswith("linear"):
            return (IN, *POSITIONS[RANKS[layer]])
        rows = EQUAL if equal else ROWS
        return {2: (IN,), 3: (rows, IN), 4: (rows, 2, IN)}[RANKS[layer]]

    @property
    def _training(self) -> dict[str, tuple[bool, bool]]:
        """Whether layers and BatchNorms are in training, by the level of `mode`."""
        return {"evaluation": (False, False), "norm_training": (False, True), "all_training": (True, True)}

    def add(
        self, kind: str, *inputs: str, layer: str = "", shape: tuple[int, ...] | None = None, **options: Any
    ) -> str:
        """Add a node; the name of its result, of the first input's shape if no other is given."""
        name = f"{kind}_{len(self.nodes) + 1}"
        self.nodes.append(Node(kind, name, inputs, layer, options))
        self.shapes[name] = self.shapes[inputs[0]] if shape is None else shape
        return name

    def uniform(self, low: float, high: float, shape: Sequence[int]) -> Array:
        """Numbers of either sign whose size lies between two."""
        size = self._random.uniform(low, high, tuple(shape))
        return np.asarray(size * self._random.choice((-1.0, 1.0), tuple(shape)))

    # -- layers ------------------------------------------------------------------------------------------------------

    def layer(self, source: str, name: str, *, pointwise: bool = False) -> str:
        """The layer of the row over a result; a pointwise one keeps the positions and the width."""
        if self.levels["layer"] == "no_layer":
            return source
        if is_convolution(self.levels):
            return self._convolution(source, name, pointwise)
        shape = self.shapes[source]
        width = shape[-1] if pointwise else (EQUAL if self.levels["width"] == "equal" else OUT)
        self._weights(name, (width, shape[-1]), shape[-1], width)
        training = self._training[self.levels["mode"]][0]
        return self.add("linear", source, layer=name, shape=(*shape[:-1], width), training=training)

    def _convolution(self, source: str, name: str, pointwise: bool) -> str:
        levels = self.levels
        channels, *positions = self.shapes[source]
        transposed = levels["layer"] in TRANSPOSED and not pointwise
        groups = 1 if pointwise else {"1": 1, "2": 2, "depthwise": channels}[levels["groups"]]
        wide = 2 * channels if levels["groups"] == "depthwise" else OUT
        out = channels if pointwise else (channels if levels["width"] == "equal" else wide)
        kernel, stride, dilation, padding = (
            (1, 1, 1, 0) if pointwise else (int(levels[n]) for n in ("kernel", "stride", "dilation", "padding"))
        )
        span = dilation * (kernel - 1) + 1
        if transposed:
            sizes = [(size - 1) * stride + span - 2 * padding for size in positions]
        else:
            sizes = [(size + 2 * padding - span) // stride + 1 for size in positions]
        first, second = (channels, out // groups) if transposed else (out, channels // groups)
        each = [kernel] * len(positions)
        self._weights(name, (first, second, *each), channels // groups * prod(each), out)
        every = {"stride": stride, "padding": padding, "dilation": dilation}
        return self.add(
            "transposed_convolution" if transposed else "convolution", source, layer=name, shape=(out, *sizes),
            **{word: [value] * len(positions) for word, value in every.items()}, groups=groups,
            training=self._training[levels["mode"]][0],
        )  # fmt: skip

    def _weights(self, name: str, shape: Sequence[int], terms: int, width: int) -> None:
        if f"{name}.weight" in self.arrays:
            return
        self.arrays[f"{name}.weight"] = self.uniform(0.3, 1.5, shape) / np.sqrt(terms)
        if self.levels["layer_bias"] == "yes":
            around = LARGE if self.levels["statistics"] == "large_mean" else 0.0
            self.arrays[f"{name}.bias"] = around + self.uniform(0.2, 1.0, (width,))

    def norm(self, source: str, name: str) -> str:
        """A BatchNorm over a result."""
        levels, width = self.levels, self.shapes[source][0]
        if f"{name}.made" not in self.shapes:
            self.shapes[f"{name}.made"] = ()
            if levels["affine"] == "yes":
                self.arrays[f"{name}.weight"] = self._gamma(width)
                self.arrays[f"{name}.bias"] = self.uniform(0.2, 1.0, (width,))
            if levels["tracking"] == "yes":
                mean, variance = self._statistics(width)
                self.arrays[f"{name}.running_mean"], self.arrays[f"{name}.running_var"] = mean, variance
        return self.add(
            "batch_normalization", source, layer=name, epsilon=float(levels["epsilon"]),
            training=self._training[levels["mode"]][1],
        )  # fmt: skip

    def _gamma(self, width: int) -> Array:
        values = self.uniform(0.5, 1.5, (width,))
        kind = self.levels["gamma"]
        if kind == "ones":
            return np.ones(width)
        if kind == "negative":
            return -np.abs(values)
        if kind == "zero":
            values[::2] = 0.0
        else:
            values[0], values[-1] = abs(values[0]), -abs(values[-1])
        return values

    def _statistics(self, width: int) -> tuple[Array, Array]:
        """(running_mean, running_var)."""
        kind = self.levels["statistics"]
        if kind == "default":
            return np.zeros(width), np.ones(width)
        mean = self.uniform(0.2, 1.0, (width,))
        variance = self._random.uniform(0.3, 3.0, (width,))
        if kind == "far":
            return mean * 4, variance * 8
        if kind == "large_mean":
            return LARGE + mean, variance
        if kind == "no_variance":
            variance[::2] = 0.0
            return mean, variance
        return mean, np.full(width, 1e-7)

    # -- the whole ---------------------------------------------------------------------------------------------------

    def graph(self) -> Graph:
        """The network."""
        levels = self.levels
        main, other = self._chain(INPUT, "")
        if levels["shared"] != "none":
            second, _ = self._chain(self.add("relu", INPUT), "_again")
            main = self.add("add", main, second)
        main = self._after(main)
        if other:
            flat = [self._flat(main), self._flat(self.add("relu", other))]
            size = sum(self.shapes[name][0] for name in flat)
            main = self.add("concatenate", *flat, shape=(size,))
        return Graph(tuple(self.nodes), self.arrays, (SAMPLES, *self.shapes[INPUT]))

    def _chain(self, source: str, again: str) -> tuple[str, str]:
        """The layer and the BatchNorm in their order: the result, and what has another reader, or ""."""
        levels = self.levels
        layer = "layer" + ("" if levels["shared"] in ("layer", "both") else again)
        norm = "norm" + ("" if levels["shared"] in ("norm", "both") else again)
        seen = {"none": ""}
        current = source
        words = levels["order"].split("_")
        for place, word in enumerate(words):
            twice = words.index(word) < place
            if word == "layer":
                current = self.layer(current, f"{layer}_2" if twice else layer, pointwise=twice)
            elif word == "norm":
                current = self.norm(current, f"{norm}_2" if twice else norm)
            else:
                current = self.add("relu", current)
            seen[f"of_{word}"] = current
        return current, seen[levels["reader"]]

    def _after(self, main: str) -> str:
        kind = self.levels["after"]
        if kind == "nothing":
            return main
        if kind in ("relu", "sigmoid"):
            return self.add(kind, main)
        if kind in ("add", "concatenate"):
            beside = INPUT if self.levels["layer"] == "no_layer" else self.layer(INPUT, "beside")
            width, *rest = self.shapes[main]
            return self.add(kind, main, beside, shape=(width * (1 + (kind == "concatenate")), *rest))
        if kind == "flatten_linear":
            flat = self._flat(main)
            self._weights("head", (HEAD, self.shapes[flat][0]), self.shapes[flat][0], HEAD)
            training = self._training[self.levels["mode"]][0]
            return self.add("linear", flat, layer="head", shape=(HEAD,), training=training)
        if kind == "reshape":
            width, *rest = self.shapes[main]
            new = [width // 2, 2 * prod(rest)] if width % 2 == 0 else [prod(rest), width]
            return self.add("reshape", main, shape=tuple(new), to=new)
        return self._pooling(main, kind)

    def _flat(self, source: str) -> str:
        shape = self.shapes[source]
        return source if len(shape) == 1 else self.add("flatten", source, shape=(prod(shape),))

    def _pooling(self, main: str, kind: str) -> str:
        if len(self.shapes[main]) == 1:
            new = [1, self.shapes[main][0]]
            main = self.add("reshape", main, shape=tuple(new), to=new)
        width, *positions = self.shapes[main]
        padded = kind.startswith("padded")
        # An axis that is shorter than the kernel has no border: PyTorch's AvgPool3d refuses it.
        padding = [1 if padded and size >= 3 else 0 for size in positions]
        kernel = [min(2 + p, size) for size, p in zip(positions, padding, strict=True)]
        stride = 1 if padded else 2
        sizes = [(size + 2 * p - k) // stride + 1 for size, p, k in zip(positions, padding, kernel, strict=True)]
        average = "average" in kind
        more: dict[str, Any] = {"counts_padding": True} if average else {}
        return self.add(
            "average_pooling" if average else "max_pooling", main, shape=(width, *sizes), kernel=kernel,
            stride=[stride] * len(positions), padding=padding, **more,
        )  # fmt: skip


def graph(levels: Levels) -> Graph:
    """The network of a row, in float64."""
    return Builder(levels).graph()


def sample(network: Graph, count: int = SAMPLES, seed: int = 0) -> Array:
    """Input for a network: (count, ...), values between -2 and 2, in its dtype; those of a seed begin alike."""
    values = np.random.default_rng(seed).uniform(-2.0, 2.0, (count, *network.shape[1:]))
    return np.asarray(values.astype(numpy_dtype(network.dtype)))
