"""Cards: one for each cause of failure, with the smallest case that shows it and how much else it explains.

What has no cause that somebody found is gathered by what was seen. Nothing here is text for a particular face.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from textwrap import shorten

from bnconform.render.evidence import explanation, first_line
from bnconform.results.failed_checks import find_failed_checks, sameness, telling
from bnconform.results.failure import VIOLATION
from bnconform.results.result import (
    LEVELS,
    Diagnosis,
    FailedCheck,
    Key,
    Result,
    Row,
    dtype_order,
    flakiness,
    together,
)

SHORT = 70
"""Characters of a cause where several stand in one line; the last word is left whole."""


NAMED = 2
"""Requirements that are named of what nothing explains."""

FAILED = "it fails"
"""What is said where nothing is known at all."""


@dataclass(frozen=True)
class Card:
    """A cause, and the checks of one backend that fail for it.

    Attributes:
        backend: who fails. cause: all that is known of why, in a line. short: the same in few words.
        decisions: the decisions that explain it, the first first; none where no point of the behaviour space does.
        shown: the check that stands for all: of the strictest level, the smallest case that was written to a file.
        requirements: each that fails for it with the number of its checks, the strictest level first.
        checks: how many fail for it. places: the devices and dtypes, in words.
        examples: for each row that fails for it the check that tells most.
        flaky: how the repetitions of checks that differ were spread over the verdicts, in words; "" where all agree.
    """

    backend: str
    cause: str
    short: str
    decisions: tuple[str, ...]
    shown: Row
    requirements: tuple[tuple[str, int], ...]
    checks: int
    places: str
    examples: Mapping[Key, FailedCheck]
    flaky: str = ""

    @property
    def level(self) -> str:
        """The strictest level that it fails."""
        return self.shown.level


def cards(result: Result) -> list[Card]:
    """The cards of a result: what fails a must first, then what explains most."""
    groups: dict[object, tuple[Diagnosis | None, list[FailedCheck]]] = {}
    for check in find_failed_checks(result):
        found = _diagnosis(check.row, result.diagnoses)
        key: object = (found.backend, found.text) if found else _symptom(check.row)
        groups.setdefault(key, (found, []))[1].append(check)
    made = [_card(diagnosis, checks, fresh=bool(result.failed)) for diagnosis, checks in groups.values()]
    return sorted(made, key=lambda card: (LEVELS.index(card.level), card.backend, -card.checks))


def _diagnosis(row: Row, diagnoses: Iterable[Diagnosis]) -> Diagnosis | None:
    """What was found to explain a failing row."""
    mine = [one for one in diagnoses if one.backend == row.backend]
    if row.failure is not None and row.failure.cause:
        return next((one for one in mine if one.text == row.failure.cause), None)
    return next((one for one in mine if row.diagnosis and row.diagnosis in one.points), None)


def _symptom(row: Row) -> object:
    """What failures that nobody explained share, so that one card is for all of them."""
    if row.diagnosis:
        return row.backend, row.diagnosis
    own = row.requirement if row.failure is None or row.failure.kind == VIOLATION else ""
    return row.backend, row.verdict, own, sameness(row)


def _card(diagnosis: Diagnosis | None, checks: Sequence[FailedCheck], *, fresh: bool) -> Card:
    """The card of checks with one cause.

    Args:
        fresh: whether these are the checks, and not the rows of an older file, each of which may speak for many.
    """
    shown = min(checks, key=telling).row
    by_row: dict[Key, list[FailedCheck]] = {}
    for check in checks:
        by_row.setdefault(check.row.key, []).append(check)
    rows = [check.row for check in checks]
    level = {row.requirement: LEVELS.index(row.level) for row in rows}
    many: Counter[str] = Counter()
    for check in checks:
        many[check.row.requirement] += check.many
    ordered = sorted(many, key=lambda name: (level[name], -many[name], name))
    cause = diagnosis.text if diagnosis else explanation(shown.diagnosis) or first_line(shown.summary)
    points = diagnosis.points if diagnosis else (shown.diagnosis,) if shown.diagnosis else ()
    words = " or ".join(filter(None, map(explanation, points)))
    return Card(
        shown.backend,
        cause or f"{shown.requirement} {shown.verdict}",
        words
        or _title_unexplained(diagnosis, ordered, shown.level)
        or shorten(cause, SHORT, placeholder=" ...")
        or FAILED,
        tuple(part.coordinate for part in points[0]) if points else (),
        shown,
        tuple((name, many[name]) for name in ordered),
        many.total() if fresh or diagnosis is None else max(diagnosis.explains, many.total()),
        _places(rows),
        {key: min(mine, key=telling) for key, mine in by_row.items()},
        flakiness(together(rows)),
    )


def _title_unexplained(diagnosis: Diagnosis | None, requirements: Sequence[str], level: str) -> str:
    """Where that fails for which nothing was found; "" where something was, or nobody has looked."""
    if diagnosis is None or diagnosis.explains:
        return ""
    more = f" and {len(requirements) - NAMED} more" if len(requirements) > NAMED else ""
    names = f"{', '.join(requirements[:NAMED])}{more}"
    return f"unexplained: {names}" if level == "must" else names


def _places(rows: Iterable[Row]) -> str:
    pairs = sorted({row.key[1:3] for row in rows}, key=lambda pair: (pair[0], dtype_order(pair[1])))
    devices = groupby(pairs, key=lambda pair: pair[0])
    return "; ".join(f"{device} {', '.join(dtype for _, dtype in members)}" for device, members in devices)
