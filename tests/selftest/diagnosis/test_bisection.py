"""The search for what a failure needs finds it, each by itself or together, and says where it was cut short."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from bnconform.diagnosis.bisection import bisect

NAMES = [f"n{number}" for number in range(13)]


def fails(*sets: Collection[str]) -> tuple[list[frozenset[str]], object]:
    """(what was asked, a function): it fails where all of one of these are left in."""
    asked: list[frozenset[str]] = []

    def shows(left_out: frozenset[str]) -> bool:
        asked.append(left_out)
        return any(not left_out & set(one) for one in sets)

    return asked, shows


@pytest.mark.parametrize("blamed", [["n0"], ["n12"], ["n5", "n6", "n9"], NAMES])
def test_each_by_itself(blamed: list[str]) -> None:
    """Each that is enough by itself is found, in few questions."""
    asked, shows = fails(*([name] for name in blamed))
    found = bisect(NAMES, shows, 500)  # type: ignore[arg-type]
    assert sorted(found.sets) == sorted((name,) for name in blamed)
    assert found.is_whole and not found.needs_none
    assert len(asked) <= 1 + 10 * len(blamed)


def test_together() -> None:
    """Two that fail only together are one set."""
    _, shows = fails(["n2", "n11"])
    assert bisect(NAMES, shows, 500).sets == (("n2", "n11"),)  # type: ignore[arg-type]


def test_none_is_needed() -> None:
    """What fails without all of them is none's fault."""
    assert bisect(NAMES, lambda left_out: True, 500).needs_none


def test_cut_short() -> None:
    """After so many questions it says that there may be more."""
    _, shows = fails(*([name] for name in NAMES))
    assert not bisect(NAMES, shows, 10).is_whole  # type: ignore[arg-type]
