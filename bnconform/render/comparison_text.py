"""A comparison as people read it: in the terminal and as Markdown, of the same parts.

The first file is A, the others B, C and so on. Nothing is told by colour alone, and only ASCII is drawn.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bnconform.results.comparison import (
    KINDS,
    QUIET,
    Measure,
    Number,
    Pair,
    ResultComparison,
    VerdictDifference,
    severity,
)
from bnconform.results.result import UNLIMITED, dtype_order
from bnconform.results.visible import visible

DIGITS = {"float64": 17, "float32": 9, "float16": 5, "bfloat16": 4}
"""Decimal digits that tell a format's numbers apart."""

NAMED = 6
"""Names of one kind that are written out."""

STYLES = {"outside": "bold red", "drift": "yellow", "convention": "cyan", "dtype": "cyan"}


@dataclass(frozen=True)
class Heading:
    """The title of what follows; 1 is the highest level."""

    text: str
    level: int


@dataclass(frozen=True)
class Line:
    """A sentence."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Grid:
    """A table; a cell's lines are separated by newlines, and the first cell of each row has its style."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    styles: Sequence[str] = ()


Part = Heading | Line | Grid


def parts(comparisons: Sequence[ResultComparison], *, everything: bool = False) -> Iterator[Part]:
    """All there is to say, in order.

    Args:
        everything: also the observations between which there is only rounding.
    """
    for number, one in enumerate(comparisons, start=1):
        sides = letter(0), letter(number)
        yield Heading(f"{sides[0]} {one.first} against {sides[1]} {one.second}", 1)
        yield from (Line(f"warning: {text}", "bold yellow") for text in one.warnings)
        if one.environment:
            yield Heading("Where the two were reached, as far as that differs", 3)
            yield Grid(("what", *sides), one.environment)
        else:
            yield Line("Both were reached in the same environment.")
        for (first, second), members in groupby(_order(one.pairs), key=lambda pair: (pair.first, pair.second)):
            yield from _group(first, second, list(members), sides, everything)
        for side, place in zip(("first", "second"), sides, strict=True):
            names = [subject for where, subject in one.alone if where == side]
            if names:
                yield Line(f"Only in {place}, and not compared: {_some(names, everything)}")
    yield Heading("Summary", 1)
    for number, one in enumerate(comparisons, start=1):
        yield Line(summary(one, (letter(0), letter(number))), "bold green" if one.status == 0 else "bold red")


def letter(number: int) -> str:
    """The letter of a file: A for the first."""
    return string.ascii_uppercase[number] if number < len(string.ascii_uppercase) else f"file {number + 1}"


def summary(one: ResultComparison, sides: Sequence[str]) -> str:
    """A comparison in one line."""
    counts = [
        (sum(len(pair.verdicts) for pair in one.pairs), "verdict"),
        (sum(len(pair.conventions) for pair in one.pairs), "convention"),
        (sum(len(pair.differing) for pair in one.pairs), "observation"),
    ]
    compared = sum(pair.compared for pair in one.pairs)
    total = sum(len(pair.numbers) for pair in one.pairs)
    head = f"{sides[0]} | {sides[1]}: "
    of = f"{compared} of {_count(total, 'observation')} compared"
    if one.status == 2:
        return f"{head}no number could be compared"
    if one.status == 0:
        return f"{head}nothing but rounding differs, {of}"
    return f"{head}{', '.join(_count(count, what) for count, what in counts if count)} differ, {of}"


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _order(pairs: Iterable[Pair]) -> list[Pair]:
    return sorted(pairs, key=lambda pair: (pair.first, pair.second, dtype_order(pair.dtype)))


def _some(names: Sequence[str], everything: bool = False) -> str:
    shown = names if everything or len(names) <= NAMED else names[: NAMED - 1]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(shown) < len(names) else "")


def _group(
    first: tuple[str, str], second: tuple[str, str], pairs: Sequence[Pair], sides: Sequence[str], everything: bool
) -> Iterator[Part]:
    """Two subjects in all their dtypes."""
    names = [f"{place} {backend}:{device}" for place, (backend, device) in zip(sides, (first, second), strict=True)]
    yield Heading(f"{names[0]} against {names[1]}, {', '.join(pair.dtype for pair in pairs)}", 2)
    yield from _verdicts(pairs, sides, everything)
    yield from _conventions(pairs, sides, everything)
    yield from _numbers(pairs, sides, everything)


