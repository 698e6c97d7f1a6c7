"""Running a program on a layer and keeping everything that was seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bnconform.cases.program import Array, Program, Step
from bnconform.execution.instrumented import Guarded, Misfit, Raised

State = dict[str, Array | None]


@dataclass
class Seen:
    """What one step showed.

    Attributes:
        before, after: the layer's state around the call.
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
    """A program and what each of its steps showed; `broken` says why the layer could not even be built or asked."""

    program: Program
    seen: list[Seen]
    mutated: list[str]
    broken: Raised | Misfit | None = None

    @property
    def refused(self) -> bool:
        """Whether the implementation raised anywhere."""
        return isinstance(self.broken, Raised) or any(seen.raised for seen in self.seen)


class Session:
    """A new layer, and the calls that are made on it one after the other, going on after one that fails.

    Attributes:
        seen: what each call showed. mutated: what calls have changed of their own inputs, one line each.
        broken: why the layer could not be built or asked for its state; nothing is called after that.
        state: the layer's state after the last call.
    """

    def __init__(self, build: Callable[[], Guarded]) -> None:
        self._build = build
        self.seen: list[Seen] = []
        self.mutated: list[str] = []
        self.broken: Raised | Misfit | None = None
        self.state: State = {}
        try:
            self._renew()
            self.state = self._layer.state()
        except (Raised, Misfit) as problem:
            self.broken = problem

    def _renew(self) -> None:
        self._layer = self._build()
        self._layer.mutated = self.mutated

    def call(self, step: Step) -> Seen | None:
        """Make one call; None where the layer is broken or this breaks it."""
        if self.broken is not None:
            return None
        try:
            if step.op == "build" and self.seen:
                self._renew()
            seen = _step(self._layer, step, self.state)
            self.seen.append(seen)
            self.state = seen.after = self._layer.state()
        except (Raised, Misfit) as problem:
            self.broken = problem
            return None
        return seen


def execute(build: Callable[[], Guarded], program: Program) -> Trace:
    """Build a layer and make every call of the program, going on after a call that fails."""
    session = Session(build)
    for step in program.steps:
        session.call(step)
    return Trace(program, session.seen, session.mutated, session.broken)


def _step(layer: Guarded, step: Step, state: State) -> Seen:
    seen = Seen(step, before=state, after=state)
    try:
        if step.op == "load":
            # A layer that shows no counter has none to set; everything else that a program loads exists.
            layer.load({name: value for name, value in step.state.items() if _settable(name, state)})
        elif step.op == "forward":
            assert step.x is not None
            seen.values["y"] = layer.forward(step.x, training=step.training, layout=step.x_layout)
        elif step.op == "backward":
            assert step.x is not None and step.grad_output is not None
            seen.values["grad_x"], seen.values["grad_weight"], seen.values["grad_bias"] = layer.backward(
                step.x, step.grad_output, training=step.training, layout=step.x_layout, grad_layout=step.grad_layout
            )
    except Raised as error:
        seen.raised = error
    except Misfit as problem:
        seen.misfit = str(problem)
    return seen


def _settable(name: str, state: State) -> bool:
    return name != "num_batches_tracked" or state[name] is not None
