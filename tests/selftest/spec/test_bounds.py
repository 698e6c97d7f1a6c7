"""The bounds: no right arithmetic exceeds them, and small faults do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bnconform.spec import oracle
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.config import Config
from bnconform.spec.error_bounds.error_model import ErrorModel, error_model_of
from bnconform.spec.error_bounds.forward import ForwardErrors, running_errors
from bnconform.spec.error_bounds.gradients import bias_gradient, input_gradient, weight_gradient
from bnconform.spec.exact import arithmetic, exact
from bnconform.spec.formats import DTYPES, format_of, is_half, numpy_dtype, parameter_dtype
from bnconform.tests.mutants.algorithms import (
    SUBJECTS,
    Algorithm,
    answer,
    one_pass,
    pairwise,
    read_back,
    sequential,
    two_pass,
)
from bnconform.tests.selftest.stress import QUANTITIES, READ_BACK, Batch, Due, batches, due, read_back_batches

Array = NDArray[Any]

PER_SUBJECT = 17_000
"""Elements that each subject is held against for each dtype; with all subjects more than 200,000."""

MODES = [(dtype, False) for dtype in DTYPES] + [(dtype, True) for dtype in DTYPES if is_half(dtype)]
MODE_NAMES = [f"{dtype}-{'half' if narrow else 'single'}" if is_half(dtype) else dtype for dtype, narrow in MODES]


def compare(answers: Iterable[tuple[Batch, Due, Any]], label: str) -> int:
    """Hold every element against its bound; print the largest share of each quantity; return how many there were."""
    worst = dict.fromkeys(QUANTITIES, 0.0)
    count, faults = 0, []
    for batch, expected, got in answers:
        for name in QUANTITIES:
            share = expected.shares(name, getattr(got, name))
            count += share.size
            largest = float(share.max(initial=0.0))
            worst[name] = max(worst[name], largest)
            if largest > 1:
                faults.append(f"{label}, {batch.name}: {name} takes {largest:.3g} of its bound")
    shares = ", ".join(f"{name} {share:.3f}" for name, share in worst.items())
    print(f"\n{label}: {count} elements, of the bound at most {shares}")  # noqa: T201 - the shares are to be seen
    assert not faults, "\n".join(faults)
    return count


def test_all_subjects_together_are_held_against_200_000_elements() -> None:
    """Each of the tests below asserts its part of the sum."""
    assert len(SUBJECTS) * PER_SUBJECT >= 200_000


@pytest.mark.parametrize(("dtype", "narrow"), MODES, ids=MODE_NAMES)
@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_right_numpy_arithmetic_stays_within_the_bounds(subject: Algorithm, dtype: str, narrow: bool) -> None:
    """No element of any quantity of a right implementation exceeds its bound."""
    compute = numpy_dtype(dtype if narrow else parameter_dtype(dtype))

    def answers() -> Iterable[tuple[Batch, Due, Any]]:
        for batch, expected in batches(dtype, narrow):
            if subject.stable or not batch.stable:
                got = answer(subject, batch.x, batch.g, batch.state, batch.eps, batch.momentum, compute, batch.training)
                yield batch, expected, got

    with np.errstate(all="ignore"):
        assert compare(answers(), f"{subject} in {compute}, input {dtype}") >= PER_SUBJECT


@pytest.mark.parametrize(("dtype", "narrow"), MODES, ids=MODE_NAMES)
@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_right_arithmetic_through_moved_statistics_stays_within_the_bounds(
    subject: Algorithm, dtype: str, narrow: bool
) -> None:
    """Nor where the running statistics normalise that the batch has moved, and the gradient flows through them."""
    compute = numpy_dtype(dtype if narrow else parameter_dtype(dtype))

    def answers() -> Iterable[tuple[Batch, Due, Any]]:
        for batch, expected in read_back_batches(dtype, narrow):
            if subject.stable or not batch.stable:
                got = read_back(subject, batch.x, batch.g, batch.state, batch.eps, batch.momentum, compute)
                yield batch, expected, got

    with np.errstate(all="ignore"):
        assert compare(answers(), f"{subject} read back in {compute}, input {dtype}") >= PER_SUBJECT // 2


@pytest.mark.parametrize("fault", ["constant statistics", "the batch's weight", "the centre of the variance"])
def test_a_wrong_gradient_through_moved_statistics_is_outside_the_bound(fault: str) -> None:
    """Statistics taken as constants, a weight off by 1e-4 of itself, deviations from the running mean in dV/dx."""
    batch = _batch(np.random.default_rng(9).standard_normal((5, 200)) + 1, "float32", momentum=0.3)
    wrong = {name: value.astype(np.float64) for name, value in batch.state.items()}
    right = due(batch, point=READ_BACK)
    mean = batch.x.mean(axis=0, dtype=float)
    m, v = right.high["running_mean"], right.high["running_var"]
    f, g, a = 1 / np.sqrt(v + batch.eps), batch.g * wrong["weight"], 0.3
    if fault == "constant statistics":
        a = 0.0
    elif fault == "the batch's weight":
        a *= 1 + 1e-4
    centre = m if fault == "the centre of the variance" else mean
    pull = a * -(f**3) / 2 * (g * (batch.x - m)).sum(axis=0)
    found = f * g - a * f * g.mean(axis=0) + pull * 2 * (batch.x - centre) / 4
    assert right.shares("grad_x", found.astype(np.float32)).max() > 1


class _Torch:
    """One torch layer's answer to one batch, with x in a chosen shape and memory order."""

    def __init__(self, batch: Batch, form: str) -> None:
        import torch

        n, channels = batch.x.shape
        parameters = getattr(torch, parameter_dtype(batch.x.dtype.name))
        dtype = getattr(torch, batch.x.dtype.name)
        kind = torch.nn.BatchNorm1d if form in ("rank_2", "rank_3") else torch.nn.BatchNorm2d
        layer = kind(channels, eps=batch.eps, momentum=batch.momentum, dtype=parameters)
        with torch.no_grad():
            for name, value in batch.state.items():
                getattr(layer, name).copy_(torch.from_numpy(value))
        layer.train(batch.training)
        # (n, C) as (1, C, n), (n, C, 1, 1) or the same with channels last in memory: the same values a channel.
        x, g = (torch.from_numpy(values.astype(np.float64)).to(dtype) for values in (batch.x, batch.g))
        if form == "rank_3":
            x, g = (values.t().contiguous()[None] for values in (x, g))
        elif form != "rank_2":
            x, g = (values.t().contiguous().reshape(1, channels, 1, n) for values in (x, g))
        if form == "channels_last":
            x, g = (values.contiguous(memory_format=torch.channels_last) for values in (x, g))
        x.requires_grad_(True)
        y = layer(x)
        y.backward(g)
        assert x.grad is not None
        self.y, self.grad_x = (
            v.detach().double().numpy() if form == "rank_2" else v.detach().double().reshape(channels, n).t().numpy()
            for v in (y, x.grad)
        )
        self.running_mean, self.running_var = layer.running_mean.numpy(), layer.running_var.numpy()
        self.grad_weight, self.grad_bias = layer.weight.grad.numpy(), layer.bias.grad.numpy()