def _verdicts(pairs: Sequence[Pair], sides: Sequence[str], everything: bool) -> Iterator[Part]:
    found: dict[VerdictDifference, list[str]] = {}
    for pair in pairs:
        for verdict in pair.verdicts:
            found.setdefault(verdict, []).append(pair.dtype)
    judged = sum(pair.judged for pair in pairs)
    if found:
        differing = sum(len(dtypes) for dtypes in found.values())
        yield Heading(f"Verdicts that differ ({differing} of {judged})", 3)
        causes: dict[tuple[str, ...], list[str]] = {}
        for verdict in sorted(found, key=severity):
            told = zip(sides, (verdict.first_says, verdict.second_says), strict=True)
            says = [f"{side}: {text}" for side, text in told if text]
            level = "" if verdict.level == "must" else f" ({verdict.level})"
            cause = verdict.first, verdict.second, ", ".join(found[verdict]), "\n".join(says)
            causes.setdefault(cause, []).append(verdict.requirement + level)
        rows = [(_some(names, everything), *cause) for cause, names in causes.items()]
        yield Grid(("requirement", *sides, "dtype", "why"), rows)
    else:
        yield Line(f"No verdict differs ({judged} on both sides).")
    for place, side in zip(sides, ("first_only", "second_only"), strict=True):
        names = list(dict.fromkeys(name for pair in pairs for name in getattr(pair, side)))
        if names:
            yield Line(f"Judged in {place} only: {_some(names, everything)}")


def _conventions(pairs: Sequence[Pair], sides: Sequence[str], everything: bool) -> Iterator[Part]:
    found: dict[tuple[str, str, str], list[str]] = {}
    for pair in pairs:
        for one in pair.conventions:
            by = [f" ({origin})" if origin != "specified" else "" for origin in (one.first_by, one.second_by)]
            shown = found.setdefault((one.coordinate, one.first + by[0], one.second + by[1]), [])
            shown += [label for label in one.shown_by if label not in shown]
    if found:
        yield Heading("Conventions that differ", 3)
        unseen = "nothing that the files keep"
        yield Grid(
            ("decision", *sides, "shown by"),
            [(*key, _some(shown, everything) if shown else unseen) for key, shown in found.items()],
        )


def _numbers(pairs: Sequence[Pair], sides: Sequence[str], everything: bool) -> Iterator[Part]:
    numbers = [(number, pair) for pair in pairs for number in pair.numbers]
    if not numbers:
        yield Line("No observation is kept of either side.")
        return
    numbers.sort(key=lambda entry: list(KINDS).index(entry[0].kind))
    counts = {kind: [number for number, _ in numbers if number.kind == kind] for kind in KINDS}
    words = [f"{len(found)} {kind}{_within(found, kind, sides)}" for kind, found in counts.items() if found]
    yield Heading("Numbers", 3)
    yield Line(f"{_count(len(numbers), 'observation')}: {', '.join(words)}")
    listed = [(number, pair) for number, pair in numbers if number.first and (everything or number.kind not in QUIET)]
    if listed:
        heads = ("what", "observation, and [where] A | B, due".replace("A | B", " | ".join(sides)))
        rows = [_row(number, pair, sides) for number, pair in listed]
        yield Grid((*heads, *sides, "apart"), rows, [STYLES.get(number.kind, "") for number, _ in listed])
        yield Line(
            "Each number: share of the bound (1 is the limit; apart: of both bounds together), and below it ulp."
        )
        for kind in dict.fromkeys(number.kind for number, _ in listed):
            yield Line(f"{kind}: {KINDS[kind]}")
    unknown: dict[str, list[str]] = {}
    for number, pair in numbers:
        if number.first is None and number.kind == "unknown":
            unknown.setdefault(number.says, []).append(f"{number.label} in {pair.dtype}")
    for says, names in unknown.items():
        yield Line(f"unknown, {says}: {_some(names, everything)}")


