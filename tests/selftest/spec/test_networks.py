"""The truth of small networks against rational arithmetic written out in loops, and what the bounds say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest

from bnconform.cases.models.build import sample
from bnconform.cases.models.rows import ModelCase, every
from bnconform.spec.error_bounds.networks import errors
from bnconform.spec.exact import arithmetic, exact, floats
from bnconform.spec.formats import numpy_dtype
from bnconform.spec.graph import Array, Graph, Node
from bnconform.spec.oracle.networks import evaluate

ROOTS = {0.25: Fraction(1, 2), 1.0: Fraction(1), 2.25: Fraction(3, 2), 6.25: Fraction(5, 2)}
"""Variances, epsilon included, whose roots are rational."""

Rational = np.ndarray[Any, np.dtype[np.object_]]


def rational(values: Array) -> Rational:
    """The same numbers as fractions."""
    flat = [Fraction(float(value)) for value in values.ravel()]
    return np.array([*flat, None], object)[:-1].reshape(values.shape)


def prepare(case: ModelCase) -> Graph:
    """The case's network with variances and an epsilon whose roots are rational, and a sigmoid no more."""
    network = case.graph("float32")
    arrays = dict(network.arrays)
    for name, value in arrays.items():
        if name.endswith("running_var"):
            arrays[name] = np.resize(np.array([*ROOTS], np.float32) - 0.25, value.shape)
    nodes = [
        replace(node, options={**node.options, "epsilon": 0.25}) if node.kind == "batch_normalization" else node
        for node in network.nodes
    ]
    return Graph(tuple(nodes), arrays, network.shape, network.dtype)


def _array(network: Graph, node: Node, name: str) -> Rational | None:
    found = network.array(node.layer, name)
    return None if found is None else rational(found)


def _sum(terms: Any) -> Fraction:
    return sum(terms, Fraction(0))


