"""Traces: what comes back of a program is looked at again, and nothing of another kind or shape gets in."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bnconform.backends.numpy_layer import NumpyBackend
from bnconform.backends.runner import programs
from bnconform.cases.program import Program, backward, forward, load
from bnconform.execution.trace import Misfit, Raised, ReadsAffine, UnreadableTrace, from_data, lose_trace
from bnconform.spec.config import Config

X = np.arange(12.0).reshape(4, 3)
PROGRAM = Program(
    Config(ndim=2), (load(weight=[1.0, 2.0, 3.0]), forward(X, "y"), backward(X, X, "grad_x", training=False))
).cast("float32", "float32")
DATA = programs.execute(NumpyBackend(), "cpu", PROGRAM.message())


def test_trace_of_a_program() -> None:
    """Every step has its values and the state around it, and the calls are counted."""
    trace = from_data(PROGRAM, copy.deepcopy(DATA))
    assert [list(seen.values) for seen in trace.steps] == [[], ["y"], ["grad_x", "grad_weight", "grad_bias"]]
    assert [seen.step for seen in trace.steps] == list(PROGRAM.steps)
    assert trace.steps[1].before is trace.steps[0].after
    weight = trace.steps[0].after["weight"]
    assert weight is not None and weight.tolist() == [1, 2, 3]
    assert (trace.broken, trace.fault, trace.ended, trace.mutated, trace.refused) == (None, "", "", [], False)
    assert trace.counter == ("int64", ()) and trace.calls == 8 and trace.seconds > 0


@pytest.mark.parametrize(
    ("kind", "place"),
    [("raised", "broken"), ("misfit", "broken"), ("adapter", "fault"), ("interrupt", "ended")],
)
def test_what_broke_a_program(kind: str, place: str) -> None:
    """Its text is where its kind belongs, and nowhere else."""
    trace = from_data(PROGRAM, {**DATA, "steps": [], "broken": {"kind": kind, "text": "no driver"}})
    found = {"broken": trace.broken, "fault": trace.fault, "ended": trace.ended}
    assert str(found.pop(place)) == "no driver"
    assert not any(found.values())
    assert isinstance(trace.broken, {"raised": Raised, "misfit": Misfit}.get(kind, type(None)))
    assert trace.refused is (kind == "raised")


def test_older_contract_is_believed_where_it_can_be_true() -> None:
    """An adapter that knows no layers with one parameter refuses one; it cannot say so of any other layer."""
    broken = {**DATA, "steps": [], "broken": {"kind": "contract", "text": "read config.weight"}}
    alone = replace(PROGRAM, config=replace(PROGRAM.config, affine="weight"))
    trace = from_data(alone, broken)
    assert isinstance(trace.broken, ReadsAffine) and trace.refused
    with pytest.raises(UnreadableTrace, match="this one has both or none"):
        from_data(PROGRAM, broken)


def test_state_that_was_not_read() -> None:
    """Where the state was read at the end only, the steps before have none."""
    program = Program(Config(ndim=2), (forward(X), forward(X)), reads="end").cast("float32", "float32")
    trace = from_data(program, programs.execute(NumpyBackend(), "cpu", program.message()))
    assert [seen.before for seen in trace.steps] == [{}, {}]
    assert trace.steps[0].after == {} and len(trace.steps[1].after) == 5


def test_lost_program() -> None:
    """A program whose process ended shows nothing but that."""
    trace = lose_trace(PROGRAM, "the process died of SIGKILL")
    assert (trace.steps, trace.ended, trace.refused) == ([], "the process died of SIGKILL", False)


Change = Callable[[dict[str, Any]], object]


def _put(*path: object, value: object) -> Change:
    def change(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


def _without(*path: str | int) -> Change:
    def change(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        del data[path[-1]]

    return change


WRONG: dict[str, Change] = {
    "more steps": lambda data: data["steps"].append(data["steps"][0]),
    "steps are a number": _put("steps", value=3),
    "steps are a text": _put("steps", value="abc"),
    "step is a list": _put("steps", 0, value=[]),
    "no values": _without("steps", 0, "values"),
    "values are a list": _put("steps", 1, "values", value=[1]),
    "no state": _without("before"),
    "no facts": _without("facts"),
    "no mutations": _without("mutated"),
    "y of another shape": _put("steps", 1, "values", "y", value=X[:2]),
    "y is a number": _put("steps", 1, "values", "y", value=1.0),
    "y is a list": _put("steps", 1, "values", "y", value=X.tolist()),
    "grad_weight of another shape": _put("steps", 2, "values", "grad_weight", value=X),
    "unknown value": _put("steps", 1, "values", "z", value=X),
    "value of a load": _put("steps", 0, "values", "y", value=X),
    "statistic of another shape": _put("before", "running_mean", value=X),
    "counter with an axis": _put("before", "num_batches_tracked", value=np.ones(1, np.int64)),
    "state lacks an entry": _without("steps", 1, "after", "weight"),
    "state has one more": _put("before", "momentum", value=None),
    "state is a list": _put("before", value=[1]),
    "broken is a text": _put("broken", value="broken"),
    "counter is a number": _put("counter", value=3),
    "calls are a text": _put("calls", value="many"),
    "seconds are a list": _put("seconds", value=[]),
    "seconds are no number": _put("seconds", value=float("nan")),
    "seconds are infinite": _put("seconds", value=float("inf")),
    "seconds are negative": _put("seconds", value=-1.0),
    "calls are infinite": _put("calls", value=float("inf")),
    "calls are negative": _put("calls", value=-1),
    "calls are true": _put("calls", value=True),
    "nothing": lambda data: data.clear(),
    "fewer steps": lambda data: data["steps"].pop(),
    "a million steps": _put("steps", value=[{}] * 10**6),
    "steps are a dict": _put("steps", value={"0": {}}),
    "steps are an array": _put("steps", value=X),
    "no y": _put("steps", 1, "values", value={}),
    "y is None": _put("steps", 1, "values", "y", value=None),
    "y is a text": _put("steps", 1, "values", "y", value="1 2 3"),
    "y of integers": _put("steps", 1, "values", "y", value=X.astype(np.int64)),
    "y of objects": _put("steps", 1, "values", "y", value=X.astype(object)),
    "y is masked": _put("steps", 1, "values", "y", value=np.ma.masked_array(X.astype(np.float32))),
    "y of a huge shape": _put("steps", 1, "values", "y", value=np.broadcast_to(np.float32(1), (2**40, 3))),
    "gradient of a forward pass": _put("steps", 1, "values", "grad_x", value=X.astype(np.float32)),
    "name is a number": _put("steps", 1, "values", 3, value=X.astype(np.float32)),
    "name is a tuple": _put("before", (1, 2), value=None),
    "counter of floats": _put("before", "num_batches_tracked", value=np.float64(1).reshape(())),
    "statistic of integers": _put("before", "running_mean", value=np.ones(3, np.int64)),
    "state was not read": _put("steps", 2, "after", value={}),
    "first state was not read": _put("before", value={}),
    "raised is a dict": _put("steps", 1, "raised", value={}),
    "misfit is a number": _put("steps", 1, "misfit", value=7),
    "mutated is a text": _put("mutated", value="x"),
    "mutated has numbers": _put("mutated", value=[1]),
    "broken in another way": _put("broken", value={"kind": "bored", "text": ""}),
    "broken without a text": _put("broken", value={"kind": "raised"}),
    "counter of infinite size": _put("counter", value=["int64", [float("inf")]]),
    "counter of no dtype": _put("counter", value=[None, []]),
    "fact that nobody asked for": _put("facts", value=[{"what": "shared"}]),
    "facts are a dict": _put("facts", value={}),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_trace_is_refused(name: str) -> None:
    """Another kind or shape anywhere is refused in one line, whoever sent it."""
    data = copy.deepcopy(DATA)
    WRONG[name](data)
    with pytest.raises(UnreadableTrace) as refusal:
        from_data(PROGRAM, data)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400
    from_data(PROGRAM, copy.deepcopy(DATA))


FULL = {**{name: np.ones(3, np.float32) for name in ("running_mean", "running_var", "weight", "bias")}}
FACTS: dict[str, tuple[str, dict[Any, Any]]] = {
    "no kind": ("results", {"holds": True}),
    "another kind": ("results", {"what": "other", "before": {}, "after": {}}),
    "kind is a list": ("results", {"what": [], "step": 0, "holds": True}),
    "lacks a word": ("results", {"what": "writeable", "step": 0}),
    "one word more": ("results", {"what": "writeable", "step": 0, "holds": True, "array": X}),
    "neither true nor false": ("results", {"what": "writeable", "step": 0, "holds": "yes"}),
    "step is no number": ("results", {"what": "writeable", "step": float("nan"), "holds": True}),
    "name is a number": ("results", {"what": "kept", "step": 0, "name": 1, "holds": True}),
    "array is none": ("loaded", {"what": "after calls", "state": {}, "array": [1, 2, 3]}),
    "array of another shape": ("loaded", {"what": "after calls", "state": {}, "array": X}),
    "state of another shape": ("loaded", {"what": "overwritten", "before": {"weight": X}, "after": {"weight": X}}),
    "unlike states": ("loaded", {"what": "overwritten", "before": FULL, "after": {}}),
    "state has one more": ("shown", {"what": "overwritten", "before": {1: None}, "after": {1: None}}),
    "states lack entries": ("instances", {"what": "other", "before": FULL, "after": FULL}),
    "no states": ("instances", {"what": "other", "before": {}, "after": {}}),
}
"""What no fact is, with the watch of the program."""


@pytest.mark.parametrize("name", FACTS)
def test_fact_that_is_none_is_refused(name: str) -> None:
    """What was seen of whose memory is whose is looked at as well."""
    watch, fact = FACTS[name]
    program = Program(Config(ndim=2), (forward(X),), watch=watch)
    data: dict[str, Any] = {"steps": [], "before": {}, "broken": None, "mutated": [], "calls": 0, "seconds": 0.0}
    from_data(program, {**data, "facts": []})
    with pytest.raises(UnreadableTrace):
        from_data(program, {**data, "facts": [fact]})


def test_texts_are_made_printable() -> None:
    """What an implementation says fits on one line, whatever it is."""
    text = "a\nb\x1b[2J \ud800" + "x" * 10**6
    trace = from_data(PROGRAM, {**DATA, "steps": [], "broken": {"kind": "raised", "text": text}, "mutated": [text]})
    for found in (str(trace.broken), *trace.mutated):
        assert found.startswith(r"a\nb\x1b[2J \ud800xxx") and len(found) < 10**4 and found.isprintable()
