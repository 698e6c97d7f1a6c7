"""A trace beside the oracle, call by call, at the points where an implementation may be: specified and declared."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bnconform.execution.trace import Trace
from bnconform.judge.judgement import Judgement, initial_state, judge_step
from bnconform.judge.subject import Subject
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.error_bounds.error_model import error_model_of
from bnconform.spec.exact import arithmetic


@dataclass(frozen=True)
class Lockstep:
    """What became of a program.

    Attributes:
        found: the judgement of every call at the first point that explains them all; at the specified one where none
            does.
        failing: the number of the first call, from 0, after which no point explains everything; None where one does.
    """

    found: Judgement
    failing: int | None

    @property
    def holds(self) -> bool:
        """Whether one of the points explains every call."""
        return self.failing is None


def follow(trace: Trace, subject: Subject) -> Lockstep:
    """Judge a trace at the specified and at the declared point, each for itself, call by call."""
    followed = [_follow(trace, point) for point in dict.fromkeys((SPECIFIED, subject.declared))]
    calls = max(len(trace.steps) - (trace.broken is not None and bool(trace.steps)), 0)
    lasting = [calls if failing is None else failing for _, failing in followed]
    found = next((found for found, failing in followed if failing is None), followed[0][0])
    if trace.broken is not None or all(failing is not None for _, failing in followed):
        return Lockstep(found, min(max(lasting), max(len(trace.program.steps) - 1, 0)))
    return Lockstep(found, None)


def _follow(trace: Trace, point: Behaviour) -> tuple[Judgement, int | None]:
    """The judgement at a point, up to the first call that it does not explain, with the number of that call."""
    found = Judgement(point)
    config = trace.program.config
    with arithmetic():
        model = error_model_of(config, point)
        carried = initial_state(config, point)
        for number, seen in enumerate(trace.steps):
            known = len(found.comparisons)
            carried = judge_step(found, number, seen, trace.program, carried, model)
            if found.problems or any(comparison.worst > 1 for comparison in found.comparisons[known:]):
                return found, number
    return found, None


def cut(trace: Trace, last: int) -> Trace:
    """The trace of the program that ends with call `last`, from 0, as if no more had been asked."""
    program = replace(trace.program, steps=trace.program.steps[: last + 1])
    return replace(trace, program=program, steps=trace.steps[: last + 1])
