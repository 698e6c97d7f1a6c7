"""Conformance: the running statistics, over several steps and mode switches."""

from __future__ import annotations

from bnconform.judge import sequences
from bnconform.judge.check import Check
from bnconform.judge.marks import checks


@checks("BN-RUN-SEQUENCE")
def test_sequences(check: Check) -> None:
    """Any sequence of training, evaluation, loading and gradients does in each call what that call must do."""
    sequences.explore(check)
