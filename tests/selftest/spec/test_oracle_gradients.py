"""The oracle's gradients against central differences of its own forward pass, in 320-bit arithmetic.

L = sum(g y), D(h) = (L(t + h) - L(t - h)) / 2h for one entry t of x, weight or bias. By Taylor's theorem
D(h) - L' = h**2 L'''/6 + O(h**4), so that D(2h) - D(h) = 3 (h**2 L'''/6) + O(h**4): the error of D(h) is a third of
that difference but for the terms in h**4, some 2**160 times smaller, which the two remaining thirds cover. To it comes
the rounding of L, at most 2**-320 for each of the few hundred operations on terms of size sum|g| (1 + |y|), over h.
With h = 2**-80 the first is about 2**-160 and the second about 2**-230: far below any fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import gmpy2
import numpy as np
import pytest
from numpy.typing import NDArray

from bnconform.spec import oracle
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.config import Affine, Config
from bnconform.spec.exact import PRECISION, Exact, arithmetic, exact
from bnconform.spec.oracle.record import State

Array = NDArray[Any]
SHAPES = {2: (5, 2), 3: (3, 2, 2), 4: (2, 2, 2, 2), 5: (2, 2, 1, 2, 2)}

DIFFERENTIABLE: dict[str, dict[str, str]] = {
    "specified": {},
    "epsilon_outside": {"epsilon_form": "outside"},
    "epsilon_maximum": {"epsilon_form": "maximum"},
    "epsilon_squared": {"epsilon_form": "squared"},
    "epsilon_absent": {"epsilon_form": "absent"},
    "variance_unbiased": {"normalizing_variance": "unbiased"},
    "variance_uncentred": {"normalizing_variance": "uncentred"},
    "variance_unbiased_epsilon_outside": {"normalizing_variance": "unbiased", "epsilon_form": "outside"},
    "shift_then_scale": {"affine_form": "shift_then_scale"},
    "no_bias": {"affine_form": "no_bias"},
    "no_weight": {"affine_form": "no_weight"},
    "one_plus_weight": {"affine_form": "one_plus_weight"},
    "absolute_weight": {"affine_form": "absolute_weight"},
    "axes_per_position": {"statistics_axes": "per_position"},
    "axes_per_sample_channel": {"statistics_axes": "per_sample_channel"},
    "axes_per_sample": {"statistics_axes": "per_sample"},
    "axes_all": {"statistics_axes": "all"},
    "training_by_running_statistics": {"training_statistics": "running"},
    "training_by_updated_statistics": {"training_statistics": "running_updated"},
    "evaluation_by_batch": {"evaluation_statistics": "batch"},
    "evaluation_by_running_mean_only": {"evaluation_statistics": "running_mean_only"},
    "evaluation_by_running_variance_only": {"evaluation_statistics": "running_variance_only"},
    "evaluation_epsilon_outside": {"evaluation_epsilon_form": "outside"},
    "evaluation_epsilon_absent": {"evaluation_epsilon_form": "absent"},
    "evaluation_without_affine": {"evaluation_affine": "absent"},
    "evaluation_along_last_axis": {"evaluation_broadcast": "last_axis"},
    "untracked_evaluation_by_initial": {"untracked_evaluation_statistics": "initial"},
}
"""The points whose gradients are those of their forward pass."""

READ_BACK = {"training_statistics": "running_updated"}
UPDATES: dict[str, dict[str, str]] = {
    "unbiased": {},
    "unbiased_plus_eps": {"running_variance": "unbiased_plus_eps"},
    "biased": {"running_variance": "biased"},
    "samples": {"running_variance": "samples"},
    "standard_deviation": {"running_variance": "standard_deviation"},
    "uncentred": {"running_variance": "uncentred"},
    "mean_bessel_scaled": {"running_mean": "bessel_scaled"},
    "epsilon_outside": {"epsilon_form": "outside"},
    "axes_per_position": {"statistics_axes": "per_position"},
    "axes_per_sample_channel": {"statistics_axes": "per_sample_channel"},
    "axes_per_sample": {"statistics_axes": "per_sample", "running_variance": "standard_deviation"},
    "axes_all": {"statistics_axes": "all", "running_variance": "samples"},
    "momentum_weighs_running": {"momentum_weighs": "running"},
    "zero_debiased": {"averaging": "zero_debiased"},
    "first_batch_copied": {"averaging": "first_batch_copied"},
    "cumulative": {"averaging": "cumulative"},
    "twice": {"training_update": "twice"},
    "twice_zero_debiased": {"training_update": "twice", "averaging": "zero_debiased"},
    "never": {"training_update": "never"},
    "evaluation_gradient_as_training": {"evaluation_gradient": "as_training"},
    "evaluation_gradient_zero": {"evaluation_gradient": "zero"},
}
"""What decides how far a batch moves the statistics that normalise it."""

WRONG: dict[str, tuple[dict[str, str], bool]] = {
    "through_mean_only": ({"training_gradient": "through_mean_only"}, True),
    "through_variance_only": ({"training_gradient": "through_variance_only"}, True),
    "detached": ({"training_gradient": "detached"}, True),
    "updated_through_mean_only": (READ_BACK | {"training_gradient": "through_mean_only"}, True),
    "updated_through_variance_only": (READ_BACK | {"training_gradient": "through_variance_only"}, True),
    "updated_detached": (READ_BACK | {"training_gradient": "detached"}, True),
    "without_weight": ({"gradient_scale": "without_weight"}, True),
    "without_std": ({"gradient_scale": "without_std"}, True),
    "evaluation_as_training": ({"evaluation_gradient": "as_training"}, False),
    "evaluation_zero": ({"evaluation_gradient": "zero"}, False),
    "evaluation_that_trains": ({"mode_source": "gradients_enabled"}, False),
    "weight_mean": ({"weight_gradient": "mean"}, True),
    "weight_raw_input": ({"weight_gradient": "raw_input"}, True),
    "weight_zero": ({"weight_gradient": "zero"}, True),
    "bias_mean": ({"bias_gradient": "mean"}, False),
    "bias_zero": ({"bias_gradient": "zero"}, False),
}
"""The points whose gradients are not, with whether it shows in training."""


@pytest.fixture(autouse=True)
def _precision() -> Iterator[None]:
    with arithmetic():
        yield


def _state(config: Config, count: int = 0) -> State:
    tracked = config.track_running_stats
    return State(
        running_mean=exact([0.5, -1.0]) if tracked else None,
        running_var=exact([0.5, 2.5]) if tracked else None,
        num_batches_tracked=count if tracked else None,
        weight=exact([1.5, -0.5]) if config.weight else None,
        bias=exact([0.25, 2.0]) if config.bias else None,
    )


def _inputs(rank: int) -> tuple[Exact, Exact]:
    """X and g; the channels' variances lie on both sides of epsilon = 0.75."""
    rng = np.random.default_rng(rank)
    scale = np.array([0.4, 2.0]).reshape((1, 2) + (1,) * (rank - 2))
    return exact(rng.standard_normal(SHAPES[rank]) * scale + 0.3), exact(rng.standard_normal(SHAPES[rank]))


