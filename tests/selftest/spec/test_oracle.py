"""The oracle against arithmetic that shares nothing with it, and every point of the space against the specified one."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from bnconform.spec import oracle
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.config import Config
from bnconform.spec.error_bounds.error_model import error_model_of
from bnconform.spec.exact import Exact, arithmetic, exact
from bnconform.spec.oracle.record import State
from bnconform.spec.oracle.replicas import replicated
from bnconform.spec.shards import join, shapes_of
from bnconform.tests.selftest import independent as once_more
from bnconform.tests.selftest.independent import DIGITS, Cells, cells, decimal, group_values

Array = NDArray[Any]
SHAPES = {2: (4, 3), 3: (3, 3, 3), 4: (3, 3, 2, 3), 5: (2, 3, 2, 1, 3)}
"""One shape a rank; where there are positions, the last axis has as many as there are channels."""

CLOSE = mpmath.mpf(10) ** -56
"""Relative to the size of the terms: mpmath carries 60 digits, each value takes fewer than 100 operations, and the
oracle's 320 bits are 96 digits."""

AXES = ("per_channel", "per_position", "per_sample_channel", "per_sample", "all")
EPSILON_FORMS = ("inside", "outside", "maximum", "squared", "absent")
AFFINE_FORMS = ("scale_then_shift", "shift_then_scale", "no_bias", "no_weight", "one_plus_weight", "absolute_weight")


@pytest.fixture(autouse=True)
def _precision() -> Iterator[None]:
    # Exact arrays of NaN set the processor's flags, which NumPy reports.
    with arithmetic(), mpmath.workdps(DIGITS), np.errstate(all="ignore"):
        yield


def data(rank: int, seed: int = 0) -> Array:
    """Values whose channels differ in mean and spread."""
    rng = np.random.default_rng(100 * rank + seed)
    x = rng.standard_normal(SHAPES[rank]) * 1.5
    return np.asarray(x + np.arange(3).reshape((1, 3) + (1,) * (rank - 2)))


def state_of(config: Config) -> State:
    """A state in which no two numbers are alike."""
    tracked, with_affine = config.track_running_stats, config.affine
    return State(
        running_mean=exact([0.25, -1.5, 2.0]) if tracked else None,
        running_var=exact([0.75, 3.0, 1.25]) if tracked else None,
        num_batches_tracked=0 if tracked else None,
        weight=exact([1.5, -0.5, 0.75]) if with_affine else None,
        bias=exact([-0.25, 2.0, 0.5]) if with_affine else None,
    )


def close(got: Any, due: Any, size: Any = 1) -> bool:
    """Whether a 320-bit number is the due one to the digits that mpmath carries."""
    value = mpmath.mpf(str(got)) if not isinstance(got, Fraction) else decimal(got)
    return bool(abs(value - decimal(due)) <= CLOSE * (abs(decimal(due)) + size))


def rational(value: Any) -> Fraction:
    """A 320-bit number as a fraction, exactly."""
    top, bottom = value.as_integer_ratio()
    return Fraction(int(top), int(bottom))


def same(got: Any, due: Fraction, size: Fraction = Fraction(1)) -> bool:
    """Whether a 320-bit number is the rational one but for fewer than 100 roundings of 2**-320 of the terms."""
    return abs(rational(got) - due) <= Fraction(100, 2**320) * (abs(due) + size)


def as_list(values: Exact | None) -> list[Any]:
    """The numbers of an Exact array."""
    assert values is not None
    return list(values.reshape(-1))


@pytest.mark.parametrize("kind", ["biased", "unbiased", "uncentred"])
@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("rank", SHAPES)
def test_batch_statistics_are_the_rational_ones(rank: int, axes: str, kind: str) -> None:
    """Mean and variance over every choice of axes, in fractions."""
    x = data(rank)
    if rank == 2 and axes == "per_sample_channel":
        kind = "biased"  # one value: there is nothing to correct
    point = SPECIFIED.but(statistics_axes=axes, normalizing_variance=kind)
    config = Config(ndim=rank)
    record = oracle.forward(config, point, state_of(config), exact(x), training=True)
    values = cells(x)
    groups = group_values(values, axes)
    mean, variance = (np.broadcast_to(part, x.shape) for part in (record.mean, record.variance))
    for index in values:
        members = groups[once_more.group(axes, index)]
        size = once_more.mean(value * value for value in members) + 1
        assert same(mean[index], once_more.mean(members), size)
        assert same(variance[index], once_more.variance(members, kind), size)