def _within(found: Sequence[Number], kind: str, sides: Sequence[str]) -> str:
    """The largest of what was only rounding."""
    if kind != "rounding":
        return ""
    shares = [max((side.share for number in found if (side := getattr(number, name))), default=0.0)
              for name in ("first", "second")]  # fmt: skip
    ulps = max((number.ulp or 0.0 for number in found), default=0.0)
    worst = ", ".join(f"{place} {_size(share)}" for place, share in zip(sides, shares, strict=True))
    return f" (worst share of the bound: {worst}; at most {_size(ulps)} ulp apart)"


def _row(number: Number, pair: Pair, sides: Sequence[str]) -> tuple[str, ...]:
    assert number.first and number.second
    moved = {"first": sides[0], "second": sides[1], "both": f"{sides[0]} and {sides[1]}", "": ""}[number.moved]
    what = [f"{number.kind}: {moved}" if moved else number.kind]
    what += [one.coordinate for one in pair.conventions if number.label in one.shown_by]
    what += [number.says] if number.says else []
    level = "" if number.level in ("must", "") else f" ({number.level})"
    place = f"[{', '.join(map(str, number.index))}]"
    got, due = (
        [_value(getattr(side, name), side) for side in (number.first, number.second)] for name in ("got", "due")
    )
    due = due[:1] if due[0] == due[1] else due
    values = f"{place} {' | '.join(got)}, due {' | '.join(due)}"
    dtypes = dict.fromkeys((number.first.dtype, number.second.dtype))
    inside = "" if list(dtypes) == [pair.dtype] else f" ({' | '.join(dtypes)})"
    label = f"{number.requirement}{level} {number.case} {number.name}, {pair.dtype}{inside}"
    sizes = [(side.share, side.ulp) for side in (number.first, number.second)] + [(number.share or 0, number.ulp or 0)]
    return ("\n".join(what), f"{label}\n{values}", *(_sizes(*size) for size in sizes))


def _sizes(share: float, ulp: float) -> str:
    return _size(share) if ulp >= UNLIMITED else f"{_size(share)}\n{_size(ulp)} ulp"


def _value(value: float, side: Measure) -> str:
    return f"{value:.{DIGITS[side.dtype]}g}"


def _size(value: float) -> str:
    return "no limit" if not value < UNLIMITED else "0" if value == 0 else f"{value:.2g}"


# -- terminal ------------------------------------------------------------------------------------------------------


def render(comparisons: Sequence[ResultComparison], console: Console, *, everything: bool = False) -> None:
    """Print the comparisons, within the width of the console."""

    def safe(text: str, style: str = "") -> Text:
        shown = visible(text, keep="\n")
        return Text(shown.encode(console.encoding, "replace").decode(console.encoding), style, overflow="fold")

    for part in parts(comparisons, everything=everything):
        if isinstance(part, Heading):
            console.print()
            console.print(safe(part.text, "bold"))
        elif isinstance(part, Line):
            console.print(safe(part.text, part.style))
        else:
            table = Table(box=None, pad_edge=False, header_style="bold")
            for head in part.heads:
                table.add_column(safe(head), overflow="fold")
            for row, style in zip(part.rows, part.styles or [""] * len(part.rows), strict=True):
                table.add_row(*(safe(cell, style if place == 0 else "") for place, cell in enumerate(row)))
            console.print(table)


# -- Markdown ------------------------------------------------------------------------------------------------------


def markdown(comparisons: Sequence[ResultComparison], *, everything: bool = False) -> str:
    """The comparisons as a Markdown page, for a pull request or a job's summary."""
    blocks = ["# Comparison"]
    for part in parts(comparisons, everything=everything):
        if isinstance(part, Heading):
            blocks.append(f"{'#' * (part.level + 1)} {_escape(part.text)}")
        elif isinstance(part, Line):
            blocks.append(_escape(part.text))
        else:
            rows = [list(map(_cell, part.heads)), ["---"] * len(part.heads), *(map(_cell, row) for row in part.rows)]
            blocks.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    return "\n\n".join(blocks) + "\n"


def _cell(text: str) -> str:
    return "<br>".join(map(_escape, text.split("\n")))


def _escape(text: str) -> str:
    """Text that Markdown shows as it is, whatever an adapter wrote into it."""
    flat = visible(text)
    return re.sub(r"([\\`*_\[\]<>|#~&@])", r"\\\1", flat)
