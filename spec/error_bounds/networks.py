"""How far a right prediction of a small network may lie from the exact one, element by element.

Admitted is whoever evaluates the network in the declared format, or a wider one: operation by operation, or with each
BatchNorm folded into the linear operation before or after it, as `k x + b'`, or with several linear operations made
one. Sums may be made in any order, with or without fused multiplication and addition.

Between two operations that are not linear (ReLU, sigmoid, the maximum) a result is a sum of products of the input,
weights and constants. Whatever such an algorithm distributes or joins, each of these products passes through no more
roundings than there are operations on its way, so that the error is at most g(m) times the sum of the magnitudes of all
products, g(m) = m u / (1 - m u) (Higham 2002, lemma 3.1). So three numbers go along with each element:

* magnitude: that sum. |W| magnitude + |b| for linear operations; |k| (magnitude + |mean|) + |bias| for BatchNorm, as
  b - mean and k (b - mean) are among what may be computed; the sum of both for a join.
* error: a bound on what is computed, less what is exact. Of a linear operation with n terms, |W| error +
  g(n + SLACK) (|W| (magnitude + error) + |b|). Of a BatchNorm, |k| error + (g(SLACK) + r) (|k| (magnitude + error +
  |mean|) + |bias|); SLACK = 16 holds the addition of epsilon, root, division, products, the subtraction and addition of
  the folded forms and the rounding of the folded weight and bias. As g(a) + g(b) falls short of g(a + b) by terms of
  second order only, SLACK, of which ten are needed, makes up for it while n u < 1/6. r is what rounding var + epsilon
  with underflow changes of k: with d = u (var + 2 epsilon) + 2 underflow, it is t = d / (var + epsilon) at most, as
  1 / sqrt(1 - t) - 1 <= t for t <= 1/2; beyond that nothing is known of k, and the error is infinite.
* spread: 1 + the sum of the magnitudes of what a linear operation reads. A folded weight may underflow, which adds at
  most one underflow times it.

After an operation that is not linear the result has been computed, and its magnitude begins anew as its own size. ReLU
and the maximum do not enlarge errors: |max(a') - max(a)| <= max |a' - a|. The slope of the sigmoid is at most 1/4, and
its own evaluation, as 1 / (1 + exp(-x)) or (1 + tanh(x / 2)) / 2, errs by at most SIGMOID u, absolutely: the second
adds two numbers of size one, and either function of a library errs by a few units in the last place.

Statistics of the batch: the mean errs by the mean error and g(n + SLACK) mean(magnitude + error). The variance, by any
way including E[x^2] - E[x]^2, errs by 2 mean(|x - mean| (error + its mean)) + the mean of (error + its mean)^2, for
what it is made of, and g(n + SLACK) (mean((|x| + error)^2) + (mean(|x| + error))^2) for how.

Winograd's and Fourier transforms are not admitted: their errors are those of whole tiles, thousands of times the bound
of direct sums where the tile's elements differ in size, so that a bound which admits them would admit wrong folds. The
CPU libraries that the suite judges use direct sums for such small sizes; for a device that does otherwise the bound
must be made anew.

Where a magnitude may pass the format's largest number the error is infinite, too.

A tool may declare that it rounds to a lower format of its own: weights that it keeps in half precision, operands and
results that it rounds before it goes on in single precision. Then SLACK of the roundings above may be in that format,
each of two operands and the ten counted above among them, while sums are made in the model's: g(n + SLACK) of the
model's format and g(SLACK) of the lower one. The input, and the result of whatever node, linear or not, may be rounded
once more; epsilon, underflow and the largest number are those of the lower format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, prod

import numpy as np

from bnconform.spec.exact import Exact, Floats, floats
from bnconform.spec.formats import Format, format_of
from bnconform.spec.graph import INPUT, Array, Graph, Node
from bnconform.spec.oracle.linear_maps import CONVOLUTIONS, along_channels, linear, windows
from bnconform.spec.oracle.networks import axis_of, epsilon_of, normalizes_by_batch, statistics

SLACK = 16
"""Roundings of a fold, and room for terms of second order; see above."""

SIGMOID = 16
"""Units of roundoff that an evaluation of the sigmoid may err by."""

OUTWARD = 1 + 2.0**-40
"""These bounds are computed in float64, of at most 10^4 terms, all positive: they err by less than this."""


@dataclass(frozen=True)
class Spread:
    """What goes along with each element of a result: see above. All of the result's shape."""

    magnitude: Floats
    error: Floats
    spread: Floats


def errors(
    network: Graph,
    results: Mapping[str, Exact],
    *,
    training: bool = False,
    single_epsilon: bool = False,
    lower: str = "",
) -> Floats:
    """The bound on the prediction's error in the network's dtype, of its shape; infinite where nothing is known.

    Args:
        results: what `bnconform.spec.oracle.networks.evaluate` gave for the same arguments, in its arithmetic.
        lower: the dtype to which constants, operands and results may be rounded besides; "" for none.
    """
    bounds = NetworkErrors(network, results, training=training, single_epsilon=single_epsilon, lower=lower)
    with np.errstate(all="ignore"):
        return bounds.prediction()


