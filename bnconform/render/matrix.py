"""The matrix in the terminal: requirements x backend, device and dtype, then what is as declared.

Letters carry the verdicts, so that nothing is lost without colour: a capital where a `must` is concerned, a small
letter where a `should` or a `may` is. A chapter of which nothing is supported is one line. Only ASCII is drawn, and no
line is wider than the console.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from bnconform.render.evidence import SHORT_DTYPES
from bnconform.render.printer import Printer
from bnconform.results.failed_checks import sameness
from bnconform.results.result import VERDICTS, Key, Result, Row, dtype_order

LETTERS = {
    "conforms": "+",
    "deviates": "D",
    "violates": "V",
    "crashed": "C",
    "untrusted": "U",
    "unsupported": "-",
}
"""The mark of each verdict on a `must`; below `must`, letters are small."""

FLAKY = "~"
"""What follows the mark where repetitions of a check came to different verdicts."""

_STYLES = {
    "conforms": "green",
    "deviates": "cyan",
    "violates": "bold red",
    "crashed": "bold red",
    "untrusted": "bold magenta",
    "unsupported": "dim",
}
_LESSER_STYLE = "yellow"
_OTHER = "Other"
_GAP = 2
_NAME_WIDTH = 14
"""A group of few columns is widened to at most this for its backend's name, which is folded if it is longer."""
_LEAST_TITLE = 16
"""Titles are shown beside the cells only where this many columns are left for them."""


class _Group(NamedTuple):
    """Neighbouring columns of one backend and device."""

    backend: str
    device: str
    dtypes: tuple[str, ...]

    @property
    def cells(self) -> tuple[int, ...]:
        return tuple(max(cell_len(_short(dtype)), 3) for dtype in self.dtypes)

    @property
    def cells_width(self) -> int:
        return sum(self.cells) + len(self.cells) - 1

    @property
    def width(self) -> int:
        name = max(cell_len(self.backend), cell_len(self.device))
        return max(self.cells_width, min(name, _NAME_WIDTH))


def render(result: Result, titles: Mapping[str, str], chapters: Mapping[str, str], printer: Printer) -> None:
    """Print where the result was reached, the matrix, and what is as the adapters declare.

    Args:
        result: the run, its rows merged.
        titles: a few words by requirement.
        chapters: the chapter's title by requirement, in the order in which to list requirements; a requirement that
            is missing comes last, under "Other".
        printer: where to print; its console's width, colours and encoding are respected.
    """
    names = {row.requirement for row in result.rows}
    requirements = [name for name in chapters if name in names] + sorted(names - chapters.keys())
    printer.print_wrapped(Text(_environment(result)))
    cells = {row.key: row for row in result.rows}
    width = printer.console.width
    for groups in _tables(result.rows, _label_width(result.rows, width), width):
        printer.line()
        _table(printer, groups, requirements, cells, titles, chapters)
    printer.line()
    printer.print_wrapped(_legend(result.rows))
    _print_declarations(printer, result.rows, requirements)


def mark(row: Row) -> Text:
    """The letter of a row's verdict, in its colour; in brackets where most of what was asked was refused."""
    letter = LETTERS[row.verdict]
    if row.is_mostly_refused:
        return Text(f"({letter})", _LESSER_STYLE)
    lesser = row.level != "must" and row.verdict not in ("conforms", "unsupported")
    unsteady = FLAKY if row.flaky else ""
    return Text(letter.lower() + unsteady, _LESSER_STYLE) if lesser else Text(letter + unsteady, _STYLES[row.verdict])


def _environment(result: Result) -> str:
    environment = result.environment
    packages = [f"{name} {version}" for name, version in environment.packages.items() if name != "bnconform"]
    devices = [f"{name}: {what}" for name, what in environment.devices.items()]
    versions = [f"bnconform {environment.bnconform}", f"Python {environment.python}", *packages]
    return ", ".join(versions) + "; " + "; ".join([environment.platform, *devices])


