"""Conformance: the memory layout, channel counts and rank."""

from __future__ import annotations

import pytest

from bnconform.judge.check import Check


@pytest.mark.requirement("BN-LAYOUT-X")
@pytest.mark.cases
def test_input_strides(check: Check) -> None:
    """The result does not depend on how x lies in memory."""
    check.run()


@pytest.mark.requirement("BN-LAYOUT-GRAD")
@pytest.mark.cases
def test_gradient_strides(check: Check) -> None:
    """The gradients do not depend on how the upstream gradient lies in memory."""
    check.run()


@pytest.mark.requirement("BN-LAYOUT-CHANNELS")
@pytest.mark.cases
def test_channel_counts(check: Check) -> None:
    """Every channel is treated alike, at 1, 64, 65 and 257 of them."""
    check.run()


@pytest.mark.requirement("BN-RANK")
@pytest.mark.cases
def test_ranks(check: Check) -> None:
    """At ranks 2 to 5 the same rule holds, and the output has the shape of the input."""
    check.run()
