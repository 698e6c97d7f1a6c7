"""Replicas with masks: the oracle against one batch with one mask, formulas in floats, and difference quotients."""

from __future__ import annotations

import numpy as np
import pytest

from bnconform.cases import inputs
from bnconform.cases.probes.masked_replicas import EQUAL, NOTHING, SHAPES, UNEQUAL, operands
from bnconform.cases.probes.replicas import upstream
from bnconform.cases.program import Array
from bnconform.spec import oracle
from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.config import Config
from bnconform.spec.exact import Exact, Floats, arithmetic, exact, floats
from bnconform.spec.oracle.replicas import Replicated, replicated
from bnconform.spec.shards import join, shapes_of, split

CONFIG = Config(eps=0.1, momentum=0.3, ndim=2, dtype="float64", param_dtype="float64")
CASES = {"equal": EQUAL, "unequal": UNEQUAL, "nothing": NOTHING}
NEAR = 1e-12


def state() -> oracle.State:
    """A state that is no default in any entry."""
    values = {name: exact(value) for name, value in inputs.everything(3).items()}
    return oracle.State(values["running_mean"], values["running_var"], 4, values["weight"], values["bias"])


def ask(xs: list[Array], masks: list[Array], gradients: list[Array] | None = None, **point: str) -> Replicated:
    """What replicas with masks compute in training at a point."""
    g = None if gradients is None else exact(join(gradients))
    behaviour, rows = SPECIFIED.but(**point), exact(join(xs))
    return replicated(
        CONFIG, behaviour, state(), rows, shapes_of(xs), training=True, grad_output=g, mask=join(masks)
    )  # fmt: skip


def outputs(found: Replicated) -> Exact:
    """Y of all replicas, (n, C)."""
    return np.concatenate([one.y for one in found.replicas])


@pytest.mark.parametrize("case", CASES)
def test_all_replicas_compute_what_one_layer_with_one_mask_does(case: str) -> None:
    """Output, statistics and gradients are those of the rows as one batch with a mask, to the last of 320 bits."""
    (xs, masks), g = operands(CASES[case]), upstream(SHAPES)
    with arithmetic():
        found = ask(xs, masks, g)
        batch = oracle.Batch(exact(join(xs)), np.broadcast_to(join(masks), (8, 3)))
        one = oracle.backward(CONFIG, SPECIFIED, state(), batch, exact(join(g)), training=True)
        assert np.abs(floats(outputs(found) - one.forward.y)).max() < 1e-90
        by_x = np.concatenate([each.grad_x for each in found.replicas])
        assert np.abs(floats(by_x - one.grad_x)).max() < 1e-90
        for name in ("running_mean", "running_var"):
            for each in found.replicas:
                assert np.abs(floats(each.statistic(name) - getattr(one.forward.state, name))).max() < 1e-90
        for name in ("grad_weight", "grad_bias"):
            first, second = (each.parameter_gradient(name) for each in found.replicas)
            assert first is not None and second is not None
            assert np.abs(floats(first + second - getattr(one, name))).max() < 1e-90


def test_masks_that_select_everything_are_none() -> None:
    """What replicas compute with them is what they compute without, to the last bit."""
    xs, masks = operands(("1111", "1111"))
    with arithmetic():
        found = ask(xs, masks)
        plain = replicated(CONFIG, SPECIFIED, state(), exact(join(xs)), shapes_of(xs), training=True)
        assert not np.any(outputs(found) - outputs(plain))


def equally(xs: list[Array], masks: list[Array]) -> tuple[Floats, Floats]:
    """Mean and variance where replicas weigh equally, in floats."""
    chosen = [x[mask[:, 0]] for x, mask in zip(xs, masks, strict=True)]
    mean = np.mean([each.mean(axis=0) for each in chosen], axis=0)
    return mean, np.mean([np.square(each - mean).mean(axis=0) for each in chosen], axis=0)


