"""Conformance: what must be refused is refused, and leaves no trace."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.program import STATE, Program, Step, backward, build, forward, load
from bnconform.execution.trace import StepResult
from bnconform.judge.check import Check
from bnconform.judge.judgement import PARAMETERS, STATISTICS
from bnconform.judge.marks import checks
from bnconform.judge.outcome import CRASHED
from bnconform.spec.behaviour import EvaluationBroadcast
from bnconform.spec.config import Config
from bnconform.spec.formats import numpy_dtype


def _config(check: Check) -> Config:
    """A configuration that the implementation has."""
    __tracebackhide__ = True
    lacking = {"affine", "track_running_stats"} & set(check.subject.unsupported)
    rank = 4 if "rank_4" not in check.subject.unsupported else 2
    config = check.config(
        ndim=rank, affine="affine" not in lacking, track_running_stats="track_running_stats" not in lacking
    )
    _require_support(check, config)
    return config


def _require_support(check: Check, config: Config) -> None:
    """End the check as unsupported where the implementation lacks the dtype, and is seen to refuse it."""
    __tracebackhide__ = True
    if config.dtype in check.subject.unsupported:
        x = inputs.values(inputs.SHAPES[config.ndim], 1).astype(numpy_dtype(config.dtype))
        check.fit(Program(config, (forward(x, "y", training="training" not in check.subject.unsupported),)))


def _wrong(config: Config, shape: tuple[int, ...], training: bool, *, differentiated: bool = False) -> Step:
    """A pass over x of a shape that the layer does not take."""
    dtype = numpy_dtype(config.dtype)
    x = (inputs.values(shape, 1) if len(shape) > 1 else np.arange(shape[0]) * 0.5).astype(dtype)
    return backward(x, np.ones(shape, dtype), training=training) if differentiated else forward(x, training=training)


def _is_refused(check: Check, config: Config, step: Step) -> bool:
    __tracebackhide__ = True
    trace = check.execute(Program(config, (step,)))
    if not trace.steps:
        check.ask(Program(config, (build(),)))
        check.fail(str(trace.broken or "the call was not made"), verdict=CRASHED)
    return bool(trace.steps[-1].raised)


@checks("BN-ERR-CHANNELS", once=True)
def test_wrong_number_of_channels(check: Check) -> None:
    """Input with another number of channels than the layer has is refused, in both modes and both passes."""
    passes = (False,) if "backward" in check.subject.unsupported else (False, True)
    for channels, training, differentiated in product((4, 2, 1, 6), (True, False), passes):
        mode = "training" if training else "evaluation"
        config = _config(check)
        step = _wrong(config, (2, channels, 4, 5)[: config.ndim], training, differentiated=differentiated)
        check.require(
            _is_refused(check, config, step),
            f"x with {channels} channels in a {step.op} pass in {mode}, for a layer of 3",
            "an answer",
            "an error",
        )


@checks("BN-ERR-GRAD", once=True)
def test_upstream_gradient_of_another_shape(check: Check) -> None:
    """One that has more or fewer samples, channels or positions than x, or another order of axes, is refused."""
    config = _config(check)
    dtype = numpy_dtype(config.dtype)
    shape = (2, 3, 4, 5)[: config.ndim]
    others = [
        tuple(length + more * (index == axis) for index, length in enumerate(shape))
        for axis, more in product(range(config.ndim), (1, -1))
        if axis != 2 and shape[axis] + more > 1
    ]
    # As many numbers, which a flat view would take: the last two axes, and those of samples and channels, swapped.
    others += [(*shape[:-2], shape[-1], shape[-2]), (shape[1], shape[0], *shape[2:])]
    others += [(shape[0], shape[1], shape[2] * shape[3])] if config.ndim > 3 else []
    for training, other in product((True, False), dict.fromkeys(others)):
        x, upstream = inputs.values(shape, 1).astype(dtype), np.ones(other, dtype)
        step = backward(x, upstream, training=training)
        check.fit(Program(config, (backward(x, x, "grad_x", training=training),)))
        check.require(
            _is_refused(check, config, step),
            f"a backward pass in {step.mode} with grad_output of shape {other} for x of shape {shape}",
            "an answer",
            "an error",
        )


@checks("BN-ERR-RANK", once=True)
def test_rank_one(check: Check) -> None:
    """Input without a batch and a channel axis is refused."""
    for training in (True, False):
        config = _config(check)
        refused = _is_refused(check, config, _wrong(config, (3,), training))
        check.require(refused, "x of shape (3,)", "an answer", "an error")


@checks("BN-ERR-STATE", once=True)
def test_refusal_leaves_the_state(check: Check) -> None:
    """A call that is refused changes nothing of the state, nor of what evaluation answers afterwards."""
    for full, training, differentiated in product(((2, 4, 4, 5), (1, 3, 1, 1), (3,)), (True, False), (False, True)):
        config = _config(check)
        shape = full[: config.ndim]
        bad = _wrong(config, shape, training, differentiated=differentiated)
        first, evaluated = _load_steps(config), _evaluate(check, config)
        number = len(first) + len(evaluated)
        trace = check.readable(Program(config, (*first, *evaluated, bad, *evaluated)))
        if not trace.steps[number].raised:
            continue
        call = f"a {'backward' if differentiated else 'forward'} pass in {'training' if training else 'evaluation'}"
        when = f"after {call} on x of shape {shape} was refused"
        if evaluated:
            for seen in (trace.steps[number - 1], trace.steps[-1]):
                _require_answer(check, seen)
            answer, again = trace.steps[number - 1].values["y"], trace.steps[-1].values["y"]
            assert answer is not None and again is not None
            same = answer.tobytes() == again.tobytes()
            check.require(same, f"y in evaluation {when}", again, answer)
        before, after = trace.steps[number].before, trace.steps[number].after
        for name in STATE:
            one, other = before[name], after[name]
            same = (one is None and other is None) or (
                one is not None and other is not None and one.tobytes() == other.tobytes()
            )
            check.require(same, f"{name} {when}", other, one)
    if not check.outcomes:
        check.note("nothing was refused")


def _require_answer(check: Check, seen: StepResult) -> None:
    __tracebackhide__ = True
    if seen.raised:
        check.fail(str(seen.raised), verdict=CRASHED)
    if seen.misfit:
        check.fail(seen.misfit)


def _evaluate(check: Check, config: Config) -> tuple[Step, ...]:
    """An evaluation of one x; () where that does not exist, or is by the statistics of the batch.

    With running statistics every value is a function of its own x, so that nothing may differ in the second call; the
    sums of a batch may be added up in another order each time.
    """
    if "evaluation" in check.subject.unsupported or not config.track_running_stats:
        return ()
    if check.subject.declared.evaluation_broadcast is EvaluationBroadcast.LAST_AXIS:
        return ()  # whose evaluation refuses this x
    x = inputs.values(inputs.SHAPES[config.ndim], 2).astype(numpy_dtype(config.dtype))
    return (forward(x, training=False),)


def _load_steps(config: Config) -> tuple[Step, ...]:
    """Values for everything that the layer has but the counter, none of them those of a new layer."""
    dtype = numpy_dtype(config.param_dtype)
    state = (inputs.parameters(3) if config.affine else {}) | (
        inputs.statistics(3) if config.track_running_stats else {}
    )
    return (load(**{name: value.astype(dtype) for name, value in state.items()}),) if state else ()


@checks("BN-ERR-LOAD", once=True)
def test_what_does_not_fit_is_not_loaded(check: Check) -> None:
    """Loading an entry that the layer does not have, or of another shape, is refused."""
    lacking = set(check.subject.unsupported)
    rank = 4 if "rank_4" not in lacking else 2
    affine, tracked = "affine" not in lacking, "track_running_stats" not in lacking
    config = check.config(ndim=rank, affine=affine, track_running_stats=tracked)
    _require_support(check, config)
    dtype = numpy_dtype(config.param_dtype)
    there = [*(PARAMETERS if affine else ()), *(STATISTICS if tracked else ())]
    cases = [(config, name, shape) for name in there for shape in ((1,), (4,), (3, 1), (1, 3), (3, 1, 1))]
    if "affine_off" not in lacking:
        cases += [(replace(config, affine=False), name, (3,)) for name in PARAMETERS]
    if "track_running_stats_off" not in lacking:
        cases += [(replace(config, track_running_stats=False), name, (3,)) for name in STATISTICS]
    for made, name, shape in cases:
        trace = check.execute(Program(made, (load(**{name: np.full(shape, 0.5, dtype)}),)))
        if not trace.steps:
            check.ask(Program(made, (build(),)))
        fits = trace.steps[-1].before[name]
        room = "none" if fits is None else f"one of shape {fits.shape}"
        if not made.track_running_stats:
            room = "no running statistics (track_running_stats=False)"
        check.require(
            bool(trace.steps[-1].raised),
            f"loading {name} of shape {shape} into a layer that has {room}",
            "no error",
            "an error",
        )
