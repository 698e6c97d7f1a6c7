"""Conformance: nothing but what should change changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.program import LAYOUTS, SHARING, STATE, Array, Program, Step, backward, build, forward, load
from bnconform.execution.trace import Trace
from bnconform.judge.check import Check
from bnconform.judge.judgement import STATISTICS, judge
from bnconform.judge.marks import checks
from bnconform.judge.truths.layer_state import LayerState
from bnconform.spec import oracle
from bnconform.spec.behaviour import EvaluationBroadcast
from bnconform.spec.exact import arithmetic, exact, floats


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


@checks("BN-STATE-INPUT")
def test_inputs_are_left_alone(check: Check) -> None:
    """Arrays that are given are bit for bit the same after every call, however they lie in memory."""
    for layout in LAYOUTS if not check.subject.slow else ("contiguous",):
        if layout in SHARING:
            continue
        program = _program(check, _rank(check), layout)
        check.answer(program)
        check.require(True)


@checks("BN-STATE-PARAMS")
def test_parameters_are_left_alone(check: Check) -> None:
    """Forward and backward passes leave weight and bias bit for bit as they were."""
    program = _program(check, _rank(check))
    config = program.config
    trace = check.execute(program)
    if check.missing(program):
        check.record_lack(program, trace)
    if not config.affine:
        affine = replace(program, config=replace(config, affine=True))
        check.record_lack(affine, check.execute(affine))
    for number, seen in enumerate(trace.steps):
        if seen.step.op == "load":
            continue
        for name in ("weight", "bias"):
            before, after = seen.before[name], seen.after[name]
            same = before is not None and after is not None and before.tobytes() == after.tobytes()
            check.require(same, f"{name} after call {number + 1}, {seen.step.describe()}", after, before, program)


@checks("BN-STATE-ALIAS")
def test_results_are_their_own(check: Check) -> None:
    """Y and the gradients share no memory with what was given, and stay as they are when more calls come."""
    lacking = set(check.subject.unsupported)
    check.fit(_program(check, _rank(check)))
    for affine, call in product((True, False), ("forward", "backward")):
        if ("affine" if affine else "affine_off") in lacking or call in lacking:
            continue
        tracked = "track_running_stats" not in lacking
        config = check.config(ndim=_rank(check), eps=0.25, affine=affine, track_running_stats=tracked)
        for mode in ("training", "evaluation"):
            if mode not in lacking:
                program = Program(config, tuple(_passes(check, tracked, call, mode)), watch="results")
                _own_results(check, program.cast(config.dtype, config.param_dtype), f"a {call} pass in {mode}")


@checks("BN-STATE-ALIAS", once=True)
def test_large_results_are_their_own(check: Check) -> None:
    """Results too large for what is made anew at each call are kept as they are while later calls are made, too."""
    rank = _rank(check)
    shape = (LARGE, 3) if rank == 2 else (4, 3, LARGE // 1024, 256)
    x = (np.arange(np.prod(shape)) % 251 / 64.0).reshape(shape)
    calls = [forward(x + number, "y") for number in range(3)]
    if "backward" not in check.subject.unsupported:
        calls += [backward(x + number, x - number, "grad_x") for number in range(3)]
    program = Program(check.config(ndim=rank), tuple(calls), watch="results")
    program = check.fit(program.cast(check.subject.dtype, check.subject.param_dtype))
    steps = tuple(replace(step, may_refuse=_may_refuse(check, step)) for step in program.steps)
    _own_results(check, replace(program, steps=steps), f"a pass over x of shape {shape}")


LARGE = 2**18 + 2**10
"""Values a channel: of three channels in half precision more than a mebibyte, in single more than three, where buffers
are kept for use again."""


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
    for fact in check.ask(program).facts:
        if fact["what"] == "shared":
            what = f"the memory of {fact['name']} of {call}"
            check.require(bool(fact["holds"]), what, f"that of {fact['owner']}", "its own")
        elif fact["what"] == "writeable":
            check.require(bool(fact["holds"]), f"an input of {call}", "read-only", "as it was given")
        else:
            what = f"{fact['name']} of {call}, after its inputs were overwritten and other calls made"
            check.require(bool(fact["holds"]), what, "other numbers", "as it was")


@checks("BN-STATE-ALIAS")
def test_loaded_arrays_are_copied(check: Check) -> None:
    """Arrays that shared storage when loaded stay independent of one another and of what becomes of that storage."""
    program = check.fit(_program(check, _rank(check)))
    config = program.config
    numbers = np.array([1.5, 0.5, 2.0])
    names = [name for name in STATE if name != "num_batches_tracked"]
    calls = tuple(replace(step, may_refuse=_may_refuse(check, step)) for step in program.steps if step.op != "load")
    count = {"num_batches_tracked": np.array(5)} if config.track_running_stats else {}
    steps = (load(**dict.fromkeys(names, numbers), **count), *calls)
    watched = Program(config, steps, watch="loaded").cast(config.dtype, config.param_dtype)
    for fact in check.ask(watched).facts:
        if fact["what"] == "none":
            check.note("the layer has nothing that could be loaded")
        elif fact["what"] == "after calls":
            for name in ("weight", "bias"):
                if name in fact["state"]:
                    shown = fact["state"][name]
                    what = f"{name}, loaded from the array that the running statistics were loaded from"
                    check.require(np.array_equal(shown, numbers), what, shown, numbers)
            array = fact["array"]
            what = "the array that was loaded, after other calls"
            check.require(bool((array == numbers).all()), what, array, numbers)
        elif fact["what"] == "counter":
            of_layer = "num_batches_tracked, after the array that it was loaded from was overwritten"
            of_array = "the array that num_batches_tracked was loaded from, after other calls"
            what = of_layer if fact["name"] == "the layer" else of_array
            check.require(bool(fact["holds"]), what, "another number", "as it was")
        else:
            # What it shows of them is for other checks to judge: a variance may be kept as an inverse deviation.
            _require_unchanged(check, fact, "after the array that it was loaded from was overwritten")


@checks("BN-STATE-ALIAS")
def test_shown_state_is_a_copy(check: Check) -> None:
    """A state once seen stays as it was, and writing to it does not change the layer."""
    program = check.fit(_program(check, _rank(check)))
    steps = tuple(replace(step, may_refuse=_may_refuse(check, step)) for step in program.steps)
    for fact in check.ask(replace(program, steps=steps, watch="shown")).facts:
        if fact["what"] == "none":
            check.note("the layer shows no state")
        elif fact["what"] == "overwritten":
            _require_unchanged(check, fact, "after what state() returned was overwritten")
        else:
            what = f"{fact['name']} that state() returned, after more calls"
            check.require(bool(fact["holds"]), what, fact["array"], "as it was")


def _require_unchanged(check: Check, fact: Mapping[str, Any], when: str) -> None:
    """The entries of a state are before and after the same numbers."""
    __tracebackhide__ = True
    for name, before in fact["before"].items():
        after = fact["after"][name]
        check.require(np.array_equal(before, after), f"{name}, {when}", after, before)


@checks("BN-STATE-LOAD-DTYPE")
def test_other_dtypes_are_converted_or_refused(check: Check) -> None:
    """What is loaded in another dtype has its values in the layer, and statistics are moved in the layer's dtype."""
    program = check.fit(_program(check, _rank(check)))
    config = program.config
    numbers = np.array([1.5, 0.5, 2.0])
    names = [name for step in program.steps if step.op == "load" for name in step.state]
    trains = [step for step in program.steps if step.op == "forward" and step.training][:1]
    if not names:
        check.not_shown("the layer has nothing that could be loaded")
    unloaded = check.readable(Program(config, tuple(trains))).steps
    for dtype, name in product(("float64", "float32", "float16"), names):
        if dtype == config.param_dtype:
            continue
        steps = load(**{name: numbers.astype(dtype)}), *trains
        trace = check.readable(Program(config, steps))
        first = trace.steps[0]
        if first.raised:
            check.require(True)
            continue
        before, loaded, last = first.before[name], first.after[name], trace.steps[-1].after[name]
        assert before is not None and loaded is not None and last is not None
        what = f"{name}, of {before.dtype}, after [1.5, 0.5, 2] was loaded in {dtype}"
        check.require(np.array_equal(loaded.astype(np.float64), numbers), what, loaded, numbers, trace.program)
        if name in STATISTICS and trains and not trace.steps[-1].raised:
            what = f"the dtype of {name}, after it was loaded in {dtype} and moved by a training pass"
            due = str(unloaded[-1].after[name].dtype)  # type: ignore[union-attr]
            check.require(str(last.dtype) == due, what, str(last.dtype), f"{due}, as without the load", trace.program)


