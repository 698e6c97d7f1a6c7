"""The matrix in the terminal: requirements x backend, device and dtype, then what does not conform, then a summary.

Letters carry the verdicts, so that nothing is lost without colour: a capital where a `must` is concerned, a small
letter where a `should` or a `may` is. Only ASCII is drawn, and no line is wider than the console.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from bnconform.render import messages
from bnconform.render.evidence import sameness
from bnconform.results.completeness import partial, reason
from bnconform.results.failure import VIOLATION
from bnconform.results.result import LEVELS, VERDICTS, Key, Result, Row, dtype_order

LETTERS = {
    "conforms": "+",
    "deviates": "D",
    "violates": "V",
    "crashed": "C",
    "untrusted": "U",
    "unsupported": "-",
}
"""The mark of each verdict on a `must`; below `must`, letters are small."""

_STYLES = {
    "conforms": "green",
    "deviates": "cyan",
    "violates": "bold red",
    "crashed": "bold red",
    "untrusted": "bold magenta",
    "unsupported": "dim",
}
_LESSER_STYLE = "yellow"
_FAILURES = ("crashed", "violates", "untrusted")
_IN_FULL = 12
"""Failures whose whole message is shown; one that fails everywhere fails for one reason, which these show."""
_SHORT = {"float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16"}
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


def render(result: Result, titles: Mapping[str, str], chapters: Mapping[str, str], console: Console) -> None:
    """Print the result on `console`, within its width.

    Args:
        result: the run, its rows merged.
        titles: a few words by requirement.
        chapters: the chapter's title by requirement, in the order in which to list requirements; a requirement that
            is missing comes last, under "Other".
        console: where to print; its width, colours and encoding are respected.
    """
    printer = _Printer(console)
    names = {row.requirement for row in result.rows}
    requirements = [name for name in chapters if name in names] + sorted(names - chapters.keys())
    printer.wrapped(Text(_environment(result)))
    cells = {row.key: row for row in result.rows}
    for groups in _tables(result.rows, _label_width(result.rows, console.width), console.width):
        printer.line(Text())
        _table(printer, groups, requirements, cells, titles, chapters)
    printer.line(Text())
    printer.wrapped(_legend(result.rows))
    _diagnoses(printer, result)
    _findings(printer, result.rows, requirements, titles)
    printer.line(Text())
    for sentence in _summary(result):
        printer.wrapped(sentence)


def mark(row: Row) -> Text:
    """The letter of a row's verdict, in its colour."""
    letter = LETTERS[row.verdict]
    lesser = row.level != "must" and row.verdict not in ("conforms", "unsupported")
    return Text(letter.lower(), _LESSER_STYLE) if lesser else Text(letter, _STYLES[row.verdict])


