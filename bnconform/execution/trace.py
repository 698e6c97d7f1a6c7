"""What a program showed, as the side that judges has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bnconform.cases.program import STATE, Array, Program, Step

State = dict[str, Array | None]


class Unreadable(ValueError):
    """What came back is no trace of the program; one line."""


@dataclass(frozen=True)
class Raised:
    """The implementation raised."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Misfit:
    """What the implementation returned is of the wrong kind or shape; the text says what it should have been."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass
class Seen:
    """What one step showed.

    Attributes:
        before, after: the layer's state around the call; empty where it was not read.
        values: y, grad_x, grad_weight, grad_bias, as far as the step gives them.
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
    """

    program: Program
    seen: list[Seen]
    mutated: list[str]
    broken: Raised | Misfit | None = None
    fault: str = ""
    ended: str = ""
    facts: list[dict[str, Any]] = field(default_factory=list)
    counter: tuple[str, tuple[int, ...]] | None = None
    calls: int = 0
    seconds: float = 0.0

    @property
    def refused(self) -> bool:
        """Whether the implementation raised anywhere."""
        return isinstance(self.broken, Raised) or any(seen.raised for seen in self.seen)


def lost(program: Program, how: str) -> Trace:
    """The trace of a program whose process ended before it answered."""
    return Trace(program, [], [], ended=how)


def from_data(program: Program, data: Mapping[str, Any]) -> Trace:
    """The trace that the other side sent.

    Raises:
        Unreadable: where it is none. The other side is trusted in nothing: shapes and kinds are looked at again.
    """
    try:
        steps, broken = data["steps"], data["broken"] or {}
        if len(steps) > len(program.steps):
            raise Unreadable(f"{len(steps)} steps came back of a program of {len(program.steps)}")
        state = _state(data["before"], program)
        seen = []
        for step, entry in zip(program.steps, steps, strict=False):
            after = state if entry["after"] is None else _state(entry["after"], program)
            values = {name: _value(name, value, step, program) for name, value in entry["values"].items()}
            raised = None if entry["raised"] is None else Raised(str(entry["raised"]))
            seen.append(Seen(step, state, after, values, raised, str(entry["misfit"])))
            state = after
        kind, text = broken.get("kind", ""), str(broken.get("text", ""))
        counter = data.get("counter")
        return Trace(
            program, seen, [str(line) for line in data["mutated"]],
            broken=Raised(text) if kind == "raised" else Misfit(text) if kind == "misfit" else None,
            fault=text if kind == "adapter" else "", ended=text if kind == "interrupt" else "",
            facts=list(data["facts"]), counter=counter and (str(counter[0]), tuple(counter[1])),
            calls=int(data["calls"]), seconds=float(data["seconds"]),
        )  # fmt: skip
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as problem:
        raise Unreadable(f"what came back is no trace: {type(problem).__name__}: {problem}") from None


def _state(given: Mapping[str, Any], program: Program) -> State:
    """A state with every entry or, where it was not read, none."""
    features = (program.config.num_features,)
    state: State = {}
    for name, value in given.items():
        if name not in STATE:
            raise Unreadable(f"a state with an entry {name!r}")
        state[name] = None if value is None else _shaped(value, () if name == "num_batches_tracked" else features)
    if state and len(state) < len(STATE):
        raise Unreadable("a state that lacks entries")
    return state


def _value(name: str, value: Any, step: Step, program: Program) -> Array | None:
    if name not in ("y", "grad_x", "grad_weight", "grad_bias"):
        raise Unreadable(f"a result called {name!r}")
    if value is None:
        return None
    if step.x is None:
        raise Unreadable(f"a result of {step.op}, which has none")
    return _shaped(value, step.x.shape if name in ("y", "grad_x") else (program.config.num_features,))


def _shaped(value: Any, shape: tuple[int, ...]) -> Array:
    if value.shape != shape:
        raise Unreadable(f"an array of shape {value.shape} where {shape} is due")
    found: Array = value
    return found
