"""What a small network predicts, in float64: enough to see which wrong folds are worth an exact evaluation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bnconform.spec.graph import INPUT, Array, Graph, Node
from bnconform.spec.oracle.linear_maps import CONVOLUTIONS, along_channels, linear, windows
from bnconform.spec.oracle.networks import axis_of


def results(network: Graph, x: Array) -> Mapping[str, Array]:
    """The result of every node, by its name, and the input; infinite or NaN where it is."""
    found: dict[str, Array] = {INPUT: x.astype(np.float64)}
    with np.errstate(all="ignore"):
        for node in network.nodes:
            found[node.name] = _result(network, node, [found[name] for name in node.inputs])
    return found


def batch_statistics(x: Array) -> tuple[Array, Array]:
    """(mean, biased variance) of each channel, each (C,)."""
    axes = (0, *range(2, x.ndim))
    return x.mean(axis=axes), x.var(axis=axes)


def _result(network: Graph, node: Node, inputs: list[Array]) -> Array:
    x, o = inputs[0], node.options
    if node.kind == "batch_normalization":
        return _normalize(network, node, x)
    if node.layer:
        return _linear(network, node, x)
    if node.kind in ("average_pooling", "max_pooling"):
        average = node.kind == "average_pooling"
        place = o["kernel"], o["stride"], o["padding"]
        seen = windows(x, *place, 0 if average else -np.inf)
        if not average:
            return np.asarray(seen.max(axis=0))
        count = len(seen) if o["counts_padding"] else windows(np.ones(x.shape), *place, 0).sum(axis=0)
        return np.asarray(seen.sum(axis=0) / count)
    if node.kind == "relu":
        return np.asarray(np.maximum(x, 0))
    if node.kind == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-x)))
    if node.kind == "add":
        return np.asarray(x + inputs[1])
    if node.kind == "concatenate":
        return np.concatenate(inputs, axis=1)
    return x.reshape(len(x), *(o["to"] if node.kind == "reshape" else (-1,)))


def _linear(network: Graph, node: Node, x: Array) -> Array:
    weight, bias, o = network.array(node.layer, "weight"), network.array(node.layer, "bias"), node.options
    assert weight is not None
    weight = weight.astype(np.float64)
    if node.kind == "linear":
        y = linear(x, weight)
        return y if bias is None else np.asarray(y + bias.astype(np.float64))
    y = CONVOLUTIONS[node.kind](x, weight, o["stride"], o["padding"], o["dilation"], o["groups"])
    return y if bias is None else np.asarray(y + along_channels(bias.astype(np.float64), y.ndim))


def _normalize(network: Graph, node: Node, x: Array) -> Array:
    given = [network.array(node.layer, name) for name in ("running_mean", "running_var", "weight", "bias")]
    mean, variance, weight, bias = (None if one is None else one.astype(np.float64) for one in given)
    if mean is None or variance is None:
        mean, variance = batch_statistics(x)
    factor = 1 / np.sqrt(variance + node.options["epsilon"])
    factor = factor if weight is None else factor * weight
    axis = axis_of(node)
    y = (x - along_channels(mean, x.ndim, axis)) * along_channels(factor, x.ndim, axis)
    return np.asarray(y if bias is None else y + along_channels(bias, x.ndim, axis))
