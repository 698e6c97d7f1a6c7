"""The bound of a training, and the gradients of the network that it is taken from."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from bnconform.backends.runner.lenet import CLASSES, NORMS, SIDE, WEIGHTS, LeNet, Weights
from bnconform.judge.training.bound import PROBE, SAFETY, Growth, growth
from bnconform.judge.training.experiment import initial_weights
from bnconform.judge.training.norms import BehavingNorm
from bnconform.judge.training.trajectory import QUANTITIES, reference
from bnconform.tests.selftest.judge.training.small import STEPS, small_experiment

STEP = 2.0**-17
"""Of the central difference: its error is that of the third derivative, STEP**2, and of rounding, 2**-53 / STEP."""

COUNT = 4
RANDOM = np.random.default_rng(7)
IMAGES, LABELS = RANDOM.uniform(size=(COUNT, 1, SIDE, SIDE)), RANDOM.integers(0, CLASSES, COUNT)


@cache
def weights() -> Weights:
    """Weights at no special place: of the BatchNorms, too."""
    found = initial_weights()
    for name in NORMS:
        size = found[f"{name}.weight"].shape
        found[f"{name}.weight"] = RANDOM.uniform(0.5, 1.5, size) * RANDOM.choice([-1, 1], size)
        found[f"{name}.bias"] = RANDOM.normal(size=size)
    return found


def network(given: Weights) -> LeNet:
    """The network at rate 1, so that an update is its gradient."""
    return LeNet(dict(given), [BehavingNorm(given[f"{n}.weight"], given[f"{n}.bias"]) for n in NORMS], 1.0)


@pytest.mark.parametrize("name", WEIGHTS)
def test_gradients_are_differences(name: str) -> None:
    """Along a random direction, the gradient is the central difference of the loss.

    The difference errs by STEP**2 times the third derivative, a few hundred here, as so few images are normalised
    sharply, and by some roundings of the loss, 2**-53, over STEP. A wrong gradient is off by a part of itself.
    """
    given = weights()
    direction = np.random.default_rng(1).normal(size=WEIGHTS[name])
    direction /= np.sqrt((direction**2).sum())
    net = network(given)
    net.step(IMAGES, LABELS)
    due = ((given[name] - net.weights[name]) * direction).sum()
    losses = [network({**given, name: given[name] + h * direction}).step(IMAGES, LABELS) for h in (STEP, -STEP)]
    assert abs(due - (losses[0] - losses[1]) / (2 * STEP)) < 300 * STEP**2 + 16 * 2.0**-53 / STEP


@cache
def grow(probe: float = PROBE) -> Growth:
    """How rounding grows in the small experiment."""
    return growth(small_experiment(), reference(small_experiment()), runs=1, probe=probe)


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_growth_is_linear(quantity: str) -> None:
    """A perturbation 64 times as large is 64 times as far off, to within a hundredth."""
    small, large = (grow(probe).spread.values[quantity] for probe in (PROBE, 64 * PROBE))
    assert (np.abs(large / small - 1) < 0.01).all()


def test_bounds_are_of_the_dtype() -> None:
    """Each is SAFETY times the growth times the unit roundoff, above 0 for every quantity and step."""
    for dtype, roundoff in (("float64", 2.0**-53), ("float32", 2.0**-24)):
        for name, value in grow().bound(dtype).values.items():
            assert value.shape[0] == STEPS and (value > 0).all()
            np.testing.assert_array_equal(value, grow().spread.values[name] * (SAFETY * roundoff))
