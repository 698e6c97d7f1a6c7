"""Conformance: the evaluation forward pass."""

from __future__ import annotations

import pytest

from bnconform.judge.check import Check


@pytest.mark.requirement("BN-EVAL-STATS")
@pytest.mark.cases
def test_statistics(check: Check) -> None:
    """The running statistics normalise, before and after any training, for one sample too."""
    check.run()


@pytest.mark.requirement("BN-EVAL-EPS")
@pytest.mark.cases
def test_epsilon_form(check: Check) -> None:
    """Epsilon is added to the running variance inside the root."""
    check.run()


@pytest.mark.requirement("BN-EVAL-AFFINE")
@pytest.mark.cases
def test_affine(check: Check) -> None:
    """Weight and bias act in evaluation as in training."""
    check.run()


@pytest.mark.requirement("BN-EVAL-NO-UPDATE")
@pytest.mark.cases
def test_no_update(check: Check) -> None:
    """Evaluation leaves the running statistics bit for bit as they were."""
    check.run()


@pytest.mark.requirement("BN-EVAL-ROW")
@pytest.mark.cases
def test_row_independence(check: Check) -> None:
    """A row's output does not depend on the other rows."""
    check.run()


@pytest.mark.requirement("BN-EVAL-MODE")
@pytest.mark.cases
def test_mode(check: Check) -> None:
    """Recording a gradient in evaluation does not make it training."""
    check.run()
