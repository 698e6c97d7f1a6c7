"""The matrix as a picture: the error of each cell over its bound, from far within to far beyond.

A row of the picture is a column of the matrix, so that all requirements stand side by side, chapter by chapter. The
colour says how near to its bound an error came, and a mark what failed, so that nothing is told by colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from bnconform.render.evidence import SHORT_DTYPES, clean, number
from bnconform.results.result import FAILURES, VERDICTS, Row, dtype_order

STEPS = (0.01, 0.1, 0.5, 1.0, 10.0, 1e4)
"""The error ratios at which the colour changes; 1 is the limit."""

WITHIN = ("below 0.01", "0.01 to 0.1", "0.1 to 0.5", "0.5 to 1")
BEYOND = ("1 to 10", "10 to 10,000", "above 10,000")
"""What the colours say, in words: within the bound, and beyond it."""

GAP = 0.6
"""Between two chapters, in widths of a cell."""

NUMBERLESS = {"conforms": "n", "deviates": "n", "unsupported": "u", "untrusted": "t", "violates": "f", "crashed": "f"}
"""The class of a cell of which no error was measured, by verdict."""


@dataclass(frozen=True)
class Cell:
    """One cell: where it stands, its class, what is said where a pointer rests on it, and where it leads, or ""."""

    x: float
    y: int
    kind: str
    title: str
    mark: bool
    link: str


@dataclass(frozen=True)
class Strip:
    """The rows of one implementation on one device: their short names and cells."""

    name: str
    device: str
    link: str
    rows: tuple[str, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class HeatMap:
    """The picture.

    Attributes:
        width: in widths of a cell. chapters: name, where it begins, how wide it is. strips: one for each backend and
            device. ratios: requirement, the largest ratio, and whose it is, for those that were measured.
    """

    width: float
    chapters: tuple[tuple[str, float, int], ...]
    strips: tuple[Strip, ...]
    ratios: tuple[tuple[str, str, str], ...]

    @property
    def legend(self) -> list[tuple[str, str]]:
        """The classes that occur, with what they mean."""
        used = {cell.kind for strip in self.strips for cell in strip.cells}
        words = {f"h{step}": text for step, text in enumerate((*WITHIN, *BEYOND))}
        words |= {"n": "holds, nothing to measure", "f": "fails, no number", "t": "untrusted", "u": "unsupported"}
        return [(kind, text) for kind, text in words.items() if kind in used]

    @property
    def marked(self) -> bool:
        """Whether anything fails."""
        return any(cell.mark for strip in self.strips for cell in strip.cells)


def heat_map(
    rows: Sequence[Row],
    rules: Sequence[Mapping[str, Any]],
    links: Mapping[str, str],
    *,
    by_dtype: bool = True,
    names: Mapping[str, str] | None = None,
) -> HeatMap | None:
    """The picture of rows; None where there are none.

    Args:
        rules: the catalogue, in its order, with "id" and "chapter".
        links: where a cell that does not conform leads, by requirement.
        by_dtype: whether each dtype has a row of its own; else one row shows the worst of all.
        names: where the name of a backend leads.
    """
    judged = {row.requirement for row in rows}
    shown = [rule for rule in rules if rule["id"] in judged]
    places: dict[str, float] = {}
    chapters, x = [], 0.0
    for chapter, members in groupby(shown, key=lambda rule: rule["chapter"]):
        identifiers = [rule["id"] for rule in members]
        places |= {name: x + place for place, name in enumerate(identifiers)}
        chapters.append((chapter, x, len(identifiers)))
        x += len(identifiers) + GAP
    if not places:
        return None
    strips = []
    for (backend, device), mine in groupby(sorted(rows, key=_order), key=lambda row: row.key[:2]):
        strips.append(_strip(backend, device, list(mine), places, links, by_dtype, (names or {}).get(backend, "")))
    return HeatMap(round(x - GAP, 3), tuple(chapters), tuple(strips), tuple(_ratios(rows, places)))


def _order(row: Row) -> tuple[object, ...]:
    return row.backend, row.device, dtype_order(row.dtype), row.requirement


def _strip(
    backend: str, device: str, rows: Sequence[Row], places: Mapping[str, float], links: Mapping[str, str],
    by_dtype: bool, link: str,
) -> Strip:  # fmt: skip
    dtypes = list(dict.fromkeys(row.dtype for row in rows))
    cells = []
    if by_dtype:
        for y, dtype in enumerate(dtypes):
            cells += [_cell(row, places[row.requirement], y, links) for row in rows if row.dtype == dtype]
        return Strip(backend, device, link, tuple(SHORT_DTYPES.get(dtype, dtype) for dtype in dtypes), tuple(cells))
    worst: dict[str, Row] = {}
    for row in rows:
        known = worst.get(row.requirement)
        worst[row.requirement] = row if known is None else min(known, row, key=_badness)
    cells = [_cell(row, places[name], 0, links) for name, row in worst.items()]
    return Strip(backend, device, link, ("",), tuple(cells))


def _badness(row: Row) -> tuple[int, float]:
    """A sorting key, the worst first."""
    return VERDICTS.index(row.verdict), -(row.bound_share or 0.0)


def kind(row: Row) -> str:
    """The class of a row's cell: h0 to h3 within the bound, h4 to h6 beyond it, and one for what has no number."""
    if row.bound_share is None or row.verdict in ("unsupported", "untrusted"):
        return NUMBERLESS[row.verdict]
    step = sum(row.bound_share > limit for limit in STEPS)
    if row.verdict in FAILURES:
        # What was measured may be right, where something else is not.
        return f"h{step}" if step >= len(WITHIN) else NUMBERLESS[row.verdict]
    return f"h{min(step, len(WITHIN) - 1)}"


def _cell(row: Row, x: float, y: int, links: Mapping[str, str]) -> Cell:
    measured = "" if row.bound_share is None else f", {number(row.bound_share)} of the bound"
    title = f"{row.requirement}, {SHORT_DTYPES.get(row.dtype, row.dtype)}: {row.verdict}{measured}"
    link = links.get(row.requirement, "") if row.verdict not in ("conforms", "unsupported") else ""
    return Cell(round(x, 3), y, kind(row), clean(title), row.verdict in FAILURES, link)


def _ratios(rows: Iterable[Row], order: Iterable[str]) -> Iterable[tuple[str, str, str]]:
    worst: dict[str, Row] = {}
    for row in rows:
        known = worst.get(row.requirement)
        if row.bound_share is not None and (known is None or row.bound_share > (known.bound_share or 0)):
            worst[row.requirement] = row
    for name in order:
        if name in worst:
            row = worst[name]
            yield name, number(row.bound_share), f"{row.backend} {row.device} {row.dtype}"
