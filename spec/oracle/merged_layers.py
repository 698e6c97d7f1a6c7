"""What a layer holds into which BatchNorms were merged, in 320 bits: its weight k W, and its bias.

A BatchNorm in evaluation is the map y = k x + b' of each channel, axis 1. After a linear layer or a convolution,

    k = weight / sqrt(running_var + eps);  W' = k W, by output channel;  b'' = k (b - running_mean) + bias

and before one, W' = W k, by input channel, and b'' = W b' + b, where no padding and no spreading of the input lies
between. Nothing here says which of these a tool must do: `merges` lists what it may have done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from bnconform.spec.exact import Exact, exact, require_precision, sqrt
from bnconform.spec.graph import INPUT, WITH_WEIGHTS, Array, Graph, Node
from bnconform.spec.oracle.networks import epsilon_of, weights_of

LAYERS = WITH_WEIGHTS[:3]
"""Into what a BatchNorm may be merged."""


@dataclass(frozen=True, eq=False)
class Merge:
    """One call of a layer, and the BatchNorms that are merged into it, in the order of their evaluation."""

    call: Node
    before: tuple[Node, ...] = ()
    after: tuple[Node, ...] = ()

    @property
    def norms(self) -> tuple[Node, ...]:
        """All of them."""
        return (*self.before, *self.after)


def merges(network: Graph) -> dict[str, list[Merge]]:
    """Whatever may be merged into each layer that has a BatchNorm beside it, by its name; nothing at all first."""
    found: dict[str, list[Merge]] = {}
    for call in network.nodes:
        if call.kind not in LAYERS:
            continue
        after = list(_after(network, call)) if _has_channels(network, call) else []
        before = list(_before(network, call)) if _takes_shift(network, call) else []
        for first, last in product(range(len(before) + 1), range(len(after) + 1)):
            if before or after:
                merge = Merge(call, tuple(reversed(before[:first])), tuple(after[:last]))
                found.setdefault(call.layer, []).append(merge)
    return found


def _is_map(network: Graph, node: Node) -> bool:
    """Whether a node is a BatchNorm with constants."""
    tracked = network.array(node.layer, "running_mean") is not None
    return node.kind == "batch_normalization" and tracked and not node.options["training"]


def _after(network: Graph, node: Node) -> Iterator[Node]:
    """The BatchNorms that follow, one upon the other; of several readers the first that is one."""
    for reader in network.nodes:
        if node.name in reader.inputs and _is_map(network, reader):
            yield reader
            yield from _after(network, reader)
            return


def _before(network: Graph, node: Node) -> Iterator[Node]:
    """The BatchNorms that a node reads, the nearest first."""
    source = next((other for other in network.nodes if other.name == node.inputs[0]), None)
    if source is not None and _is_map(network, source):
        yield source
        yield from _before(network, source)


def _has_channels(network: Graph, call: Node) -> bool:
    """Whether the channels, axis 1, are the layer's output."""
    return call.kind != "linear" or _is_flat(network, call)


def _takes_shift(network: Graph, call: Node) -> bool:
    """Whether a constant that is added to each channel of the input adds a constant to each of the output."""
    if call.kind == "linear":
        return _has_channels(network, call)
    return call.kind == "convolution" and not any(call.options["padding"])


def _is_flat(network: Graph, call: Node) -> bool:
    """Whether a linear layer reads (N, F), through BatchNorms and activations from such an input."""
    name, by_name = call.inputs[0], {node.name: node for node in network.nodes}
    while name != INPUT:
        node = by_name[name]
        if node.kind == "flatten":
            return True
        if node.kind not in ("batch_normalization", "relu", "sigmoid", "linear"):
            return False
        name = node.inputs[0]
    return len(network.shape) == 2


def merge_layer(network: Graph, merge: Merge, *, single_epsilon: bool = False) -> tuple[Exact, Exact]:
    """(weight, bias) of the layer with these BatchNorms in it: of the layer's own shape, and (O,).

    Args:
        single_epsilon: whether epsilon is stored in single precision.

    Raises:
        PrecisionError: outside of `bnconform.spec.exact.arithmetic`.
    """
    require_precision()
    weight, bias = weights_of(network, merge.call)
    shift = exact(np.zeros(outputs(merge.call, weight))) if bias is None else bias
    for norm in reversed(merge.before):
        factor, added = constants(network, norm, single_epsilon=single_epsilon)
        shift = shift + by_inputs(merge.call, weight, added, sums=True)
        weight = by_inputs(merge.call, weight, factor)
    for norm in merge.after:
        factor, added = constants(network, norm, single_epsilon=single_epsilon)
        weight, shift = by_outputs(merge.call, weight, factor), factor * shift + added
    return weight, np.asarray(shift, dtype=object)


def constants(network: Graph, norm: Node, *, single_epsilon: bool = False) -> tuple[Exact, Exact]:
    """(k, b') of a BatchNorm, each (C,)."""
    mean, variance = network.array(norm.layer, "running_mean"), network.array(norm.layer, "running_var")
    weight, bias = network.array(norm.layer, "weight"), network.array(norm.layer, "bias")
    factor = 1 / sqrt(exact(variance) + exact(epsilon_of(norm, single=single_epsilon)))
    factor = factor if weight is None else factor * exact(weight)
    shift = -factor * exact(mean)
    return np.asarray(factor), np.asarray(shift if bias is None else shift + exact(bias))


def outputs(call: Node, weight: Array) -> int:
    """The channels, or features, that a layer gives."""
    if call.kind == "transposed_convolution":
        return int(weight.shape[1] * call.options["groups"])
    return len(weight)


def by_outputs(call: Node, weight: Array, factor: Array) -> Array:
    """A weight, each output channel times its factor, (O,)."""
    if call.kind != "transposed_convolution":
        return np.asarray(weight * factor.reshape(-1, *(1,) * (weight.ndim - 1)))
    groups = call.options["groups"]
    split = weight.reshape(groups, -1, *weight.shape[1:])
    return np.asarray(split * factor.reshape(groups, 1, -1, *(1,) * (weight.ndim - 2))).reshape(weight.shape)


def by_inputs(call: Node, weight: Array, factor: Array, *, sums: bool = False) -> Array:
    """A weight of a linear layer or a convolution, each input channel times its factor, (C,); or (O,) sums of these."""
    groups = call.options.get("groups", 1)
    split = weight.reshape(groups, -1, *weight.shape[1:])
    made = np.asarray(split * factor.reshape(groups, 1, -1, *(1,) * (weight.ndim - 2)))
    return np.asarray(made.reshape(len(weight), -1).sum(axis=1)) if sums else made.reshape(weight.shape)
