"""The BatchNorm of the reference network: at every point that it follows, it does what the oracle says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnconform import reference, testing
from bnconform.cases import inputs
from bnconform.judge.training.norms import BehavingNorm, follow, singles
from bnconform.spec.behaviour import SPECIFIED, Behaviour, decision

MOMENTUM, EPSILON = 0.3, 0.01
POINTS = [SPECIFIED, *(SPECIFIED.but(**{name: value}) for name, value in singles())]


def name_of(point: Behaviour) -> str:
    """The decision in words."""
    return "-".join(f"{name}-{value}" for name, value in point.differences().items()) or "specified"


@pytest.mark.parametrize("shape", [(3, 2, 2, 3), (5, 4)], ids=["rank4", "rank2"])
@pytest.mark.parametrize("point", POINTS, ids=name_of)
def test_it_does_what_the_oracle_says(point: Behaviour, shape: tuple[int, ...]) -> None:
    """Outputs, gradients and statistics of two steps and of an evaluation lie within their derived bounds."""
    channels = shape[1]
    given = {name: np.asarray(value, np.float64) for name, value in inputs.parameters(channels).items()}
    layer = BehavingNorm(given["weight"], given["bias"], point, eps=EPSILON, momentum=MOMENTUM)
    options: dict[str, Any] = {**given, "momentum": MOMENTUM, "eps": EPSILON, "behaviour": point}
    mean, var = layer.statistics()
    for step in range(2):
        x, g = inputs.values(shape, step), inputs.upstream(shape, step)
        state: dict[str, Any] = {"running_mean": mean, "running_var": var, "num_batches_tracked": step * _turns(point)}
        y, bound, after = reference.forward(x, **state, **options, training=True)
        testing.assert_close(layer.forward(x), y, bound)
        gradients, limits = reference.backward(x, g, **state, **options, training=True)
        for got, due, limit in zip(layer.backward(g), gradients, limits, strict=True):
            assert due is not None and limit is not None
            testing.assert_close(got, due, limit)
        mean, var = layer.statistics()
        for got, due, limit in (
            (mean, after.running_mean, after.running_mean_bound), (var, after.running_var, after.running_var_bound),
        ):  # fmt: skip
            assert due is not None and limit is not None
            testing.assert_close(got, due, limit)
    state = {"running_mean": mean, "running_var": var, "num_batches_tracked": 2 * _turns(point)}
    y, bound, _ = reference.forward(x, **state, **options, training=False)
    testing.assert_close(layer.evaluate(x), y, bound)


def _turns(point: Behaviour) -> int:
    return {"twice": 2, "never": 0}.get(str(point.training_update), 1)


def test_what_it_does_not_follow_is_left_out() -> None:
    """A declared deviation that shows in no training is not taken for one that does."""
    point = SPECIFIED.but(mode_source="gradients_enabled", running_variance="biased")
    assert follow(point) == SPECIFIED.but(running_variance="biased")
    assert follow(SPECIFIED) == SPECIFIED


def test_every_value_is_one() -> None:
    """The points are values of their decisions, and none is the specified one."""
    for name, value in singles():
        assert decision(name)(value) is not getattr(SPECIFIED, name)
