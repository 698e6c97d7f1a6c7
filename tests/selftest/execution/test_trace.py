"""Traces: what comes back of a program is looked at again, and nothing of another kind or shape gets in."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bnconform.backends.numpy_layer import NumpyBackend
from bnconform.backends.runner import programs
from bnconform.cases.program import Program, backward, forward, load
from bnconform.execution.trace import Misfit, Raised, Unreadable, from_data, lost
from bnconform.spec.config import Config

X = np.arange(12.0).reshape(4, 3)
PROGRAM = Program(
    Config(ndim=2), (load(weight=[1.0, 2.0, 3.0]), forward(X, "y"), backward(X, X, "grad_x", training=False))
).cast("float32", "float32")
DATA = programs.execute(NumpyBackend(), "cpu", PROGRAM.message())


def test_trace_of_a_program() -> None:
    """Every step has its values and the state around it, and the calls are counted."""
    trace = from_data(PROGRAM, copy.deepcopy(DATA))
    assert [list(seen.values) for seen in trace.seen] == [[], ["y"], ["grad_x", "grad_weight", "grad_bias"]]
    assert [seen.step for seen in trace.seen] == list(PROGRAM.steps)
    assert trace.seen[1].before is trace.seen[0].after
    weight = trace.seen[0].after["weight"]
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


def test_state_that_was_not_read() -> None:
    """Where the state was read at the end only, the steps before have none."""
    program = Program(Config(ndim=2), (forward(X), forward(X)), reads="end").cast("float32", "float32")
    trace = from_data(program, programs.execute(NumpyBackend(), "cpu", program.message()))
    assert [seen.before for seen in trace.seen] == [{}, {}]
    assert trace.seen[0].after == {} and len(trace.seen[1].after) == 5


def test_lost_program() -> None:
    """A program whose process ended shows nothing but that."""
    trace = lost(PROGRAM, "the process died of SIGKILL")
    assert (trace.seen, trace.ended, trace.refused) == ([], "the process died of SIGKILL", False)


Change = Callable[[dict[str, Any]], object]


def _put(*path: str | int, value: object) -> Change:
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
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_trace_is_refused(name: str) -> None:
    """Another kind or shape anywhere is refused in one line, whoever sent it."""
    data = copy.deepcopy(DATA)
    WRONG[name](data)
    with pytest.raises(Unreadable) as refusal:
        from_data(PROGRAM, data)
    assert "\n" not in str(refusal.value)
    from_data(PROGRAM, copy.deepcopy(DATA))
