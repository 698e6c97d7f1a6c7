"""What vectors expect: whatever the bounds admit call by call lies inside, and not much else does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pytest

from bnconform.cases.possible_states import BEYOND, Open, hull
from bnconform.cases.probes import probes
from bnconform.cases.program import (
    ABILITIES,
    Array,
    Probe,
    Program,
    Step,
    backward,
    build,
    eval_shape,
    forward,
    freeze,
    hvp,
    jacrev,
    jvp,
    jvp_jvp,
    load,
    masked,
    masked_backward,
    pullback,
    recomputed,
    reset,
    saved_statistics,
    third,
    vjp,
    vmap,
)
from bnconform.cases.reachable import ReachableResults, Refused, reachable_results
from bnconform.judge.truths.layer_state import LayerState
from bnconform.judge.truths.truth import Question, process_truths
from bnconform.judge.truths.truth_record import Truth
from bnconform.spec import oracle
from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.config import Config
from bnconform.spec.error_bounds.error_model import ErrorModel, error_model_of
from bnconform.spec.error_bounds.forward import keep_as_inverse, running_errors
from bnconform.spec.exact import Exact, Floats, arithmetic, exact, floats, is_finite
from bnconform.spec.formats import DTYPES, format_of, parameter_dtype

Pull = Callable[[Exact, Floats], Floats]
"""What an implementation shows of an exact result, given the bound."""

STATISTICS = ("running_mean", "running_var")
SMALL = 200
"""Elements of input up to which a program is walked."""


def _small() -> list[Probe]:
    """Of each requirement the first small case, and all small ones of several passes."""
    found = []
    for group in probes().values():
        asked = [probe for probe in group if not {step.op for step in probe.program.steps} & set(ABILITIES)]
        small = [(probe, [s.x.size for s in probe.program.steps if s.x is not None]) for probe in asked]
        small = [(probe, sizes) for probe, sizes in small if sum(sizes) <= SMALL]
        found += [probe for number, (probe, sizes) in enumerate(small) if number < 1 or len(sizes) > 1]
    return found


@cache
def _expectation(requirement: str, name: str, dtype: str) -> tuple[ReachableResults, ...]:
    probe = next(probe for probe in probes()[requirement] if probe.name == name)
    return reachable_results(probe.at(dtype, parameter_dtype(dtype)), probe.quality)


def at_the_edge(way: int, generator: np.random.Generator, value: Exact, bound: Floats) -> Floats:
    """A float64 as far from the exact value as the bound admits: above, below, or either at random (0)."""
    nearest = floats(value)
    sign = generator.choice([-1.0, 1.0], size=value.shape) if way == 0 else np.full(value.shape, float(way))
    bound = np.where(np.isfinite(bound) & is_finite(value), np.broadcast_to(bound, value.shape), 0.0)
    safe = np.where(is_finite(value), value, exact(0.0))
    moved = floats(safe + exact(sign * bound))
    beyond = np.asarray(abs(exact(moved) - safe) > exact(bound), bool)
    moved = np.where(beyond, np.nextafter(moved, floats(safe)), moved)
    return np.where(is_finite(value) & np.isfinite(moved), moved, nearest)


def truth(config: Config, model: ErrorModel, state: oracle.State, step: Step) -> tuple[Truth, oracle.State]:
    """What is due of a step and of the running statistics, and the state afterwards."""
    before = LayerState(
        state.running_mean, state.running_var, state.num_batches_tracked, state.weight, state.bias, state.updates
    )
    question = Question.of(config, model, before, replace(step, observe=step.observe | set(STATISTICS)))
    found = process_truths().answer(question, SPECIFIED)
    return found, process_truths().after(question, SPECIFIED, found).exact()


def _pull_statistic(value: Exact, due: Truth, name: str, pull: Pull) -> Exact:
    """A running statistic after a pass, as it is shown; one that the pass leaves alone errs by nothing."""
    return exact(pull(value, due.bound(name) if due.moves else np.zeros(value.shape)))


def walk(program: Program, quality: str, pull: Pull, trains: Callable[[], bool]) -> Iterator[dict[str, Array | None]]:
    """What an implementation shows after each step that is pulled at everywhere, each step judged from the last."""
    config = program.config
    model = error_model_of(config, SPECIFIED, quality=quality)
    state = _keep(oracle.initial_state(config), config, model, pull)
    for step in program.steps:
        shown: dict[str, Array | None] = {}
        if step.op == "build":
            state = _keep(oracle.initial_state(config), config, model, pull)
        elif step.op == "load":
            loaded: dict[str, Any] = {
                n: int(v) if n == "num_batches_tracked" else exact(v) for n, v in step.state.items()
            }
            state = _keep(replace(state, **loaded), config, model, pull)
        else:
            due, moved = truth(config, model, state, step)
            for name in step.observe & {"y", "grad_x", "grad_weight", "grad_bias"}:
                found = due.expect(name)
                shown[name] = None if found is None else pull(found.value.exact(), found.bound)
            if step.training and (step.op == "forward" or trains()):
                tracked = STATISTICS if state.running_mean is not None else ()
                pulled: dict[str, Any] = {n: _pull_statistic(getattr(moved, n), due, n, pull) for n in tracked}
                state = replace(moved, **pulled)
        for name in ("running_mean", "running_var", "weight", "bias"):
            value = getattr(state, name)
            shown[name] = None if value is None else floats(value)
        count = state.num_batches_tracked
        yield shown | {"num_batches_tracked": None if count is None else np.asarray(float(count))}


def _keep(state: oracle.State, config: Config, model: ErrorModel, pull: Pull) -> oracle.State:
    if state.running_var is None:
        return state
    bound = keep_as_inverse(floats(state.running_var), config.eps, model)
    return replace(state, running_var=exact(pull(state.running_var, bound)))


@pytest.mark.parametrize("way", [1, -1, 0], ids=["above", "below", "either"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_whatever_the_bounds_admit_lies_inside(way: int, dtype: str) -> None:
    """An implementation that errs by its whole bound at every call, in any direction, is within every interval."""
    generator = np.random.default_rng(3 + way)
    judged, outside = 0, []
    for probe in _small():
        if dtype not in probe.dtypes:
            continue
        program = probe.at(dtype, parameter_dtype(dtype))
        expected = _expectation(probe.requirement, probe.name, dtype)
        with arithmetic(), np.errstate(all="ignore"):
            steps = walk(program, probe.quality, partial(at_the_edge, way, generator), lambda: generator.random() < 0.5)
            for number, (shown, due) in enumerate(zip(steps, expected, strict=True), 1):
                for name, interval in due.expected.items():
                    got = shown[name.partition(":")[0]]
                    if interval is None or got is None:
                        assert interval is None and got is None
                        continue
                    infinite = np.isnan(interval.low)
                    right = np.where(infinite, ~np.isfinite(got), (interval.low <= got) & (got <= interval.high))
                    judged += got.size
                    if not right.all():
                        outside.append(f"{probe.requirement} {probe.name}: {name} of step {number}")
    assert outside == []
    assert judged > 2000


ENDS = 2.0**-28
"""By what part a width errs because its ends are float64: each end by 2**-52 of its size, as it is rounded outward, and
a bound in single precision is at least 2**-24 of that size."""


def _width(program: Program, name: str, step: int = -1) -> Floats:
    interval = reachable_results(program)[step].expected[name]
    assert interval is not None
    return interval.high - interval.low


def test_one_training_step_is_as_narrow_as_its_bound() -> None:
    """Where no state is carried the interval is the live bound, twice, and nothing more."""
    program = Program(Config(ndim=2), (forward(np.linspace(-1.0, 2.5, 12).reshape(4, 3), "y"),))
    program = program.cast("float32", "float32")
    with arithmetic():
        model, state = error_model_of(program.config, SPECIFIED), oracle.initial_state(program.config)
        bound = truth(program.config, model, state, program.steps[0])[0].bound("y")
    assert (np.abs(_width(program, "y") / (2 * bound) - 1.0) <= ENDS).all()


def test_intervals_do_not_grow_without_end() -> None:
    """What forty steps may have made of the running mean is a few times what one step may have."""
    steps = tuple(forward(np.linspace(-1.0, 2.0 + k % 3, 12).reshape(4, 3), "running_mean") for k in range(40))
    program = Program(Config(ndim=2, momentum=0.3), steps)
    assert (_width(program, "running_mean") < 8 * _width(program, "running_mean", 0).max()).all()


def test_each_end_of_an_update_is_the_end_of_the_union() -> None:
    """The interval after an update holds, and is hardly wider than, the union over many old values between the ends."""
    x = np.linspace(-1.0, 2.5, 12).reshape(4, 3)
    config = Config(ndim=2, momentum=0.7)
    steps = (forward(x * 3 - 1), forward(x, "running_mean", "running_var"))
    shown = reachable_results(Program(config, steps))[-1].expected
    first = reachable_results(Program(config, (forward(x * 3 - 1, "running_mean", "running_var"),)))[0].expected
    with arithmetic():
        model = error_model_of(config, SPECIFIED)
        for place, name in enumerate(STATISTICS):
            old, new = first[name], shown[name]
            assert old is not None and new is not None
            ends = []
            for share in np.linspace(0, 1, 11):
                moved: dict[str, Any] = {name: exact(old.low + share * (old.high - old.low))}
                state = replace(oracle.initial_state(config), updates=1, num_batches_tracked=1, **moved)
                record = oracle.forward(config, SPECIFIED, state, exact(x), training=True)
                bound = running_errors(config, SPECIFIED, state, record, model)[place]
                value = floats(getattr(record.state, name))
                ends.append((value - bound, value + bound))
            low, high = np.min([end[0] for end in ends], axis=0), np.max([end[1] for end in ends], axis=0)
            assert (new.low <= low + 1e-15).all() and (new.high >= high - 1e-15).all()
            assert (np.abs((new.high - new.low) / (high - low) - 1.0) <= ENDS).all()


def test_backward_may_move_the_statistics_or_not() -> None:
    """Both states lie inside, and a second update does not."""
    x = np.arange(12.0).reshape(4, 3)
    config = Config(ndim=2, momentum=0.5, affine=False)
    interval = reachable_results(Program(config, (backward(x, x, "running_mean", "num_batches_tracked"),)))[0].expected
    mean, count = interval["running_mean"], interval["num_batches_tracked"]
    assert mean is not None and count is not None
    batch = x.mean(axis=0)
    assert (mean.low <= 0).all() and (mean.high >= batch / 2).all() and (mean.high < batch * 0.6).all()
    assert (int(count.low), int(count.high)) == (0, 1)


def test_what_is_not_fixed_is_left_open() -> None:
    """No interval where only the shown state would say whether a result is finite; the text says why."""
    steps = (
        load(running_mean=np.zeros(3), running_var=np.array([1.0, np.inf, 1.0])),
        forward(np.ones((4, 3)), "y", training=False),
    )
    shown = reachable_results(Program(Config(ndim=2), steps))[1]
    assert shown.expected == {} and "finite" in shown.open["y"]
    with arithmetic(), pytest.raises(Open):
        hull([(exact([1.0]), np.zeros(1)), (exact([np.inf]), np.zeros(1))])


def test_stored_nan_stays_nan() -> None:
    """A NaN that was loaded spoils its channel in evaluation and no other."""
    steps = (load(running_var=np.array([1.0, np.nan, 1.0])), forward(np.ones((4, 3)), "y", training=False))
    interval = reachable_results(Program(Config(ndim=2), steps))[1].expected["y"]
    assert interval is not None
    assert np.isnan(interval.low).tolist() == [[False, True, False]] * 4


def test_infinity_is_right_where_rounding_may_give_it() -> None:
    """At the end of a format's range the interval is open towards infinity of that sign, and of that only."""
    with arithmetic():
        top = format_of("float32").largest
        interval = hull([(exact([top, -top, 1.0]), np.array([1e30, 1e30, np.inf]))], top)
    assert interval.high[0] == np.inf and interval.low[0] > 0
    assert interval.low[1] == -np.inf and interval.high[1] < 0
    assert (interval.low[2], interval.high[2]) == (-BEYOND, np.inf)


