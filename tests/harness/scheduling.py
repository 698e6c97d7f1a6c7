"""The order of the checks and the worker process that each goes to: those of one subject stay together.

Each implementation then is started once, and what it has compiled is used again. Tests without a subject, the project's
own, stay with those of their file, for what these share.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

SUBJECT = re.compile(r"\[(.*?:.*?-b?float\d+)-BN-")
"""BACKEND:DEVICE-DTYPE in the id of a conformance test, before the requirement."""


def order(items: list[pytest.Item]) -> None:
    """Sort the checks by subject, subjects and the checks of one as they came."""
    places: dict[str, int] = {}
    for item in items:
        places.setdefault(column(item.nodeid), len(places))
    items.sort(key=lambda item: places[column(item.nodeid)])


def column(nodeid: str) -> str:
    """The words of a test's id that name its subject, or else its file."""
    found = SUBJECT.search(nodeid)
    return found[1] if found else nodeid.partition("::")[0]


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