def test_selections_that_weigh_equally() -> None:
    """Mean and variance are means over replicas of what each selects; Bessel's factor counts all that is selected."""
    xs, masks = operands(UNEQUAL)
    (mean, variance), loaded = equally(xs, masks), inputs.everything(3)
    with arithmetic():
        found = ask(xs, masks, replica_weights="equally")
        due = (join(xs) - mean) / np.sqrt(variance + CONFIG.eps) * loaded["weight"] + loaded["bias"]
        assert np.abs(floats(outputs(found)) - due).max() < NEAR
        kept = 0.7 * loaded["running_var"] + 0.3 * variance * 6 / 5
        assert np.abs(floats(found.replicas[1].statistic("running_var")) - kept).max() < NEAR


def test_nothing_selected_of_one_that_weighs_equally_is_no_number() -> None:
    """The mean of nothing is in the mean over replicas, and in what each remembers and gives."""
    with arithmetic():
        found = ask(*operands(NOTHING), upstream(SHAPES), replica_weights="equally")
        assert np.isnan(floats(outputs(found))).all()
        for one in found.replicas:
            assert np.isnan(floats(one.statistic("running_mean"))).all()
        assert not found.unspecified


@pytest.mark.parametrize("memory", ["own", "first"])
def test_what_is_remembered_of_nothing_leaves_the_output_fixed(memory: str) -> None:
    """Where a replica remembers its own, of which it has nothing, that is left open, and y is not."""
    xs, masks = operands(NOTHING)
    with arithmetic():
        found = ask(xs, masks, replica_memory=memory)
        assert found.unspecified == {"replica_running_mean", "replica_running_var"}
        assert not np.any(outputs(found) - outputs(ask(xs, masks)))


def test_own_statistics_are_of_what_the_own_mask_selects() -> None:
    """Each replica normalises by the mean and the variance of its own selection."""
    xs, masks = operands(UNEQUAL)
    loaded = inputs.everything(3)
    with arithmetic():
        found = ask(xs, masks, replica_statistics="own")
        for one, x, mask in zip(found.replicas, xs, masks, strict=True):
            chosen = x[mask[:, 0]]
            z = (x - chosen.mean(axis=0)) / np.sqrt(chosen.var(axis=0) + CONFIG.eps)
            assert np.abs(floats(one.y) - (z * loaded["weight"] + loaded["bias"])).max() < NEAR


def test_a_mask_that_is_not_used_selects_everything() -> None:
    """Where all values are counted whatever a mask selects, replicas weigh by all of them."""
    xs, masks = operands(UNEQUAL)
    with arithmetic():
        found = ask(xs, masks, masked_statistics="all", replica_weights="equally")
        plain = replicated(CONFIG, SPECIFIED, state(), exact(join(xs)), shapes_of(xs), training=True)
        assert np.abs(floats(outputs(found) - outputs(plain))).max() < 1e-90


STEP = 1e-6
POINTS: list[dict[str, str]] = [{}, {"replica_weights": "equally"}, {"replica_statistics": "own"}]


@pytest.mark.parametrize("point", POINTS, ids=["all", "equally", "own"])
def test_gradient_is_the_derivative_of_all_outputs(point: dict[str, str]) -> None:
    """At every point whose gradients are of all, grad_x is the difference quotient of the sum over all replicas."""
    (xs, masks), g = operands(UNEQUAL), upstream(SHAPES)
    with arithmetic():
        found = np.concatenate([floats(one.grad_x) for one in ask(xs, masks, g, **point).replicas])
        for row in range(8):
            ends = []
            for sign in (1, -1):
                moved = join(xs)
                moved[row] += sign * STEP  # every channel at once: they do not mix
                parts = split(moved, shapes_of(xs))
                ends.append((floats(outputs(ask(parts, masks, None, **point))) * join(g)).sum(axis=0))
            assert np.abs((ends[0] - ends[1]) / (2 * STEP) - found[row]).max() < 1e-7