class _Printer:
    """Prints lines that are never wider than the console, in characters that its encoding has."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def line(self, text: Text, indent: int = 0) -> None:
        padded = self._safe(Text(" " * indent) + text)
        padded.rstrip()
        self.console.print(padded, highlight=False, no_wrap=True, overflow="crop", crop=True)

    def wrapped(self, text: Text, indent: int = 0, *, whole: bool = False) -> None:
        """Print text over as many lines as it needs; `whole` leaves that to the terminal, for what is to be copied."""
        if whole:
            self.console.print(self._safe(Text(" " * indent) + text), highlight=False, soft_wrap=True)
            return
        for part in self._safe(text).wrap(self.console, max(self.console.width - indent, 1)):
            self.line(part, indent)

    def _safe(self, text: Text) -> Text:
        # Each character stands for one, so that the styles stay in their places.
        printable = "".join(letter if letter.isprintable() else " " for letter in text.plain)
        safe = text.copy()
        safe.plain = printable.encode(self.console.encoding, "replace").decode(self.console.encoding)
        return safe


def _environment(result: Result) -> str:
    environment = result.environment
    packages = [f"{name} {version}" for name, version in environment.packages.items() if name != "bnconform"]
    devices = [f"{name}: {what}" for name, what in environment.devices.items()]
    versions = [f"bnconform {environment.bnconform}", f"Python {environment.python}", *packages]
    return ", ".join(versions) + "; " + "; ".join([environment.platform, *devices])


def _short(dtype: str) -> str:
    return _SHORT.get(dtype, dtype)


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
    printer: _Printer,
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
        printer.line(Text(chapter, "bold"))
        for name, rows in members:
            label = _label(next(row for row in rows if row))
            line = Text(_fit(label, label_width))
            remaining = iter(rows)
            for group in groups:
                marks = [(next(remaining), width) for width in group.cells]
                line.append(" " * _GAP)
                line.append_text(_marks(marks))
                line.append(" " * (group.width - group.cells_width))
            if title_room >= _LEAST_TITLE:
                line.append(" " * _GAP)
                line.append(_cut(titles.get(name, ""), title_room), "dim")
            printer.line(line)


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
    names = [_folded(group.backend, group.width) for group in groups]
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


def _folded(name: str, width: int) -> list[str]:
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


def _legend(rows: Iterable[Row]) -> Text:
    present = {row.verdict for row in rows}
    parts = [Text.assemble((LETTERS[name], _STYLES[name]), f" {name}") for name in LETTERS if name in present]
    lesser = Text.assemble(("small letter", _LESSER_STYLE), " not a must")
    return Text("   ").join([*parts, lesser, Text("blank not judged")])


def _diagnoses(printer: _Printer, result: Result) -> None:
    """What explains the failures of each backend, in one line each."""
    if result.diagnoses:
        printer.line(Text())
        printer.line(Text("Diagnosis", "bold"))
    for one in result.diagnoses:
        printer.wrapped(Text.assemble((one.backend, "bold"), f"  {one.text}"), indent=2)


def _findings(printer: _Printer, rows: Sequence[Row], requirements: Sequence[str], titles: Mapping[str, str]) -> None:
    place = {name: number for number, name in enumerate(requirements)}
    found = [row for row in rows if row.verdict != "conforms"]
    # What concerns a must comes before what only misses a recommendation, however badly.
    found.sort(key=lambda row: (row.level != "must", VERDICTS.index(row.verdict), place[row.requirement]))
    if not found:
        return
    printer.line(Text())
    printer.line(Text(f"What does not conform ({len(found)} of {len(rows)} rows)", "bold"))
    for number, (row, alike) in enumerate(_gathered(found)):
        head = Text.assemble(mark(row), f" {row.verdict}  ")
        if row.verdict in ("unsupported", "deviates"):
            names = dict.fromkeys(f"{other.requirement}{_level(other)}" for other in alike)
            head.append(f"{row.backend}  {', '.join(names)}")
        else:
            head.append_text(
                Text.assemble((row.requirement, "bold"), f"{_level(row)}  {row.backend}  {_places(alike)}")
            )
        printer.wrapped(head)
        if row.verdict in _FAILURES and number < _IN_FULL and _whole(printer, row, titles.get(row.requirement, "")):
            continue
        printer.wrapped(Text(_head(row) or titles.get(row.requirement, "")), indent=4)
        if row.diagnosis:
            words = " and ".join(f"{part.coordinate} = {part.value}" for part in row.diagnosis)
            printer.wrapped(Text(f"explained by {words}", "cyan"), indent=4)
        if row.case:
            printer.wrapped(Text(f"case: {row.case}"), indent=4)


def _gathered(rows: Iterable[Row]) -> list[tuple[Row, list[Row]]]:
    """The rows that one entry can speak for, each entry with the row that has the largest share of its bound.

    That are the devices and dtypes of one requirement with the same explanation, or failing that the same first line
    but for their own names in it; and all that is unsupported, or deviates, for the same reason.
    """
    entries: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        same = sameness(row)
        requirement = "" if row.verdict in ("unsupported", "deviates") else row.requirement
        entries.setdefault((row.verdict, row.backend, requirement, same), []).append(row)
    return [
        (max(entry, key=lambda row: -1.0 if row.bound_share is None else row.bound_share), entry)
        for entry in entries.values()
    ]


def _whole(printer: _Printer, row: Row, title: str) -> bool:
    """Print all that is known of a failure, if that is more than a line; whether it was."""
    if row.failure is not None and row.failure.kind == VIOLATION:
        printer.wrapped(Text(title, "bold"), indent=4)
        for label, text in messages.lines(row.failure):
            printer.wrapped(Text(f"{label:<11}{text}" if label else text.strip()), indent=4, whole=label == "replay")
        return True
    lines = row.message.strip().splitlines()
    if len(lines) < 2:
        return False
    printer.wrapped(Text(title, "bold"), indent=4)
    for line in lines:
        printer.wrapped(Text(line.strip()), indent=4)
    return True


def _head(row: Row) -> str:
    """The first line of what is said of a row."""
    return next(iter(row.message.strip().splitlines()), "")


def _level(row: Row) -> str:
    return "" if row.level == "must" else f" ({row.level})"


def _places(rows: Iterable[Row]) -> str:
    pairs = sorted({(row.device, row.dtype) for row in rows}, key=lambda pair: (pair[0], dtype_order(pair[1])))
    devices = groupby(pairs, key=lambda pair: pair[0])
    return "; ".join(f"{device} {', '.join(dtype for _, dtype in members)}" for device, members in devices)


def _summary(result: Result) -> Iterator[Text]:
    parts = []
    for level in LEVELS:
        counts = Counter(row.verdict for row in result.rows if row.level == level)
        if counts:
            words = ", ".join(f"{counts[verdict]} {verdict}" for verdict in LETTERS if counts[verdict])
            parts.append(f"{level}: {words}")
    checks = sum(row.checks for row in result.rows)
    counted = "; ".join(parts) or "nothing was judged"
    failed = not result.rows or any(row.level == "must" and row.verdict in _FAILURES for row in result.rows)
    part = partial(result)
    style = "bold red" if failed else "bold yellow" if part else "bold green"
    yield Text(f"{counted}; {checks} checks in {result.environment.seconds:.1f} s", style)
    used = [f"{name} {usage.seconds:.1f} s" for name, usage in result.environment.backends.items()]
    if used:
        yield Text(f"inside the backend's own calls, all processes together: {', '.join(used)}")
    if part:
        yield Text(f"Only a part: {part}; {reason(result)}", "bold yellow")