def _due_outputs(
    values: Cells,
    statistics: dict[Any, tuple[Fraction, Fraction]],
    axes: str,
    eps: float,
    form: str,
    affine: str,
    state: State,
) -> dict[Any, Any]:
    """Y by index from the statistics of each group."""
    weight, bias = ([rational(v) for v in as_list(part)] for part in (state.weight, state.bias))
    due = {}
    for index, value in values.items():
        mean, variance = statistics[once_more.group(axes, index)]
        z = decimal(value - mean) / once_more.denominator(variance, Fraction(eps), form)
        due[index] = once_more.affine(z, weight[index[1]], bias[index[1]], affine)
    return due


def _assert_outputs(got: Exact, due: dict[Any, Any]) -> None:
    assert got.shape == tuple(max(index[axis] for index in due) + 1 for axis in range(got.ndim))
    for index, value in due.items():
        assert close(got[index], value, 10), index


@pytest.mark.parametrize(
    ("form", "affine", "kind"),
    [
        *((form, "scale_then_shift", "biased") for form in EPSILON_FORMS),
        *(("inside", affine, "biased") for affine in AFFINE_FORMS[1:]),
        ("inside", "scale_then_shift", "unbiased"),
        ("outside", "shift_then_scale", "uncentred"),
    ],
)
@pytest.mark.parametrize(("rank", "axes"), [(2, "per_channel"), *((4, axes) for axes in AXES)])
def test_training_output_in_sixty_digits(rank: int, axes: str, form: str, affine: str, kind: str) -> None:
    """Y at every epsilon form, affine form, variance and choice of axes, against mpmath."""
    x, eps = data(rank), 0.3
    config = Config(ndim=rank, eps=eps)
    point = SPECIFIED.but(statistics_axes=axes, epsilon_form=form, affine_form=affine, normalizing_variance=kind)
    state = state_of(config)
    values = cells(x)
    statistics = {
        key: (once_more.mean(members), once_more.variance(members, kind))
        for key, members in group_values(values, axes).items()
    }
    record = oracle.forward(config, point, state, exact(x), training=True)
    _assert_outputs(record.y, _due_outputs(values, statistics, axes, eps, form, affine, state))


@pytest.mark.parametrize("form", ["as_training", "inside", "outside", "maximum", "absent"])
@pytest.mark.parametrize("choice", ["running", "batch", "running_mean_only", "running_variance_only"])
@pytest.mark.parametrize("rank", SHAPES)
def test_evaluation_output_in_sixty_digits(rank: int, choice: str, form: str) -> None:
    """Y in evaluation, at every choice of its statistics and of its epsilon, with another epsilon form in training."""
    x, eps = data(rank), 0.3
    config = Config(ndim=rank, eps=eps)
    point = SPECIFIED.but(evaluation_statistics=choice, evaluation_epsilon_form=form, epsilon_form="squared")
    state = state_of(config)
    values = cells(x)
    running = list(zip(as_list(state.running_mean), as_list(state.running_var), strict=True))
    statistics = {}
    for key, members in group_values(values).items():
        mean, variance = (rational(part) for part in running[key[0]])
        if choice in ("batch", "running_variance_only"):
            mean = once_more.mean(members)
        if choice in ("batch", "running_mean_only"):
            variance = once_more.variance(members, "biased")
        statistics[key] = mean, variance
    record = oracle.forward(config, point, state, exact(x), training=False)
    used = "squared" if form == "as_training" else form
    _assert_outputs(record.y, _due_outputs(values, statistics, "per_channel", eps, used, "scale_then_shift", state))
    assert record.state == state


