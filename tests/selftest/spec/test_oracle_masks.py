"""The oracle's masks: what is selected as a batch of its own, rational arithmetic, differences, and what is hidden."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import gmpy2
import numpy as np
import pytest

from bnconform.cases import inputs
from bnconform.spec import behaviour as b
from bnconform.spec import oracle
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.config import Config
from bnconform.spec.exact import Exact, arithmetic, exact, floats
from bnconform.spec.oracle import Batch

SHAPE = (4, 3, 5)
MASK = np.asarray(inputs.rng(21).random(SHAPE) < 0.6)
SHARE = 2.0**-150
"""Of a result's size, by which two ways to it may differ: differences at a step of 2**-100 leave some 200 bits."""


def _config(shape: tuple[int, ...] = SHAPE, **values: Any) -> Config:
    given = {"num_features": shape[1], "ndim": len(shape), "eps": 0.25, "momentum": 0.25, **values}
    return Config(dtype="float64", param_dtype="float64", **given)


def _state(config: Config) -> oracle.State:
    state = oracle.initial_state(config)
    loaded = {name: exact(value) for name, value in inputs.everything(config.num_features).items()}
    return oracle.State(**{**vars(state), **loaded})


def _near(found: Any, due: Any) -> bool:
    return bool(np.all(abs(found - due) <= SHARE * (1 + abs(due))))


@pytest.mark.parametrize("channel", range(3))
def test_statistics_are_those_of_the_selected_values_as_a_batch(channel: int) -> None:
    """Of each channel, the output of what is selected and what is remembered are those of that batch without a mask."""
    x = inputs.values(SHAPE, 1)
    chosen = np.moveaxis(x, 1, -1)[np.moveaxis(MASK, 1, -1)[..., channel], channel].reshape(-1, 1)
    config = _config()
    with arithmetic():
        state = _state(config)
        whole = oracle.forward(config, SPECIFIED, state, Batch(x, MASK), training=True)
        parts = {name: getattr(state, name)[channel : channel + 1] for name in inputs.everything(3)}
        alone_config = _config(chosen.shape)
        alone_state = oracle.State(**{**vars(oracle.initial_state(alone_config)), **parts})
        alone = oracle.forward(alone_config, SPECIFIED, alone_state, exact(chosen), training=True)
        shown = np.moveaxis(whole.y, 1, -1)[np.moveaxis(MASK, 1, -1)[..., channel], channel]
        assert _near(shown, alone.y.ravel())
        assert whole.state.running_mean is not None and alone.state.running_mean is not None
        assert whole.state.running_var is not None and alone.state.running_var is not None
        assert _near(whole.state.running_mean[channel], alone.state.running_mean[0])
        assert _near(whole.state.running_var[channel], alone.state.running_var[0])
        assert whole.state.num_batches_tracked == 1


def test_in_rational_arithmetic() -> None:
    """Four values, two of them selected, whose deviation with epsilon is rational: y, statistics and gradients."""
    x, seen, g = [1, 5, -3, 10], [True, True, False, False], [3, -1, 2, 5]
    weight, epsilon, factor = Fraction(-3, 2), Fraction(9, 4), Fraction(2, 5)
    n, mean = 2, Fraction(3)
    variance = Fraction(sum((v - mean) ** 2 for v, s in zip(x, seen, strict=True) if s), n)
    assert (variance + epsilon) * factor**2 == 1
    z = [(v - mean) * factor for v in x]
    first, second = sum(g), sum(a * v for a, v in zip(g, z, strict=True))
    grad_x = [
        weight * factor * (a - (Fraction(first) + v * second) / n * s) for a, v, s in zip(g, z, seen, strict=True)
    ]
    config = _config((4, 1), eps=float(epsilon))
    with arithmetic():
        state = oracle.initial_state(config)
        state = oracle.State(**{**vars(state), "weight": exact([float(weight)])})
        batch = Batch(exact(np.array(x, np.float64).reshape(4, 1)), np.array(seen).reshape(4, 1))
        found = oracle.backward(config, SPECIFIED, state, batch, exact(np.array(g, float).reshape(4, 1)), training=True)
        assert _equal(found.forward.y, [weight * v for v in z])
        assert _equal(found.forward.state.running_mean, [mean / 4])
        assert _equal(found.forward.state.running_var, [Fraction(3, 4) + variance * n / (n - 1) / 4])
        assert _equal(found.grad_x, grad_x)
        assert _equal(found.grad_weight, [Fraction(second)])
        assert _equal(found.grad_bias, [Fraction(first)])


def _equal(found: Exact | None, due: list[Fraction]) -> bool:
    assert found is not None
    pairs = zip(found.ravel(), due, strict=True)
    return all(abs(gmpy2.mpq(value) - gmpy2.mpq(right)) <= SHARE for value, right in pairs)


