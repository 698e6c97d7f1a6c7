"""The diagnosis breaks."""

from __future__ import annotations

import pytest

from bnconform.diagnosis import causes


def pytest_configure(config: pytest.Config) -> None:
    """Put what raises in the place of what explains a failing check."""

    def break_adapter(*_: object) -> None:
        raise KeyError("running_mean")

    causes.note = break_adapter  # type: ignore[assignment]
