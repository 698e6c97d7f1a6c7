"""What the pullback of a recorded pass answers instead: that of another moment, of the other mode, of another pass.

A pullback is looked at as the backward pass that it is due to equal: over the x of the recorded pass, in its mode, from
the state before it. The state afterwards is then that in which the pullback was called, as it moves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from bnconform.diagnosis.experiments.trials import FailingCall
from bnconform.diagnosis.relations.call_view import CallView
from bnconform.diagnosis.relations.other_operands import of_entries, of_step, with_operands
from bnconform.diagnosis.relations.relation import Relation
from bnconform.execution.trace import State, StepResult, Trace
from bnconform.spec.behaviour import Behaviour


def is_of_recorded(call: FailingCall) -> bool:
    """Whether the call is a recorded pass, or the pullback of one."""
    return call.trace.steps[-1].step.op in ("vjp", "pullback")


def as_plain(call: FailingCall) -> FailingCall:
    """A recorded pass as the forward pass, or a pullback as the backward pass, that it is due to equal."""
    trace, seen = call.trace, call.trace.steps[-1]
    step = seen.step
    if step.op == "pullback":
        passed = _passes(trace)[step.pass_number - 1]
        step = replace(
            passed.step, op="backward", grad_output=step.grad_output, grad_layout=step.grad_layout,
            observe=step.observe & {one.name for one in call.comparisons},
        )  # fmt: skip
        answered = replace(seen, step=step, before=passed.before, after=seen.before)
    else:
        step = replace(step, op="forward")
        answered = replace(seen, step=step)
    program = replace(trace.program, steps=(*trace.program.steps[:-1], step))
    return FailingCall(replace(trace, program=program, steps=[*trace.steps[:-1], answered]), call.comparisons)


def family_of_recorded(point: Behaviour) -> Iterator[Relation]:
    """The family, the simplest first."""
    for names, nouns in ENTRIES:
        words = f"{{}} takes the {nouns} of when the pullback is called, not of when its pass was made"
        yield with_operands(words, of_entries(_now(names)), point)
    other_mode = of_step(lambda view: {"training": not view.step.training})
    yield with_operands("{} is that of the other mode than its pass was made in", other_mode, point)
    for words, x in (("the pass recorded last", _last), ("the pass recorded first", _first)):
        yield with_operands(f"{{}} is that of {words}", of_step(x), point)


ENTRIES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("running_mean", "running_var"), "running statistics"),
    (("weight",), "weight"),
    (("running_var",), "running variance"),
    (("running_mean",), "running mean"),
    (("running_mean", "running_var", "weight"), "running statistics and weight"),
)


def _now(names: tuple[str, ...]) -> Any:
    def value(view: CallView) -> State | None:
        after = view.seen.after
        return {name: after.get(name) for name in names} if after else None

    return value


def _passes(trace: Trace) -> list[StepResult]:
    return [one for one in trace.steps if one.step.op == "vjp"]


def _first(view: CallView) -> dict[str, Any] | None:
    return _of_pass(view, 0)


def _last(view: CallView) -> dict[str, Any] | None:
    return _of_pass(view, -1)


def _of_pass(view: CallView, number: int) -> dict[str, Any] | None:
    other = _passes(view.call.trace)[number].step
    if other.x is None or view.step.x is None or other.x.shape != view.step.x.shape:
        return None
    return {"x": other.x, "training": other.training}
