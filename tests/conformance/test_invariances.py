"""Conformance: the invariances: relations between two runs that need no reference."""

from __future__ import annotations

import pytest

from bnconform.judge.check import Check


@pytest.mark.requirement("BN-INV-PERMUTE")
@pytest.mark.cases
def test_permutation(check: Check) -> None:
    """Permuting the batch permutes the output."""
    check.run()


@pytest.mark.requirement("BN-INV-SHIFT")
@pytest.mark.cases
def test_shift(check: Check) -> None:
    """Adding a constant to a channel changes only the running mean."""
    check.run()


@pytest.mark.requirement("BN-INV-SCALE")
@pytest.mark.cases
def test_scale(check: Check) -> None:
    """Scaling x and epsilon together leaves the output."""
    check.run()


@pytest.mark.requirement("BN-INV-FLATTEN")
@pytest.mark.cases
def test_flattening(check: Check) -> None:
    """How the values are laid over batch and positions changes nothing."""
    check.run()


@pytest.mark.requirement("BN-INV-MOMENTUM")
@pytest.mark.cases
def test_momentum(check: Check) -> None:
    """The training output does not depend on the momentum."""
    check.run()


@pytest.mark.requirement("BN-INV-RUNNING")
@pytest.mark.cases
def test_running_statistics(check: Check) -> None:
    """The training output does not depend on the running statistics."""
    check.run()


@pytest.mark.requirement("BN-INV-EPS-SUM")
@pytest.mark.cases
def test_variance_plus_epsilon(check: Check) -> None:
    """Running variance and epsilon enter evaluation only through their sum."""
    check.run()


@pytest.mark.requirement("BN-INV-EPS-RUNVAR")
@pytest.mark.cases
def test_epsilon_not_remembered(check: Check) -> None:
    """The running statistics do not depend on epsilon."""
    check.run()


@pytest.mark.requirement("BN-INV-CHANNEL")
@pytest.mark.cases
def test_channels(check: Check) -> None:
    """Channels do not influence each other."""
    check.run()
