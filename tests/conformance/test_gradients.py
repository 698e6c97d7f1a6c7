"""Conformance: the gradients in both modes."""

from __future__ import annotations

import pytest

from bnconform.judge import properties
from bnconform.judge.check import Check


@pytest.mark.requirement("BN-GRAD-SUM")
@pytest.mark.cases
def test_input_gradient_sums_to_zero(check: Check) -> None:
    """In training the gradients for x of one channel add up to 0, as a shift of the channel changes nothing."""
    properties.channel_sums(check)
