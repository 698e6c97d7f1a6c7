"""Conformance: the gradients in both modes."""

from __future__ import annotations

import pytest

from bnconform.judge import properties
from bnconform.judge.check import Check


@pytest.mark.requirement("BN-GRAD-INPUT")
@pytest.mark.cases
def test_input_gradient(check: Check) -> None:
    """In training the gradient for x flows through the mean and the variance of the batch."""
    check.run()


@pytest.mark.requirement("BN-GRAD-EVAL-INPUT")
@pytest.mark.cases
def test_evaluation_input_gradient(check: Check) -> None:
    """In evaluation the statistics are constants, and the gradient for x is g w / sqrt(rv + eps)."""
    check.run()


@pytest.mark.requirement("BN-GRAD-WEIGHT")
@pytest.mark.cases
def test_weight_gradient(check: Check) -> None:
    """The gradient for the weight is the sum of g times the normalised value."""
    check.run()


@pytest.mark.requirement("BN-GRAD-BIAS")
@pytest.mark.cases
def test_bias_gradient(check: Check) -> None:
    """The gradient for the bias is the sum of g."""
    check.run()


@pytest.mark.requirement("BN-GRAD-AFFINE")
@pytest.mark.cases
def test_flags(check: Check) -> None:
    """Every combination of the flags has the gradients of its parameters and no others."""
    check.run()


@pytest.mark.requirement("BN-GRAD-UPSTREAM")
@pytest.mark.cases
def test_upstream(check: Check) -> None:
    """Constant, zero and one-element upstream gradients have the gradients of any other."""
    check.run()


@pytest.mark.requirement("BN-GRAD-SUM")
@pytest.mark.cases
def test_input_gradient_sums_to_zero(check: Check) -> None:
    """In training the gradients for x of one channel add up to 0, as a shift of the channel changes nothing."""
    properties.channel_sums(check)
