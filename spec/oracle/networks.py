"""What a small network predicts, in 320 bits: the truth for every tool that folds, freezes, exports or compiles it.

A BatchNorm in evaluation normalises by its running statistics. Without these it normalises by the batch's, in either
mode, as one does that was left in training; the variance is the biased one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import gmpy2
import numpy as np

from bnconform.spec.exact import Exact, exact, require_precision, sqrt, total
from bnconform.spec.graph import INPUT, WITH_WEIGHTS, Array, Graph, Node
from bnconform.spec.oracle.linear_maps import CONVOLUTIONS, along_channels, linear, windows

Evaluate = Callable[[Graph, Node, list[Exact]], Exact]

_relu = np.frompyfunc(lambda value: value if value > 0 else 0 * value, 1, 1)
_sigmoid = np.frompyfunc(lambda value: 1 / (1 + gmpy2.exp(-value)), 1, 1)
_maximum = np.frompyfunc(lambda one, other: one if one >= other else other, 2, 1)


def evaluate(network: Graph, x: Array, *, training: bool = False, single_epsilon: bool = False) -> Mapping[str, Exact]:
    """The result of every node, by its name, and the input.

    Args:
        training: whether BatchNorms that were left in training normalise by the batch, as they do when the network is
            called as it is; by default they are taken as in evaluation.
        single_epsilon: whether epsilon is stored in single precision, as ONNX and TensorFlow Lite store it.

    Raises:
        PrecisionError: outside of `bnconform.spec.exact.arithmetic`.
    """
    require_precision()
    results: dict[str, Exact] = {INPUT: exact(x)}
    for node in network.nodes:
        inputs = [results[name] for name in node.inputs]
        if node.kind == "batch_normalization":
            results[node.name] = normalize(network, node, inputs[0], training=training, single_epsilon=single_epsilon)
        else:
            results[node.name] = OPERATIONS[node.kind](network, node, inputs)
    return results


def weights_of(network: Graph, node: Node) -> tuple[Exact, Exact | None]:
    """The weight of a linear layer or a convolution, and its bias."""
    weight, bias = network.array(node.layer, "weight"), network.array(node.layer, "bias")
    assert node.kind in WITH_WEIGHTS[:3] and weight is not None
    return exact(weight), None if bias is None else exact(bias)


def epsilon_of(node: Node, *, single: bool = False) -> float:
    """The epsilon of a BatchNorm, as a number of float64 or rounded to single precision."""
    given = float(node.options["epsilon"])
    return float(np.float32(given)) if single else given


def axis_of(node: Node) -> int:
    """The axis of a BatchNorm's channels."""
    return int(node.options.get("axis", 1))


def normalizes_by_batch(network: Graph, node: Node, *, training: bool) -> bool:
    """Whether a BatchNorm takes the batch's statistics: without running ones, or in training where that counts."""
    return network.array(node.layer, "running_mean") is None or (training and bool(node.options["training"]))


def statistics(network: Graph, node: Node, x: Exact, *, training: bool) -> tuple[Exact, Exact]:
    """The mean and variance by which a BatchNorm normalises x, each (C,)."""
    if not normalizes_by_batch(network, node, training=training):
        mean, variance = (network.array(node.layer, name) for name in ("running_mean", "running_var"))
        return exact(mean), exact(variance)
    axes = (0, *range(2, x.ndim))
    count = x.size // x.shape[1]
    mean = total(x, axes) / count
    return mean.reshape(-1), (total((x - mean) ** 2, axes) / count).reshape(-1)


def normalize(network: Graph, node: Node, x: Exact, *, training: bool, single_epsilon: bool) -> Exact:
    """One BatchNorm, k x + b': k = weight / sqrt(variance + epsilon), b' = bias - k mean."""
    mean, variance = statistics(network, node, x, training=training)
    factor = 1 / sqrt(variance + exact(epsilon_of(node, single=single_epsilon)))
    weight, bias = network.array(node.layer, "weight"), network.array(node.layer, "bias")
    if weight is not None:
        factor = factor * exact(weight)
    axis = axis_of(node)
    result = (x - along_channels(mean, x.ndim, axis)) * along_channels(factor, x.ndim, axis)
    return np.asarray(result if bias is None else result + along_channels(exact(bias), x.ndim, axis), dtype=object)


def _linear(network: Graph, node: Node, inputs: list[Exact]) -> Exact:
    weight, bias = weights_of(network, node)
    result = linear(inputs[0], weight)
    return result if bias is None else np.asarray(result + bias, dtype=object)


def _convolve(network: Graph, node: Node, inputs: list[Exact]) -> Exact:
    weight, bias = weights_of(network, node)
    o = node.options
    operation = CONVOLUTIONS[node.kind]
    result = operation(inputs[0], weight, o["stride"], o["padding"], o["dilation"], o["groups"])
    return result if bias is None else np.asarray(result + along_channels(bias, result.ndim), dtype=object)


def _average(network: Graph, node: Node, inputs: list[Exact]) -> Exact:
    o = node.options
    seen = windows(inputs[0], o["kernel"], o["stride"], o["padding"], 0)
    summed = np.add.reduce(seen, axis=0)
    if o["counts_padding"]:
        return np.asarray(summed / len(seen), dtype=object)
    ones = np.ones(inputs[0].shape)
    return np.asarray(
        summed / exact(windows(ones, o["kernel"], o["stride"], o["padding"], 0).sum(axis=0)), dtype=object
    )


def _largest(network: Graph, node: Node, inputs: list[Exact]) -> Exact:
    o = node.options
    seen = windows(inputs[0], o["kernel"], o["stride"], o["padding"], gmpy2.mpfr("-inf"))
    return np.asarray(_maximum.reduce(seen, axis=0), dtype=object)


OPERATIONS: Mapping[str, Evaluate] = {
    "linear": _linear,
    "convolution": _convolve,
    "transposed_convolution": _convolve,
    "relu": lambda network, node, inputs: np.asarray(_relu(inputs[0]), dtype=object),
    "sigmoid": lambda network, node, inputs: np.asarray(_sigmoid(inputs[0]), dtype=object),
    "average_pooling": _average,
    "max_pooling": _largest,
    "add": lambda network, node, inputs: np.asarray(inputs[0] + inputs[1], dtype=object),
    "concatenate": lambda network, node, inputs: np.concatenate(inputs, axis=1),
    "flatten": lambda network, node, inputs: inputs[0].reshape(len(inputs[0]), -1),
    "reshape": lambda network, node, inputs: inputs[0].reshape(len(inputs[0]), *node.options["to"]),
}
"""What each kind of node but BatchNorm does."""