@pytest.mark.parametrize("choice", ["batch", "initial"])
def test_evaluation_without_running_statistics(choice: str) -> None:
    """The batch's statistics, or mean 0 and variance 1."""
    x, config = data(3), Config(ndim=3, eps=0.3, track_running_stats=False)
    point = SPECIFIED.but(untracked_evaluation_statistics=choice)
    values, state = cells(x), state_of(config)
    statistics = {
        key: (once_more.mean(members), once_more.variance(members, "biased"))
        if choice == "batch"
        else (Fraction(0), Fraction(1))
        for key, members in group_values(values).items()
    }
    record = oracle.forward(config, point, state, exact(x), training=False)
    _assert_outputs(record.y, _due_outputs(values, statistics, "per_channel", 0.3, "inside", "scale_then_shift", state))


@pytest.mark.parametrize(
    "kind", ["unbiased", "biased", "unbiased_plus_eps", "biased_plus_eps", "samples", "standard_deviation", "uncentred"]
)
@pytest.mark.parametrize("momentum", [0.0, 0.1, 0.3, 1.0, None])
@pytest.mark.parametrize("rank", [2, 5])
def test_running_statistics_over_three_batches(rank: int, momentum: float | None, kind: str) -> None:
    """Every estimator and every kind of momentum, batch after batch, in fractions (60 digits where a root is taken)."""
    config, point = Config(ndim=rank, momentum=momentum, eps=0.3), SPECIFIED.but(running_variance=kind)
    state = state_of(config)
    means, variances = ([rational(v) for v in as_list(part)] for part in (state.running_mean, state.running_var))
    due_variances: list[Any] = list(variances)
    for seen in range(3):
        x = data(rank, seed=seen)
        state = oracle.forward(config, point, state, exact(x), training=True).state
        a = once_more.weight_of_batch(None if momentum is None else Fraction(momentum), seen, "cumulative")
        for (channel,), members in group_values(cells(x)).items():
            means[channel] = (1 - a) * means[channel] + a * once_more.mean(members)
            batch = once_more.variance_to_remember(members, kind, x.shape[0], Fraction(0.3))
            if kind == "standard_deviation":
                due_variances[channel] = decimal(1 - a) * decimal(due_variances[channel]) + decimal(a) * batch
            else:
                due_variances[channel] = (1 - a) * due_variances[channel] + a * batch
        assert state.num_batches_tracked == seen + 1
        for channel in range(3):
            assert same(as_list(state.running_mean)[channel], means[channel], Fraction(10))
            got = as_list(state.running_var)[channel]
            if kind == "standard_deviation":
                assert close(got, due_variances[channel])
            else:
                assert same(got, due_variances[channel], Fraction(100))


@pytest.mark.parametrize("none", ["cumulative", "counting_initial", "default_momentum", "batch", "unchanged"])
@pytest.mark.parametrize("seen", [0, 1, 5])
def test_weight_of_a_batch_without_momentum(none: str, seen: int) -> None:
    """The weight that momentum=None gives to the next batch, from any count."""
    weight = oracle.batch_weight(Config(momentum=None), SPECIFIED.but(momentum_none=none), seen)
    assert same(weight[()] if isinstance(weight, np.ndarray) else weight, once_more.weight_of_batch(None, seen, none))


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_zero_debiased_average_is_its_closed_form(steps: int) -> None:
    """The recursion of the oracle against the sum of weighted batches, the initial value having no part in it."""
    config, point = Config(ndim=2, momentum=0.3), SPECIFIED.but(averaging="zero_debiased")
    state = state_of(config)
    means: list[list[Fraction]] = [[], [], []]
    for seed in range(steps):
        x = data(2, seed)
        state = oracle.forward(config, point, state, exact(x), training=True).state
        for (channel,), members in group_values(cells(x)).items():
            means[channel].append(once_more.mean(members))
    for got, values in zip(as_list(state.running_mean), means, strict=True):
        assert same(got, once_more.zero_debiased(values, Fraction(0.3)), Fraction(10))


