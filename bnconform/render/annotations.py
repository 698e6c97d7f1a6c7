"""Workflow commands of GitHub Actions: lines on standard output that it shows as annotations of the job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from bnconform.render.cards import Card, cards
from bnconform.render.evidence import clean, first_line
from bnconform.results.completeness import partial, reason
from bnconform.results.result import VERDICTS, Result

MOST = 10
"""Annotations of each kind: GitHub shows no more of a step."""

LONGEST = 4000
"""Characters of a message; the job's log has all of it."""

NAMED = 8
"""Requirements that an annotation names."""

COMMANDS = {"must": "error", "should": "warning"}
"""A failed `may` is a policy that is left open, and no annotation."""


class SourcePlace(NamedTuple):
    """Where an adapter is written, as GitHub finds it: the path from the repository's root."""

    file: str
    line: int


def workflow_commands(result: Result, adapters: Mapping[str, SourcePlace] | None = None) -> list[str]:
    """One line for each cause of failure, the most severe first; the last of a kind says what is left out.

    Args:
        adapters: where the adapter of a backend is, for those that are files of the repository.
    """
    lines = []
    every = sorted(cards(result), key=lambda card: (VERDICTS.index(card.shown.verdict), -card.checks))
    for level, command in COMMANDS.items():
        found = [card for card in every if card.level == level]
        shown = found if len(found) <= MOST else found[: MOST - 1]
        lines += [_line(command, card, (adapters or {}).get(card.backend)) for card in shown]
        if len(found) > len(shown):
            rest = f"{len(found) - len(shown)} more causes of failures of level {level}; the result file has them all"
            lines.append(f"::{command} title=bnconform::{_data(rest)}")
    if part := partial(result):
        lines.append(f"::warning title=bnconform::{_data(f'this is only a part: {part}; {reason(result)}')}")
    return lines


def _line(command: str, card: Card, place: SourcePlace | None) -> str:
    many = len(card.requirements)
    about = card.requirements[0][0] if many == 1 else f"{many} requirements"
    title = first_line(f"{card.backend} {card.shown.verdict} {about}: {card.short}")
    at = {"file": place.file, "line": str(place.line)} if place else {}
    properties = ",".join(f"{name}={_property(value)}" for name, value in {**at, "title": title}.items())
    return f"::{command} {properties}::{_data(chr(10).join(_message(card)))}"


def _message(card: Card) -> Iterator[str]:
    yield card.cause
    names = [name for name, _ in card.requirements[:NAMED]]
    more = [f"{len(card.requirements) - NAMED} more"] if len(card.requirements) > NAMED else []
    yield f"fails {', '.join([*names, *more])} on {card.places}"
    if card.flaky:
        yield f"flaky: {card.flaky}"
    text = card.shown.message.strip()
    if text and text != card.cause:
        yield text if len(text) <= LONGEST else text[:LONGEST] + "\n..."


def _data(text: str) -> str:
    """The message of a command; the order matters, since % is what escapes."""
    return clean(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
