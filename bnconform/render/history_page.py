"""The page of kept histories: requirement by version for each framework, every change, and which are confirmed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from bnconform.render.history_text import answer, between, level
from bnconform.render.matrix import LETTERS
from bnconform.results.confirmations import Confirmation
from bnconform.results.history import Answer, History, Place, Release, VerdictChange
from bnconform.results.history_file import KeptHistory
from bnconform.results.result import LEVELS

INTRODUCTION = """\
What became of the faults of released frameworks, version by version. This page is made by `bnconform list --history`
from the files in [`history/`](history/), which `bnconform history B --json` writes: each version in an environment of
its own, judged by the same suite and the same adapter. A self-test compares the page with the files, and asks the
regression gate at every step: with the older version's baseline it must say of the newer one what stands here.

- Versions that follow each other and got the same verdicts share a column.
- `V` violates, `C` crashed, `U` untrusted, `D` deviates as declared, `+` conforms, `-` unsupported; small letters where
  a `should` or a `may` is concerned. A requirement that every version conforms to, or that none supports, has no line.
- To be affordable for so many versions a history asks for a part of the requirements; its file names the others.
- What a version must do is what is asked of it today: one that lacks what a later one documents violates that."""

UNCHANGING = ("conforms", "deviates", "unsupported", "")
"""Verdicts that a requirement has no line for, where every version has the same."""


class Column(NamedTuple):
    """Judged versions that follow each other and have the same verdicts."""

    versions: tuple[str, ...]
    answers: dict[Place, Answer]

    @property
    def title(self) -> str:
        """The version, or the first and the last."""
        first, last = self.versions[0], self.versions[-1]
        return first if first == last else f"{first} to {last}"


def page(histories: Sequence[KeptHistory], confirmed: Sequence[Confirmation]) -> str:
    """The page, as Markdown."""
    lines = ["# History", "", INTRODUCTION, "", *_overview(histories), "", *_confirmations(confirmed)]
    for kept in histories:
        lines += ["", *section(kept)]
    return "\n".join(lines) + "\n"


def columns(history: History) -> list[Column]:
    """The judged versions in columns, the oldest first."""
    alike = groupby(history.judged, key=Release.answers)
    return [Column(tuple(one.version for one in releases), answers) for answers, releases in alike]


def letter(verdict: str, of_level: str) -> str:
    """The mark of a verdict, small below `must`; "" of none."""
    found = LETTERS.get(verdict, "")
    return found if of_level == "must" else found.lower()


def section(kept: KeptHistory) -> Iterator[str]:
    """What there is to say of one implementation."""
    history = kept.history
    yield f"## `{history.backend}`"
    yield ""
    yield _count(kept)
    shown = columns(history)
    lines = list(_lines(history, shown))
    if lines:
        yield ""
        yield _row(["requirement", "level", *(column.title for column in shown)])
        yield "|---|---|" + "---|" * len(shown)
        yield from lines
    changes = list(history.changes())
    if changes:
        yield ""
        yield _row(["from, to", "requirement", "what", "before", "after"])
        yield "|---|---|---|---|---|"
        yield from (_row(_change(change)) for change in changes)
    if history.problems:
        yield ""
        yield "Not judged:"
        yield ""
        yield from (f"- {release.version}: {_plain(release.problem)}" for release in history.problems)


def _overview(histories: Iterable[KeptHistory]) -> Iterator[str]:
    yield _row(
        ["implementation", "package", "judged", "the first", "the last", "fixed", "newly wrong", "other changes"]
    )
    yield "|---|---|---|---|---|---|---|---|"
    for kept in histories:
        history = kept.history
        judged = [release.version for release in history.judged]
        words = [change.words for change in history.changes()]
        kinds = [words.count("fixed"), words.count("newly wrong")]
        counted = [*kinds, len(words) - sum(kinds)]
        name = f"[`{history.backend}`](#{_anchor(history.backend)})"
        yield _row([name, history.package, str(len(judged)), judged[0], judged[-1], *map(str, counted)])


def _confirmations(confirmed: Sequence[Confirmation]) -> Iterator[str]:
    yield "## Changes that the projects themselves tell of"
    yield ""
    yield _row(["implementation", "from, to", "what", "requirements", "where it is told"])
    yield "|---|---|---|---|---|"
    for one in confirmed:
        where = "; ".join(f"[{source.words}]({source.link})" for source in one.sources)
        versions = f"{one.before} -> {one.after}"
        yield _row([f"`{one.backend}`", versions, one.words, ", ".join(one.requirements), f"{one.told} ({where})"])


def _count(kept: KeptHistory) -> str:
    history = kept.history
    judged = [release.version for release in history.judged]
    asked = {row.requirement for one in history.judged if one.result for row in one.result.rows}
    text = f"{len(judged)} versions of {history.package}, on {kept.device} in {kept.dtype}: {', '.join(judged)}. "
    others = f"; not asked: {len(kept.left_out)}" if kept.left_out else ""
    return f"{text}Asked: {len(asked)} requirements{others}."


def _lines(history: History, shown: Sequence[Column]) -> Iterator[str]:
    """A line for each requirement of which there is something to say, the strictest first."""
    levels = {row.requirement: row.level for one in history.judged if one.result for row in one.result.rows}
    places = {place for column in shown for place in column.answers}
    for place in sorted(places, key=lambda key: (LEVELS.index(levels[key[2]]), key[2])):
        verdicts = [column.answers.get(place, ("", ()))[0] for column in shown]
        if len(set(verdicts)) == 1 and verdicts[0] in UNCHANGING:
            continue
        of_level = levels[place[2]]
        yield _row([place[2], of_level, *(letter(verdict, of_level) for verdict in verdicts)])


def _change(change: VerdictChange) -> list[str]:
    requirement = f"{change.place[2]} ({level(change)})"
    return [between(change), requirement, change.words, answer(change.first), answer(change.second)]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(_plain(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def _anchor(name: str) -> str:
    """As Markdown's readers make it of a heading: letters, digits and hyphens."""
    return "".join(char for char in name.lower() if char.isalnum() or char in "-_")
