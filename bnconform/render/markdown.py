"""A run as Markdown: for a pull request's comment or the summary of a job."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from html import escape

from bnconform.render.cards import Card, cards
from bnconform.render.evidence import by_level, clean, counts, environment, first_line, headline
from bnconform.render.standing import standings
from bnconform.results.result import VERDICTS, Result, Row

LIMIT = 65_000
"""Characters at most: a comment may have 65,536, and the summary of a job 1 MiB."""

_NAME, _MESSAGE, _SENTENCE = 120, 3000, 600
"""Characters of a name, of a message, and of the sentence on an implementation."""

_ALIKE = 8
"""Requirements that are named of those which fail for one cause."""

_SPECIAL = re.compile(r"[^\w .,+/()-]|_|www\.", re.ASCII)


class _Page:
    """Parts of a page, as long as there is room for them."""

    def __init__(self, room: int) -> None:
        self.parts: list[str] = []
        self.room = room - 1

    def add(self, lines: Iterable[str], more: Callable[[int], str], separator: str = "\n\n") -> None:
        """Add lines one by one; where they do not all fit, `more` says how many are missing."""
        waiting = list(lines)
        taken: list[str] = []
        for number, line in enumerate(waiting):
            last = number == len(waiting) - 1
            # What counts the rest must still fit.
            if len(line) + 2 + (0 if last else _RESERVE) > self.room:
                taken.append(more(len(waiting) - number))
                break
            taken.append(line)
            self.room -= len(line) + 2
        if taken:
            self.parts.append(separator.join(taken))

    def text(self) -> str:
        return "\n\n".join(self.parts) + "\n"


_RESERVE = 200


def markdown(result: Result, titles: Mapping[str, str]) -> str:
    """The page; whatever a result says in it is text, of bounded length.

    Args:
        titles: a few words by requirement.
    """
    page = _Page(LIMIT - 10 * _RESERVE)
    where = (f"{inline(word)} {_code(value)}" for word, value in environment(result)[:12] if word != "packages")
    found = cards(result)
    page.parts.append(f"## BatchNorm conformance: {inline(headline(result))}")
    page.room -= len(page.parts[0]) + 2
    stands = (f"- {_code(standing.sentence, _SENTENCE)}" for standing in standings(result, found))
    page.add(stands, lambda rest: f"- {rest} more are in the result file", "\n")
    if found:
        page.parts.append("### What fails")
        page.add(
            (_card(n, one, titles) for n, one in enumerate(found, 1)),
            lambda rest: f"{rest} more are in the result file.",
        )
    for level, rows in by_level(result.rows):
        page.add(_table(level, rows), lambda rest: f"| {rest} more |", "\n")
    page.parts.append(", ".join(where)[: _RESERVE * 10])
    return page.text()


def inline(text: str, most: int = _NAME) -> str:
    """Text on one line that Markdown, and what a site adds to it, takes for nothing but text."""
    line = " ".join(clean(text).split())
    line = line if len(line) <= most else line[: most - 3] + "..."
    return _SPECIAL.sub(lambda found: "".join(f"&#{ord(letter)};" for letter in found[0]), line)


def fence(text: str) -> str:
    """Text in a block of code that nothing in it ends."""
    text = clean(text).replace("\t", "    ")
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _table(level: str, rows: Iterable[Row]) -> Iterator[str]:
    """How many verdicts of each kind every implementation has."""
    mine: dict[str, list[Row]] = {}
    for row in rows:
        mine.setdefault(row.backend, []).append(row)
    many = {name: counts(members) for name, members in mine.items()}
    present = [verdict for verdict in VERDICTS if any(found[verdict] for found in many.values())]
    yield f"| level {level} | {' | '.join(present)} |\n|---|{'---:|' * len(present)}"
    for name, found in many.items():
        cells = " | ".join(str(found[verdict] or "") for verdict in present)
        yield f"| {_code(name)} | {cells} |"


def _card(number: int, card: Card, titles: Mapping[str, str]) -> str:
    """A cause, folded, with the case that shows it."""
    row = card.shown
    backend, cause = _html(card.backend, 300), _html(card.short, 300)
    name, places = _code(row.requirement, 300), _html(card.places, 300)
    summary = f"{number}. <b>{backend} {cause}</b> ({row.level}, {row.verdict}): {card.checks} checks, {places}"
    said = first_line(titles.get(row.requirement, ""))
    body = [f"{name} {inline(said, 300)}"]
    if card.cause != card.short:
        body.append(f"Cause: {_code(card.cause, 400)}")
    if card.flaky:
        body.append(f"Flaky: {card.flaky}.")
    others = [_code(other) for other, _ in card.requirements[:_ALIKE] if other != row.requirement]
    if others:
        more = len(card.requirements) - _ALIKE
        body.append(f"Alike: {', '.join(others)}{f' and {more} more' if more > 0 else ''}.")
    text = row.message.strip()
    if text:
        body.append(fence(text if len(text) <= _MESSAGE else text[:_MESSAGE] + "\n..."))
    return "\n\n".join([f"<details><summary>{summary}</summary>", *body, "</details>"])


def _code(text: str, most: int = _NAME) -> str:
    """What a result says is always code: in code a site sees no names, issues or addresses."""
    return f"<code>{inline(text, most)}</code>"


def _html(text: str, most: int) -> str:
    """The same for a block of HTML, in which Markdown takes nothing for its own."""
    line = " ".join(clean(text).split())
    return f"<code>{escape(line if len(line) <= most else line[: most - 3] + '...')}</code>"
