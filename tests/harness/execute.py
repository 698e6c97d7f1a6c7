"""Running a program on a layer and keeping everything that was seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cases.program import Array, Program, Step

from .guard import Guarded, Misfit, Raised

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


def execute(build: Callable[[], Guarded], program: Program) -> Trace:
    """Build a layer and make every call of the program, going on after a call that fails."""
    trace = Trace(program, [], [])
    try:
        layer = build()
        trace.mutated = layer.mutated
        state = layer.state()
        for step in program.steps:
            seen = _step(layer, step, state)
            trace.seen.append(seen)
            state = seen.after = layer.state()
    except (Raised, Misfit) as problem:
        trace.broken = problem
    return trace


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
