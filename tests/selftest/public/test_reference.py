"""The reference: values of the oracle, bounds that right implementations keep and wrong ones do not, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnconform import reference, testing
from bnconform.backends.numpy_layer import NumpyBackend
from bnconform.cases import inputs
from bnconform.spec import oracle
from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.config import Config
from bnconform.spec.exact import arithmetic, exact, floats
from bnconform.spec.formats import DTYPES, numpy_dtype, parameter_dtype

X = inputs.values((4, 3, 5), 1)
G = inputs.upstream((4, 3, 5), 1)
LAYER: dict[str, Any] = {**inputs.parameters(3), **inputs.statistics(3)}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_right_layer_is_within_the_bounds(dtype: str, training: bool) -> None:
    """Output, statistics and gradients of the hand-written layer lie within what is due."""
    kept = parameter_dtype(dtype)
    layer = NumpyBackend().build(Config(ndim=3, dtype=dtype, param_dtype=kept), "cpu")
    state: dict[str, Any] = {name: value.astype(kept) for name, value in LAYER.items()}
    x, g = X.astype(numpy_dtype(dtype)), G.astype(numpy_dtype(dtype))
    layer.load(state)
    gradients, bounds = reference.backward(x, g, **state, training=training)
    for got, due, bound in zip(layer.backward(x, g, training=training), gradients, bounds, strict=True):
        assert due is not None and bound is not None and got is not None
        testing.assert_close(got, due, bound)
    layer.load(state)
    y, bound, after = reference.forward(x, **state, num_batches_tracked=0, training=training)
    testing.assert_close(layer.forward(x, training=training), y, bound)
    shown: dict[str, Any] = layer.state()
    assert after.running_mean is not None and after.running_mean_bound is not None
    assert after.running_var is not None and after.running_var_bound is not None
    testing.assert_close(shown["running_mean"], after.running_mean, after.running_mean_bound)
    testing.assert_close(shown["running_var"], after.running_var, after.running_var_bound)
    assert after.num_batches_tracked == int(training)
    assert y.dtype == bound.dtype == np.float64 and y.shape == bound.shape == x.shape
    if not training:
        assert (after.running_mean_bound == 0).all() and (after.running_var_bound == 0).all()


def test_values_are_the_oracles() -> None:
    """The numbers are those of the oracle, rounded once."""
    with arithmetic():
        state = oracle.State(
            exact(LAYER["running_mean"]), exact(LAYER["running_var"]), 4, exact(LAYER["weight"]), exact(LAYER["bias"])
        )
        config = Config(3, 0.1, None, ndim=3, dtype="float64", param_dtype="float64")
        record = oracle.forward(config, SPECIFIED, state, exact(X), training=True)
        due, variance = floats(record.y), floats(record.state.running_var)
    y, _, after = reference.forward(X, **LAYER, num_batches_tracked=4, training=True, momentum=None, eps=0.1)
    assert (y == due).all()
    assert after.running_var is not None and (after.running_var == variance).all()
    assert after.num_batches_tracked == 5


def test_another_behaviour_is_seen() -> None:
    """A decision changes the value by more than its bound, and a formula that everybody knows gives it."""
    specified = reference.forward(X, **LAYER, training=True)
    biased = reference.forward(X, **LAYER, training=True, behaviour={"running_variance": "biased"})
    assert specified.state.running_var is not None and biased.state.running_var is not None
    old = LAYER["running_var"]
    batch = X.var(axis=(0, 2))
    assert specified.state.running_var_bound is not None and biased.state.running_var_bound is not None
    testing.assert_close(0.9 * old + 0.1 * batch, biased.state.running_var, biased.state.running_var_bound)
    assert (np.abs(specified.state.running_var - biased.state.running_var) > specified.state.running_var_bound).all()


def test_what_is_not_given_is_not_there() -> None:
    """Without parameters there are no gradients of them; without statistics those of the batch normalise."""
    y, _, state = reference.forward(X, training=False)
    assert (y == reference.forward(X, training=True).y).all()
    assert state == (None, None, None, None, None)
    gradients, bounds = reference.backward(X, G, bias=LAYER["bias"], training=True)
    assert gradients.grad_weight is bounds.grad_weight is None
    assert gradients.grad_bias is not None and bounds.grad_bias is not None
    testing.assert_close(G.sum(axis=(0, 2)), gradients.grad_bias, bounds.grad_bias)


def test_an_empty_batch_has_an_empty_answer() -> None:
    """Where there is nothing to compute, nothing is off."""
    y, bound, _ = reference.forward(np.zeros((0, 3)), training=True)
    assert y.shape == bound.shape == (0, 3)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "one value": ({"x": X[:1, :, :1]}, "one value per channel"),
    "rank 1": ({"x": np.zeros(3)}, "rank 1"),
    "rank 6": ({"x": np.zeros((2, 3, 1, 1, 1, 1))}, "ndim is 6"),
    "weight": ({"weight": np.ones(4)}, r"weight has shape \(4,\); x has 3 channels"),
    "half the statistics": ({"running_mean": np.zeros(3)}, "or neither"),
    "no counter": ({**LAYER, "momentum": None}, "num_batches_tracked"),
    "momentum": ({"momentum": 1.5}, "momentum is 1.5"),
    "eps": ({"eps": -1.0}, "eps is -1.0"),
    "dtype": ({"dtype": "float8"}, "unknown dtype 'float8'"),
    "behaviour": ({"behaviour": {"running_variance": "halved"}}, "running_variance"),
}


@pytest.mark.parametrize(("changes", "words"), REFUSED.values(), ids=list(REFUSED))
def test_refusals(changes: dict[str, Any], words: str) -> None:
    """What BatchNorm must refuse, and what makes no layer, is a ValueError that says why, of both functions."""
    given: dict[str, Any] = {"x": X, "training": True} | changes
    with pytest.raises(ValueError, match=words):
        reference.forward(**given)
    with pytest.raises(ValueError, match=words):
        reference.backward(grad_output=given["x"], **given)


def test_a_gradient_of_another_shape_is_refused() -> None:
    """The upstream gradient has the shape of x."""
    with pytest.raises(ValueError, match="grad_output has shape"):
        reference.backward(X, G[:2], training=True)
