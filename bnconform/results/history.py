"""The released versions of a framework that were judged, and every verdict that is another one from a version on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from bnconform.results.result import FAILURES, Difference, Result, Row

Place = tuple[str, str, str]
"""(device, dtype, requirement)."""

RIGHT = ("conforms", "deviates")
"""The verdicts of what does as it must, or as it is declared to do."""

Answer = tuple[str, tuple[Difference, ...]]
"""A verdict, and what explains it."""

ABSENT: Answer = ("", ())
"""Of a requirement that has no row."""


@dataclass(frozen=True)
class Release:
    """A version, and what came of judging it.

    Attributes:
        result: None where it could not be judged. problem: why, in one line; "" where it was.
    """

    version: str
    result: Result | None = None
    problem: str = ""

    def answers(self) -> dict[Place, Answer]:
        """Every verdict, with what explains it."""
        rows = self.result.rows if self.result is not None else ()
        return {_place(row): (row.verdict, tuple(row.diagnosis)) for row in rows}


def _place(row: Row) -> Place:
    return row.device, row.dtype, row.requirement


@dataclass(frozen=True)
class VerdictChange:
    """A verdict that is another one from a version on.

    Attributes:
        before, after: the two versions; nothing between them was judged. next_to: whether they are neighbours.
        first, second: the verdicts with their explanations.
    """

    place: Place
    before: str
    after: str
    first: Answer
    second: Answer
    next_to: bool

    @property
    def words(self) -> str:
        """What became of it, as the regression gate says it."""
        was, is_now = self.first[0] in FAILURES, self.second[0] in FAILURES
        if was and self.second[0] in RIGHT:
            return "fixed"
        if is_now and not was:
            return "newly wrong"
        return "wrong otherwise" if was and is_now else "changed"


@dataclass
class History:
    """The versions that were asked for, oldest first, and those that were judged."""

    backend: str
    package: str
    versions: list[str]
    releases: dict[str, Release] = field(default_factory=dict)

    @property
    def judged(self) -> list[Release]:
        """Those that have a result, oldest first."""
        known = (self.releases[version] for version in self.versions if version in self.releases)
        return [release for release in known if release.result is not None]

    @property
    def problems(self) -> list[Release]:
        """Those that could not be judged."""
        known = (self.releases[version] for version in self.versions if version in self.releases)
        return [release for release in known if release.result is None]

    def changes(self) -> Iterator[VerdictChange]:
        """Every verdict that differs between two judged versions that follow each other, oldest first."""
        judged = self.judged
        for one, other in pairwise(judged):
            before, after = one.answers(), other.answers()
            between = self.versions[self.versions.index(one.version) + 1 : self.versions.index(other.version)]
            unknown = [version for version in between if version not in self.releases]
            for place in sorted(before.keys() | after.keys(), key=lambda key: (key[2], key[0], key[1])):
                first, second = before.get(place, ABSENT), after.get(place, ABSENT)
                if first != second:
                    yield VerdictChange(place, one.version, other.version, first, second, not unknown)
