"""What differs between runs: the data of a comparison, and the file that keeps it.

Files are compared with the first one, A; each of the others is B in its own comparison. The file's form is
`comparison.schema.json`; `comparison_text` shows a comparison to people.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bnconform.results import files
from bnconform.results.result import UNLIMITED, VERDICTS

SCHEMA = "bnconform/comparison/1"

DRIFT = 0.25
"""The share of the bound above which an error that is FACTOR times the other's is called drift.

In the probes whose results are kept, right layers that add in any order, in the arithmetic of their dtype, use at most
a quarter of the bound; those that use more compute the variance by a weaker algorithm (a self-test shows it over the
catalogue of right implementations). So below it two errors differ by how the roundings fell, and above it by how
something is computed; and two more such doublings leave the bound.
"""

FACTOR = 2.0
"""How many times as far off one side must be; an error below one ulp is luck and counts as one ulp."""

KINDS = {
    "outside": "outside the bound: one side, or both and then not together",
    "convention": "each within its bound, but the truths differ, as the two do not do the same thing",
    "dtype": "the same number in another dtype",
    "drift": f"both within the bound, but one uses more than {DRIFT:g} of it, as roundings alone do not, and "
    f"{FACTOR:g} times as much as the other",
    "unknown": "nothing to compare by",
    "alike": "both outside the bound, and within it of each other",
    "rounding": "both within the bound of one truth",
    "identical": "the same bits",
}
"""What can be said of one observation of both sides, in the order in which it is listed."""

QUIET = ("alike", "rounding", "identical")
"""Kinds that are summed up, not listed."""

SAME = (*QUIET, "unknown")
"""Kinds that are no difference: of what is unknown nothing can be said, so it is listed and decides nothing."""

FIRST, SECOND, BOTH = "first", "second", "both"
"""The values of `moved`: the side that is outside, or further off; "" where neither is."""


@dataclass(frozen=True)
class Measure:
    """How far one side is from its truth.

    Attributes:
        dtype: of its array. point: the point whose truth it is: "declared", "specified" or "diagnosed".
        share, ulp: of the element that is furthest off in share of its bound.
        got, due: the element at the index of the number, and what it should have been there.
    """

    dtype: str
    point: str
    share: float
    ulp: float
    got: float
    due: float


@dataclass(frozen=True)
class Number:
    """One observation of both sides.

    Attributes:
        requirement, case, step, name: what was observed; `level` is the requirement's, "" where no row tells it.
        kind: one of KINDS. moved: the side that is outside, or further off.
        first, second: None where this side has no such observation, or nothing is known of its truth.
        index: the element at which the two are furthest apart, in share of both bounds together.
        ulp, share: how far they are apart there, in units in the last place of the coarser dtype and in share of the
            sum of both bounds; None where that is unknown.
        says: why, where the kind alone does not tell.
    """

    requirement: str
    level: str
    case: str
    step: int
    name: str
    kind: str
    moved: str = ""
    first: Measure | None = None
    second: Measure | None = None
    index: tuple[int, ...] = ()
    ulp: float | None = None
    share: float | None = None
    says: str = ""

    @property
    def label(self) -> str:
        """The observation in words."""
        return f"{self.requirement} {self.case} {self.name}"

    def place(self, dtype: str) -> tuple[str, str, str, int, str]:
        """The place of the observation in a subject of this dtype; see `Observation.place`."""
        return dtype, self.requirement, self.case, self.step, self.name


@dataclass(frozen=True)
class VerdictDifference:
    """A requirement of which the two have not the same verdict, or not the same explanation of it."""

    requirement: str
    level: str
    first: str
    second: str
    first_says: str
    second_says: str


@dataclass(frozen=True)
class Convention:
    """A decision of the behaviour space in which the two differ.

    Attributes:
        coordinate: the decision's name; files written by `to_json` have always called it so.
        first, second: the values. first_by, second_by: "declared", "diagnosed", or "specified" where neither.
        shown_by: the labels of the observations that tell the two values apart; none where only the word is there.
    """

    coordinate: str
    first: str
    second: str
    first_by: str
    second_by: str
    shown_by: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """Two subjects that were compared in one dtype; `first` and `second` are their backends and devices."""

    first: tuple[str, str]
    second: tuple[str, str]
    dtype: str
    judged: int
    verdicts: tuple[VerdictDifference, ...]
    first_only: tuple[str, ...]
    second_only: tuple[str, ...]
    conventions: tuple[Convention, ...]
    numbers: tuple[Number, ...]

    @property
    def compared(self) -> int:
        """Of how many observations something can be said."""
        return sum(number.kind != "unknown" for number in self.numbers)

    @property
    def differing(self) -> tuple[Number, ...]:
        """The observations that differ by more than rounding."""
        return tuple(number for number in self.numbers if number.kind not in SAME)

    @property
    def differs(self) -> bool:
        """Whether anything but rounding is between the two."""
        return bool(self.verdicts or self.conventions or self.differing)


@dataclass(frozen=True)
class ResultComparison:
    """One file against the first.

    Attributes:
        first, second: the paths as they were given.
        environment: (what, in the first, in the second) where they differ.
        pairs: what was compared. alone: (side, subject in words) of what found no partner.
        warnings: what the comparison lacks, one line each.
    """

    first: str
    second: str
    environment: tuple[tuple[str, str, str], ...]
    pairs: tuple[Pair, ...]
    alone: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def status(self) -> int:
        """0 where nothing but rounding differs, 1 where more does, 2 where no number could be compared."""
        if any(pair.differs for pair in self.pairs):
            return 1
        return 0 if any(pair.compared for pair in self.pairs) else 2


def severity(verdict: VerdictDifference) -> tuple[int, bool, str]:
    """The sorting key of verdicts that differ: the worst of either side first."""
    worst = min(VERDICTS.index(verdict.first), VERDICTS.index(verdict.second))
    return worst, verdict.level != "must", verdict.requirement


def to_json(comparisons: Iterable[ResultComparison]) -> dict[str, Any]:
    """The comparisons as JSON-ready data that fits the schema."""
    return {"schema": SCHEMA, "comparisons": [_plain(asdict(one) | {"status": one.status}) for one in comparisons]}


def write(path: Path, comparisons: Sequence[ResultComparison]) -> None:
    """Write the comparisons whole, or leave what was there and raise FileError."""
    files.write(path, json.dumps(to_json(comparisons), indent=1, allow_nan=False) + "\n", "the comparison")


def _plain(value: Any) -> Any:
    """Without what JSON does not have: infinities are UNLIMITED, and NaN is null."""
    if isinstance(value, float):
        return None if math.isnan(value) else max(-UNLIMITED, min(value, UNLIMITED))
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
