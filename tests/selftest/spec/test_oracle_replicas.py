"""A batch over replicas: the oracle against one batch, against formulas in floats, and against difference quotients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bnconform.cases import inputs
from bnconform.cases.probes.replicas import EMPTY, EQUAL, SIZES, UNEQUAL, shards, upstream
from bnconform.spec import oracle
from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.config import Config
from bnconform.spec.exact import Exact, Floats, arithmetic, exact, floats
from bnconform.spec.oracle.replicas import Replicated, replicated
from bnconform.spec.shards import join, shapes_of, split

CONFIG = Config(eps=0.1, momentum=0.3, ndim=4, dtype="float64", param_dtype="float64")
CASES = {"equal": EQUAL, "unequal": UNEQUAL["rank4"], "sizes": SIZES, "empty": EMPTY["last"]}
WEIGHT = 0.3
"""The weight of the new batch."""

NEAR = 1e-12


def state() -> oracle.State:
    """A state that is no default in any entry."""
    values = {name: exact(value) for name, value in inputs.everything(3).items()}
    return oracle.State(values["running_mean"], values["running_var"], 4, values["weight"], values["bias"])


def ask(given: list[Floats], gradients: list[Floats] | None = None, **point: str) -> Replicated:
    """What replicas compute in training at a point."""
    g = None if gradients is None else exact(join(gradients))
    behaviour = SPECIFIED.but(**point)
    return replicated(CONFIG, behaviour, state(), exact(join(given)), shapes_of(given), training=True, grad_output=g)


def outputs(found: Replicated) -> Floats:
    """Y of all replicas, (n, C)."""
    return floats(np.concatenate([one.y for one in found.replicas]))


def add_up(found: Replicated, name: str) -> Exact:
    """The sum of what all replicas give for a parameter, (C,)."""
    total = exact(np.zeros(3))
    for one in found.replicas:
        part = one.parameter_gradient(name)
        assert part is not None
        total = total + part
    return total


@pytest.mark.parametrize("case", CASES)
def test_all_replicas_compute_what_one_layer_does(case: str) -> None:
    """Output, statistics and gradients are those of the rows as one batch, to the last of 320 bits."""
    given, g = shards(CASES[case]), upstream(CASES[case])
    with arithmetic():
        found = ask(given, g)
        one = oracle.backward(CONFIG, SPECIFIED, state(), exact(join(given)), exact(join(g)), training=True)
        after = one.forward.state
        y, by_x = (np.concatenate([getattr(each, name) for each in found.replicas]) for name in ("y", "grad_x"))
        assert np.abs(floats(y - one.forward.y.reshape(y.shape))).max() < 1e-90
        assert np.abs(floats(by_x - one.grad_x.reshape(y.shape))).max() < 1e-90
        for name in ("running_mean", "running_var"):
            for each in found.replicas:
                assert np.abs(floats(each.statistic(name) - getattr(after, name))).max() < 1e-90
        for name in ("grad_weight", "grad_bias"):
            assert np.abs(floats(add_up(found, name) - getattr(one, name))).max() < 1e-90


def equally(given: list[Floats]) -> tuple[Floats, Floats]:
    """Mean and variance where replicas weigh equally, in floats."""
    flat = [np.moveaxis(each, 1, -1).reshape(-1, 3) for each in given]
    mean = np.mean([each.mean(axis=0) for each in flat], axis=0)
    return mean, np.mean([np.square(each - mean).mean(axis=0) for each in flat], axis=0)


@pytest.mark.parametrize("case", ["unequal", "sizes"])
def test_replicas_that_weigh_equally(case: str) -> None:
    """Mean and variance are means over replicas; Bessel's factor is that of all values."""
    given = shards(CASES[case])
    mean, variance = equally(given)
    rows, loaded = join(given).reshape(-1, 3), inputs.everything(3)
    with arithmetic():
        found = ask(given, replica_weights="equally")
        due = (rows - mean) / np.sqrt(variance + CONFIG.eps) * loaded["weight"] + loaded["bias"]
        assert np.abs(outputs(found) - due).max() < NEAR
        n = len(rows)
        kept = (1 - WEIGHT) * loaded["running_var"] + WEIGHT * variance * n / (n - 1)
        assert np.abs(floats(found.replicas[0].statistic("running_var")) - kept).max() < NEAR