def test_momentum_that_weighs_the_old_value() -> None:
    """With momentum a on the old value the batch has weight 1 - a."""
    x, config = data(2), Config(ndim=2, momentum=0.1)
    state = state_of(config)
    after = oracle.forward(config, SPECIFIED.but(momentum_weighs="running"), state, exact(x), training=True).state
    a = Fraction(0.1)
    for (channel,), members in group_values(cells(x)).items():
        old = rational(as_list(state.running_mean)[channel])
        assert same(as_list(after.running_mean)[channel], a * old + (1 - a) * once_more.mean(members), Fraction(10))


def single(value: float) -> Fraction:
    """The number in single precision, by way of its four bytes."""
    return Fraction(struct.unpack("f", struct.pack("f", value))[0])


@pytest.mark.parametrize("eps", [0.1, 1e-5, 1e-7])
@pytest.mark.parametrize("training", [True, False])
def test_epsilon_in_single_precision(training: bool, eps: float) -> None:
    """In double precision the epsilon that is used is the configured one, rounded to single precision."""
    x, config = data(2), Config(ndim=2, eps=eps, dtype="float64", param_dtype="float64")
    record = oracle.forward(
        config, SPECIFIED.but(epsilon_value="single_precision"), state_of(config), exact(x), training=training
    )
    variances = [rational(v) for v in as_list(record.variance)]
    for got, variance in zip(as_list(record.inverse_std), variances, strict=True):
        assert close(got, 1 / once_more.denominator(variance, single(eps), "inside"))
    assert single(eps) != Fraction(eps)


@pytest.mark.parametrize("weighs", ["batch", "running"])
@pytest.mark.parametrize("momentum", [0.1, 0.3, 0.99, 1e-9, 0.0, 1.0])
@pytest.mark.parametrize("value", ["single_precision", "single_precision_batch"])
def test_momentum_in_single_precision(value: str, momentum: float, weighs: str) -> None:
    """In double precision the weight of the old value, or the batch's, is rounded to single, and the other the rest."""
    x, config = data(2), Config(ndim=2, momentum=momentum, dtype="float64", param_dtype="float64")
    state = state_of(config)
    point = SPECIFIED.but(momentum_value=value, momentum_weighs=weighs)
    after = oracle.forward(config, point, state, exact(x), training=True).state
    old_weight, new_weight = (1 - momentum, momentum) if weighs == "batch" else (momentum, 1 - momentum)
    keep = single(old_weight) if value == "single_precision" else 1 - single(new_weight)
    for (channel,), members in group_values(cells(x)).items():
        old = rational(as_list(state.running_mean)[channel])
        due = keep * old + (1 - keep) * once_more.mean(members)
        assert same(as_list(after.running_mean)[channel], due, Fraction(10))


