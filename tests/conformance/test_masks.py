"""Conformance: a mask that leaves one value of each channel, or none."""

from __future__ import annotations

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.probes.masks import EPSILON, MOMENTUM
from bnconform.cases.program import Array, Program, load, masked
from bnconform.execution.trace import Trace
from bnconform.judge.check import Check
from bnconform.judge.judgement import judge
from bnconform.judge.marks import checks
from bnconform.spec.behaviour import NothingSelected, SingleValue
from bnconform.spec.exact import arithmetic

STATISTICS = ("running_mean", "running_var")
SHAPE = inputs.SHAPES[2]
SAMPLE = 4
"""That which is selected where one is."""


def _trace(check: Check, mask: Array, *observe: str) -> tuple[Program, Trace]:
    """A masked training pass from a loaded state."""
    __tracebackhide__ = True
    steps = (load(**inputs.everything(3)), masked(inputs.values(SHAPE, 1), mask, *observe))
    program = Program(check.config(ndim=2, eps=EPSILON, momentum=MOMENTUM), steps)
    program = check.fit(program.cast(check.subject.dtype, check.subject.param_dtype))
    return program, check.execute(program)


def _nothing() -> Array:
    """A mask that selects nothing."""
    return np.zeros((SHAPE[0], 1), bool)


def _is_refused(check: Check, program: Program, trace: Trace) -> bool:
    """Whether the pass was refused, which is as good as any other answer."""
    __tracebackhide__ = True
    if trace.broken:
        check.fail(str(trace.broken), program)
    seen = trace.steps[-1]
    if seen.misfit:
        check.fail(seen.misfit, program)
    if seen.raised:
        check.require(True)
    return bool(seen.raised)


def _finite(check: Check, program: Program, trace: Trace) -> None:
    """The running statistics are finite."""
    __tracebackhide__ = True
    seen = trace.steps[-1]
    for name in STATISTICS if program.config.track_running_stats else ():
        value = seen.after[name]
        sane = value is not None and bool(np.isfinite(value.astype(np.float64)).all())
        what = f"{name} after {seen.step.describe()}"
        check.require(sane, what, value, "finite, or the call refused", program)


@checks("BN-MASK-ONE")
def test_one_selected_value(check: Check) -> None:
    """One selected value of each channel is refused, or gives the bias there and leaves the statistics finite."""
    mask = _nothing()
    mask[SAMPLE] = True
    program, trace = _trace(check, mask, "y", *STATISTICS)
    if _is_refused(check, program, trace):
        return
    _finite(check, program, trace)
    point = check.subject.declared.but(single_value=SingleValue.BIAS_OUTPUT)
    with arithmetic():
        output = next(comparison for comparison in judge(trace, point).comparisons if comparison.name == "y")
    where = np.broadcast_to(mask, SHAPE)
    check.require(
        bool((output.error_ratio[where] <= 1).all()),
        "y where one value is selected",
        output.observed[where],
        "the bias",
        program,
    )


@checks("BN-MASK-NONE")
def test_nothing_selected(check: Check) -> None:
    """A mask that selects nothing is refused, or leaves the statistics finite."""
    program, trace = _trace(check, _nothing(), *STATISTICS)
    if not _is_refused(check, program, trace):
        _finite(check, program, trace)


@checks("BN-MASK-NONE-POLICY")
def test_nothing_selected_policy(check: Check) -> None:
    """Which of the defensible things it does with a mask that selects nothing is noted."""
    _, trace = _trace(check, _nothing(), *STATISTICS)
    check.policy("nothing_selected", [str(value) for value in NothingSelected], lambda point: judge(trace, point).holds)
