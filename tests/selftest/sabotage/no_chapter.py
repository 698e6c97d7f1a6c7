"""The chapter about the running statistics has no cases."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from bnconform.cases import probes
from bnconform.cases.program import Probe


def pytest_configure(config: pytest.Config) -> None:
    """Empty the chapter before its probes are asked for."""
    kept = {name: group for name, group in probes.probes().items() if not name.startswith("BN-RUN-")}

    def others() -> Mapping[str, tuple[Probe, ...]]:
        return kept

    setattr(probes, "probes", others)  # noqa: B010  # a function is no attribute to assign to, for a type checker
