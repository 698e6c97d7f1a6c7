"""Conformance: nothing but what should change changes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pytest
from bnconform.cases import inputs
from bnconform.cases.program import LAYOUTS, STATE, Array, Program, Step, backward, build, forward, load
from bnconform.spec.behaviour import EvaluationBroadcast
from bnconform.spec.config import Config
from bnconform.spec.formats import numpy_dtype

from bnconform.execution.instrumented import Guarded, Misfit, Raised
from bnconform.judge.check import Check


def _program(check: Check, rank: int, layout: str = "contiguous", seed: int = 0) -> Program:
    """Every kind of call that the implementation has, in a configuration that it has."""
    lacking = set(check.subject.unsupported)
    affine, tracked = "affine" not in lacking, "track_running_stats" not in lacking
    x, g = inputs.values(inputs.SHAPES[rank], 1), inputs.upstream(inputs.SHAPES[rank])
    state = (inputs.parameters(3, seed) if affine else {}) | (inputs.statistics(3, seed) if tracked else {})
    steps: list[Step] = [load(**state)] if state else []
    steps += [forward(x, layout=layout), forward(x, training=False, layout=layout)]
    if "backward" not in lacking:
        steps += [backward(x, g, layout=layout, grad_layout=layout), backward(x, g, training=False, layout=layout)]
    program = Program(check.config(ndim=rank, affine=affine, track_running_stats=tracked), tuple(steps))
    return program.cast(check.subject.dtype, check.subject.param_dtype)


def _rank(check: Check) -> int:
    return 4 if "rank_4" not in check.subject.unsupported else 2


@pytest.mark.requirement("BN-STATE-INPUT")
def test_inputs_are_left_alone(check: Check) -> None:
    """Arrays that are given are bit for bit the same after every call, however they lie in memory."""
    for layout in LAYOUTS if not check.subject.slow else ("contiguous",):
        if layout == "expanded_batch":
            continue
        program = _program(check, _rank(check), layout)
        check.answered(program)
        check.require(True)


@pytest.mark.requirement("BN-STATE-PARAMS")
def test_parameters_are_left_alone(check: Check) -> None:
    """Forward and backward passes leave weight and bias bit for bit as they were."""
    program = _program(check, _rank(check))
    config = program.config
    trace = check.executed(program)
    if check.missing(program):
        check.unsupported(program, trace)
    if not config.affine:
        affine = replace(program, config=replace(config, affine=True))
        check.unsupported(affine, check.executed(affine))
    for number, seen in enumerate(trace.seen):
        if seen.step.op == "load":
            continue
        for name in ("weight", "bias"):
            before, after = seen.before[name], seen.after[name]
            same = before is not None and after is not None and before.tobytes() == after.tobytes()
            check.require(same, f"{name} after call {number + 1}, {seen.step.describe()}", after, before, program)


@pytest.mark.requirement("BN-STATE-ALIAS")
def test_results_are_their_own(check: Check) -> None:
    """Y and the gradients share no memory with what was given, and stay as they are when more calls come."""
    lacking = set(check.subject.unsupported)
    check.fitted(_program(check, _rank(check)))
    for affine, call in product((True, False), ("forward", "backward")):
        if ("affine" if affine else "affine_off") in lacking or call in lacking:
            continue
        tracked = "track_running_stats" not in lacking
        config = check.config(ndim=_rank(check), eps=0.25, affine=affine, track_running_stats=tracked)
        for mode in ("training", "evaluation"):
            if mode not in lacking:
                _own_results(check, config, call, mode)


def _own_results(check: Check, config: Config, call: str, mode: str) -> None:
    """Three passes on a layer which, in evaluation, changes no number: eps and the running variance add up to 1."""
    __tracebackhide__ = True
    layer = check.layer(config)
    if config.track_running_stats:
        one = np.ones(3, numpy_dtype(config.param_dtype))
        check.call(lambda: layer.load({"running_mean": one * 0, "running_var": one * 0.75}))
    results: list[tuple[str, Array, bytes]] = []
    for number in range(3):
        x = inputs.values(inputs.SHAPES[config.ndim], number + 2).astype(numpy_dtype(config.dtype))
        step = forward(x, training=mode == "training")
        if call == "backward":
            step = backward(x, inputs.upstream(x.shape, number).astype(x.dtype), training=mode == "training")
        _made(check, layer, step)
        names = ("y",) if call == "forward" else ("grad_x", "grad_weight", "grad_bias")
        new = dict(zip(names, layer.returned, strict=False))
        memory = {"what was given": layer.given, "an earlier result": tuple(array for _, array, _ in results)}
        for (name, array), (owner, others) in product(new.items(), memory.items()):
            shared = any(np.shares_memory(array, other) for other in others)
            check.require(not shared, f"the memory of {name} of a {call} pass in {mode}", f"that of {owner}", "its own")
        results += [(name, array, array.tobytes()) for name, array in new.items()]
        for array in layer.given:
            check.require(array.flags.writeable, f"an input of a {call} pass in {mode}", "read-only", "as it was given")
            array[...] = 0
        for name, array, kept in results:
            changed = array.tobytes() != kept
            what = f"{name} of a {call} pass in {mode}, after its inputs were overwritten and other calls made"
            check.require(not changed, what, "other numbers", "as it was")


@pytest.mark.requirement("BN-STATE-ALIAS")
def test_loaded_arrays_are_copied(check: Check) -> None:
    """Arrays that shared storage when loaded stay independent of one another and of what becomes of that storage."""
    program = check.fitted(_program(check, _rank(check)))
    config = program.config
    layer = check.layer(config)
    # At a boundary, where an implementation that takes arrays over without a copy always does, and not now and then.
    numbers = LAYOUTS["contiguous"](np.array([1.5, 0.5, 2.0], numpy_dtype(config.param_dtype)))
    names = [name for name in STATE if check.call(layer.state)[name] is not None and name != "num_batches_tracked"]
    if not names:
        check.note("the layer has nothing that could be loaded")
        return
    check.call(lambda: layer.load_uncopied(dict.fromkeys(names, numbers)))
    for step in program.steps:
        if step.op != "load":
            _made(check, layer, step)
    after = check.call(layer.state)
    for name in set(names) & {"weight", "bias"}:
        check.require(
            np.array_equal(after[name], [1.5, 0.5, 2.0]),
            f"{name}, loaded from the array that the running statistics were loaded from",
            after[name],
            "[1.5, 0.5, 2.0]",
        )
    same = bool((numbers == [1.5, 0.5, 2.0]).all())
    check.require(same, "the array that was loaded, after other calls", numbers, "[1.5, 0.5, 2.0]")
    fresh = check.layer(config)
    check.call(lambda: fresh.load_uncopied(dict.fromkeys(names, numbers)))
    # What it shows of them is for other checks to judge: a variance may be kept as an inverse deviation.
    before = check.call(fresh.state)
    numbers[...] = 9
    after = check.call(fresh.state)
    for name in names:
        check.require(
            np.array_equal(after[name], before[name]),
            f"{name}, after the array that it was loaded from was overwritten",
            after[name],
            before[name],
        )


@pytest.mark.requirement("BN-STATE-ALIAS")
def test_shown_state_is_a_copy(check: Check) -> None:
    """A state once seen stays as it was, and writing to it does not change the layer."""
    program = check.fitted(_program(check, _rank(check)))
    layer = check.layer(program.config)
    for step in program.steps[:1]:
        _made(check, layer, step)
    before = check.call(layer.state)
    shown = {name: value for name, value in layer.shown.items() if isinstance(value, np.ndarray)}
    for array in shown.values():
        if array.flags.writeable:
            array[...] = 7
    after = check.call(layer.state)
    for name in shown:
        check.require(
            np.array_equal(before[name], after[name]),
            f"{name}, after what state() returned was overwritten",
            after[name],
            before[name],
        )
    seen = {name: (value, value.tobytes()) for name, value in layer.shown.items() if isinstance(value, np.ndarray)}
    for step in program.steps:
        _made(check, layer, step)
    for name, (array, kept) in seen.items():
        check.require(array.tobytes() == kept, f"{name} that state() returned, after more calls", array, "as it was")
    if not shown:
        check.note("the layer shows no state")


@pytest.mark.requirement("BN-STATE-COUNTER")
@pytest.mark.once
def test_counter_is_a_whole_number(check: Check) -> None:
    """The counter is a scalar of an integer dtype, when new and after a training pass."""
    config = check.config(ndim=_rank(check))
    x = inputs.values(inputs.SHAPES[config.ndim], 1)
    program = check.fitted(
        Program(config, (build("num_batches_tracked"), forward(x))).cast(config.dtype, config.param_dtype)
    )
    layer = check.layer(program.config)
    for step in program.steps:
        _made(check, layer, step)
        check.call(layer.state)
        shown = layer.shown.get("num_batches_tracked")
        if shown is None:
            check.note("num_batches_tracked: the layer shows no counter")
            continue
        counter = np.asarray(shown)
        check.require(
            counter.dtype.kind in "iu" and counter.shape == (),
            f"num_batches_tracked after {step.describe()}",
            f"an array of dtype {counter.dtype} and shape {counter.shape}",
            "a whole number: an integer dtype, and shape ()",
        )


@pytest.mark.requirement("BN-STATE-REPEAT")
@pytest.mark.cases
def test_calls_repeat(check: Check) -> None:
    """A call that is repeated gives the same answer, and a layer may be called twice before a backward pass."""
    check.run()


@pytest.mark.requirement("BN-STATE-INSTANCES")
def test_instances_are_independent(check: Check) -> None:
    """Two layers that were built alike share nothing."""
    # Values that no other check loads: what two layers share may have been set long before.
    program = check.fitted(_program(check, _rank(check), seed=97))
    one, other = check.layer(program.config), check.layer(program.config)
    before = check.call(other.state)
    for step in program.steps:
        with suppress(Raised, Misfit):  # whether it answers is for other checks to judge
            _call(one, step)
    after = check.call(other.state)
    for name in STATE:
        left, right = before[name], after[name]
        same = (left is None and right is None) or (
            left is not None and right is not None and left.tobytes() == right.tobytes()
        )
        check.require(
            same,
            f"{name} of a second layer, after the first was used",
            right,
            left,
            program,
        )


def _made(check: Check, layer: Guarded, step: Step) -> None:
    """Make a call that must answer, unless evaluation is declared to refuse what does not broadcast along its axis."""
    __tracebackhide__ = True
    declared = check.subject.declared.evaluation_broadcast is EvaluationBroadcast.LAST_AXIS
    if not declared or step.training:
        check.call(partial(_call, layer, step))
        return
    with suppress(Raised):
        _call(layer, step)


def _call(layer: Guarded, step: Step) -> None:
    if step.op == "load":
        layer.load(step.state)
    elif step.grad_output is not None and step.x is not None:
        layer.backward(step.x, step.grad_output, training=step.training)
    elif step.x is not None:
        layer.forward(step.x, training=step.training)
