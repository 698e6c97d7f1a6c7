"""Conformance: nothing but what should change changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from bnconform.cases import inputs
from bnconform.cases.program import LAYOUTS, STATE, Program, Step, backward, build, forward, load
from bnconform.judge.check import Check
from bnconform.spec.behaviour import EvaluationBroadcast


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
                program = Program(config, tuple(_passes(check, tracked, call, mode)), watch="results")
                _own_results(check, program.cast(config.dtype, config.param_dtype), f"a {call} pass in {mode}")


def _passes(check: Check, tracked: bool, call: str, mode: str) -> Iterator[Step]:
    """Three passes on a layer which, in evaluation, changes no number: eps and the running variance add up to 1."""
    if tracked:
        yield load(running_mean=np.zeros(3), running_var=np.full(3, 0.75))
    for number in range(3):
        x = inputs.values(inputs.SHAPES[_rank(check)], number + 2)
        step = forward(x, training=mode == "training")
        if call == "backward":
            step = backward(x, inputs.upstream(x.shape, number), training=mode == "training")
        yield replace(step, may_refuse=_may_refuse(check, step))


def _own_results(check: Check, program: Program, call: str) -> None:
    __tracebackhide__ = True
    for fact in check.asked(program).facts:
        if fact["what"] == "shared":
            what = f"the memory of {fact['name']} of {call}"
            check.require(bool(fact["holds"]), what, f"that of {fact['owner']}", "its own")
        elif fact["what"] == "writeable":
            check.require(bool(fact["holds"]), f"an input of {call}", "read-only", "as it was given")
        else:
            what = f"{fact['name']} of {call}, after its inputs were overwritten and other calls made"
            check.require(bool(fact["holds"]), what, "other numbers", "as it was")


@pytest.mark.requirement("BN-STATE-ALIAS")
def test_loaded_arrays_are_copied(check: Check) -> None:
    """Arrays that shared storage when loaded stay independent of one another and of what becomes of that storage."""
    program = check.fitted(_program(check, _rank(check)))
    config = program.config
    numbers = np.array([1.5, 0.5, 2.0])
    names = [name for name in STATE if name != "num_batches_tracked"]
    calls = tuple(replace(step, may_refuse=_may_refuse(check, step)) for step in program.steps if step.op != "load")
    steps = (load(**dict.fromkeys(names, numbers)), *calls)
    watched = Program(config, steps, watch="loaded").cast(config.dtype, config.param_dtype)
    for fact in check.asked(watched).facts:
        if fact["what"] == "none":
            check.note("the layer has nothing that could be loaded")
        elif fact["what"] == "after calls":
            for name in ("weight", "bias"):
                if name in fact["state"]:
                    shown = fact["state"][name]
                    what = f"{name}, loaded from the array that the running statistics were loaded from"
                    check.require(np.array_equal(shown, numbers), what, shown, "[1.5, 0.5, 2.0]")
            array = fact["array"]
            what = "the array that was loaded, after other calls"
            check.require(bool((array == numbers).all()), what, array, "[1.5, 0.5, 2.0]")
        else:
            # What it shows of them is for other checks to judge: a variance may be kept as an inverse deviation.
            _unchanged(check, fact, "after the array that it was loaded from was overwritten")


@pytest.mark.requirement("BN-STATE-ALIAS")
def test_shown_state_is_a_copy(check: Check) -> None:
    """A state once seen stays as it was, and writing to it does not change the layer."""
    program = check.fitted(_program(check, _rank(check)))
    steps = tuple(replace(step, may_refuse=_may_refuse(check, step)) for step in program.steps)
    for fact in check.asked(replace(program, steps=steps, watch="shown")).facts:
        if fact["what"] == "none":
            check.note("the layer shows no state")
        elif fact["what"] == "overwritten":
            _unchanged(check, fact, "after what state() returned was overwritten")
        else:
            what = f"{fact['name']} that state() returned, after more calls"
            check.require(bool(fact["holds"]), what, fact["array"], "as it was")


def _unchanged(check: Check, fact: Mapping[str, Any], when: str) -> None:
    """The entries of a state are before and after the same numbers."""
    __tracebackhide__ = True
    for name, before in fact["before"].items():
        after = fact["after"][name]
        check.require(np.array_equal(before, after), f"{name}, {when}", after, before)


@pytest.mark.requirement("BN-STATE-COUNTER")
@pytest.mark.once
def test_counter_is_a_whole_number(check: Check) -> None:
    """The counter is a scalar of an integer dtype, when new and after a training pass."""
    config = check.config(ndim=_rank(check))
    x = inputs.values(inputs.SHAPES[config.ndim], 1)
    whole = Program(config, (build("num_batches_tracked"), forward(x))).cast(config.dtype, config.param_dtype)
    program = check.fitted(whole)
    for count in range(1, len(program.steps) + 1):
        trace = check.asked(replace(program, steps=program.steps[:count]))
        if trace.counter is None:
            check.note("num_batches_tracked: the layer shows no counter")
            continue
        dtype, shape = trace.counter
        check.require(
            dtype.startswith(("int", "uint")) and shape == (),
            f"num_batches_tracked after {program.steps[count - 1].describe()}",
            f"an array of dtype {dtype} and shape {shape}",
            "a whole number: an integer dtype, and shape ()",
        )


@pytest.mark.requirement("BN-STATE-INSTANCES")
def test_instances_are_independent(check: Check) -> None:
    """Two layers that were built alike share nothing."""
    # Values that no other check loads: what two layers share may have been set long before.
    program = check.fitted(_program(check, _rank(check), seed=97))
    for fact in check.asked(replace(program, watch="instances")).facts:
        for name in STATE:
            left, right = fact["before"][name], fact["after"][name]
            same = (left is None and right is None) or (
                left is not None and right is not None and left.tobytes() == right.tobytes()
            )
            check.require(same, f"{name} of a second layer, after the first was used", right, left, program)


def _may_refuse(check: Check, step: Step) -> bool:
    """Whether a call may be refused: evaluation that is declared to refuse what does not broadcast along its axis."""
    return check.subject.declared.evaluation_broadcast is EvaluationBroadcast.LAST_AXIS and not step.training