def test_a_refused_call_has_no_vector() -> None:
    """One value a channel is refused in training at the specified point; others may answer, so nothing is expected."""
    with pytest.raises(Refused, match="one value"):
        reachable_results(Program(Config(ndim=2), (build(), forward(np.ones((1, 3)), "y"))))


def test_what_a_layer_may_do_besides_is_open() -> None:
    """Of what layers may have besides, such as masks and resets, nothing is said beforehand, nor of what follows."""
    x = np.arange(12.0).reshape(4, 3)
    for steps in (
        (vjp(x, "y"), pullback(1, x, "grad_x"), forward(x, "y")),
        (jvp(x, x, "y", "tangent_y"), hvp(x, x, x, "hvp_x"), forward(x, "y")),
        (masked(x, x > 3, "y"), masked_backward(x, x > 3, x, "grad_x"), forward(x, "y")),
        (recomputed(x, x, "grad_x"), forward(x, "y")),
        (vmap([x, x], "y"), jvp_jvp(x, x, x, "second_y"), third(x, x, x, x, "third_x"), forward(x, "y")),
        (jacrev(x, "jacobian"), eval_shape(x, "abstract_y"), forward(x, "y")),
        (saved_statistics(x, "saved_mean"), forward(x, "y")),
        (freeze(True, "weight"), forward(x, "y")),
        (reset("weight"), forward(x, "y")),
    ):
        shown = reachable_results(Program(Config(ndim=2), steps).cast("float32", "float32"))
        assert all(not each.expected for each in shown)
        assert [set(each.open) for each in shown] == [set(step.observe) for step in steps]
