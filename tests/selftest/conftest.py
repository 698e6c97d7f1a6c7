"""What is left to a thorough run of the self-tests: what takes long, and shows in more places what is shown anyway."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

MARKER = (
    "thorough(keep=None): left to a run with --thorough; of the cases of a test one in `keep` stays, from the first on "
    "(odd, so that the four dtypes take turns)"
)
LEFT = pytest.StashKey[int]()
"""How many tests are left out."""


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marker means."""
    config.addinivalue_line("markers", MARKER)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is for a thorough run, unless that is asked for, or the test by its name."""
    if config.option.thorough or any("::" in word for word in config.invocation_params.args):
        return
    seen: Counter[str] = Counter()
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        marker = item.get_closest_marker("thorough")
        if marker is None:
            kept.append(item)
            continue
        name = item.nodeid.partition("[")[0]
        keep = marker.kwargs.get("keep")
        (kept if keep and seen[name] % keep == 0 else left).append(item)
        seen[name] += 1
    config.stash[LEFT] = len(left)
    if hasattr(config, "workeroutput"):
        config.workeroutput["left"] = len(left)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take from a worker process of pytest-xdist, each of which collects all tests, how many are left out."""
    node.config.stash[LEFT] = getattr(node, "workeroutput", {}).get("left", 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say that something is left out: pytest-xdist does not."""
    if left := config.stash.get(LEFT, 0):
        terminalreporter.write_line(f"{left} tests are left to a thorough run; --thorough takes them, too")
