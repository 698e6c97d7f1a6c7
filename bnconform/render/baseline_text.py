"""What a run comes to beside a baseline, in words: the same at the end of a run and from `bnconform baseline check`."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console

from bnconform.results.baseline import UNEXPLAINED, explanation
from bnconform.results.baseline_check import BaselineVerdict, EntryNote, KnownRow
from bnconform.results.result import Row
from bnconform.results.visible import visible


def lines(found: BaselineVerdict, path: str, level: str, results: Sequence[str] = ()) -> Iterator[str]:
    """The section, each line as long as it comes.

    Args:
        path: of the baseline. level: up to which a failure counts.
        results: of the result files; none where the run writes none.
    """
    asked = [] if level == "must" else ["--level", level]
    update = f"bnconform baseline update {shlex.join([path, *(results or ['RESULT.json']), *asked])}"
    written = "" if results else "  (RESULT.json is what --json writes)"
    judged = " in what was judged, which is only a part" if found.parts else ""
    yield f"Baseline {path}: {'it fails' if found.fails else f'nothing is newly wrong{judged}'}"
    yield from (f"  UNFINISHED: {words}" for words in found.unfinished)
    yield from (f"  ONLY A PART: {words} (the run does not fail)" for words in found.parts)
    unexplained = sum(known.entry.reason == UNEXPLAINED for known in found.known)
    lacking = f", {unexplained} of them {UNEXPLAINED}" if unexplained else ""
    yield f"  {_count(found.known, 'failing row')} known{lacking}"
    yield from _gather((_describe_known(known), known.row) for known in found.known)
    if found.new:
        yield f"  NEW: {_count(found.new, 'failing row')} that no entry knows"
        yield from _by_cause(found.new)
        yield f"    once looked into: {update} --reason TEXT --link URL{written}"
    if found.worse:
        yield f"  WORSE: {_count(found.worse, 'row')} known to fail less badly"
        yield from _gather((f"{_row(known.row)} ({known.why})", known.row) for known in found.worse)
    if found.unmatched:
        yield f"  MATCHING NOTHING: {_count(found.unmatched, 'entry', 'entries')} of what is not judged any more"
        yield from (f"    {note.entry}: {note.why}" for note in found.unmatched)
        yield f"    correct what is misspelt; to drop the rest: {update}{written}"
    if found.changed:
        yield f"  CHANGED: {_count(found.changed, 'known row')} failing otherwise than before (the run does not fail)"
        yield from _gather(
            (f"{known.row.requirement} {known.row.backend}: {known.why}", known.row) for known in found.changed
        )
        yield f"    once looked into: {update}{written}"
    if found.fixed:
        yield f"  FIXED: {_count(found.fixed, 'entry', 'entries')} not needed any more (the run does not fail)"
        yield from _gather_entries(found.fixed)
        yield f"    to drop them: {update}{written}"
    if found.partly:
        yield f"  FIXED, as far as was asked: {_count(found.partly, 'entry', 'entries')} (the run does not fail)"
        yield from _gather_entries(found.partly)
        yield f"    run the rest; or, to drop them as it is: {update} --drop-fixed{written}"
    if found.narrower:
        yield f"  WIDER THAN NEEDED: {_count(found.narrower, 'entry', 'entries')} (the run does not fail)"
        yield from _gather_entries(found.narrower)
    if found.apart:
        yield f"  {_count(found.apart, 'entry', 'entries')} left alone:"
        yield from _separately(found.apart)


def show(texts: Iterable[str], console: Console) -> None:
    """Print lines, in characters that the console has."""
    for text in texts:
        safe = visible(text).encode(console.encoding, "replace").decode(console.encoding)
        console.print(safe, markup=False, highlight=False, soft_wrap=True)


def _count(things: Sequence[object], one: str, many: str = "") -> str:
    return f"{len(things)} {one if len(things) == 1 else many or one + 's'}"


def _row(row: Row) -> str:
    why = explanation(row) or " ".join(row.summary.split())
    return f"{row.requirement} {row.backend} {row.verdict}: {why}"


def _describe_known(known: KnownRow) -> str:
    link = f" <{known.entry.link}>" if known.entry.link else ""
    return f"{known.row.requirement} {known.row.backend} {known.row.verdict}: {known.entry.reason}{link}"


def _by_cause(rows: Sequence[Row]) -> Iterator[str]:
    """The rows that one explanation is of in one line each, with their requirements; the others by what is said."""
    causes: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if why := explanation(row):
            causes.setdefault((row.backend, row.verdict, why), []).append(row)
    for (backend, verdict, why), mine in causes.items():
        names = ", ".join(dict.fromkeys(row.requirement for row in mine))
        places = ", ".join(dict.fromkeys(f"{row.device} {row.dtype}" for row in mine))
        yield f"    {backend} {verdict}: {why}: {names}  [{places}]"
    yield from _gather((_row(row), row) for row in rows if not explanation(row))


def _gather(texts: Iterable[tuple[str, Row]]) -> Iterator[str]:
    """One line for the devices and dtypes of which the same is said."""
    places: dict[str, list[str]] = {}
    for text, row in texts:
        general = text.replace(f"{row.backend}:{row.device}-{row.dtype}", row.backend)
        places.setdefault(general, []).append(f"{row.device} {row.dtype}")
    for text, where in places.items():
        yield f"    {text}  [{', '.join(dict.fromkeys(where))}]"


def _gather_entries(notes: Sequence[EntryNote]) -> Iterator[str]:
    """One line for the requirements of a backend, device and dtype of which the same is said."""
    names: dict[tuple[str, str], list[str]] = {}
    for note in notes:
        place = f"{note.entry.backend} {note.entry.device} {note.entry.dtype}"
        names.setdefault((place, note.why), []).append(note.entry.requirement)
    for (place, why), mine in names.items():
        yield f"    {', '.join(mine)} {place}: {why}"


def _separately(notes: Sequence[EntryNote]) -> Iterator[str]:
    """How many for which reason, and of which backends, since a misspelt name is in no run."""
    counts = Counter((one.entry.backend, one.why) for one in notes)
    for (backend, why), count in sorted(counts.items()):
        yield f"    {count} of {backend}: {why}"
