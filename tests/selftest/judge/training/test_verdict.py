"""The verdict on a training: right layers are not accused, and what wrong ones do is named."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import pytest

from bnconform.judge.training.bound import growth
from bnconform.judge.training.norms import BehavingNorm
from bnconform.judge.training.session import TrainingRun
from bnconform.judge.training.trajectory import reference
from bnconform.judge.training.verdict import SINGLE, TrainingJudge, TrainingVerdict
from bnconform.spec.behaviour import SPECIFIED
from bnconform.tests.selftest.judge.training.small import SinglePrecision, run_of, small_experiment


@cache
def judge() -> TrainingJudge:
    """What judges the small experiment."""
    given = small_experiment()
    exact = reference(given)
    return TrainingJudge(given, growth(given, exact, runs=2), exact)


def judge_layers(dtype: str = "float64", **point: str) -> TrainingVerdict:
    """The verdict on layers that do this."""
    return judge().judge(run_of(judge().experiment, partial(BehavingNorm, behaviour=SPECIFIED.but(**point))), dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_right_layer_is_not_accused(dtype: str) -> None:
    """In the arithmetic of each dtype a right layer conforms, and its ratios are there for every step."""
    found = judge().judge(run_of(judge().experiment, BehavingNorm, dtype), dtype)
    assert (found.verdict, found.left, found.explained) == ("conforms", None, ())
    assert {len(value) for value in found.ratios.values()} == {judge().experiment.steps}


WRONG = {
    "epsilon": {"epsilon_value": "always_1e-3"},
    "normalising_estimator": {"normalizing_variance": "unbiased"},
    "running_estimator": {"running_variance": "biased"},
    "momentum": {"momentum_weighs": "running"},
    "momentum_and_estimator": {"momentum_weighs": "running", "running_variance": "biased"},
}
STATISTICS_ALONE = ("running_estimator", "momentum", "momentum_and_estimator")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("point", WRONG.values(), ids=WRONG)
def test_a_wrong_one_is_named(point: dict[str, str], dtype: str) -> None:
    """A wrong epsilon, estimator or momentum leaves the bound in the first step, and is named."""
    found = judge_layers(dtype, **point)
    assert (found.verdict, found.left and found.left.step) == ("violates", 1)
    assert set(found.explained) == {f"{name} = {value}" for name, value in point.items()}


@pytest.mark.parametrize("name", STATISTICS_ALONE)
def test_some_do_not_show_in_the_loss(name: str) -> None:
    """What only the running statistics do differently leaves the loss as it is, to the last bit."""
    found = judge_layers(**WRONG[name])
    assert max(found.ratios["loss"]) == 0
    assert found.left is not None and "loss" not in found.left.quantities
    assert max(found.ratios["evaluation_loss"]) > 1


def test_what_is_declared_deviates() -> None:
    """A true declaration makes it a deviation; an untrue one does not."""
    biased = partial(BehavingNorm, behaviour=SPECIFIED.but(running_variance="biased"))
    given = judge().experiment
    true = judge().judge(run_of(given, biased, running_variance="biased"), "float64")
    assert (true.verdict, true.explained) == ("deviates", ("running_variance = biased",))
    assert judge().judge(run_of(given, biased, momentum_weighs="running"), "float64").verdict == "violates"


def test_single_precision_is_told() -> None:
    """A layer that rounds to single precision lies within the bound of that, and is said to compute in it."""
    found = judge().judge(run_of(judge().experiment, SinglePrecision), "float64")
    assert (found.verdict, found.explained) == ("violates", (SINGLE,))


def test_nothing_is_made_up() -> None:
    """What nothing explains is said to be so; what is not finite leaves, too."""

    class Shifted(BehavingNorm):
        def forward(self, x: Any) -> Any:
            return super().forward(x) * 1.01

    found = judge().judge(run_of(judge().experiment, Shifted), "float64")
    assert (found.verdict, found.explained) == ("violates", ())


def test_a_refusal_is_no_violation() -> None:
    """What a backend lacks is unsupported; what it raises is a crash, with what was seen before it."""
    lacking = judge().judge(TrainingRun(None, "it has no gradients", lacks=True), "float64")
    assert (lacking.verdict, lacking.words) == ("unsupported", "it has no gradients")
    seen = run_of(judge().experiment, BehavingNorm).trajectory
    assert seen is not None
    broken = judge().judge(TrainingRun(seen.first(2), "ValueError: no"), "float64")
    assert (broken.verdict, len(broken.ratios["loss"])) == ("crashed", 2)