@checks("BN-STATE-COUNTER", once=True)
def test_counter_is_a_whole_number(check: Check) -> None:
    """The counter is a scalar of an integer dtype, when new and after a training pass."""
    config = check.config(ndim=_rank(check))
    x = inputs.values(inputs.SHAPES[config.ndim], 1)
    whole = Program(config, (build("num_batches_tracked"), forward(x))).cast(config.dtype, config.param_dtype)
    program = check.fit(whole)
    for count in range(1, len(program.steps) + 1):
        trace = check.ask(replace(program, steps=program.steps[:count]))
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


@checks("BN-STATE-HISTORY", once=True)
def test_statistics_carry_no_history(check: Check) -> None:
    """No pass, recorded or not, leaves running statistics from which gradients flow back to its input."""
    program = check.fit(_program(check, _rank(check)))
    steps = tuple(replace(step, may_refuse=_may_refuse(check, step)) for step in program.steps)
    watched = replace(program, steps=steps, watch="history")
    for fact in check.ask(watched).facts:
        if fact["what"] == "none":
            check.not_shown("the adapter does not show whether statistics carry a gradient history")
        what = f"{fact['name']} after call {fact['step'] + 1}, {steps[fact['step']].describe()}"
        check.require(bool(fact["holds"]), what, "a tensor with a gradient history", "one without")


