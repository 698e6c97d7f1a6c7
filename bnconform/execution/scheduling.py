"""The order of the checks and the worker process that each goes to: those of one subject stay together.

Each implementation then is started once, and what it has compiled is used again. Tests without a subject, the project's
own, stay with those of their file, for what these share.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from bnconform.judge.subject import Subject
from bnconform.results.shard import Share

SUBJECT = re.compile(r"\[((.*?:.*?)-b?float\d+)-BN-")
"""BACKEND:DEVICE-DTYPE in the id of a conformance test, before the requirement; and of that, BACKEND:DEVICE."""

PLENTY = 4
"""From how many implementations for each worker one worker gets all dtypes of one, so that it is started only there."""


def order(items: list[pytest.Item]) -> None:
    """Sort the checks by subject, subjects and the checks of one as they came."""
    places: dict[str, int] = {}
    for item in items:
        places.setdefault(column(item.nodeid), len(places))
    items.sort(key=lambda item: places[column(item.nodeid)])


def share_of(items: list[pytest.Item], share: Share) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """The checks of a share with the tests that are no checks, and the other checks; both in the order of `order`.

    A share has every N-th check of each column, so that it has as large a part of every requirement's cases, of which
    some have hundreds. Each column begins with another share, so that what is left over is not all one share's.
    """
    places: dict[str, int] = {}
    mine: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        if not SUBJECT.search(item.nodeid):
            mine.append(item)
            continue
        name = column(item.nodeid)
        place = places.setdefault(name, len(places))
        places[name] = place + 1
        (mine if share.has(place) else others).append(item)
    return mine, others


def column(nodeid: str) -> str:
    """The words of a test's id that name its subject, or else its file."""
    found = SUBJECT.search(nodeid)
    return found[1] if found else _file(nodeid)


def row(nodeid: str) -> str:
    """The words of a test's id that name the implementation and its device, or else its file."""
    found = SUBJECT.search(nodeid)
    return found[2] if found else _file(nodeid)


def part(nodeid: str) -> str:
    """The words that name the subject and the file."""
    return f"{column(nodeid)} {_file(nodeid)}"


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def portion(subjects: Sequence[Subject], workers: int) -> Callable[[str], str]:
    """What is given to a worker at a time: as much of an implementation as leaves each worker enough to do."""
    rows = {(subject.name, subject.device) for subject in subjects}
    if len(rows) >= PLENTY * workers:
        return row
    return column if len(subjects) >= 2 * workers else part


def scheduler(config: pytest.Config, log: Any, subjects: Sequence[Subject]) -> Any:
    """A scheduler of pytest-xdist that gives each worker one `portion` after the other."""
    from xdist.scheduler import LoadScopeScheduling
    from xdist.workermanage import parse_tx_spec_config

    config.option.loadscopereorder = False
    portioned = portion(subjects, len(parse_tx_spec_config(config)))

    class BySubject(LoadScopeScheduling):  # type: ignore[misc, unused-ignore]
        def _split_scope(self, nodeid: str) -> str:
            return portioned(nodeid)

    return BySubject(config, log)