def _move(values: Exact, index: tuple[int, ...], step: Any) -> Exact:
    moved = values.copy()
    moved[index] = moved[index] + step
    return moved


def gradient_faults(config: Config, point: Behaviour, training: bool, count: int = 0) -> list[str]:
    """Where a gradient lies further from the central difference than the difference's own error."""
    state = _state(config, count)
    x, g = _inputs(config.ndim)
    record = oracle.backward(config, point, state, x, g, training=training)
    step = gmpy2.mpfr(2) ** -80
    faults = []

    def loss(name: str, index: tuple[int, ...], move: Any) -> Any:
        if name == "x":
            return (g * oracle.forward(config, point, state, _move(x, index, move), training=training).y).sum()
        changes: dict[str, Any] = {name: _move(getattr(state, name), index, move)}
        changed = replace(state, **changes)
        return (g * oracle.forward(config, point, changed, x, training=training).y).sum()

    rounding = (abs(g) * (1 + abs(record.forward.y))).sum() * gmpy2.mpfr(2) ** (10 - PRECISION) / step
    for name, due in (("x", record.grad_x), ("weight", record.grad_weight), ("bias", record.grad_bias)):
        if due is None:
            continue
        for index in np.ndindex(due.shape):
            near, far = ((loss(name, index, h) - loss(name, index, -h)) / (2 * h) for h in (step, 2 * step))
            if abs(due[index] - near) > abs(far - near) + rounding:
                faults.append(f"{name}{list(index)}: {float(due[index]):.6g}, by differences {float(near):.6g}")
    return faults


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("rank", SHAPES)
@pytest.mark.parametrize("point", DIFFERENTIABLE)
def test_gradients_are_those_of_the_forward_pass(point: str, rank: int, training: bool) -> None:
    """Every entry of the gradients for x, weight and bias, at each point whose gradient is true to its forward pass."""
    config = Config(num_features=2, ndim=rank, eps=0.75)
    assert gradient_faults(config, SPECIFIED.but(**DIFFERENTIABLE[point]), training) == []