@checks("BN-STATE-LAZY", once=True)
def test_lazily_built_layer_before_its_first_input(check: Check) -> None:
    """What a layer that has seen no input does for a state, a load and a pass in either mode is noted."""
    config = check.config(ndim=_rank(check))
    x = inputs.values(inputs.SHAPES[config.ndim], 1)
    steps = (load(**inputs.everything(3)), forward(x, training=False), forward(x))
    program = Program(config, steps, watch="lazy").cast(config.dtype, config.param_dtype)
    facts = check.ask(check.fit(program)).facts
    if facts and facts[0]["what"] == "none":
        check.not_shown("the adapter has no layers that are built by their first input")
    check.note("; ".join(f"{WHEN_LAZY[fact['name']]}: {fact['says']}" for fact in facts))


WHEN_LAZY = {
    "state": "before its first input", "load": "loaded before it", "evaluation": "after an evaluation",
    "training": "after a training pass",
}  # fmt: skip


@checks("BN-STATE-INSTANCES")
def test_instances_are_independent(check: Check) -> None:
    """Two layers that were built alike share nothing."""
    # Values that no other check loads: what two layers share may have been set long before.
    program = check.fit(_program(check, _rank(check), seed=97))
    for fact in check.ask(replace(program, watch="instances")).facts:
        if fact["what"] == "output":
            what = "output of a second layer, after epsilon of the first was set"
            check.require(fact["holds"], what, "changed", "bitwise as before", program)
            continue
        for name in STATE:
            left, right = fact["before"][name], fact["after"][name]
            same = (left is None and right is None) or (
                left is not None and right is not None and left.tobytes() == right.tobytes()
            )
            check.require(same, f"{name} of a second layer, after the first was used", right, left, program)


