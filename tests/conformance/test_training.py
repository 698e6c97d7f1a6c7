"""Conformance: the training forward pass."""

from __future__ import annotations

import pytest

from bnconform.judge.check import Check


@pytest.mark.requirement("BN-TRAIN-NORM")
@pytest.mark.cases
def test_normalization(check: Check) -> None:
    """Y = weight * (x - mean) / sqrt(var + eps) + bias, at every rank and batch size."""
    check.run()


@pytest.mark.requirement("BN-TRAIN-AXES")
@pytest.mark.cases
def test_statistics_axes(check: Check) -> None:
    """The statistics are per channel, over the batch and all positions."""
    check.run()


@pytest.mark.requirement("BN-TRAIN-VAR")
@pytest.mark.cases
def test_variance(check: Check) -> None:
    """The biased batch variance normalises, which shows at two to five values a channel."""
    check.run()


@pytest.mark.requirement("BN-TRAIN-EPS")
@pytest.mark.cases
def test_epsilon_form(check: Check) -> None:
    """Epsilon is added to the variance inside the root, which shows where the variance is of its size."""
    check.run()


@pytest.mark.requirement("BN-TRAIN-EPS-VALUE")
@pytest.mark.cases
def test_epsilon_value(check: Check) -> None:
    """The configured epsilon is the one that is used, also when it is tiny or large."""
    check.run()


@pytest.mark.requirement("BN-TRAIN-AFFINE")
@pytest.mark.cases
def test_affine(check: Check) -> None:
    """The normalised value is scaled by the weight, then shifted by the bias, whatever their signs."""
    check.run()


@pytest.mark.requirement("BN-TRAIN-STATS")
@pytest.mark.cases
def test_statistics(check: Check) -> None:
    """The statistics of the batch normalise, whatever the running ones are."""
    check.run()
