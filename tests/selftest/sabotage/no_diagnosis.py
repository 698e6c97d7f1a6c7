"""No point but the base explains anything."""

from __future__ import annotations

import pytest

from bnconform.diagnosis import search
from bnconform.spec.behaviour import SPECIFIED, Behaviour


def pytest_configure(config: pytest.Config) -> None:
    """Put a search that finds nothing in the place of the search."""

    def nothing(evidence: search.Evidence, base: Behaviour = SPECIFIED) -> search.Explanation:
        left = sum(len(atoms) for atoms in evidence.wrong(base).values())
        return search.Explanation((base,), left, left)

    search.explain = nothing
