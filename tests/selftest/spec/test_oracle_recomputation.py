"""The oracle's steps with recomputation, by rational arithmetic, and the bounds on statistics that move twice."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from bnconform.cases import inputs
from bnconform.cases.program import Array, Program, load, recomputed
from bnconform.judge.judgement import judge
from bnconform.judge.subject import Subject
from bnconform.spec import oracle
from bnconform.spec.behaviour import SPECIFIED, Behaviour, RecomputationUpdate
from bnconform.spec.config import Config
from bnconform.spec.error_bounds.error_model import error_model_of
from bnconform.spec.error_bounds.forward import ForwardErrors, running_errors
from bnconform.spec.exact import Floats, arithmetic, exact, floats
from bnconform.spec.formats import DTYPES, parameter_dtype
from bnconform.tests.mutants.catalogue import Mutant
from bnconform.tests.mutants.layer import Entries
from bnconform.tests.mutants.recomputing import Recomputing

X = [1, 5, -3, 9]
"""The values of one channel."""

TWICE = SPECIFIED.but(recomputation_update="twice")
SHOWN = ("running_mean", "running_var", "num_batches_tracked")


def _after(kind: RecomputationUpdate, momentum: float | None, *, training: bool = True) -> oracle.State:
    """The state that a step leaves, from a running mean of 2, a running variance of 3 and a count of 4."""
    config = Config(num_features=1, ndim=2, momentum=momentum, dtype="float64", param_dtype="float64")
    x, g = exact(np.array(X, float).reshape(-1, 1)), exact(np.ones((4, 1)))
    with arithmetic():
        new = oracle.initial_state(config)
        loaded = {"running_mean": exact(np.array([2.0])), "running_var": exact(np.array([3.0]))}
        state = oracle.State(**{**vars(new), **loaded, "num_batches_tracked": 4})
        point = SPECIFIED.but(recomputation_update=str(kind))
        return oracle.recomputed(config, point, state, x, g, training=training).state


@pytest.mark.parametrize("kind", RecomputationUpdate)
@pytest.mark.parametrize("momentum", [0.25, None], ids=["number", "none"])
def test_in_rational_arithmetic(kind: RecomputationUpdate, momentum: float | None) -> None:
    """None, one or two updates, each counted, so that of a cumulative average the second one weighs less."""
    mean = Fraction(sum(X), 4)
    variance = sum(((value - mean) ** 2 for value in X), Fraction(0)) / 3
    due_mean, due_variance, count = Fraction(2), Fraction(3), 4
    for _ in range({"once": 1, "twice": 2, "never": 0}[kind]):
        count += 1
        weight = Fraction(1, count) if momentum is None else Fraction(momentum)
        due_mean = (1 - weight) * due_mean + weight * mean
        due_variance = (1 - weight) * due_variance + weight * variance
    found = _after(kind, momentum)
    assert found.running_mean is not None and found.running_var is not None
    assert found.num_batches_tracked == count
    # 320 bits round to the double that the rational number rounds to.
    assert float(floats(found.running_mean)[0]) == float(due_mean)
    assert float(floats(found.running_var)[0]) == float(due_variance)


@pytest.mark.parametrize("kind", RecomputationUpdate)
def test_evaluation_leaves_the_state(kind: RecomputationUpdate) -> None:
    """However often the forward pass is run."""
    found = _after(kind, 0.25, training=False)
    assert found.running_mean is not None
    assert (floats(found.running_mean).tolist(), found.num_batches_tracked) == ([2.0], 4)


@pytest.mark.parametrize("kind", RecomputationUpdate)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_gradients_are_those_of_a_backward_pass(kind: RecomputationUpdate, training: bool) -> None:
    """To the last bit, at every point."""
    config = Config(eps=0.25)
    x, g = exact(inputs.values((2, 3, 4, 5), 1)), exact(inputs.upstream((2, 3, 4, 5)))
    point = SPECIFIED.but(recomputation_update=str(kind))
    with arithmetic():
        state = oracle.initial_state(config)
        found = oracle.recomputed(config, point, state, x, g, training=training).backward
        due = oracle.backward(config, SPECIFIED, state, x, g, training=training)
    for name in ("grad_x", "grad_weight", "grad_bias"):
        assert (getattr(found, name) == getattr(due, name)).all()


def test_what_is_refused_is_refused_once() -> None:
    """One value a channel: the state stays, and nothing is run again."""
    config = Config(ndim=2)
    with arithmetic():
        state = oracle.initial_state(config)
        found = oracle.recomputed(config, TWICE, state, exact(np.ones((1, 3))), exact(np.ones((1, 3))), training=True)
    assert found.backward.forward.refused and found.again is None and found.state is state


class Twofold(Recomputing):
    """A layer whose statistics move in both runs."""

    def put_back(self, before: Entries) -> None:
        """Nothing is put back."""


class Shifted(Twofold):
    """The same, and the running mean is a little too large by then."""

    ULPS = 12

    def recomputed(self, x: Array, grad_output: Array, *, training: bool) -> Any:
        """By some units in the last place of the statistics and of what was added up."""
        found = super().recomputed(x, grad_output, training=training)
        mean = self.present("running_mean")
        size = np.maximum(np.abs(mean), np.abs(x).max()).astype(mean.dtype)
        self.entries["running_mean"] = (mean + self.ULPS * np.spacing(size)).astype(mean.dtype)
        return found


def _ratio(layer: type[Recomputing], dtype: str, momentum: float | None, point: Behaviour = TWICE) -> float:
    """The largest error ratio of statistics after a step of a layer, as seen from a point."""
    x, g = inputs.values((7, 3), 4, offset=3.0), inputs.upstream((7, 3))
    steps = (load(**inputs.everything(3)), recomputed(x, g, *SHOWN))
    config = Config(ndim=2, momentum=momentum)
    program = Program(config, steps).cast(dtype, parameter_dtype(dtype))
    trace = Subject("mine", Mutant("mine", "a layer", layer), "cpu", dtype).run(program)
    found = judge(trace, point)
    assert not found.problems and found.checks
    return found.error_ratio


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("momentum", [0.25, 0.9, 1.0, None], ids=str)
def test_two_updates_lie_within_their_bound(dtype: str, momentum: float | None) -> None:
    """In every dtype; what is right where they move twice is wrong where they are to move once."""
    assert _ratio(Twofold, dtype, momentum) <= 1
    if momentum != 1:
        assert _ratio(Twofold, dtype, momentum, SPECIFIED) > 1


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_bound_on_two_updates_tells_something(dtype: str) -> None:
    """A running mean that is some units in the last place off is refused."""
    assert _ratio(Shifted, dtype, 0.25) > 1


@pytest.mark.parametrize("momentum", [0.25, 0.9])
def test_bound_is_that_of_two_updates_of_one_pass(momentum: float) -> None:
    """A pass that moves the statistics twice has a bound of its own derivation; the two are within a factor of 2."""
    config = Config(ndim=2, momentum=momentum)
    x, g = exact(inputs.values((7, 3), 4)), exact(inputs.upstream((7, 3)))
    with arithmetic():
        state = oracle.initial_state(config)
        again = oracle.recomputed(config, TWICE, state, x, g, training=True).again
        assert again is not None
        model = error_model_of(config, TWICE)
        first = ForwardErrors(oracle.forward(config, SPECIFIED, state, x, training=True), model)
        found = running_errors(config, TWICE, again.before, again, model, None, first.running)
        point = SPECIFIED.but(training_update="twice")
        other = ForwardErrors(oracle.forward(config, point, state, x, training=True), error_model_of(config, point))
        due = other.running
    ratios: list[Floats] = [np.asarray(mine / theirs) for mine, theirs in zip(found, due, strict=True)]
    assert all((one > 0.5).all() and (one < 2).all() for one in ratios), ratios
