"""How far the weight and bias of a layer may lie from the exact ones, into which BatchNorms were merged.

Admitted is whoever computes them in the declared format, or a wider one, in any order: k = weight / root or weight *
(1 / root), with k W, or W / root * weight; the bias as k (b - mean) + bias, as k b + (bias - k mean), or BatchNorm by
BatchNorm. With unit roundoff u and g(m) = m u / (1 - m u) (Higham 2002, lemma 3.1):

* The rounding of var + eps changes k by a factor of 1 + t at most, t = d / (var + eps) with d = u (var + 2 eps) + 2
  underflow: see `bnconform.spec.error_bounds.networks`. Beyond t = 1/2 nothing is known of k.
* Each element of k W has FACTOR roundings for each BatchNorm: root, quotient, product with the weight of the BatchNorm,
  product with W, and rounding to what is stored are five; three more let an inverse root of a library err by two units
  in the last place, as one does that is made by a step of Newton's.
* Each term of the bias has SHIFT: those, and four of differences and sums. The terms of a BatchNorm after the layer
  are k b, k mean and bias, so that it errs by (g(SHIFT) + t) (|k| (|b| + |mean|) + |bias|), and passes on the
  error of b times |k|. A BatchNorm before it adds W b', sums of n terms: g(n + SHIFT) in place of g(SHIFT).

An element that underflows errs by `underflow` for each operation on its way, times what it is multiplied by.
"""

from __future__ import annotations

from math import inf

import numpy as np

from bnconform.spec.exact import Floats, floats
from bnconform.spec.formats import Format, format_of
from bnconform.spec.graph import Graph, Node
from bnconform.spec.oracle.merged_layers import Merge, by_inputs, by_outputs, constants, outputs
from bnconform.spec.oracle.networks import epsilon_of

FACTOR, SHIFT = 8, 12
"""Roundings of an element of the weight, and of a term of the bias, for each BatchNorm; see above."""

STORED = 2
"""Roundings besides, where a tool declares a lower format: an array may be rounded to it before anything is merged, and
is when it is stored."""

OUTWARD = 1 + 2.0**-40
"""These bounds are computed in float64, of at most 10^4 terms, all positive: they err by less than this."""


def errors_of_merge(
    network: Graph, merge: Merge, *, single_epsilon: bool = False, lower: str = ""
) -> tuple[Floats, Floats]:
    """The bounds on (weight, bias), of their shapes, in the network's dtype; infinite where nothing is known.

    Within `bnconform.spec.exact.arithmetic`.

    Args:
        lower: the dtype in which a tool may hold its constants, as it declares; "" for the network's own.
    """
    format_, call = format_of(lower or network.dtype), merge.call
    factor_count, shift_count = (FACTOR + STORED, SHIFT + STORED) if lower else (FACTOR, SHIFT)
    weight = _size(network, call, "weight")
    assert weight is not None
    bias = _size(network, call, "bias")
    size = np.zeros(outputs(call, weight)) if bias is None else bias
    stored, tiny = (format_.gamma(STORED), 2 * format_.underflow) if lower else (0.0, 0.0)
    error, relative = stored * size + tiny, np.full(weight.shape, stored)
    with np.errstate(all="ignore"):
        for norm in reversed(merge.before):
            factor, rounding = _factor(network, norm, format_, single_epsilon=single_epsilon)
            added = _terms(network, norm, factor)
            terms = weight.size // len(weight)
            grown = _all(weight.shape, call, format_.gamma(terms + shift_count) + rounding, inputs=True)
            sums = _sums(call, weight * (relative + grown), added)
            error = error + sums + format_.gamma(terms + shift_count) * size + _underflow(format_, terms, weight)
            size = size + _sums(call, weight, added)
            relative = _both(relative, _all(weight.shape, call, format_.gamma(factor_count) + rounding, inputs=True))
            weight = np.asarray(by_inputs(call, weight, factor))
        for norm in merge.after:
            factor, rounding = _factor(network, norm, format_, single_epsilon=single_epsilon)
            size = factor * size + _terms(network, norm, factor)
            error = factor * error * (1 + rounding) + (format_.gamma(shift_count) + rounding) * size
            error = error + 4 * format_.underflow * (1 + factor + size)
            relative = _both(relative, _all(weight.shape, call, format_.gamma(factor_count) + rounding, inputs=False))
            weight = np.asarray(by_outputs(call, weight, factor))
        lost = 4 * format_.underflow * (1 + weight) * (len(merge.norms) + bool(lower))
        largest = weight * (1 + relative), size + error
        weight_error, bias_error = weight * relative + lost, error
        return _infinite_past(format_, largest[0], weight_error), _infinite_past(format_, largest[1], bias_error)


def _infinite_past(format_: Format, largest: Floats, error: Floats) -> Floats:
    """An error; infinite where the format's largest number may be passed."""
    return np.where(np.isnan(largest) | (largest >= format_.largest), inf, error * OUTWARD)


def _size(network: Graph, node: Node, name: str) -> Floats | None:
    found = network.array(node.layer, name)
    return None if found is None else np.abs(found.astype(np.float64))


def _factor(network: Graph, norm: Node, format_: Format, *, single_epsilon: bool) -> tuple[Floats, Floats]:
    """(|k|, t) of a BatchNorm, each (C,)."""
    factor = np.abs(floats(constants(network, norm, single_epsilon=single_epsilon)[0]))
    variance, epsilon = network.array(norm.layer, "running_var"), epsilon_of(norm, single=single_epsilon)
    assert variance is not None
    width = variance.astype(np.float64) + epsilon
    off = format_.unit_roundoff * (width + epsilon) + 2 * format_.underflow
    return factor, np.where(off <= width / 2, off / width, inf)


def _terms(network: Graph, norm: Node, factor: Floats) -> Floats:
    """|k mean| + |bias|, (C,)."""
    mean, bias = _size(network, norm, "running_mean"), _size(network, norm, "bias")
    assert mean is not None
    return factor * mean if bias is None else factor * mean + bias


def _all(shape: tuple[int, ...], call: Node, values: Floats, *, inputs: bool) -> Floats:
    """The values of the channels, for each element of a weight."""
    spread = by_inputs if inputs else by_outputs
    return np.asarray(spread(call, np.ones(shape), values), np.float64)


def _sums(call: Node, weight: Floats, values: Floats) -> Floats:
    return np.asarray(by_inputs(call, weight, values, sums=True), np.float64)


def _both(one: Floats, other: Floats) -> Floats:
    """The relative error of what has two."""
    return one + other + one * other


def _underflow(format_: Format, terms: int, weight: Floats) -> Floats:
    """Of a bias that sums so many terms, by output."""
    rows: Floats = weight.reshape(len(weight), -1).sum(axis=1)
    return 4 * format_.underflow * (terms + rows)
