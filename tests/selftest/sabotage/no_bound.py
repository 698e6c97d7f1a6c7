"""Every bound is 1e24 times as wide."""

from __future__ import annotations

import pytest

from bnconform.judge.truths.truth_record import Expected, Truth


def pytest_configure(config: pytest.Config) -> None:
    """Widen what a truth allows."""
    expect = Truth.expect

    def wide(self: Truth, name: str) -> Expected | None:
        found = expect(self, name)
        return None if found is None else found._replace(bound=found.bound * 1e24)

    setattr(Truth, "expect", wide)  # noqa: B010  # a method is no attribute to assign to, in the type checker's eyes
