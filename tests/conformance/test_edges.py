"""Conformance: the edges of what a layer is given."""

from __future__ import annotations

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.program import Program, backward, forward, load
from bnconform.execution.trace import Trace
from bnconform.judge.check import Check
from bnconform.judge.judgement import judge
from bnconform.judge.marks import checks
from bnconform.spec.behaviour import EmptyBatch, SingleValue
from bnconform.spec.exact import arithmetic

GRADIENTS = ("grad_x", "grad_weight", "grad_bias")


def _trace(
    check: Check, shape: tuple[int, ...], *, training: bool = True, gradients: bool = False
) -> tuple[Program, Trace] | None:
    """A pass over x of `shape` from a loaded state; None where the implementation lacks that rank, mode or pass."""
    __tracebackhide__ = True
    # A lack of training is told below, where it is seen to be refused; the other passes are asked besides.
    if (not training and "evaluation" in check.subject.unsupported) or (
        gradients and {"backward", "training" if training else "evaluation"} & set(check.subject.unsupported)
    ):
        return None
    x = inputs.values(shape, 1)
    call = forward(x, "y", "running_mean", "running_var", training=training)
    if gradients:
        call = backward(x, inputs.upstream(shape), *GRADIENTS, training=training)
    program = Program(check.config(ndim=len(shape)), (load(**inputs.everything(3)), call)).cast(
        check.subject.dtype, check.subject.param_dtype
    )
    program = program.without(check.subject.unsupported.keys() - {"rank_2", "rank_3", "training"})
    trace = check.execute(program)
    if check.missing(program):
        if len(shape) == 4:
            check.record_lack(program, trace)
        return None
    return program, trace


def _left_sane(check: Check, shape: tuple[int, ...], *, training: bool = True) -> None:
    """Refused, or y is of the shape of x and the bias wherever there is a value, and the statistics are finite."""
    __tracebackhide__ = True
    found = _trace(check, shape, training=training)
    if found is None:
        return
    program, trace = found
    if trace.broken:
        check.fail(str(trace.broken), program)
    seen = trace.steps[-1]
    if seen.raised:
        check.require(True)
        return
    if seen.misfit:
        check.fail(seen.misfit, program)
    for name in ("running_mean", "running_var"):
        value = seen.after[name]
        if not program.config.track_running_stats:
            continue
        sane = value is not None and bool(np.isfinite(value.astype(np.float64)).all())
        check.require(
            sane,
            f"{name} after {seen.step.describe()}",
            value,
            "finite, or the call refused",
            program,
        )
    point = check.subject.declared.but(single_value=SingleValue.BIAS_OUTPUT)
    with arithmetic():
        output = next(comparison for comparison in judge(trace, point).comparisons if comparison.name == "y")
    check.require(
        output.worst <= 1,
        f"y for x of shape {shape}",
        output.observed,
        "the bias",
        program,
    )


def _gradients_sane(check: Check, shape: tuple[int, ...], *, training: bool) -> None:
    """Refused, or grad_x is of the shape of x and the gradients for weight and bias, sums of nothing, are finite."""
    __tracebackhide__ = True
    found = _trace(check, shape, training=training, gradients=True)
    if found is None:
        return
    program, trace = found
    if trace.broken:
        check.fail(str(trace.broken), program)
    seen = trace.steps[-1]
    if seen.raised:
        check.require(True)
        return
    if seen.misfit:
        check.fail(seen.misfit, program)
    for name in GRADIENTS[1:]:
        value = seen.values[name]
        check.require(
            value is None or bool(np.isfinite(value.astype(np.float64)).all()),
            f"{name} of {seen.step.describe()}",
            value,
            "finite, or the call refused",
            program,
        )


@checks("BN-EDGE-ONE-VALUE")
def test_one_value_per_channel(check: Check) -> None:
    """Training on one value per channel is refused, or gives the bias and leaves the statistics finite."""
    _left_sane(check, (1, 3))
    _left_sane(check, (1, 3, 1, 1))


@checks("BN-EDGE-ONE-VALUE-POLICY")
def test_one_value_policy(check: Check) -> None:
    """Which of the defensible things it does with one value per channel is noted."""
    found = _trace(check, (1, 3, 1, 1))
    if found is not None:
        check.policy("single_value", [str(value) for value in SingleValue], lambda point: judge(found[1], point).holds)


@checks("BN-EDGE-EMPTY")
def test_empty_batch(check: Check) -> None:
    """An empty batch is refused, or gives an empty output, finite statistics and gradients, in either mode."""
    for shape in ((0, 3), (0, 3, 2, 4), (2, 3, 0, 4)):
        _left_sane(check, shape)
        _left_sane(check, shape, training=False)
    for training in (True, False):
        _gradients_sane(check, (0, 3, 2, 4), training=training)


@checks("BN-EDGE-EMPTY-POLICY")
def test_empty_batch_policy(check: Check) -> None:
    """Which of the defensible things it does with an empty batch is noted."""
    found = _trace(check, (0, 3, 2, 4))
    if found is not None:
        check.policy("empty_batch", [str(value) for value in EmptyBatch], lambda point: judge(found[1], point).holds)