class NetworkErrors:
    """The errors of a network's results, node by node.

    Attributes:
        sums: the format in which sums are made. lower: that to which a tool may round besides; None for none.
        stored: that of constants, operands and results, the lower of the two. found: by the name of a result.
    """

    def __init__(
        self, network: Graph, results: Mapping[str, Exact], *, training: bool, single_epsilon: bool, lower: str = ""
    ) -> None:
        self.network, self.results = network, results
        self.training, self.single_epsilon = training, single_epsilon
        self.sums: Format = format_of(network.dtype)
        self.lower: Format | None = format_of(lower) if lower else None
        self.stored: Format = self.lower or self.sums
        self.values = {name: floats(value) for name, value in results.items()}
        x = self.values[INPUT]
        self.found = {INPUT: Spread(np.abs(x), self.round_to_lower(np.abs(x), np.zeros(x.shape)), np.ones(x.shape))}

    def prediction(self) -> Floats:
        """The bound on what the last node gives."""
        for node in self.network.nodes:
            made = RULES[node.kind](self, node, [self.found[name] for name in node.inputs])
            largest = made.magnitude + made.error
            unknown = np.isnan(largest) | (largest >= self.stored.largest)
            error = np.where(unknown, inf, self.round_to_lower(np.abs(self.values[node.name]), made.error) * OUTWARD)
            self.found[node.name] = Spread(made.magnitude, error, made.spread)
        return self.found[self.network.output].error

    def round_to_lower(self, value: Floats, error: Floats) -> Floats:
        """The error of a result that errs by so much, once the tool has rounded it to its lower format."""
        if self.lower is None:
            return error
        return error + self.lower.unit_roundoff * (value + error) + self.lower.underflow

    def gamma(self, count: float) -> float:
        """g(m), and g(SLACK) of the lower format; infinite where m u >= 1."""
        return self.sums.gamma(count) + (self.lower.gamma(SLACK) if self.lower else 0.0)

    def magnitudes(self, layer: str, name: str) -> Floats | None:
        """The magnitudes of a layer's array."""
        found = self.network.array(layer, name)
        return None if found is None else np.abs(found.astype(np.float64))

    def apply(self, node: Node, part: Array, weight: Array) -> Floats:
        """The linear operation of a node, with another weight."""
        o = node.options
        if node.kind == "linear":
            return linear(part, weight)
        operation = CONVOLUTIONS[node.kind]
        return operation(part, weight, o["stride"], o["padding"], o["dilation"], o["groups"])

    def of_layer(self, node: Node, inputs: list[Spread]) -> Spread:
        """A linear layer or a convolution."""
        given = inputs[0]
        weight, bias = self.magnitudes(node.layer, "weight"), self.magnitudes(node.layer, "bias")
        assert weight is not None
        axis = 1 if node.kind == "transposed_convolution" else 0
        terms = weight.size // weight.shape[axis]
        magnitude = self.apply(node, given.magnitude, weight)
        carried = self.apply(node, given.error, weight)
        if bias is not None:
            shift = bias if node.kind == "linear" else along_channels(bias, magnitude.ndim)
            magnitude = magnitude + shift
        ones = np.ones(weight.shape)
        spread = self.apply(node, given.spread, ones)
        underflow = 2 * self.stored.underflow * (terms + 2 + spread)
        error = carried + self.gamma(terms + SLACK) * (magnitude + carried) + underflow
        size = np.abs(self.values[node.inputs[0]]) + given.error
        return Spread(magnitude, error, 1 + self.apply(node, size, ones))

    def of_norm(self, node: Node, inputs: list[Spread]) -> Spread:
        """A BatchNorm, by its own statistics or the batch's."""
        given, format_ = inputs[0], self.stored
        ndim = given.magnitude.ndim
        mean, variance = (floats(s) for s in statistics(
            self.network, node, self.results[node.inputs[0]], training=self.training
        ))  # fmt: skip
        epsilon = epsilon_of(node, single=self.single_epsilon)
        mean_magnitude, mean_error, variance_error = np.abs(mean), np.zeros(mean.shape), np.zeros(mean.shape)
        if normalizes_by_batch(self.network, node, training=self.training):
            mean_magnitude, mean_error, variance_error = self.of_statistics(node, given, mean)
        width = variance + epsilon
        off = variance_error + format_.unit_roundoff * (variance + 2 * epsilon) + 2 * format_.underflow
        relative = np.where(off <= width / 2, off / width, inf)
        weight, bias = self.magnitudes(node.layer, "weight"), self.magnitudes(node.layer, "bias")
        factor = 1 / np.sqrt(width)
        axis = axis_of(node)
        factor = along_channels(factor if weight is None else factor * weight, ndim, axis)
        relative, mean_magnitude, mean_error = (
            along_channels(v, ndim, axis) for v in (relative, mean_magnitude, mean_error)
        )
        grown = factor * (1 + relative)  # 0 times infinity is NaN here as in what is computed, and nothing is known
        shift = along_channels(np.zeros(mean.shape) if bias is None else bias, ndim, axis)
        magnitude = factor * (given.magnitude + mean_magnitude) + shift
        carried = given.error + mean_error
        rounding = grown * (given.magnitude + mean_magnitude + carried)
        error = grown * carried + self.gamma(SLACK) * (rounding + shift)
        error = error + relative * factor * (given.magnitude + mean_magnitude)
        error = error + 4 * format_.underflow * (1 + grown + given.spread)
        size = np.abs(self.values[node.inputs[0]]) + given.error
        return Spread(magnitude, error, size + given.spread)

    def of_statistics(self, node: Node, given: Spread, mean: Floats) -> tuple[Floats, Floats, Floats]:
        """(magnitude of the mean, its error, the error of the variance), each (C,)."""
        axes = (0, *range(2, given.error.ndim))
        x = self.values[node.inputs[0]]
        off = self.gamma(x.size // x.shape[1] + SLACK)
        size = np.abs(x) + given.error
        mean_error = given.error.mean(axis=axes) + off * (given.magnitude + given.error).mean(axis=axes)
        moved = given.error + along_channels(mean_error, x.ndim)
        centred = np.abs(x - along_channels(mean, x.ndim))
        made_of = (2 * centred * moved + moved**2).mean(axis=axes)
        made = off * ((size**2).mean(axis=axes) + size.mean(axis=axes) ** 2)
        return given.magnitude.mean(axis=axes), mean_error, made_of + made

    def anew(self, node: Node, error: Floats) -> Spread:
        """What has been computed: its magnitude is its size."""
        value = np.abs(self.values[node.name])
        return Spread(value, error, np.ones(value.shape))

    def of_average(self, node: Node, inputs: list[Spread]) -> Spread:
        """The mean of a window: linear, of as many terms."""
        o, given = node.options, inputs[0]
        place = o["kernel"], o["stride"], o["padding"]
        count: Floats | float = float(prod(o["kernel"]))
        if not o["counts_padding"]:
            count = windows(np.ones(given.error.shape), *place, 0).sum(axis=0)
        magnitude, error, spread = (
            windows(part, *place, 0).sum(axis=0) for part in (given.magnitude, given.error, given.spread)
        )
        terms = prod(o["kernel"])
        rounding = self.gamma(terms + SLACK) * (magnitude + error) / count
        return Spread(
            magnitude / count,
            error / count + rounding + 2 * self.stored.underflow * (terms + 2 + spread),
            1 + spread,
        )

    def of_sum(self, node: Node, inputs: list[Spread]) -> Spread:
        """The join of two results."""
        one, other = inputs
        magnitude, error = one.magnitude + other.magnitude, one.error + other.error
        rounding = self.gamma(2) * (magnitude + error)
        return Spread(magnitude, error + rounding + self.stored.underflow, one.spread + other.spread)


def _sigmoid(bounds: NetworkErrors, node: Node, inputs: list[Spread]) -> Spread:
    own = SIGMOID * bounds.stored.unit_roundoff + 4 * bounds.stored.underflow
    given = inputs[0].error
    # Of what may have overflowed it may be NaN, too.
    return bounds.anew(node, np.where(np.isinf(given), inf, np.minimum(given / 4, 1.0) + own))


def _largest(bounds: NetworkErrors, node: Node, inputs: list[Spread]) -> Spread:
    o = node.options
    return bounds.anew(node, windows(inputs[0].error, o["kernel"], o["stride"], o["padding"], 0).max(axis=0))


def _movement(move: Callable[[list[Floats]], Floats]) -> Rule:
    """An operation that computes nothing."""

    def rule(bounds: NetworkErrors, node: Node, inputs: list[Spread]) -> Spread:
        parts = [[one.magnitude for one in inputs], [one.error for one in inputs], [one.spread for one in inputs]]
        return Spread(*(move(part) for part in parts))

    return rule


def _reshape(bounds: NetworkErrors, node: Node, inputs: list[Spread]) -> Spread:
    shape = bounds.values[node.name].shape
    return _movement(lambda parts: parts[0].reshape(shape))(bounds, node, inputs)


Rule = Callable[[NetworkErrors, Node, list[Spread]], Spread]

RULES: Mapping[str, Rule] = {
    "linear": NetworkErrors.of_layer,
    "convolution": NetworkErrors.of_layer,
    "transposed_convolution": NetworkErrors.of_layer,
    "batch_normalization": NetworkErrors.of_norm,
    "relu": lambda bounds, node, inputs: bounds.anew(node, inputs[0].error),
    "sigmoid": _sigmoid,
    "average_pooling": NetworkErrors.of_average,
    "max_pooling": _largest,
    "add": NetworkErrors.of_sum,
    "concatenate": _movement(lambda parts: np.concatenate(parts, axis=1)),
    "flatten": _reshape,
    "reshape": _reshape,
}
"""How errors go through each kind of node."""