def _short(dtype: str) -> str:
    return SHORT_DTYPES.get(dtype, dtype)


def _label_width(rows: Iterable[Row], width: int) -> int:
    # Requirement, two spaces, level; cut where the console could otherwise show no column at all.
    wanted = max((cell_len(_label(row)) for row in rows), default=0)
    return max(min(wanted, width - _GAP - _NAME_WIDTH), 1)


def _label(row: Row) -> str:
    return row.requirement + _level(row)


def _tables(rows: Iterable[Row], label_width: int, width: int) -> Iterator[list[_Group]]:
    """The columns, in order, dealt out to as many tables as the width asks for; a group is split only where it must."""
    room = width - label_width
    columns = sorted({row.key[:3] for row in rows}, key=lambda key: (key[0], key[1], dtype_order(key[2])))
    table: list[_Group] = []
    used = 0
    for (backend, device), members in groupby(columns, key=lambda key: key[:2]):
        for group in _pieces(_Group(backend, device, tuple(key[2] for key in members)), room - _GAP):
            if table and used + _GAP + group.width > room:
                yield table
                table, used = [], 0
            table.append(group)
            used += _GAP + group.width
    if table:
        yield table


def _pieces(group: _Group, room: int) -> Iterator[_Group]:
    dtypes: tuple[str, ...] = ()
    for dtype in group.dtypes:
        if dtypes and group._replace(dtypes=(*dtypes, dtype)).width > room:
            yield group._replace(dtypes=dtypes)
            dtypes = ()
        dtypes = (*dtypes, dtype)
    yield group._replace(dtypes=dtypes)


def _table(
    printer: Printer,
    groups: Sequence[_Group],
    requirements: Sequence[str],
    cells: Mapping[Key, Row],
    titles: Mapping[str, str],
    chapters: Mapping[str, str],
) -> None:
    label_width = _label_width(cells.values(), printer.console.width)
    title_room = printer.console.width - label_width - sum(_GAP + group.width for group in groups) - _GAP
    for line in _header(groups, label_width):
        printer.line(line)
    shown = [(name, rows) for name in requirements if any(rows := _cells(name, groups, cells))]
    for chapter, members in groupby(shown, key=lambda pair: chapters.get(pair[0], _OTHER)):
        listed = list(members)
        entries = [(_label(next(row for row in rows if row)), "", rows, titles.get(name, "")) for name, rows in listed]
        if _is_unsupported(listed):
            columns = zip(*(rows for _, rows in listed), strict=True)
            merged = [next(filter(None, column), None) for column in columns]
            entries = [(chapter, "bold", merged, f"none of {len(listed)} is supported")]
        else:
            printer.line(Text(chapter, "bold"))
        for label, style, rows, title in entries:
            line = Text(_fit(label, label_width), style)
            line.append_text(_cells_line(groups, rows))
            if title_room >= _LEAST_TITLE:
                line.append(" " * _GAP)
                line.append(_cut(title, title_room), "dim")
            printer.line(line)


def _is_unsupported(listed: Sequence[tuple[str, Sequence[Row | None]]]) -> bool:
    """Whether nothing of a chapter is supported, so that one line says it: which requirements, the list below tells."""
    return len(listed) > 1 and all(row is None or row.verdict == "unsupported" for _, rows in listed for row in rows)


def _cells_line(groups: Sequence[_Group], rows: Iterable[Row | None]) -> Text:
    """The marks of one line, each group after its gap and as wide as its header."""
    line = Text()
    remaining = iter(rows)
    for group in groups:
        line.append(" " * _GAP)
        line.append_text(_marks([(next(remaining), width) for width in group.cells]))
        line.append(" " * (group.width - group.cells_width))
    return line


def _cells(requirement: str, groups: Sequence[_Group], cells: Mapping[Key, Row]) -> list[Row | None]:
    return [cells.get((group.backend, group.device, dtype, requirement)) for group in groups for dtype in group.dtypes]


