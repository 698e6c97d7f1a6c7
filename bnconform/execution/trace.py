"""What a program showed, as the side that judges has it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bnconform.cases.program import ABILITIES, COUNTERS, RESULTS, SPREAD, STATE, Array, Program, Step, result_shape
from bnconform.execution.printable import printable
from bnconform.spec.formats import DTYPES, numpy_dtype

State = dict[str, Array | None]


LONGEST = 300
"""Characters that are told of why something is no trace."""


class UnreadableTrace(ValueError):
    """What came back is no trace of the program; one line."""


@dataclass(frozen=True)
class Raised:
    """The implementation raised."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class ReadsAffine(Raised):
    """The adapter reads `config.affine` of a layer that has a weight or a bias alone: its contract is older."""


@dataclass(frozen=True)
class LacksAbility(Raised):
    """The layer has no method for what the program asks."""


@dataclass(frozen=True)
class Misfit:
    """What the implementation returned is of the wrong kind or shape; the text says what it should have been."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass
class StepResult:
    """What one step showed.

    Attributes:
        before, after: the layer's state around the call; empty where it was not read.
        values: what the step returns, by the names of `bnconform.cases.program.RESULTS`.
        raised: the error that the implementation raised, or None.
        misfit: what was returned in the wrong kind or shape, or "".
    """

    step: Step
    before: State
    after: State
    values: dict[str, Array | None] = field(default_factory=dict)
    raised: Raised | None = None
    misfit: str = ""


@dataclass
class Trace:
    """A program and what each of its steps showed.

    Attributes:
        mutated: what calls have changed of their own inputs, one line each.
        broken: why the layer could not even be built or asked for its state; nothing was called after that.
        fault: what is wrong with the adapter, so that nothing can be judged, or "".
        ended: why nothing came back, or not all: how the process died, or what was raised instead of an answer; or "".
        facts: what a watch noted (`bnconform.backends.runner.memory`).
        counter: the dtype and shape of the batch counter as it was shown last, or None.
        calls, seconds: the implementation's own calls.
        missing: whether nobody ran the program, as a recording does not have it.
    """

    program: Program
    steps: list[StepResult]
    mutated: list[str]
    broken: Raised | Misfit | None = None
    fault: str = ""
    ended: str = ""
    facts: list[dict[str, Any]] = field(default_factory=list)
    counter: tuple[str, tuple[int, ...]] | None = None
    calls: int = 0
    seconds: float = 0.0
    missing: bool = False

    @property
    def refused(self) -> bool:
        """Whether the implementation raised anywhere."""
        return isinstance(self.broken, Raised) or any(seen.raised for seen in self.steps)


def lose_trace(program: Program, how: str) -> Trace:
    """The trace of a program whose process ended before it answered."""
    return Trace(program, [], [], ended=how)


def from_data(program: Program, data: Any) -> Trace:
    """The trace that the other side sent.

    Raises:
        UnreadableTrace: where it is none. The other side is trusted in nothing: kinds, shapes, dtypes and what must
            be there are looked at again, and texts are made printable.
    """
    try:
        return _trace(program, data)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, OverflowError) as problem:
        how = str(problem) if isinstance(problem, UnreadableTrace) else f"{type(problem).__name__}: {problem}"
        raise UnreadableTrace(f"what came back is no trace: {printable(how)[:LONGEST]}") from None


def _trace(program: Program, data: Any) -> Trace:
    steps, broken = data["steps"], data["broken"]
    if not isinstance(steps, list) or len(steps) > len(program.steps):
        raise UnreadableTrace("it is not one of the steps of the program")
    state = _state(data["before"], program)
    seen = []
    for step, entry in zip(program.steps, steps, strict=False):
        after = state if entry["after"] is None else _state(entry["after"], program)
        raised = None if entry["raised"] is None else Raised(_text(entry["raised"]))
        misfit = _text(entry["misfit"])
        values = _values(entry["values"], step, program, is_due=raised is None and not misfit)
        seen.append(StepResult(step, state, after, values, raised, misfit))
        state = after
    kind, text = (broken["kind"], _text(broken["text"])) if broken is not None else ("", "")
    if kind not in ("", "raised", "misfit", "adapter", "interrupt", "contract", "ability"):
        raise UnreadableTrace("it broke off in a way that there is not")
    if kind == "contract" and not program.config.has_one_parameter:
        raise UnreadableTrace("it speaks of a layer with one parameter, and this one has both or none")
    if not kind and not program.watch:
        _whole(program, seen, state)
    if kind == "ability" and not any(step.op in ABILITIES for step in program.steps):
        raise UnreadableTrace("it lacks an ability that it was not asked for")
    counter, mutated, facts = data.get("counter"), data["mutated"], data["facts"]
    calls, seconds = data["calls"], float(data["seconds"])
    if type(calls) is not int or calls < 0 or not 0 <= seconds < math.inf:
        raise UnreadableTrace("it counts no calls, or no seconds")
    if not isinstance(mutated, list) or not isinstance(facts, list):
        raise UnreadableTrace("its facts are no list")
    return Trace(
        program, seen, [_text(line) for line in mutated],
        broken=_reason_to_stop(kind, text),
        fault=text if kind == "adapter" else "", ended=text if kind == "interrupt" else "",
        facts=[_fact(fact, program) for fact in facts],
        counter=None if counter is None else (_text(counter[0]), tuple(int(size) for size in counter[1])),
        calls=calls, seconds=seconds,
    )  # fmt: skip


def _reason_to_stop(kind: str, text: str) -> Raised | Misfit | None:
    """Why nothing was called after a step, where it is for the judgement to weigh."""
    if kind == "misfit":
        return Misfit(text)
    refusals: dict[str, type[Raised]] = {"raised": Raised, "contract": ReadsAffine, "ability": LacksAbility}
    return refusals[kind](text) if kind in refusals else None


def _whole(program: Program, seen: list[StepResult], last: State) -> None:
    """UnreadableTrace where a program that came to its end lacks a step, or a state that it was to read."""
    if len(seen) < len(program.steps):
        raise UnreadableTrace(f"{len(seen)} steps came back of a program of {len(program.steps)}")
    if (program.reads == "always" and not all(one.before and one.after for one in seen)) or (seen and not last):
        raise UnreadableTrace("a state that was to be read is not there")


def _state(given: Mapping[str, Any], program: Program) -> State:
    """A state with every entry or, where it was not read, none."""
    state = _entries(given, program)
    if state and len(state) < len(STATE):
        raise UnreadableTrace("a state that lacks entries")
    return state


def _entries(given: Mapping[str, Any], program: Program) -> State:
    """Some entries of a state."""
    features = (program.num_features,)
    state: State = {}
    for name, value in given.items():
        if name not in STATE:
            raise UnreadableTrace("a state with an entry of another name")
        counter = name == "num_batches_tracked"
        state[name] = None if value is None else _array(value, () if counter else features, whole=counter)
    return state


def _values(given: Mapping[str, Any], step: Step, program: Program, *, is_due: bool) -> dict[str, Array | None]:
    """The results of a step: all that it gives, or fewer where it failed."""
    shapes = {name: result_shape(name, step, program.num_features) for name in RESULTS.get(step.op, ())}
    if not set(given) <= set(shapes) or (is_due and len(given) < len(shapes)):
        raise UnreadableTrace(f"a {step.op} step with other results than it gives")
    for name in (*SPREAD, "jacobian"):
        if name in given and given[name] is None:
            raise UnreadableTrace(f"no array as {name}")
    return {
        name: None if value is None else _array(value, shapes[name], whole=name in COUNTERS)
        for name, value in given.items()
    }


REAL = frozenset(map(numpy_dtype, DTYPES))
WHOLE = frozenset({np.dtype(np.int64)})
"""The dtypes of what a layer shows, and of its counter."""


def _array(value: Any, shape: tuple[int, ...], *, whole: bool = False) -> Array:
    """An array of a shape, and of a dtype that a layer's may have."""
    if type(value) is not np.ndarray:
        raise UnreadableTrace(f"a {type(value).__name__} where an array is due")
    if value.shape != shape:
        raise UnreadableTrace(f"an array of shape {value.shape} where {shape} is due")
    if value.dtype not in (WHOLE if whole else REAL):
        raise UnreadableTrace(f"an array of dtype {value.dtype}")
    found: Array = value
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise UnreadableTrace(f"a {type(value).__name__} where a text is due")
    return printable(value)


