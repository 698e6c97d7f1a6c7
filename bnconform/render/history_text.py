"""The history of an implementation as a table: which verdict is another one from which version on."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from bnconform.results.history import Answer, History, VerdictChange
from bnconform.spec.catalogue import requirements

STYLES = {"fixed": "green", "newly wrong": "bold red", "wrong otherwise": "red", "changed": "yellow"}


def answer(found: Answer) -> str:
    """A verdict with what explains it."""
    verdict, diagnosis = found
    why = ", ".join(f"{part.coordinate} = {part.value}" for part in diagnosis)
    return f"{verdict or 'not asked'}{f' ({why})' if why else ''}"


def between(change: VerdictChange) -> str:
    """The version from which on it is so, or between which two it became so."""
    return f"{change.before} -> {change.after}" + ("" if change.next_to else " (between not judged)")


def level(change: VerdictChange) -> str:
    """Of the requirement."""
    rule = requirements().get(change.place[2])
    return rule.level if rule is not None else ""


def table(history: History) -> Table:
    """The changes, oldest first."""
    made = Table(title=None, box=None, pad_edge=False, header_style="bold")
    for name in ("version", "requirement", "level", "dtype", "what", "before", "after"):
        made.add_column(name, overflow="fold")
    for change in history.changes():
        device, dtype, requirement = change.place
        where = dtype if device == "cpu" else f"{device} {dtype}"
        cells = [between(change), requirement, level(change), where, "", answer(change.first), answer(change.second)]
        row = [Text(cell) for cell in cells]
        row[4] = Text(change.words, style=STYLES[change.words])
        made.add_row(*row)
    return made


def summary(history: History) -> str:
    """How many versions were judged, and what was found, in one line."""
    changes = list(history.changes())
    judged, asked = len(history.judged), len(history.versions)
    kinds = {words: sum(change.words == words for change in changes) for words in STYLES}
    told = ", ".join(f"{count} {words}" for words, count in kinds.items() if count) or "nothing changed"
    return f"{history.backend}: {judged} of {asked} versions of {history.package} judged: {told}"


def markdown(history: History) -> Iterator[str]:
    """The same as lines of Markdown."""
    yield f"# {history.backend} over the versions of {history.package}"
    yield ""
    yield summary(history) + "."
    yield ""
    yield "| version | requirement | level | dtype | what | before | after |"
    yield "|---|---|---|---|---|---|---|"
    for change in history.changes():
        device, dtype, requirement = change.place
        where = dtype if device == "cpu" else f"{device} {dtype}"
        answers = answer(change.first), answer(change.second)
        cells = between(change), requirement, level(change), where, change.words, *answers
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
    yield ""
    yield "Judged: " + (", ".join(release.version for release in history.judged) or "none") + "."
    for release in history.problems:
        yield f"Not judged: {release.version}: {release.problem}."
