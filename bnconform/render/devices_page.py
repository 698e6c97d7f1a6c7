"""The table of devices besides the plain CPU: what holds on each, and what differs from the column beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from bnconform.results.compare import compare
from bnconform.results.comparison import FIRST, SECOND, Pair
from bnconform.results.completeness import partial
from bnconform.results.kept_columns import Name, TableRow
from bnconform.results.result import Result, Row

BEGIN = "<!-- made by `bnconform list --devices` of the files in devices/; a self-test compares the two -->"
END = "<!-- end -->"
"""Between them lies the table of the page."""

HEADS = ("device", "with", "hold", "fail", "unsupported", "shoulds that fail", "error", "beside", "what differs")


def table(columns: Mapping[Name, Result], places: Sequence[TableRow]) -> str:
    """The table, as Markdown, between its marks; KeyError for a column that is not there."""
    rows = [_cells(columns, place) for place in places]
    lines = [_line(HEADS), "|" + "---|" * len(HEADS), *map(_line, rows)]
    return "\n".join([BEGIN, "", *lines, "", END]) + "\n"


def count_musts(column: Result) -> tuple[int, int, int]:
    """How many musts hold (some as declared), fail, and are unsupported."""
    verdicts = [row.verdict for row in column.rows if row.level == "must"]
    hold = sum(verdict in ("conforms", "deviates") for verdict in verdicts)
    lacking = verdicts.count("unsupported")
    return hold, len(verdicts) - hold - lacking, lacking


def pair(columns: Mapping[Name, Result], name: Name, beside: Name) -> Pair:
    """The column compared with the one beside it, which is the first."""
    first, second = (":".join(one) for one in (beside, name))
    made = compare((first, columns[beside]), (second, columns[name]), chosen=[f"{first}={second}"])
    return made.pairs[0]


def _cells(columns: Mapping[Name, Result], place: TableRow) -> list[str]:
    column = columns[place.column]
    hold, fail, lacking = count_musts(column)
    packages = ", ".join(f"{name} {version}" for name, version in column.environment.packages.items())
    device = column.environment.devices.get(place.column[1], "")
    named = f"{packages}; {device}" if device not in ("", place.column[1]) else packages
    part = partial(column)
    return [
        f"`{place.column[0]}`, `{place.column[1]}`: {place.made}", named, str(hold), str(fail),
        f"{lacking} ({part})" if part else str(lacking), _failing(column.rows), _largest(column.rows),
        *_beside(columns, place),
    ]  # fmt: skip


def _beside(columns: Mapping[Name, Result], place: TableRow) -> list[str]:
    """The column beside it, and what differs."""
    if not any(place.beside):
        return ["none", ""]
    found = pair(columns, place.column, place.beside)
    return [f"`{place.beside[0]}`, `{place.beside[1]}`", "; ".join(_differences(found))]


def _failing(rows: Iterable[Row]) -> str:
    names = [row.requirement for row in rows if row.level == "should" and row.verdict in ("violates", "crashed")]
    return ", ".join(names) or "none"


def _largest(rows: Iterable[Row]) -> str:
    """The largest error of what holds, over its bound."""
    found = [row.bound_share for row in rows if row.verdict in ("conforms", "deviates") and row.bound_share is not None]
    return f"{max(found):.2g}" if found else "none"


def _differences(found: Pair) -> Iterator[str]:
    """What is to be said of the second of the two, a phrase each."""
    lacking = [one for one in found.verdicts if "unsupported" in (one.first, one.second)]
    names = [
        f"{one.requirement} ({one.first} there, {one.second} here)" for one in found.verdicts if one not in lacking
    ]
    yield f"{len(names)} of {found.judged} verdicts{': ' if names else ''}{', '.join(names)}"
    if lacking:
        yield f"{len(lacking)} that one of the two does not support"
    numbers = [number for number in found.numbers if number.kind != "unknown"]
    if not numbers:
        yield "no number that both have"
        return
    same = sum(number.kind == "identical" for number in numbers)
    yield f"{same} of {len(numbers)} numbers have the same bits"
    if same < len(numbers):
        most = max(numbers, key=lambda number: number.share or 0.0)
        shares = [max((side.share for number in numbers if (side := getattr(number, which))), default=0.0)
                  for which in ("first", "second")]  # fmt: skip
        yield (
            f"the others are at most {most.share or 0.0:.2g} of both bounds apart ({most.ulp or 0.0:.2g} ulp), "
            f"{shares[0]:.2g} of its bound from the truth there and {shares[1]:.2g} here"
        )
    for side, words in ((SECOND, "here"), (FIRST, "there")):
        moved = [f"{number.requirement} {number.name}" for number in found.differing if number.moved == side]
        if moved:
            yield f"further off {words}: {', '.join(dict.fromkeys(moved))}"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", r"\|") for cell in cells) + " |"