TORCH_FORMS = ("rank_2", "rank_3", "rank_4", "channels_last")
TORCH_SEEDS = (0, 1, 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", TORCH_FORMS)
def test_torch_stays_within_the_bounds(form: str, dtype: str) -> None:
    """No element of any quantity of torch's BatchNorm on the CPU exceeds its bound."""
    pytest.importorskip("torch")
    answers = (
        (batch, expected, _Torch(batch, form))
        for seed in TORCH_SEEDS
        for batch, expected in batches(dtype, False, seed)
    )
    assert compare(answers, f"torch {form}, {dtype}") * len(TORCH_FORMS) >= 200_000


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_pairwise_sums_of_4096_values_stay_within_the_blocked_bound(dtype: str) -> None:
    """Pairwise summation meets the bound whose error does not grow linearly with n."""
    batch = _batch(np.random.default_rng(5).standard_normal((4096, 3)) + 1, dtype, quality="stable blocked")
    subject = next(subject for subject in SUBJECTS if subject.name == "two_pass_pairwise")
    got = answer(subject, batch.x, batch.g, batch.state, batch.eps, batch.momentum, batch.x.dtype, True)
    assert compare([(batch, due(batch), got)], f"two_pass_pairwise, {dtype}, n = 4096") > 8192


def test_a_sequential_sum_whose_error_grows_with_n_is_outside_the_blocked_bound() -> None:
    """Equal values, which a sequential sum rounds the same way over and over, tell the two apart."""
    x = np.full((60_000, 1), 0.1, np.float32)
    mean = sequential(x) / np.float32(len(x))
    config = Config(num_features=1, ndim=2, momentum=1.0)
    with arithmetic():
        state = oracle.initial_state(config)
        record = oracle.forward(config, SPECIFIED, state, exact(x), training=True)
        model = error_model_of(config, SPECIFIED, quality="blocked")
        bound, _ = running_errors(config, SPECIFIED, state, record, model)
        loose, _ = running_errors(config, SPECIFIED, state, record, error_model_of(config, SPECIFIED))
    error = abs(float(mean[0]) - float(x[0, 0]))
    assert bound[0] < error < loose[0]


def _batch(x: Array, dtype: str, *, quality: str = "", momentum: float = 1.0) -> Batch:
    """A training batch for a layer with its default parameters."""
    parameters = numpy_dtype(parameter_dtype(dtype))
    ones, zeros = np.ones(x.shape[1], parameters), np.zeros(x.shape[1], parameters)
    state = {"running_mean": zeros, "running_var": ones, "weight": ones, "bias": zeros}
    g = np.random.default_rng(7).standard_normal(x.shape)
    target = numpy_dtype(dtype)
    return Batch("batch", x.astype(target), g.astype(target), state, 1e-5, momentum, True, quality)


PLANTED = [(quantity, n, 3e-6) for quantity in ("y", "running_mean", "running_var") for n in (2, 3, 4)]
# With two values the exact gradient is next to 0, as z is next to -1 and 1 whatever x is.
PLANTED += [("grad_x", n, 1e-5) for n in (3, 4)]


@pytest.mark.parametrize(("quantity", "n", "fault"), PLANTED)
def test_a_small_relative_error_is_outside_the_bound(quantity: str, n: int, fault: float) -> None:
    """A few dozen units of roundoff, in float32 and at level must, are seen in a small batch."""
    x = np.random.default_rng(n).standard_normal((n, 200)) * 2
    x = np.abs(x) if quantity == "running_mean" else x - x.mean(axis=0)
    expected = due(_batch(x, "float32"))
    faulty = (expected.high[quantity] * (1 + fault)).astype(np.float32)
    assert expected.shares(quantity, faulty).max() > 1


@pytest.mark.parametrize("n", [4, 16])
def test_one_pass_variance_is_outside_the_stable_bound(n: int) -> None:
    """At a mean of a thousand deviations the two bounds tell the algorithms apart."""
    x = np.random.default_rng(n).standard_normal((n, 50)) + 1000
    batch = _batch(x, "float32", quality="stable")
    stable, must = due(batch), due(batch, quality="")
    naive, good = (f(batch.x)[1] * np.float32(n / (n - 1)) for f in (one_pass(sequential), two_pass(pairwise)))
    assert stable.shares("running_var", naive).max() > 10
    assert must.shares("running_var", naive).max() <= 1
    assert stable.shares("running_var", good).max() <= 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_bound_without_a_theorem_is_infinite(dtype: str) -> None:
    """With k u >= 1 nothing is known; below it the bound is finite and exceeds k u."""
    form = format_of(dtype)
    model = ErrorModel(form, form, form, form)
    limit = 1 / form.unit_roundoff
    assert model.gamma(limit) == np.inf
    assert model.gamma(2 * limit) == np.inf
    assert limit > model.gamma(limit / 2) == 1.0


def test_a_batch_too_large_for_the_format_has_infinite_bounds_and_no_warning() -> None:
    """bfloat16 arithmetic on 1000 values: infinite, where another bound says nothing, and never NaN."""
    batch = _batch(np.random.default_rng(3).standard_normal((1000, 2)), "bfloat16")
    batch.x[:, 1] = 0
    expected = due(batch)
    assert all(not np.isnan(bound).any() for bound in expected.bound.values())
    assert np.isinf(expected.bound["y"][:, 0]).all()
    assert np.isfinite(due(batch, quality="single").bound["y"]).all()


@pytest.mark.parametrize("quality", ["", "stable"])
def test_nan_in_one_channel_leaves_the_bounds_of_the_others_finite(quality: str) -> None:
    """The channel that has no answer has no bound; its neighbour keeps both."""
    x = np.random.default_rng(4).standard_normal((5, 2))
    x[2, 0] = np.nan
    expected = due(_batch(x, "float32", quality=quality))
    for name, bound in expected.bound.items():
        assert np.isfinite(bound[..., 1]).all(), name
        assert name == "grad_bias" or np.isinf(bound[..., 0]).all(), name


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_weights_of_0_and_1_leave_nothing_to_round_in_the_weights(momentum: float) -> None:
    """With momentum 0 the statistics may move by no more than a variance that is kept as an inverse deviation does."""
    batch = _batch(np.random.default_rng(6).standard_normal((4, 9)), "float32", momentum=momentum)
    expected = due(batch)
    scale = np.finfo(np.float32).eps / 2
    if momentum == 0:
        assert (expected.bound["running_mean"] <= np.finfo(np.float32).tiny).all()
        assert (expected.bound["running_var"] <= 8 * scale * (1 + batch.eps) * (1 + 100 * scale)).all()
    else:
        # n - 1 + 3 log2(n) = 9 roundings of the mean, one of the update and one to the format, to first order in u.
        size = 9 * np.abs(batch.x).mean(axis=0) + 2 * np.abs(expected.high["running_mean"])
        assert (expected.bound["running_mean"] <= scale * size * (1 + 100 * scale) + 1e-36).all()


def _points() -> list[tuple[str, str]]:
    return [(name, value) for name, value, _ in SPECIFIED.neighbours()]


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(("name", "value"), _points())
@pytest.mark.parametrize("quality", ["", "stable"])
@pytest.mark.parametrize("base", [SPECIFIED, READ_BACK], ids=["specified", "read_back"])
def test_every_point_has_bounds_that_admit_rounding(
    base: Behaviour, name: str, value: str, training: bool, quality: str
) -> None:
    """The oracle's own answer, rounded to float32, is within the bound at every neighbour, and no bound is large."""
    config = Config(num_features=3, ndim=3, eps=1e-3)
    point = base.but(**{name: value})
    rng = np.random.default_rng(8)
    x, g = (rng.standard_normal((3, 3, 3)) * 4 + 1, rng.standard_normal((3, 3, 3)))
    with arithmetic(), np.errstate(all="ignore"):
        state = oracle.initial_state(config, point)
        record = oracle.backward(config, point, state, exact(x), exact(g), training=training)
        forward = oracle.forward(config, point, state, exact(x), training=training)
        model = error_model_of(config, point, quality=quality)
        after = forward.state
        assert after.running_mean is not None and after.running_var is not None
        pairs = [
            (forward.y, ForwardErrors(forward, model).output),
            (after.running_mean, running_errors(config, point, state, forward, model)[0]),
            (after.running_var, running_errors(config, point, state, forward, model)[1]),
            (record.grad_x, input_gradient(record, model)),
            (record.grad_weight, weight_gradient(record, model)),
            (record.grad_bias, bias_gradient(record, model)),
        ]
        for exactly, bound in pairs:
            assert exactly is not None
            values = np.asarray(exactly, dtype=float)
            assert bound.shape == values.shape
            assert np.isfinite(bound).all()
            assert (bound <= 1e-4 * (1 + np.abs(values).max())).all()
            assert (np.abs(values.astype(np.float32) - values) <= bound).all()
