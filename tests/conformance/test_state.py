"""Conformance: nothing but what should change changes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from cases import inputs
from cases.program import LAYOUTS, STATE, Program, Step, backward, forward, load
from spec.formats import numpy_dtype
from tests.harness.check import Check
from tests.harness.guard import Guarded, Misfit, Raised


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
def test_nothing_is_shared(check: Check) -> None:
    """Arrays that shared storage when loaded stay independent, and a result stays as it is when the next call comes."""
    program = check.fitted(_program(check, _rank(check)))
    config = program.config
    layer = check.layer(config)
    numbers = np.array([1.5, 0.5, 2.0], numpy_dtype(config.param_dtype))
    names = [name for name in STATE if check.call(layer.state)[name] is not None and name != "num_batches_tracked"]
    if names:
        check.call(lambda: layer.layer.load(dict.fromkeys(names, numbers)))
    x = inputs.values(inputs.SHAPES[config.ndim], 2).astype(numpy_dtype(config.dtype))
    first = check.call(lambda: layer.forward(x, training=True))
    kept = first.tobytes()
    y = check.call(lambda: layer.forward(x * 2, training=True))
    check.require(
        first.tobytes() == kept,
        "y of the first call, after a second call",
        "other numbers",
        "as it was",
    )
    new = check.layer(config)
    shared = np.shares_memory(first, x) or np.shares_memory(first, y)
    with suppress(Raised):  # a new layer in evaluation: whether it answers is for other checks to judge
        shared = shared or np.shares_memory(new.forward(x, training=False), x)
    check.require(not shared, "the memory of y", "shared with x or with the next y", "its own")
    if "weight" in names:
        after = check.call(layer.state)
        for name in ("weight", "bias"):
            same = after[name] is not None and np.array_equal(after[name], [1.5, 0.5, 2.0])
            check.require(
                same,
                f"{name}, loaded from the array that the running statistics were loaded from",
                after[name],
                "[1.5, 0.5, 2.0]",
            )
    check.require(
        bool((numbers == [1.5, 0.5, 2.0]).all()),
        "the array that was loaded, after training",
        numbers,
        "[1.5, 0.5, 2.0]",
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


def _call(layer: Guarded, step: Step) -> None:
    if step.op == "load":
        layer.load(step.state)
    elif step.grad_output is not None and step.x is not None:
        layer.backward(step.x, step.grad_output, training=step.training)
    elif step.x is not None:
        layer.forward(step.x, training=step.training)
