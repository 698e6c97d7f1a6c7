"""What reports say of the rows: gathered where one entry can speak for several, in words that are safe to print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from bnconform.results.completeness import partial, reason
from bnconform.results.failed_checks import sameness
from bnconform.results.result import FAILURES, LEVELS, UNLIMITED, VERDICTS, Difference, Result, Row, dtype_order
from bnconform.results.visible import visible

SHORT_DTYPES = {"float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16"}
"""What dtypes are called where there is little room."""

MESSAGE = 8000
"""Characters of a message that are shown; the result file has all of it."""


def clean(text: str) -> str:
    """Text of several lines in which what a page or a log might obey is written out."""
    return visible(text, keep="\n\t")


def first_line(text: str, most: int = 300) -> str:
    """The first line of a message that is not empty, cut."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= most else line[: most - 3].rstrip() + "..."


def number(value: float | None) -> str:
    """A share of a bound, or another measure, in three digits."""
    return "" if value is None else "without limit" if value >= UNLIMITED else f"{value:.3g}"


def explanation(differences: Iterable[Difference]) -> str:
    """What differs, in words."""
    return " and ".join(f"{part.coordinate} = {part.value}" for part in differences)


@dataclass(frozen=True)
class RowGroup:
    """Rows of one backend and requirement that one of them, `row`, speaks for.

    Attributes:
        row: the one that is furthest from its bound. rows: all of them.
    """

    row: Row
    rows: tuple[Row, ...]

    @property
    def places(self) -> str:
        """The devices and dtypes, in words."""
        pairs = sorted({row.key[1:3] for row in self.rows}, key=lambda pair: (pair[0], dtype_order(pair[1])))
        devices = groupby(pairs, key=lambda pair: pair[0])
        return "; ".join(f"{device} {', '.join(dtype for _, dtype in members)}" for device, members in devices)

    @property
    def headline(self) -> str:
        """What was found, in one line: the explanation, or what was seen."""
        return explanation(self.row.diagnosis) or first_line(self.row.summary)

    @property
    def message(self) -> str:
        """The message, cut where it is very long."""
        text = self.row.message.strip()
        if len(text) <= MESSAGE:
            return text
        return f"{text[:MESSAGE]}\n... ({len(text) - MESSAGE} characters more in the result file)"


def findings(rows: Iterable[Row], *, by_explanation: bool = True) -> list[RowGroup]:
    """The rows gathered by backend, requirement and verdict, what concerns a must first and the worst first in that.

    Args:
        by_explanation: whether rows with another diagnosis, or first line of the message, are a finding of their own.
            Without, all failures of one backend and requirement are one.
    """
    entries: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        key: tuple[object, ...] = (row.backend, row.requirement)
        if by_explanation:
            key = (*key, row.verdict, sameness(row))
        entries.setdefault(key, []).append(row)
    found = [RowGroup(min(entry, key=_severity), tuple(entry)) for entry in entries.values()]
    return sorted(found, key=lambda finding: _severity(finding.row)[:2])


def failures(rows: Iterable[Row], *, by_explanation: bool = True) -> list[RowGroup]:
    """The findings of the rows that fail."""
    return findings((row for row in rows if row.verdict in FAILURES), by_explanation=by_explanation)


def counts(rows: Iterable[Row]) -> Counter[str]:
    """How many rows have each verdict."""
    return Counter(row.verdict for row in rows)


def count_verdicts(many: Mapping[str, int]) -> str:
    """The verdicts that occur, with their numbers, the worst first."""
    return ", ".join(f"{many[verdict]} {verdict}" for verdict in VERDICTS if many.get(verdict))


def headline(result: Result) -> str:
    """The run in one sentence."""
    if not result.rows:
        return "Nothing was judged"
    musts = [row for row in result.rows if row.level == "must"]
    failed = failures(musts, by_explanation=False)
    backends = len({row.backend for row in result.rows})
    among = f"{backends} implementation{'s' if backends > 1 else ''}"
    part = partial(result)
    if not musts:
        return f"No requirement of level must was judged ({among})"
    if not failed:
        return f"Only a part: {part}, none of them violated ({among})" if part else f"No must is violated ({among})"
    who = sorted({finding.row.backend for finding in failed})
    rules = len({finding.row.requirement for finding in failed})
    failing = f"{rules} must requirement{'s' if rules > 1 else ''} failed by {len(who)} of {among}"
    return f"{failing}; only a part: {part}" if part else failing


def environment(result: Result) -> list[tuple[str, str]]:
    """Where and when, as words and values."""
    one = result.environment
    packages = ", ".join(f"{name} {version}" for name, version in one.packages.items() if name != "bnconform")
    found = [
        ("only a part", "; ".join(filter(None, (partial(result), reason(result))))),
        ("started", one.started),
        ("bnconform", one.bnconform),
        ("Python", one.python),
        ("platform", one.platform),
        *((f"device {name}", what) for name, what in one.devices.items()),
        ("packages", packages),
        ("time", f"{one.seconds:.1f} s, {count_compared(result.rows)}"),
    ]
    return [(word, value) for word, value in found if value]


def count_compared(rows: Iterable[Row]) -> str:
    """How many numbers and refusals the rows rest on, in words: a check compares many, so these are no checks."""
    many = sum(row.checks for row in rows)
    return f"{many:,} value{'' if many == 1 else 's'} compared"


def by_level(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """The rows of each level that has some, the strictest first."""
    found = [(level, [row for row in rows if row.level == level]) for level in LEVELS]
    return [(level, members) for level, members in found if members]


def _severity(row: Row) -> tuple[int, int, float]:
    share = -1.0 if row.bound_share is None else row.bound_share
    return LEVELS.index(row.level), VERDICTS.index(row.verdict), -share
