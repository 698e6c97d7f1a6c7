"""Conformance: the running statistics, over several steps and mode switches."""

from __future__ import annotations

import pytest

from bnconform.judge import sequences
from bnconform.judge.check import Check


@pytest.mark.requirement("BN-RUN-INIT-MEAN")
@pytest.mark.cases
def test_initial_mean(check: Check) -> None:
    """The running mean starts at 0."""
    check.run()


@pytest.mark.requirement("BN-RUN-INIT-VAR")
@pytest.mark.cases
def test_initial_variance(check: Check) -> None:
    """The running variance starts at 1."""
    check.run()


@pytest.mark.requirement("BN-RUN-MEAN")
@pytest.mark.cases
def test_mean(check: Check) -> None:
    """The running mean remembers the batch mean as it is."""
    check.run()


@pytest.mark.requirement("BN-RUN-VAR")
@pytest.mark.cases
def test_variance(check: Check) -> None:
    """The running variance remembers the unbiased batch variance."""
    check.run()


@pytest.mark.requirement("BN-RUN-MOMENTUM")
@pytest.mark.cases
def test_momentum(check: Check) -> None:
    """The momentum is the weight of the new batch."""
    check.run()


@pytest.mark.requirement("BN-RUN-AVERAGE")
@pytest.mark.cases
def test_average(check: Check) -> None:
    """Over several batches the average is exponential, from the initial value."""
    check.run()


@pytest.mark.requirement("BN-RUN-NONE")
@pytest.mark.cases
def test_momentum_none(check: Check) -> None:
    """With momentum None the average over all batches is kept."""
    check.run()


@pytest.mark.requirement("BN-RUN-UPDATE")
@pytest.mark.cases
def test_one_update(check: Check) -> None:
    """One training pass moves the statistics exactly once."""
    check.run()


@pytest.mark.requirement("BN-RUN-COUNT")
@pytest.mark.cases
def test_counter(check: Check) -> None:
    """The counter counts training passes, where the layer shows one."""
    check.run()


@pytest.mark.requirement("BN-RUN-LOAD")
@pytest.mark.cases
def test_loading(check: Check) -> None:
    """What is loaded is what the layer shows, uses and goes on from."""
    check.run()


@pytest.mark.requirement("BN-RUN-SEQUENCE")
def test_sequences(check: Check) -> None:
    """Any sequence of training, evaluation, loading and gradients does in each call what that call must do."""
    sequences.explore(check)


@pytest.mark.requirement("BN-RUN-SEQUENCE")
@pytest.mark.cases
def test_frozen_sequences(check: Check) -> None:
    """A sequence that was found to break an implementation does in each call what that call must do."""
    check.run()
