"""A small network as data: nodes in the order of their evaluation, with weights and a trained state as arrays.

The kinds of node, with their inputs and options; x is (N, C, *S) unless said otherwise, and every list has one number
for each position axis:

* `linear`: (..., F) -> (..., O), weight (O, F), bias (O,) or none. Each layer's `training` says whether it was left in
  training mode.
* `convolution`: weight (O, C / groups, *K), bias (O,) or none; stride, padding, dilation: lists; groups: a number.
* `transposed_convolution`: weight (C, O / groups, *K); the same options.
* `batch_normalization`: channels at axis 1; epsilon; weight and bias (C,) or none, running_mean and running_var (C,) or
  none; training. `axis`, 1 where it is not given, is where a wrong fold takes the channels to be; no model has it.
* `relu`, `sigmoid`: of each element.
* `average_pooling`, `max_pooling`: kernel, stride, padding: lists. The average counts the padding's zeros if
  `counts_padding`; the maximum never meets them.
* `add`, `concatenate` (axis 1): two inputs. `flatten`: (N, *) -> (N, F). `reshape`: (N, *) -> (N, *to).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnconform.spec.formats import numpy_dtype

Array = NDArray[Any]

KINDS = (
    "linear", "convolution", "transposed_convolution", "batch_normalization", "relu", "sigmoid", "average_pooling",
    "max_pooling", "add", "concatenate", "flatten", "reshape",
)  # fmt: skip
"""What a node may be."""

WITH_WEIGHTS = KINDS[:4]
"""The kinds of which a layer holds arrays; two nodes of one layer share them."""

INPUT = "x"
"""The name of the network's input."""


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        kind: one of KINDS. name: of its result, its own. inputs: the names of what it reads.
        layer: whose arrays it uses, "" where it has none; nodes of one layer are calls of one layer.
        options: as its kind has them; JSON-ready.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    layer: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Graph:
    """A network; its last node's result is the prediction.

    Attributes:
        arrays: "layer.weight" and so on -> the array. shape: of the input, (N, ...); N may be any other number.
        dtype: of the input and of all arrays.

    Raises:
        ValueError: for a node of no known kind, one that reads what there is not yet, or a name given twice.
    """

    nodes: tuple[Node, ...]
    arrays: Mapping[str, Array]
    shape: tuple[int, ...]
    dtype: str = "float64"

    def __post_init__(self) -> None:
        known = {INPUT}
        for node in self.nodes:
            if node.kind not in KINDS:
                raise ValueError(f"unknown kind of node {node.kind!r}; choose one of {', '.join(KINDS)}")
            lacking = [name for name in node.inputs if name not in known]
            if lacking or node.name in known:
                raise ValueError(f"the node {node.name!r} reads {lacking} before there is that, or is there twice")
            known.add(node.name)
        if not self.nodes:
            raise ValueError("a network needs a node")

    @property
    def output(self) -> str:
        """The name of the prediction."""
        return self.nodes[-1].name

    def array(self, layer: str, name: str) -> Array | None:
        """An array of a layer; None where it has no such one."""
        return self.arrays.get(f"{layer}.{name}")

    def cast(self, dtype: str) -> Graph:
        """The same network in another dtype, each of its numbers rounded once."""
        target = numpy_dtype(dtype)
        arrays = {name: np.asarray(value).astype(target) for name, value in self.arrays.items()}
        return replace(self, arrays=arrays, dtype=dtype)

    def without(self, kind: str) -> Graph | None:
        """The network without the nodes of a kind: who reads one reads what it reads first.

        None where nothing with weights is left, or the prediction is not the last node's.
        """
        place = {INPUT: INPUT}
        nodes = []
        for node in self.nodes:
            inputs = tuple(place[name] for name in node.inputs)
            place[node.name] = inputs[0] if node.kind == kind else node.name
            if node.kind != kind:
                nodes.append(replace(node, inputs=inputs))
        layers = {node.layer for node in nodes if node.layer}
        if not layers or place[self.output] != nodes[-1].name:
            return None
        arrays = {name: value for name, value in self.arrays.items() if name.rpartition(".")[0] in layers}
        return replace(self, nodes=tuple(nodes), arrays=arrays)

    def message(self) -> dict[str, Any]:
        """The network as the side that executes is sent it."""
        return {
            "nodes": [
                {
                    "kind": node.kind, "name": node.name, "inputs": list(node.inputs), "layer": node.layer,
                    "options": dict(node.options),
                }
                for node in self.nodes
            ],
            "arrays": dict(self.arrays), "shape": list(self.shape), "dtype": self.dtype,
        }  # fmt: skip

    def describe(self) -> str:
        """The nodes in one line, for messages: what each is, and of what where it is not of the one before it."""
        words = []
        before = INPUT
        for node in self.nodes:
            text = node.kind + (f" {node.layer}" if node.layer else "") + _options(node.options)
            words.append(text if node.inputs == (before,) else f"{text} of {' and '.join(node.inputs)}")
            before = node.name
        return f"x {self.dtype} {self.shape}: " + ", ".join(words)


PLAIN: Mapping[str, Any] = {"groups": 1, "training": False, "counts_padding": True}
"""Options that are not told where they are so."""


def _options(options: Mapping[str, Any]) -> str:
    told = []
    for name, value in options.items():
        plain = PLAIN.get(name, value if isinstance(value, list) and set(value) <= {_RESTING.get(name)} else None)
        if value != plain:
            told.append(f"{name} {value}")
    return f" ({', '.join(told)})" if told else ""


_RESTING: Mapping[str, int] = {"stride": 1, "padding": 0, "dilation": 1}
