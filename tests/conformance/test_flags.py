"""Conformance: the affine, track_running_stats and momentum None."""

from __future__ import annotations

import pytest
from bnconform.cases import inputs
from bnconform.cases.program import Program, forward

from bnconform.execution.instrumented import Raised
from bnconform.judge.check import Check
from bnconform.measure.defaults import measured


@pytest.mark.requirement("BN-FLAG-AFFINE-INIT")
@pytest.mark.cases
def test_initial_parameters(check: Check) -> None:
    """The weight starts at 1 and the bias at 0."""
    check.run()


@pytest.mark.requirement("BN-FLAG-AFFINE-OFF")
@pytest.mark.cases
def test_affine_off(check: Check) -> None:
    """Without affine there are no parameters, and the normalised value is the output."""
    check.run()


@pytest.mark.requirement("BN-FLAG-TRACK-OFF")
@pytest.mark.cases
def test_tracking_off(check: Check) -> None:
    """Without tracking there are no buffers, before or after training."""
    check.run()


@pytest.mark.requirement("BN-FLAG-TRACK-OFF-EVAL")
@pytest.mark.cases
def test_evaluation_without_tracking(check: Check) -> None:
    """Without tracking evaluation uses the statistics of its batch."""
    check.run()


@pytest.mark.requirement("BN-FLAG-TABLE")
@pytest.mark.cases
def test_truth_table(check: Check) -> None:
    """Every combination of the flags does in each mode what its flags say."""
    check.run()


@pytest.mark.requirement("BN-FLAG-DEFAULTS")
@pytest.mark.once
def test_defaults(check: Check) -> None:
    """The defaults for epsilon and momentum are measured and noted; frameworks choose them differently."""
    try:
        check.subject.build_default(3)
    except Raised as refusal:
        check.note(f"there are no defaults: {refusal}")
        return
    # They are measured in training: an implementation without it is seen to refuse.
    check.fitted(
        Program(check.config(), (forward(inputs.values(inputs.SHAPES[4]), "y"),)).cast(
            check.subject.dtype, check.subject.param_dtype
        )
    )
    check.note(check.call(lambda: measured(lambda: check.subject.build_default(3))).describe())
