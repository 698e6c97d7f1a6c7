"""Conformance: the gradients in both modes."""

from __future__ import annotations

from bnconform.judge import properties
from bnconform.judge.check import Check
from bnconform.judge.marks import checks


@checks("BN-GRAD-SUM", over_cases=True)
def test_input_gradient_sums_to_zero(check: Check) -> None:
    """In training the gradients for x of one channel add up to 0, as a shift of the channel changes nothing."""
    properties.channel_sums(check)
