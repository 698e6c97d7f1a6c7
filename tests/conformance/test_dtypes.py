"""Conformance: the dtypes of what comes out, and half precision."""

from __future__ import annotations

from bnconform.cases import inputs
from bnconform.cases.program import Program, backward, forward
from bnconform.execution.trace import Trace
from bnconform.judge.check import Check
from bnconform.judge.marks import checks
from bnconform.spec.behaviour import Behaviour, OutputDtype, StatisticsDtype


def _trace(check: Check, rank: int) -> tuple[Program, Trace]:
    """A training and an evaluation pass and, where it is not declared unsupported, a backward pass in each mode."""
    __tracebackhide__ = True
    x, g = inputs.values(inputs.SHAPES[rank], 1), inputs.upstream(inputs.SHAPES[rank])
    steps = [forward(x), forward(x, training=False)]
    if check.requirement.id == "BN-DTYPE-GRAD":
        steps += [backward(x, g), backward(x, g, training=False)]
    tracked = "track_running_stats" not in check.subject.unsupported or check.requirement.id == "BN-DTYPE-STATS"
    affine = "affine" not in check.subject.unsupported
    program = Program(check.config(ndim=rank, track_running_stats=tracked, affine=affine), tuple(steps))
    program = program.cast(check.subject.dtype, check.subject.param_dtype)
    trace = check.answer(program)
    return trace.program, trace


def _at_least(dtype: str, due: str) -> str:
    """`due` where `dtype` is it or wider: statistics and parameters' gradients may be kept in more precision."""
    width = {"float64": 3, "float32": 2}
    return due if width.get(dtype, 1) > width.get(due, 1) else dtype


@checks("BN-DTYPE-OUTPUT")
def test_output_dtype(check: Check) -> None:
    """The output has the dtype of the input, in both modes."""
    for rank in (2, 4):
        if f"rank_{rank}" in check.subject.unsupported:
            continue
        program, trace = _trace(check, rank)
        for seen in trace.steps:
            y = seen.values.get("y")
            if y is None:
                continue

            def due(point: Behaviour, program: Program = program) -> str:
                own = point.output_dtype is OutputDtype.INPUT
                return program.config.dtype if own else program.config.param_dtype

            check.fact("output_dtype", str(y.dtype), due, f"the dtype of y after {seen.step.describe()}", program)


@checks("BN-DTYPE-STATS")
def test_statistics_dtype(check: Check) -> None:
    """The running statistics have the parameters' dtype or a wider one, before and after training on any input."""
    rank = 4 if "rank_4" not in check.subject.unsupported else 2
    program, trace = _trace(check, rank)
    shown = [("when new", trace.steps[0].before), ("after training", trace.steps[0].after)]
    for when, state in shown:
        for name in ("running_mean", "running_var"):
            value = state[name]
            if value is None:
                check.fail(
                    f"{name} is None {when}; it should be an array of shape ({program.config.num_features},)", program
                )

            def due(point: Behaviour) -> str:
                parameter = point.statistics_dtype is StatisticsDtype.PARAMETER
                return program.config.param_dtype if parameter else program.config.dtype

            shown_dtype = _at_least(str(value.dtype), program.config.param_dtype)
            check.fact("statistics_dtype", shown_dtype, due, f"the dtype of {name} {when}", program)


@checks("BN-DTYPE-GRAD")
def test_gradient_dtypes(check: Check) -> None:
    """The gradient for x has the dtype of x, those of the parameters have theirs or a wider one."""
    rank = 4 if "rank_4" not in check.subject.unsupported else 2
    program, trace = _trace(check, rank)
    declared = check.subject.declared
    kept = declared.statistics_dtype is StatisticsDtype.PARAMETER
    due_parameters = program.config.param_dtype if kept else program.config.dtype
    for seen in trace.steps[2:]:
        dues = (("grad_x", program.config.dtype), ("grad_weight", due_parameters), ("grad_bias", due_parameters))
        for name, due in dues:
            value = seen.values[name]
            if value is None:
                check.require(not program.config.affine and name != "grad_x", name, None, "an array", program)
            else:
                shown = str(value.dtype) if name == "grad_x" else _at_least(str(value.dtype), due)
                check.require(
                    shown == due,
                    f"the dtype of {name} after {seen.step.describe()}",
                    value.dtype,
                    due,
                    program,
                )