def _marks(row_and_width: Iterable[tuple[Row | None, int]]) -> Text:
    parts = []
    for row, width in row_and_width:
        part = Text() if row is None else mark(row)
        part.pad_right(width - part.cell_len)
        parts.append(part)
    return Text(" ").join(parts)


def _header(groups: Sequence[_Group], label_width: int) -> Iterator[Text]:
    names = [_fold_lines(group.backend, group.width) for group in groups]
    height = max(len(name) for name in names)
    # Names stand on their devices, so short ones get their empty lines above.
    stacks = [[""] * (height - len(name)) + name for name in names]
    for level in range(height):
        yield _headline(groups, [stack[level] for stack in stacks], label_width, "bold")
    yield _headline(groups, [group.device for group in groups], label_width, "")
    dtypes = []
    for group in groups:
        pairs = zip(group.dtypes, group.cells, strict=True)
        dtypes.append(" ".join(_fit(_short(dtype), width) for dtype, width in pairs))
    yield _headline(groups, dtypes, label_width, "")


def _headline(groups: Sequence[_Group], words: Sequence[str], label_width: int, style: str) -> Text:
    line = Text(" " * label_width)
    for group, word in zip(groups, words, strict=True):
        line.append(" " * _GAP + _fit(word, group.width), style)
    return line


def _fold_lines(name: str, width: int) -> list[str]:
    """The name in lines of at most `width`, broken after punctuation where there is some."""
    lines = []
    while cell_len(name) > width:
        breaks = [place for place in range(1, width + 1) if name[place - 1] in "._+-/:"]
        place = breaks[-1] if breaks else width
        lines.append(name[:place])
        name = name[place:]
    return [*lines, name]


def _fit(words: str, width: int) -> str:
    return set_cell_size(_cut(words, width), width)


def _cut(words: str, width: int) -> str:
    if cell_len(words) <= width:
        return words
    return set_cell_size(words, width) if width < 4 else set_cell_size(words, width - 3).rstrip() + "..."


def _legend(rows: Sequence[Row]) -> Text:
    present = {row.verdict for row in rows}
    parts = [Text.assemble((LETTERS[name], _STYLES[name]), f" {name}") for name in LETTERS if name in present]
    lesser = Text.assemble(("small letter", _LESSER_STYLE), " not a must")
    refused = [Text.assemble(("( )", _LESSER_STYLE), " most models refused")] * any(
        row.is_mostly_refused for row in rows
    )
    flaky = [Text(f"{FLAKY} flaky, the worst counts")] if any(row.flaky for row in rows) else []
    return Text("   ").join([*parts, *refused, lesser, *flaky, Text("blank not judged")])


def _print_declarations(printer: Printer, rows: Sequence[Row], requirements: Sequence[str]) -> None:
    """What deviates as declared, and what is unsupported, each with all the requirements that it concerns."""
    place = {name: number for number, name in enumerate(requirements)}
    found = [row for row in rows if row.verdict in ("deviates", "unsupported")]
    found.sort(key=lambda row: (row.level != "must", VERDICTS.index(row.verdict), place[row.requirement]))
    entries: dict[tuple[object, ...], list[Row]] = {}
    for row in found:
        entries.setdefault((row.verdict, row.backend, sameness(row)), []).append(row)
    if entries:
        printer.line()
        printer.line(Text("As declared", "bold"))
    for alike in entries.values():
        row = alike[0]
        names = dict.fromkeys(f"{other.requirement}{_level(other)}" for other in alike)
        head = Text.assemble(mark(row), f" {row.verdict}  {row.backend}  {', '.join(names)}")
        printer.print_wrapped(head, hanging=4)
        printer.print_wrapped(Text(row.summary), indent=4)


def _level(row: Row) -> str:
    return "" if row.level == "must" else f" ({row.level})"
