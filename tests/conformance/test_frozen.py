"""Conformance: the sequences that once broke an implementation, beside the random ones."""

from __future__ import annotations

import pytest

from tests.harness.check import Check


@pytest.mark.requirement("BN-RUN-SEQUENCE")
@pytest.mark.cases
def test_frozen_sequence(check: Check) -> None:
    """A sequence that was found to break an implementation does in each call what that call must do."""
    check.run()
