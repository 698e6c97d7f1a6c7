"""A model that is being rewritten into what a wrong fold of it computes, node by node.

What a tool predicts that folds wrongly is what another model predicts, rightly: the same nodes with other constants,
another order, or one more fixed map k x + b' of each channel. So the oracle evaluates it, and its bound is derived.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from bnconform.spec.graph import INPUT, WITH_WEIGHTS, Array, Graph, Node

LINEAR = WITH_WEIGHTS[:3]
NORM = WITH_WEIGHTS[3]
ACTIVATIONS = ("relu", "sigmoid")
POOLINGS = ("average_pooling", "max_pooling")


class Site(NamedTuple):
    """Where a fold is made: the names of nodes in the order of their evaluation, the BatchNorm's among them."""

    nodes: tuple[str, ...]
    norm: str


@dataclass
class Draft:
    """A model while it is rewritten.

    Every node has a layer of its own, so that one call can be changed and another not; `called` keeps whose it was.

    Attributes:
        shapes: of each result of the model, by its name, with the samples.
        example: (mean, variance) of what each BatchNorm reads of the example, by the name of its node.
    """

    nodes: list[Node]
    arrays: dict[str, Array]
    called: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    shape: tuple[int, ...]
    dtype: str
    example: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        network: Graph,
        shapes: Mapping[str, tuple[int, ...]],
        example: Mapping[str, tuple[Array, Array]] | None = None,
    ) -> Draft:
        """A model as it is, its numbers in float64."""
        nodes, arrays = [], {}
        for node in network.nodes:
            nodes.append(replace(node, layer=node.name) if node.layer else node)
            for name in ("weight", "bias", "running_mean", "running_var"):
                value = network.array(node.layer, name) if node.layer else None
                if value is not None:
                    arrays[f"{node.name}.{name}"] = value.astype(np.float64)
        called = {node.name: node.layer for node in network.nodes if node.layer}
        return cls(nodes, arrays, called, shapes, network.shape, network.dtype, example or {})

    def graph(self) -> Graph:
        """What has come of it.

        Raises:
            ValueError: where a node reads what there is not yet.
        """
        return Graph(tuple(self.nodes), self.arrays, self.shape, self.dtype)

    # -- looking -----------------------------------------------------------------------------------------------------

    def node(self, name: str) -> Node:
        """The node of a name."""
        return next(node for node in self.nodes if node.name == name)

    def source(self, node: Node) -> Node | None:
        """What a node reads first; None for the model's input."""
        return None if node.inputs[0] == INPUT else self.node(node.inputs[0])

    def readers(self, name: str) -> list[Node]:
        """The nodes that read a result."""
        return [node for node in self.nodes if name in node.inputs]

    def norms(self) -> list[Node]:
        """The BatchNorms."""
        return [node for node in self.nodes if node.kind == NORM]

    def has_constants(self, norm: Node) -> bool:
        """Whether it has running statistics."""
        return f"{norm.name}.running_mean" in self.arrays

    def array(self, node: Node, name: str) -> Array | None:
        """An array of a node, or None."""
        return self.arrays.get(f"{node.name}.{name}")

    def calls(self, node: Node) -> list[Node]:
        """The nodes that call the layer of a node."""
        return [other for other in self.nodes if self.called.get(other.name) == self.called[node.name]]

    def rank(self, norm: Node) -> int:
        """The rank of what a BatchNorm reads."""
        return len(self.shapes[norm.name])

    def constants(self, norm: Node) -> tuple[Array, Array]:
        """(k, b') of a BatchNorm, each (C,), in float64."""
        variance, mean = self.array(norm, "running_var"), self.array(norm, "running_mean")
        assert variance is not None and mean is not None
        with np.errstate(all="ignore"):
            factor = 1 / np.sqrt(variance + norm.options["epsilon"])
            weight, bias = self.array(norm, "weight"), self.array(norm, "bias")
            factor = factor if weight is None else factor * weight
            return factor, (0.0 if bias is None else bias) - factor * mean

    # -- changing ----------------------------------------------------------------------------------------------------

    def put(self, node: Node) -> None:
        """A node in the place of the one of its name."""
        self.nodes = [node if other.name == node.name else other for other in self.nodes]

    def set_arrays(self, node: Node, **arrays: Array | None) -> None:
        """Other arrays of a node; None takes one away."""
        for name, value in arrays.items():
            if value is None:
                self.arrays.pop(f"{node.name}.{name}", None)
            else:
                self.arrays[f"{node.name}.{name}"] = np.asarray(value, np.float64)

    def set_options(self, node: Node, **options: Any) -> None:
        """Other options of a node."""
        self.put(replace(self.node(node.name), options={**node.options, **options}))

    def set_map(self, norm: Node, factor: Array, mean: Array, shift: Array) -> None:
        """Make a BatchNorm the map factor (x - mean) + shift."""
        ones = np.ones(np.shape(factor))
        self.set_arrays(norm, weight=factor, running_mean=mean * ones, running_var=ones, bias=shift * ones)
        self.set_options(norm, epsilon=0.0)

    def set_identity(self, norm: Node) -> None:
        """Make a BatchNorm pass on what it reads."""
        width = self.shapes[norm.name][1]
        self.set_map(norm, np.ones(width), np.zeros(width), np.zeros(width))

    def copy_norm(self, source: Node, target: Node, arrays: Mapping[str, Array]) -> None:
        """Give a BatchNorm the options of another one, and what that had in `arrays`."""
        names = ("weight", "bias", "running_mean", "running_var")
        self.set_arrays(target, **{name: arrays.get(f"{source.name}.{name}") for name in names})
        self.put(replace(self.node(target.name), options=source.options))

    def insert_after(self, name: str, options: Mapping[str, Any] | None = None) -> Node:
        """A BatchNorm after a result, read by all who read that; its arrays are still to be set."""
        number = sum(node.name.startswith(f"{name}_then") for node in self.nodes)
        made = Node(
            NORM, f"{name}_then_{number}", (name,), f"{name}_then_{number}", {"epsilon": 0.0, **(options or {})}
        )
        self.nodes = [
            replace(node, inputs=tuple(made.name if one == name else one for one in node.inputs)) for node in self.nodes
        ]
        place = next((i for i, node in enumerate(self.nodes) if node.name == name), -1)
        self.nodes.insert(place + 1, made)
        self.shapes = {**self.shapes, made.name: self.shapes[name]}
        return made

    def insert_map(self, name: str, factor: Array, shift: Array) -> None:
        """The map factor x + shift of each channel after a result; either has (C,) entries."""
        made = self.insert_after(name)
        self.set_map(made, np.asarray(factor), np.zeros(np.shape(factor)), shift)

    def swap(self, first: Node, second: Node) -> None:
        """Exchange what two nodes do, of which the second reads the first alone, and keep their names."""
        moved = {}
        for name in ("weight", "bias", "running_mean", "running_var"):
            moved[f"{first.name}.{name}"] = self.arrays.pop(f"{second.name}.{name}", None)
            moved[f"{second.name}.{name}"] = self.arrays.pop(f"{first.name}.{name}", None)
        self.arrays.update({name: value for name, value in moved.items() if value is not None})
        one, other = (replace(a, kind=b.kind, options=b.options) for a, b in ((first, second), (second, first)))
        self.put(replace(one, layer=one.name if second.layer else ""))
        self.put(replace(other, layer=other.name if first.layer else ""))


def pairs(draft: Draft) -> list[tuple[Node, Node]]:
    """(layer, BatchNorm with constants) that reads it."""
    found = []
    for norm in draft.norms():
        layer = draft.source(norm)
        if layer is not None and layer.kind in LINEAR and draft.has_constants(norm):
            found.append((layer, norm))
    return found


def pairs_before(draft: Draft) -> list[tuple[Node, Node]]:
    """(BatchNorm with constants, layer) that reads it."""
    found = []
    for norm in draft.norms():
        if draft.has_constants(norm):
            found += [(norm, reader) for reader in draft.readers(norm.name) if reader.kind in LINEAR]
    return found


def site(norm: Node, *nodes: Node) -> Site:
    """A site of some nodes; of the BatchNorm alone where none are given."""
    return Site(tuple(node.name for node in nodes) or (norm.name,), norm.name)


def sites_of(found: Sequence[tuple[Node, Node]]) -> list[Site]:
    """The sites of pairs, whichever of the two is the BatchNorm."""
    return [site(a if a.kind == NORM else b, a, b) for a, b in found]