FACTS: Mapping[str, Mapping[str, frozenset[str]]] = {
    "results": {
        "shared": frozenset({"step", "name", "owner", "holds"}),
        "writeable": frozenset({"step", "holds"}),
        "kept": frozenset({"step", "name", "holds"}),
    },
    "loaded": {
        "none": frozenset(),
        "after calls": frozenset({"state", "array"}),
        "overwritten": frozenset({"before", "after"}),
        "counter": frozenset({"name", "holds"}),
    },
    "shown": {
        "none": frozenset(),
        "overwritten": frozenset({"before", "after"}),
        "kept": frozenset({"name", "array", "holds"}),
    },
    "instances": {"other": frozenset({"before", "after"}), "output": frozenset({"holds"})},
    "history": {"none": frozenset(), "history": frozenset({"step", "name", "holds"})},
    "lazy": {"none": frozenset(), "lazy": frozenset({"name", "says"})},
    "formats": {"none": frozenset(), "format": frozenset({"step", "name", "format"})},
}
"""By the word in a program's "watch" what may be noted, and what is said of it (`bnconform.backends.runner.memory`)."""


def _fact(given: Mapping[str, Any], program: Program) -> dict[str, Any]:
    """What was noted of whose memory is whose."""
    what = given["what"]
    names = FACTS.get(program.watch, {}).get(what) if isinstance(what, str) else None
    if names is None or set(given) != {"what", *names}:
        raise UnreadableTrace("a fact of another kind than those that were asked for")
    found: dict[str, Any] = {"what": what}
    for name in names:
        found[name] = (
            _text(given[name]) if (what, name) == ("kept", "array") else _read_value(name, given[name], program)
        )
    whole = what != "other" or len(found["before"]) == len(STATE)
    if "before" in found and (set(found["before"]) != set(found["after"]) or not whole):
        raise UnreadableTrace("a fact with states that lack entries")
    return found


def _read_value(name: str, value: Any, program: Program) -> Any:
    if name in ("name", "owner", "format", "says"):
        return _text(value)
    if name == "step":
        return int(value)
    if name == "holds":
        if not isinstance(value, bool | np.bool_):
            raise UnreadableTrace("a fact that neither holds nor does not")
        return bool(value)
    if name == "array":
        return _array(value, (program.num_features,))
    return _entries(value, program)