@checks("BN-STATE-READ")
def test_reading_the_state_changes_nothing(check: Check) -> None:
    """The same calls give the same and end in the same state, whether or not the state is read meanwhile."""
    for momentum in (0.1, None):
        if momentum is None and "momentum_none" in check.subject.unsupported:
            continue
        program = check.fit(_updates(check, momentum))
        unread = replace(program, reads="end")
        first, second = check.answer(program), check.readable(unread)
        # Whoever differs from himself when asked the same again may differ here within bounds, and nobody else.
        steady = _observations(first) == _observations(second) or all(
            _observations(one) == _observations(check.readable(again))
            for one, again in ((first, program), (second, unread)) * REPEATS
        )
        if steady:
            _same_bits(check, first, second)
        else:
            _within_bounds(check, first, second)


REPEATS = 3
"""How often an implementation that was seen to differ is asked the same again, to see whether it repeats itself."""


def _updates(check: Check, momentum: float | None) -> Program:
    """Several updates, by different batches, with a pass of every other kind between and behind them."""
    shape = inputs.SHAPES[_rank(check)]
    program = _program(check, _rank(check), seed=41)
    loads = [step for step in program.steps if step.op == "load"]
    steps = [forward(inputs.values(shape, 11)), forward(inputs.values(shape, 12, offset=-1.1))]
    steps += [forward(inputs.values(shape, 13), training=False), forward(inputs.values(shape, 14, spread=0.8))]
    if "backward" not in check.subject.unsupported:
        x, g = inputs.values(shape, 15), inputs.upstream(shape, 15)
        steps += [backward(x, g), backward(x, g, training=False)]
    steps += [forward(inputs.values(shape, 16), training=False), forward(inputs.values(shape, 17))]
    config = replace(program.config, momentum=momentum)
    return Program(config, (*loads, *steps)).cast(config.dtype, config.param_dtype)


Place = tuple[int, str]
"""The number of a call, from 0, and the name of what it gives, or of what is in the state after the last call."""


def _observations(trace: Trace) -> dict[Place, object]:
    """What the calls gave, and the state after the last one, to the bit; an array as its dtype and bytes."""
    found: dict[Place, object] = {}
    for number, seen in enumerate(trace.steps):
        found |= {(number, name): value for name, value in seen.values.items()}
        found[number, "the call"] = "refused" if seen.raised else seen.misfit or "answered"
    found |= {(len(trace.steps) - 1, name): value for name, value in trace.steps[-1].after.items()}
    return {
        place: (str(value.dtype), value.tobytes()) if isinstance(value, np.ndarray) else value
        for place, value in found.items()
    }


def _array(trace: Trace, place: Place) -> object:
    """What stands at a place of `_observations`, itself."""
    seen = trace.steps[place[0]]
    return {**seen.after, **seen.values}.get(place[1], "not answered")


def _what(trace: Trace, place: Place) -> str:
    number, name = place
    return f"{name} of call {number + 1}, {trace.steps[number].step.describe()}, with the state read after every call"


def _same_bits(check: Check, read: Trace, unread: Trace) -> None:
    __tracebackhide__ = True
    due = _observations(unread)
    for place, got in _observations(read).items():
        arrays = _array(read, place), _array(unread, place)
        check.require(got == due.get(place), f"{_what(read, place)}, beside what it is without", *arrays, read.program)


def _within_bounds(check: Check, read: Trace, unread: Trace) -> None:
    __tracebackhide__ = True
    shown, due = _observations(read), _observations(unread)
    allowed = _spread_between_runs(check, read)
    for place, got in shown.items():
        one, other = _array(read, place), _array(unread, place)
        if not isinstance(one, np.ndarray) or not isinstance(other, np.ndarray):
            check.require(got == due.get(place), _what(read, place), one, other, read.program)
        elif place in allowed:
            off = np.abs(one.astype(np.float64) - other.astype(np.float64))
            what = f"{_what(read, place)}, further off than two runs may be"
            check.require(bool((off <= allowed[place]).all()), what, one, other, read.program)


