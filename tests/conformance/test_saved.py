"""Conformance: the dtype of what an operator gives beside y, and what it gives in evaluation."""

from __future__ import annotations

from bnconform.cases import inputs
from bnconform.cases.probes.saved import EPSILON, MOMENTUM
from bnconform.cases.program import SAVED, Program, load, saved_statistics
from bnconform.execution.trace import Trace
from bnconform.judge.check import Check
from bnconform.judge.judgement import judge
from bnconform.judge.marks import checks
from bnconform.spec.behaviour import Behaviour, SavedInEvaluation, StatisticsDtype

WIDTH = {"float64": 3, "float32": 2}
"""Of the dtypes in which more than half precision is kept."""


def _trace(check: Check, *observe: str, training: bool = True) -> tuple[Program, Trace]:
    """One pass from a loaded state."""
    __tracebackhide__ = True
    rank = 4 if "rank_4" not in check.subject.unsupported else 2
    step = saved_statistics(inputs.values(inputs.SHAPES[rank], 1), *observe, training=training)
    config = check.config(ndim=rank, eps=EPSILON, momentum=MOMENTUM)
    program = Program(config, (load(**inputs.everything(3)), step))
    program = check.fit(program.cast(check.subject.dtype, check.subject.param_dtype))
    return program, check.execute(program)


@checks("BN-SAVED-DTYPE")
def test_dtype_of_what_is_saved(check: Check) -> None:
    """Each of what is saved has the dtype of the parameters or a wider one, and something is."""
    program, trace = _trace(check, *SAVED)
    seen = trace.steps[-1] if trace.steps else None
    if trace.broken is not None or seen is None or seen.raised or seen.misfit:
        check.fail(str(trace.broken or (seen and (seen.raised or seen.misfit))), program)
    found = {name: value for name, value in seen.values.items() if value is not None}
    check.require(bool(found), "what is saved", None, f"one of {', '.join(SAVED)} at least", program)
    due_parameter = program.config.param_dtype

    def due(point: Behaviour) -> str:
        parameter = point.statistics_dtype is StatisticsDtype.PARAMETER
        return due_parameter if parameter else program.config.dtype

    for name, value in found.items():
        dtype = str(value.dtype)
        wider = WIDTH.get(dtype, 1) > WIDTH.get(due_parameter, 1)
        check.fact("statistics_dtype", due_parameter if wider else dtype, due, f"the dtype of {name}", program)


@checks("BN-SAVED-EVAL-POLICY")
def test_what_is_saved_in_evaluation(check: Check) -> None:
    """Which of the defensible things it gives of an evaluation pass is noted."""
    _, trace = _trace(check, *SAVED, training=False)
    choices = [str(value) for value in SavedInEvaluation]
    check.policy("saved_in_evaluation", choices, lambda point: judge(trace, point).holds)