def _convolution(network: Graph, node: Node, x: Rational) -> Rational:
    """By the definition: one sum for each element of the result; the transposed one by what each element adds."""
    w, b, o = _array(network, node, "weight"), _array(network, node, "bias"), node.options
    assert w is not None
    n, c, *sizes = x.shape
    kernel = w.shape[2:]
    groups = o["groups"]
    every_offset = list(product(*map(range, kernel)))
    if node.kind == "convolution":
        out = w.shape[0]
        spans = zip(sizes, kernel, o["stride"], o["padding"], o["dilation"], strict=True)
        shape = [(s + 2 * p - d * (k - 1) - 1) // t + 1 for s, k, t, p, d in spans]
    else:
        out = w.shape[1] * groups
        spans = zip(sizes, kernel, o["stride"], o["padding"], o["dilation"], strict=True)
        shape = [(s - 1) * t + d * (k - 1) + 1 - 2 * p for s, k, t, p, d in spans]
    y = np.full((n, out, *shape), Fraction(0), object)
    per, wide = c // groups, out // groups
    for sample_, place, offset in product(range(n), product(*map(range, shape)), every_offset):
        for channel in range(out):
            group = channel // wide
            if node.kind == "convolution":
                at = [
                    q * t - p + k * d
                    for q, t, p, k, d in zip(place, o["stride"], o["padding"], offset, o["dilation"], strict=True)
                ]
                fits = True
            else:
                scaled = [q + p - k * d for q, p, k, d in zip(place, o["padding"], offset, o["dilation"], strict=True)]
                fits = all(value % t == 0 for value, t in zip(scaled, o["stride"], strict=True))
                at = [value // t for value, t in zip(scaled, o["stride"], strict=True)]
            if not fits or not all(0 <= a < size for a, size in zip(at, sizes, strict=True)):
                continue
            for inner in range(per):
                source = group * per + inner
                weight = (
                    w[(channel, inner, *offset)] if node.kind == "convolution" else w[(source, channel % wide, *offset)]
                )
                y[(sample_, channel, *place)] += weight * x[(sample_, source, *at)]
    return y if b is None else y + b.reshape((1, -1) + (1,) * len(shape))


def _linear(network: Graph, node: Node, x: Rational) -> Rational:
    w, b = _array(network, node, "weight"), _array(network, node, "bias")
    assert w is not None
    y = np.empty((*x.shape[:-1], len(w)), object)
    for place in product(*map(range, y.shape)):
        y[place] = _sum(a * v for a, v in zip(w[place[-1]], x[place[:-1]], strict=True))
        y[place] += b[place[-1]] if b is not None else 0
    return y


def _norm(network: Graph, node: Node, x: Rational) -> Rational:
    y = np.empty(x.shape, object)
    mean, weight, bias = (_array(network, node, name) for name in ("running_mean", "weight", "bias"))
    variance = network.array(node.layer, "running_var")
    assert mean is not None and variance is not None
    for place in product(*map(range, x.shape)):
        c = place[1]
        y[place] = (x[place] - mean[c]) / ROOTS[float(variance[c]) + 0.25]
        y[place] = y[place] * (1 if weight is None else weight[c]) + (0 if bias is None else bias[c])
    return y


def _pooling(node: Node, x: Rational) -> Rational:
    o = node.options
    sizes = x.shape[2:]
    shape = [(s + 2 * p - k) // t + 1 for s, p, k, t in zip(sizes, o["padding"], o["kernel"], o["stride"], strict=True)]
    y = np.empty((*x.shape[:2], *shape), object)
    for place in product(*map(range, y.shape)):
        starts = [q * t - p for q, t, p in zip(place[2:], o["stride"], o["padding"], strict=True)]
        window = product(
            *(range(max(s, 0), min(s + k, size)) for s, k, size in zip(starts, o["kernel"], sizes, strict=True))
        )
        seen = [x[(*place[:2], *at)] for at in window]
        count = np.prod(o["kernel"]) if node.kind == "average_pooling" else 1
        y[place] = _sum(seen) / int(count) if node.kind == "average_pooling" else max(seen)
    return y


_relu = np.frompyfunc(lambda value: max(value, Fraction(0)), 1, 1)

OTHERS: dict[str, Callable[[list[Rational], Node], Rational]] = {
    "relu": lambda inputs, node: np.asarray(_relu(inputs[0])),
    "add": lambda inputs, node: inputs[0] + inputs[1],
    "concatenate": lambda inputs, node: np.concatenate(inputs, axis=1),
    "flatten": lambda inputs, node: inputs[0].reshape(len(inputs[0]), -1),
    "reshape": lambda inputs, node: inputs[0].reshape(len(inputs[0]), *node.options["to"]),
}


def predict(network: Graph, x: Array) -> Rational:
    """The prediction in rational arithmetic."""
    results = {"x": rational(x)}
    for node in network.nodes:
        inputs = [results[name] for name in node.inputs]
        if "convolution" in node.kind:
            found = _convolution(network, node, inputs[0])
        elif node.kind == "linear":
            found = _linear(network, node, inputs[0])
        elif node.kind == "batch_normalization":
            found = _norm(network, node, inputs[0])
        elif "pooling" in node.kind:
            found = _pooling(node, inputs[0])
        else:
            found = OTHERS[node.kind](inputs, node)
        results[node.name] = found
    return results[network.output]


def _choose() -> list[ModelCase]:
    """A model for each layer, and for each thing that comes after, of those without the sigmoid and 3-d kernels."""
    found: dict[str, ModelCase] = {}
    for case in every():
        row = case.levels
        if row["after"] == "sigmoid" or row["tracking"] == "no" or row["mode"] != "evaluation":
            continue
        if row["layer"].endswith("3d") and (row["kernel"] == "3" or row["after"] in found):
            continue
        for what in (row["layer"], row["after"], "groups " + row["groups"]):
            found.setdefault(what, case)
    return list(dict.fromkeys(found.values()))


@pytest.mark.parametrize("case", _choose(), ids=lambda case: case.name)
def test_truth_is_that_of_rational_arithmetic(case: ModelCase) -> None:
    """On the same numbers, one sample of them, both give the same to 300 bits."""
    network = prepare(case)
    x = sample(network, 1)
    due = predict(network, x)
    with arithmetic():
        found = evaluate(network, x)[network.output]
        assert found.shape == due.shape
        for one, other in zip(found.ravel(), due.ravel(), strict=True):
            exactly = exact(np.array([0.0]))[0] + other.numerator
            exactly = exactly / other.denominator
            assert abs(one - exactly) <= 2.0**-290 * (1 + abs(exactly))


def _network(*nodes: Node, **arrays: list[float]) -> Graph:
    named = {name.replace("__", "."): np.array(value, np.float64) for name, value in arrays.items()}
    return Graph(nodes, named, (3, 2))


NORM = Node("batch_normalization", "y", ("x",), "n", {"epsilon": 0.5, "training": True})
X = np.array([[1.0, 10.0], [2.0, 20.0], [6.0, 30.0]])


@pytest.mark.parametrize("tracked", [True, False])
def test_a_norm_takes_the_statistics_that_it_has(tracked: bool) -> None:
    """Without running statistics those of the batch, always; with them, in training where that is asked for."""
    state = {"n__running_mean": [1.0, 2.0], "n__running_var": [3.5, 8.5]} if tracked else {}
    network = _network(NORM, **state)
    with arithmetic():
        evaluated = floats(evaluate(network, X)["y"])
        trained = floats(evaluate(network, X, training=True)["y"])
    by_batch = (X - X.mean(axis=0)) / np.sqrt(X.var(axis=0) + 0.5)
    by_running = (X - [1.0, 2.0]) / [2.0, 3.0]
    assert np.abs(trained - by_batch).max() < 1e-14
    assert np.abs(evaluated - (by_running if tracked else by_batch)).max() < 1e-14


def test_epsilon_of_single_precision_is_another() -> None:
    """It is told apart in float64 by many bounds, and not at 0.5, which both have."""
    node = replace(NORM, options={"epsilon": 0.37, "training": False})
    state = {"n__running_mean": [1.0, 2.0], "n__running_var": [3.5, 8.5]}
    network = _network(node, **state)
    with arithmetic():
        results = evaluate(network, X)
        single = evaluate(network, X, single_epsilon=True)["y"]
        off = floats(abs(single - results["y"]))
        assert (off[2] > 1000 * errors(network, results)[2]).all()


def test_what_cannot_be_known_has_no_bound() -> None:
    """A variance that is lost in the format's underflow, and a magnitude beyond its largest number."""
    small = _network(
        replace(NORM, options={"epsilon": 1e-12, "training": False}),
        n__running_mean=[0.0, 0.0],
        n__running_var=[0.0, 1.0],
    ).cast("float16")
    large = _network(
        replace(NORM, options={"epsilon": 1e-5, "training": False}),
        n__running_mean=[0.0, 6e4],
        n__running_var=[1.0, 0.25],
    ).cast("float16")
    for network in (small, large):
        with arithmetic():
            found = errors(network, evaluate(network, X.astype(np.float16)))
        assert np.isinf(found).any(axis=0).tolist() == [network is small, network is large]


@pytest.mark.parametrize("lower", ["float16", "bfloat16"])
def test_a_lower_format_is_admitted_besides(lower: str) -> None:
    """A linear layer whose weight is rounded to it: within the bound where that is declared, and far off where not."""
    weight = np.array([[1 + 2.0**-12, 3 + 2.0**-10]], np.float32)
    node = Node("linear", "y", ("x",), "n")
    network = Graph((node,), {"n.weight": weight}, (3, 2), "float32")
    rounded = Graph((node,), {"n.weight": weight.astype(numpy_dtype(lower)).astype(np.float32)}, (3, 2), "float32")
    x = X.astype(np.float32)
    with arithmetic():
        due, seen = evaluate(network, x), evaluate(rounded, x)
        off = floats(abs(seen["y"] - due["y"]))
        assert (off > 100 * errors(network, due)).all()
        assert (off <= errors(network, due, lower=lower)).all()
        assert (errors(network, due, lower=lower) < np.abs(floats(due["y"])) / 8).all()


def test_outside_of_the_arithmetic_nothing_is_answered() -> None:
    """The oracle refuses to compute in fewer bits."""
    with pytest.raises(RuntimeError, match="320 bits"):
        evaluate(_network(NORM), X)