def _spread_between_runs(check: Check, trace: Trace) -> dict[Place, Array]:
    """How far two runs of an implementation that does not repeat itself may lie apart, by place.

    Let B be the bound of one call: how far what it gives may lie from what is due after the state before it. Let d be
    how far the running statistics of the two runs lie apart before it. A pass moves them to (1 - a) old + a batch with
    a in [0, 1], or leaves them, so that they lie at most d + 2 B apart afterwards: 2 B, summed over the calls so far.
    (In the other run B is that of another old value, and larger by a few u d: a hundredth more covers it.)

    y is due to w (x - m) f(v) + b, a bilinear function of m and f(v), and f is monotone: over all statistics that lie
    within d of those that were read it changes most at a corner, (m +- d_m, v +- d_v). So two runs differ by 2 B and by
    the largest change at a corner. Weight and bias do not move, nor does the count differ. Gradients have no such
    corners, and are not compared.
    """
    declared = check.subject.declared
    config = trace.program.config
    observe = frozenset(("y", *STATISTICS)) if config.track_running_stats else frozenset(("y",))
    steps = tuple(
        replace(step, observe=observe if step.op == "forward" else observe - {"y"}) for step in trace.program.steps
    )
    seen = [replace(one, step=step) for one, step in zip(trace.steps, steps, strict=True)]
    observed = replace(trace, program=replace(trace.program, steps=steps), steps=seen)
    bounds = {(one.step, one.name): one.bound for one in judge(observed, declared).comparisons}
    last = len(seen) - 1
    apart = {name: np.zeros(config.num_features) for name in STATISTICS}
    found: dict[Place, Array] = {(last, name): np.zeros(config.num_features) for name in ("weight", "bias")}
    for number, one in enumerate(seen):
        if one.step.op == "forward" and (number, "y") in bounds:
            found[number, "y"] = 1.01 * (2 * bounds[number, "y"] + _change(check, observed, number, apart))
        for name in STATISTICS:
            apart[name] = apart[name] + 1.01 * 2 * bounds.get((number, name), np.zeros(config.num_features))
    return found | {(last, name): apart[name] for name in STATISTICS} | {(last, "num_batches_tracked"): np.zeros(())}


def _change(check: Check, trace: Trace, number: int, apart: Mapping[str, Array]) -> Array:
    """The largest change of the y that is due at one call where the statistics before it move by `apart`."""
    config, declared, seen = trace.program.config, check.subject.declared, trace.steps[number]
    assert seen.step.x is not None
    with arithmetic():
        new = oracle.initial_state(config, declared)
        arrays = (new.running_mean, new.running_var, new.weight, new.bias)
        shown = LayerState(*arrays[:2], new.num_batches_tracked, *arrays[2:], new.updates).show(seen.before).exact()
        batch = oracle.Batch(exact(seen.step.x))

        def due(mean: int, variance: int) -> Array:
            state = shown
            if shown.running_mean is not None and shown.running_var is not None:
                moved = shown.running_var + variance * exact(apart["running_var"])
                state = replace(
                    shown,
                    running_mean=shown.running_mean + mean * exact(apart["running_mean"]),
                    running_var=np.where(moved > 0, moved, moved * 0),
                )
            return oracle.forward(config, declared, state, batch, training=seen.step.training).y

        centre = due(0, 0)
        changes = [np.abs(floats(due(*corner) - centre)) for corner in product((-1, 1), (-1, 1))]
    return np.asarray(np.max(changes, axis=0))


def _may_refuse(check: Check, step: Step) -> bool:
    """Whether a call may be refused: evaluation that is declared to refuse what does not broadcast along its axis."""
    return check.subject.declared.evaluation_broadcast is EvaluationBroadcast.LAST_AXIS and not step.training