OTHERWISE: list[dict[str, str]] = [
    {},
    {"training_statistics": "running_updated"},
    {
        "training_statistics": "running_updated",
        "running_variance": "standard_deviation",
        "running_mean": "bessel_scaled",
    },
    {"training_statistics": "running_updated", "running_variance": "uncentred", "averaging": "zero_debiased"},
    {"normalizing_variance": "unbiased"},
    {"normalizing_variance": "uncentred"},
    {"statistics_axes": "per_sample"},
    {"statistics_axes": "all"},
    {"epsilon_form": "outside"},
]
POINTS = [
    SPECIFIED.but(masked_statistics=str(kind), masked_output=str(output), **more)
    for kind in b.MaskedStatistics
    for output in b.MaskedOutput
    for more in OTHERWISE
]


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("point", POINTS, ids=lambda point: "-".join(point.differences().values()) or "specified")
def test_gradients_are_differences_of_the_output(point: Behaviour, training: bool) -> None:
    """The sum of g dy along a direction, by a difference quotient, is that of grad_x times the direction."""
    config = _config()
    x, g, t = inputs.values(SHAPE, 1), inputs.upstream(SHAPE, 2), inputs.upstream(SHAPE, 3)
    with arithmetic():
        state, h = _state(config), exact(2.0**-100)
        found = oracle.backward(config, point, state, Batch(x, MASK), exact(g), training=training)
        above, below = (
            oracle.forward(config, point, state, Batch(exact(x) + sign * h * exact(t), MASK), training=training).y
            for sign in (1, -1)
        )
        by_difference = ((above - below) * exact(g)).sum() / (2 * h)
        by_gradient = (found.grad_x * exact(t)).sum()
        assert abs(by_difference - by_gradient) <= SHARE * abs(found.grad_x * exact(t)).sum()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300], ids=["nan", "infinity", "huge"])
def test_nothing_of_what_is_hidden_shows(value: float) -> None:
    """Neither in what is remembered, nor in the output of what is selected, nor in gradients that come from there."""
    config = _config()
    x, g = inputs.values(SHAPE, 1), np.where(MASK, inputs.upstream(SHAPE, 2), 0)
    hidden = np.where(MASK, x, value)
    with arithmetic():
        state = _state(config)
        one, other = (
            oracle.backward(config, SPECIFIED, state, Batch(each, MASK), exact(g), training=True)
            for each in (x, hidden)
        )
        shown = oracle.forward(config, SPECIFIED, state, Batch(hidden, MASK), training=True)
        for name in ("grad_x", "grad_weight", "grad_bias"):
            assert np.all(getattr(one, name) == getattr(other, name))
        assert np.all(shown.y[MASK] == one.forward.y[MASK])
        assert np.all(shown.state.running_var == one.forward.state.running_var)


def test_everything_selected_is_no_mask() -> None:
    """A mask that selects all gives the same numbers, and so does one in evaluation, whatever it selects."""
    config = _config()
    x, g = inputs.values(SHAPE, 1), exact(inputs.upstream(SHAPE, 2))
    with arithmetic():
        state = _state(config)
        for mask, training in ((np.ones(SHAPE, bool), True), (MASK, False)):
            with_one = oracle.backward(config, SPECIFIED, state, Batch(x, mask), g, training=training)
            without = oracle.backward(config, SPECIFIED, state, exact(x), g, training=training)
            for name in ("grad_x", "grad_weight", "grad_bias"):
                assert _near(getattr(with_one, name), getattr(without, name))
            assert _near(with_one.forward.y, without.forward.y)


AFTER: dict[str, tuple[float, float]] = {"unchanged": (2.0, 3.0), "zero_statistics": (1.5, 2.25)}


@pytest.mark.parametrize("value", [str(value) for value in b.NothingSelected])
def test_a_channel_of_which_nothing_is_selected(value: str) -> None:
    """Its running statistics are as the point says, the others' are moved, and of its output nothing is fixed."""
    config = _config((4, 2))
    mask = np.array([[True, False]] * 4)
    with arithmetic():
        state = oracle.initial_state(config)
        state = oracle.State(**{**vars(state), "running_mean": exact([2.0, 2.0]), "running_var": exact([3.0, 3.0])})
        point = SPECIFIED.but(nothing_selected=value)
        found = oracle.forward(config, point, state, Batch(inputs.values((4, 2)), mask), training=True)
        assert bool(found.refused) == (value == "refuse")
        if found.refused:
            return
        assert {"y", "grad_x"} <= found.unspecified
        mean, variance = floats(found.state.running_mean), floats(found.state.running_var)
        assert mean[0] != 2 and variance[0] != 3 and np.isfinite([mean[0], variance[0]]).all()
        due = AFTER.get(value, (np.nan, np.nan))
        assert np.array_equal([mean[1], variance[1]], due, equal_nan=True)


def test_one_selected_value_is_refused_at_the_specified_point() -> None:
    """As one value a channel is; in evaluation it is not."""
    config = _config((4, 2))
    mask = np.array([[True, True], [False, True], [False, False], [False, True]])
    with arithmetic():
        batch = Batch(inputs.values((4, 2)), mask)
        for training in (True, False):
            found = oracle.forward(config, SPECIFIED, oracle.initial_state(config), batch, training=training)
            assert bool(found.refused) == training