def _of_own(given: list[Floats], i: int) -> Floats:
    """What replica i remembers of its own variance, in floats."""
    rows = np.moveaxis(given[i], 1, -1).reshape(-1, 3)
    return np.asarray((1 - WEIGHT) * inputs.everything(3)["running_var"] + WEIGHT * rows.var(axis=0, ddof=1))


MEMORIES: dict[str, Callable[[list[Floats], int], Floats]] = {
    "own": _of_own,
    "first": lambda given, _: _of_own(given, 0),
    "mean": lambda given, _: np.mean([_of_own(given, i) for i in range(len(given))], axis=0),
}


@pytest.mark.parametrize("memory", MEMORIES)
def test_what_replicas_remember_of_their_own(memory: str) -> None:
    """The running variance of each is its own, that of the first, or the mean, by NumPy's formula."""
    given = shards(UNEQUAL["rank4"])
    with arithmetic():
        found = ask(given, replica_memory=memory)
        for i, each in enumerate(found.replicas):
            assert np.abs(floats(each.statistic("running_var")) - MEMORIES[memory](given, i)).max() < NEAR


def test_an_empty_replica_that_weighs_equally_is_no_number() -> None:
    """The mean of nothing is in the mean over replicas."""
    with arithmetic():
        found = ask(shards(EMPTY["last"]), replica_weights="equally")
        assert np.isnan(outputs(found)).all()
        assert np.isnan(floats(found.replicas[1].statistic("running_mean"))).all()


STEP = 1e-6
POINTS: list[dict[str, str]] = [{}, {"replica_weights": "equally"}, {"replica_statistics": "own"}]


@pytest.mark.parametrize("point", POINTS, ids=["all", "equally", "own"])
@pytest.mark.parametrize("case", ["unequal", "sizes"])
def test_gradient_is_the_derivative_of_all_outputs(case: str, point: dict[str, str]) -> None:
    """At every point whose gradients are of all, grad_x is the difference quotient of the sum over all replicas."""
    given, g = shards(CASES[case]), upstream(CASES[case])
    flat = join(g).reshape(-1, 3)
    with arithmetic():
        found = np.concatenate([floats(one.grad_x) for one in ask(given, g, **point).replicas])
        rows, shapes = join(given), shapes_of(given)
        for row in range(len(rows)):
            ends = []
            for sign in (1, -1):
                moved = rows.copy()
                moved[row] += sign * STEP  # every channel at once: they do not mix
                ends.append((outputs(ask(split(moved, shapes), None, **point)) * flat).sum(axis=0))
            assert np.abs((ends[0] - ends[1]) / (2 * STEP) - found[row]).max() < 1e-7


def test_gradient_of_own_outputs_takes_the_others_for_constant() -> None:
    """The parts that each replica's outputs have in all gradients add up; `own` leaves the others' parts out."""
    given, g = shards(UNEQUAL["rank4"]), upstream(UNEQUAL["rank4"])
    with arithmetic():
        alone = [one.grad_x for one in ask(given, g, replica_gradient="own").replicas]
        for i, own in enumerate(alone):
            silent = [each if j == i else each * 0 for j, each in enumerate(g)]
            assert np.abs(floats(ask(given, silent).replicas[i].grad_x - own)).max() < 1e-90


@pytest.mark.parametrize("value", ["total", "mean"])
def test_what_replicas_give_for_the_parameters(value: str) -> None:
    """The sum, or the mean, of the parts, on every replica."""
    given, g = shards(EQUAL), upstream(EQUAL)
    with arithmetic():
        parts = add_up(ask(given, g), "grad_weight")
        for one in ask(given, g, replica_parameter_gradients=value).replicas:
            found = one.parameter_gradient("grad_weight")
            assert found is not None
            assert np.abs(floats(found * (2 if value == "mean" else 1) - parts)).max() < 1e-90


def test_nothing_is_fixed_where_samples_are_told_from_positions() -> None:
    """Of unequal sizes, a point whose statistics are not those of channels says nothing."""
    with arithmetic():
        assert "y" in ask(shards(SIZES), statistics_axes="per_sample").unspecified
        assert not ask(shards(SIZES)).unspecified
        assert not ask(shards(UNEQUAL["rank4"]), statistics_axes="per_sample").unspecified


def test_rows_and_shards_are_each_others_inverse() -> None:
    """Every value of every shard, in its place."""
    for shapes in CASES.values():
        given = shards(shapes)
        again = split(join(given), shapes_of(given))
        assert all(np.array_equal(one, other) for one, other in zip(given, again, strict=True))