# What each point of the space changes, beyond the specified point; found on rank 4 unless a setting says otherwise.
# "alias" marks the one value that is another name for the specified behaviour where its neighbour is specified.
ALIAS = ("evaluation_epsilon_form", "inside")
WHERE_IT_SHOWS: dict[str, set[str]] = {
    "statistics_axes": {"training y", "training running_mean"},
    "normalizing_variance": {"training y", "training grad_x"},
    "epsilon_form": {"training y", "evaluation y"},
    "epsilon_value": {"training y", "evaluation y"},
    "affine_form": {"training y", "evaluation y"},
    "training_statistics": {"training y"},
    "evaluation_statistics": {"evaluation y"},
    "untracked_evaluation_statistics": {"untracked evaluation y"},
    "evaluation_epsilon_form": {"evaluation y"},
    "evaluation_affine": {"evaluation y", "evaluation grad_weight"},
    "evaluation_broadcast": {"evaluation y"},
    "evaluation_update": {"evaluation running_mean"},
    "mode_source": {"evaluation grad_x"},
    "initial_running_mean": {"initial running_mean"},
    "initial_running_variance": {"initial running_var"},
    "initial_weight": {"initial weight"},
    "initial_bias": {"initial bias"},
    "running_mean": {"training running_mean"},
    "running_variance": {"training running_var"},
    "momentum_weighs": {"training running_mean"},
    "momentum_value": {"training running_mean"},
    "momentum_none": {"cumulative running_mean"},
    "averaging": {"training running_mean", "again running_mean"},
    "training_update": {"training running_mean"},
    "batch_counter": {"num_batches_tracked"},
    "training_gradient": {"training grad_x"},
    "evaluation_gradient": {"evaluation grad_x"},
    "gradient_scale": {"training grad_x", "evaluation grad_x"},
    "weight_gradient": {"training grad_weight", "evaluation grad_weight"},
    "bias_gradient": {"training grad_bias", "evaluation grad_bias"},
    "single_value": {"single refused"},
    "empty_batch": {"empty refused", "empty running_mean"},
    "replica_statistics": {"replicated y"},
    "replica_weights": {"replicated y"},
    "replica_unbiased_count": {"replicated running_var"},
    "replica_memory": {"replicated running_mean"},
    "replica_gradient": {"replicated grad_x"},
    "replica_parameter_gradients": {"replicated grad_weight"},
    "masked_statistics": {"masked y"},
    "masked_output": {"masked y"},
    "nothing_selected": {"nothing selected y", "nothing selected running_mean"},
    "recomputation_update": {"recomputed running_mean"},
    "virtual_batch": {"pieces"},
    "saved_statistics": {"saved_mean"},
    "saved_deviation": {"saved_invstd"},
    "saved_variance": {"saved_variance"},
    "saved_in_evaluation": {"saved in evaluation"},
    "frozen_mode": {"frozen y", "frozen running_mean"},
    "frozen_gradients": {"frozen gradients"},
    "output_dtype": {"output dtype"},
    "statistics_dtype": {"statistics dtype"},
}
# At rank 2 there are no positions, and channels are the last axis: these are the same there.
SAME_AT_RANK_2 = {
    ("statistics_axes", "per_position"),
    ("evaluation_broadcast", "last_axis"),
    ("running_variance", "samples"),
}


def show(values: Exact | None) -> Any:
    """Exact values, to be compared."""
    return None if values is None else tuple(str(value) for value in values.reshape(-1))


def observations(point: Behaviour, rank: int) -> dict[str, Any]:
    """Everything that a layer at this point shows on a small set of calls, as hashable values."""
    x, g = exact(data(rank)), exact(np.random.default_rng(rank).standard_normal(SHAPES[rank]))
    config = Config(ndim=rank, eps=1e-6, momentum=0.3, dtype="float64", param_dtype="float64")
    seen: dict[str, Any] = {}
    start = oracle.initial_state(config, point)
    for name in ("running_mean", "running_var", "weight", "bias"):
        seen[f"initial {name}"] = show(getattr(start, name))
    state = state_of(config)
    for mode, training in (("training", True), ("evaluation", False)):
        record = oracle.forward(config, point, state, x, training=training)
        seen[f"{mode} y"] = (record.refused, show(record.y))
        seen[f"{mode} running_mean"] = show(record.state.running_mean)
        seen[f"{mode} running_var"] = show(record.state.running_var)
        gradients = oracle.backward(config, point, state, x, g, training=training)
        seen |= {f"{mode} {name}": show(getattr(gradients, name)) for name in ("grad_x", "grad_weight", "grad_bias")}
    again = oracle.forward(config, point, state, x, training=True).state
    again = oracle.forward(config, point, again, exact(data(rank, seed=1)), training=True).state
    seen["again running_mean"] = show(again.running_mean)
    seen["num_batches_tracked"] = oracle.forward(config, point, again, x, training=False).state.num_batches_tracked
    none = Config(ndim=rank, momentum=None)
    cumulative = oracle.forward(none, point, state_of(none), x, training=True).state
    cumulative = oracle.forward(none, point, cumulative, exact(data(rank, seed=1)), training=True).state
    seen["cumulative running_mean"] = show(cumulative.running_mean)
    untracked = Config(ndim=rank, track_running_stats=False)
    seen["untracked evaluation y"] = show(oracle.forward(untracked, point, state_of(untracked), x, training=False).y)
    for name, part in (("single", exact(data(rank)[:1, :, *(slice(1),) * (rank - 2)])), ("empty", x[:0])):
        record = oracle.forward(config, point, state, part, training=True)
        seen[f"{name} refused"] = (record.refused, show(record.state.running_mean), show(record.state.running_var))
        seen[f"{name} running_mean"] = show(record.state.running_mean)
        oracle.backward(config, point, state, part, g[tuple(map(slice, part.shape))], training=True)
    twofold = oracle.recomputed(config, point, state, x, g, training=True)
    seen["recomputed running_mean"] = show(twofold.state.running_mean)
    seen |= _of_masks(config, point, rank) | _of_replicas(config, point, rank) | _of_saved_and_frozen(config, point, x)
    half = Config(ndim=rank, dtype="float16", param_dtype="float32")
    model = error_model_of(half, point)
    seen["output dtype"], seen["statistics dtype"] = model.output.name, model.statistics.name
    return seen


