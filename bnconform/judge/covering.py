"""A row of the covering array, judged: in two ways of reading, and with parameters that may be refused."""

from __future__ import annotations

from dataclasses import replace

from bnconform.cases.covering.factors import FACTORS
from bnconform.cases.covering.rows import CoveringRow
from bnconform.cases.program import STATE, Program
from bnconform.execution.trace import StepResult, Trace


def programs_of(program: Program) -> tuple[Program, ...]:
    """What is run for a program: where its state is read at the end only, first the same calls with it read always."""
    return (program,) if program.reads == "always" else (program.read_always, program)


def fill_states(trace: Trace, read: Trace) -> Trace:
    """A trace whose state was read at the end only, with the states in between that the same calls showed when read.

    A layer that does the same whether it is read or not was in these states; `differs` tells one that never does the
    same twice.
    """
    if trace.program.reads == "always" or len(read.steps) < len(trace.steps):
        return trace
    last = len(trace.steps) - 1
    steps = [
        replace(step, before=twin.before, after=step.after if number == last and step.after else twin.after)
        for number, (step, twin) in enumerate(zip(trace.steps, read.steps, strict=False))
    ]
    return replace(trace, steps=steps)


def differs(one: Trace, other: Trace) -> bool:
    """Whether two runs of the same calls differ in a bit of what they show."""
    return [_bits(step) for step in one.steps] != [_bits(step) for step in other.steps]


def _bits(step: StepResult) -> list[bytes | None]:
    shown = [*step.values.values(), *step.after.values()]
    return [None if value is None else value.tobytes() for value in shown]


def reason_not_judged(row: CoveringRow, trace: Trace) -> str:
    """Why an implementation was not asked a row with what it may refuse, and refuses; "" if it was.

    Which dtypes of parameters go with which of x is left open, and so are whether a load takes arrays of another dtype
    than the layer's and whether epsilon may be 0: a library that refuses some, or keeps its own, says so.
    """
    config = trace.program.config
    unusual = row.levels["parameters"] != "usual"
    raised = [step.raised for step in trace.steps if step.raised and not step.step.may_refuse]
    if row.levels["history"] == "other_dtype" and trace.steps and trace.steps[0].raised:
        return f"arrays of another dtype than the layer's are not loaded: {trace.steps[0].raised}"
    if config.eps == 0 and (trace.broken is not None or raised):
        return f"epsilon 0 is refused: {trace.broken or raised[0]}"
    if not unusual:
        return ""
    if trace.broken is not None or raised:
        why = str(trace.broken or raised[0])
        return f"parameters in {config.param_dtype} with x in {config.dtype} are refused: {why}"
    for step in trace.steps:
        kinds = {str(v.dtype) for n, v in step.after.items() if v is not None and n in STATE and v.dtype.kind != "i"}
        if kinds - {config.param_dtype}:
            return f"parameters were asked for in {config.param_dtype}, and are kept in {' and '.join(sorted(kinds))}"
    return ""


def circumstances(row: CoveringRow) -> str:
    """A row's levels in words: its sizes, and all that are not the plainest."""
    plain = {factor.name: factor.levels[0] for factor in FACTORS}
    sizes = ("rank", "samples", "positions", "channels")
    words = [
        f"{name} {level}".replace("_", " ")
        for name, level in row.levels.items()
        if name in sizes or level != plain[name]
    ]
    return ", ".join(words)