@pytest.mark.parametrize("momentum", [0.3, 1.0, None])
@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("point", UPDATES)
def test_gradients_flow_through_statistics_that_the_batch_has_moved(
    point: str, count: int, momentum: float | None
) -> None:
    """Where updated statistics normalise, whatever they remember of a batch and with whichever weight."""
    config = Config(num_features=2, ndim=3, eps=0.75, momentum=momentum)
    assert gradient_faults(config, SPECIFIED.but(**READ_BACK, **UPDATES[point]), True, count) == []


@pytest.mark.parametrize("momentum", [0.25, 0.75])
def test_gradients_through_updated_statistics_are_the_rational_derivative(momentum: float) -> None:
    """One channel whose moved variance and epsilon add up to a square, 4, so that the closed form is rational."""
    x, g = [Fraction(v) for v in (3, -1, 2, 0)], [Fraction(v) for v in (1, -2, 5, 3)]
    a, n, eps = Fraction(momentum), len(x), Fraction(1)
    batch_mean = sum(x) / n
    batch_variance = sum((v - batch_mean) ** 2 for v in x) / n
    # The old statistics are such that the new ones are mean 1/2 and variance 3, which makes f 1/2 and f' -1/16.
    old_mean, old_variance = (Fraction(1, 2) - a * batch_mean) / (1 - a), (3 - a * batch_variance) / (1 - a)
    pull = sum(gi * (xi - Fraction(1, 2)) for gi, xi in zip(g, x, strict=True))
    due = [
        gj / 2 - a * sum(g) / (2 * n) - a * Fraction(1, 16) * pull * 2 * (xj - batch_mean) / n
        for gj, xj in zip(g, x, strict=True)
    ]
    config = Config(num_features=1, ndim=2, eps=float(eps), momentum=momentum, affine=False)
    old = [np.array([gmpy2.mpfr(gmpy2.mpq(v), PRECISION)], dtype=object) for v in (old_mean, old_variance)]
    state = State(old[0], old[1], 0, None, None)
    point = SPECIFIED.but(**READ_BACK, running_variance="biased")
    values, upstream = (exact(np.array([[float(v)] for v in numbers])) for numbers in (x, g))
    got = oracle.backward(config, point, state, values, upstream, training=True).grad_x[:, 0]
    for one, other in zip(got, due, strict=True):
        assert abs(one - gmpy2.mpq(other)) <= gmpy2.mpfr(2) ** (10 - PRECISION)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("tracked", [True, False], ids=["tracked", "untracked"])
@pytest.mark.parametrize("affine", [True, False, "weight", "bias"], ids=["affine", "plain", "weight", "bias"])
@pytest.mark.parametrize(
    "point", ["specified", "epsilon_outside", "untracked_evaluation_by_initial", "shift_then_scale", "absolute_weight"]
)
def test_gradients_with_and_without_parameters_and_statistics(
    point: str, affine: Affine, tracked: bool, training: bool
) -> None:
    """The combinations of the flags in both modes; the gradient of a parameter that is not there is None."""
    config = Config(num_features=2, ndim=3, eps=0.75, affine=affine, track_running_stats=tracked)
    behaviour = SPECIFIED.but(**DIFFERENTIABLE[point])
    x, g = _inputs(3)
    record = oracle.backward(config, behaviour, _state(config), x, g, training=training)
    assert (record.grad_weight is None) is (affine in (False, "bias"))
    assert (record.grad_bias is None) is (affine in (False, "weight"))
    assert gradient_faults(config, behaviour, training) == []


@pytest.mark.parametrize("name", WRONG)
def test_wrong_gradients_are_told_from_the_differences(name: str) -> None:
    """The check above fails at every point whose gradient is not that of its forward pass."""
    changes, training = WRONG[name]
    assert gradient_faults(Config(num_features=2, ndim=3, eps=0.75), SPECIFIED.but(**changes), training)