def _of_saved_and_frozen(config: Config, point: Behaviour, x: Exact) -> dict[str, Any]:
    """What is given beside y in both modes, a training pass of a frozen layer, and the pieces of a large batch."""
    state, seen = state_of(config), {}
    found = oracle.results_beside(oracle.forward(config, point, state, x, training=True))
    for name in ("saved_mean", "saved_invstd", "saved_variance"):
        # Where running statistics normalise in training, too, nothing is saved.
        seen[name] = None if found is None else show(found.value(name))
    evaluated = oracle.results_beside(oracle.forward(config, point, state, x, training=False))
    seen["saved in evaluation"] = None if evaluated is None else show(evaluated.value("saved_mean"))
    mode = oracle.mode_when_frozen(point, True)
    passed = oracle.forward(config, point, state, x, training=mode)
    after, _ = oracle.state_when_frozen(config, point, state, x, passed, training=True)
    # Two of the values differ in y or in what moves alone.
    seen["frozen y"] = seen["frozen running_mean"] = show(passed.y), show(after.running_mean)
    seen["frozen gradients"] = str(point.frozen_gradients)
    seen["pieces"] = str(oracle.pieces(point, 130))
    return seen


def _of_masks(config: Config, point: Behaviour, rank: int) -> dict[str, Any]:
    """What two masks show: one that selects two values of three, and one that selects none."""
    seen: dict[str, Any] = {}
    x = data(rank)
    some = (np.arange(x.size // 3).reshape(-1, 1, *x.shape[2:]) % 3 > 0) & np.ones(x.shape, bool)
    for name, mask in (("masked", some), ("nothing selected", np.zeros(x.shape, bool))):
        record = oracle.forward(config, point, state_of(config), oracle.Batch(exact(x), mask), training=True)
        seen[f"{name} y"] = (record.refused, show(record.y))
        seen[f"{name} running_mean"] = (record.refused, show(record.state.running_mean))
    return seen


def _of_replicas(config: Config, point: Behaviour, rank: int) -> dict[str, Any]:
    """What two replicas of unequal size show, each named by what it is."""
    shards = [data(rank), data(rank, seed=1)[:-1]]
    upstream = [np.random.default_rng(number).standard_normal(one.shape) for number, one in enumerate(shards)]
    found = replicated(
        config, point, state_of(config), exact(join(shards)), shapes_of(shards), training=True,
        grad_output=exact(join(upstream)),
    )  # fmt: skip
    return {
        "replicated y": tuple(show(one.y) for one in found.replicas),
        "replicated grad_x": tuple(show(one.grad_x) for one in found.replicas),
        "replicated running_mean": tuple(show(one.statistic("running_mean")) for one in found.replicas),
        "replicated running_var": tuple(show(one.statistic("running_var")) for one in found.replicas),
        "replicated grad_weight": tuple(show(one.parameter_gradient("grad_weight")) for one in found.replicas),
    }


NEIGHBOURS = [(name, value) for name, value, _ in SPECIFIED.neighbours()]


@pytest.mark.parametrize("rank", SHAPES)
@pytest.mark.parametrize(("name", "value"), NEIGHBOURS)
def test_no_value_of_a_decision_is_dead(name: str, value: str, rank: int) -> None:
    """Every neighbour of the specified point is evaluated without an error and shows where it should."""
    base = SPECIFIED.but(epsilon_form="outside") if (name, value) == ALIAS else SPECIFIED
    due, got = (observations(point, rank) for point in (base, base.but(**{name: value})))
    different = {key for key in due if due[key] != got[key]}
    if rank == 2 and (name, value) in SAME_AT_RANK_2:
        assert not different
    else:
        assert different & WHERE_IT_SHOWS[name], different


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    "differences",
    [
        {"epsilon_value": "single_precision"},
        {"momentum_value": "single_precision"},
        {"momentum_value": "single_precision_batch"},
    ],
    ids=lambda differences: " ".join(*differences.items()),
)
def test_single_precision_means_nothing_where_the_parameters_have_no_more(
    differences: dict[str, str], dtype: str
) -> None:
    """What is stored in the parameters' dtype anyway is as given, to the last bit of the oracle."""
    config = Config(ndim=2, momentum=0.3, dtype=dtype, param_dtype="float32")
    x, g = exact(data(2)), exact(data(2, seed=1))
    due, got = (
        oracle.backward(config, point, state_of(config), x, g, training=True)
        for point in (SPECIFIED, SPECIFIED.but(**differences))
    )
    assert as_list(got.forward.y) == as_list(due.forward.y)
    assert as_list(got.grad_x) == as_list(due.grad_x)
    assert as_list(got.forward.state.running_mean) == as_list(due.forward.state.running_mean)


def test_the_alias_is_one() -> None:
    """Epsilon inside the root in evaluation is what the specified point does already."""
    assert observations(SPECIFIED, 3) == observations(SPECIFIED.but(**{ALIAS[0]: ALIAS[1]}), 3)


@pytest.mark.parametrize(("rank", "training"), list(product(SHAPES, [True, False])))
def test_a_channel_with_nan_leaves_the_others_alone(rank: int, training: bool) -> None:
    """NaN stays in its channel, in y, statistics and gradients."""
    x, config = data(rank), Config(ndim=rank)
    g = exact(np.ones(x.shape))
    clean = oracle.backward(config, SPECIFIED, state_of(config), exact(x), g, training=training)
    x[(0, 1) + (0,) * (rank - 2)] = np.nan
    marked = oracle.backward(config, SPECIFIED, state_of(config), exact(x), g, training=training)
    for got, due in ((marked.forward.y, clean.forward.y), (marked.grad_x, clean.grad_x)):
        assert (got[:, [0, 2]] == due[:, [0, 2]]).all()
    assert as_list(marked.grad_weight)[0::2] == as_list(clean.grad_weight)[0::2]
    assert as_list(marked.forward.state.running_var)[0::2] == as_list(clean.forward.state.running_var)[0::2]
    spoilt = np.asarray(marked.forward.y[:, 1], dtype=float)
    assert np.isnan(spoilt).all() if training else np.isnan(spoilt).sum() == 1


@pytest.mark.parametrize("form", EPSILON_FORMS)
def test_a_variance_that_is_no_number_normalises_nothing(form: str) -> None:
    """Wherever epsilon stands, what is divided by the root of NaN is NaN; the others are as without it."""
    x, config = data(4), Config(ndim=4)
    behaviour = SPECIFIED.but(epsilon_form=form)
    state = replace(state_of(config), running_var=exact(np.array([1.0, np.nan, 2.0])))
    y = np.asarray(oracle.forward(config, behaviour, state, exact(x), training=False).y, dtype=float)
    assert np.isnan(y[:, 1]).all() and np.isfinite(y[:, [0, 2]]).all()
