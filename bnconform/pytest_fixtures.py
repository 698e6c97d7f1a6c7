"""What installation adds to everyone's pytest: the mark that `bnconform.parametrize` sets, and what it stands for.

Nothing but this is imported where it is not used.
"""

from __future__ import annotations

from typing import Any

import pytest

MARK = "bnconform_suite"

USED = pytest.StashKey[dict[Any, Any]]()
"""By the suites that this session has met, what runs each."""


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark."""
    config.addinivalue_line("markers", f"{MARK}(suite): what bnconform.parametrize sets")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test for each requirement, device and dtype of a test function that is so marked."""
    mark = metafunc.definition.get_closest_marker(MARK)
    if mark is not None:
        from bnconform.parametrized import generate

        generate(metafunc, mark.args[0], metafunc.config.stash.setdefault(USED, {}))


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the processes that were started."""
    for selection in config.stash.get(USED, {}).values():
        selection.close()
