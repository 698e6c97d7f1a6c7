"""The order of the checks and the worker process that each goes to: those of one subject stay together.

Each implementation then is started once, and what it has compiled is used again.
"""

from __future__ import annotations

from typing import Any

import pytest


def order(items: list[pytest.Item]) -> None:
    """Sort the checks by subject, subjects and the checks of one as they came."""
    places: dict[str, int] = {}
    for item in items:
        places.setdefault(column(item.nodeid), len(places))
    items.sort(key=lambda item: places[column(item.nodeid)])


def column(nodeid: str) -> str:
    """The words of a test's id that name its subject."""
    identifier = nodeid[nodeid.find("[") + 1 :]
    return identifier[: identifier.find("-BN-")]


def scheduler(config: pytest.Config, log: Any, subjects: int) -> Any:
    """A scheduler of pytest-xdist that gives a subject to one worker, or a file of it where subjects are few."""
    from xdist.scheduler import LoadScopeScheduling
    from xdist.workermanage import parse_tx_spec_config

    config.option.loadscopereorder = False
    whole = subjects >= 2 * len(parse_tx_spec_config(config))

    class BySubject(LoadScopeScheduling):  # type: ignore[misc, unused-ignore]
        def _split_scope(self, nodeid: str) -> str:
            return column(nodeid) if whole else f"{column(nodeid)} {nodeid.partition('::')[0]}"

    return BySubject(config, log)
