"""A run as one HTML page that needs nothing else: no network, and no script to be read.

The first screen has the verdict, the causes and the picture; what was run, and where, comes last. Only what was judged
is on it, and nothing that is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from textwrap import shorten
from typing import Any, NamedTuple

from bnconform.render import plots
from bnconform.render.cards import Card, cards
from bnconform.render.evidence import SHORT_DTYPES, counts, environment, first_line, headline
from bnconform.render.heat_map import heat_map
from bnconform.render.markup import html_of, render
from bnconform.render.matrix import FLAKY, LETTERS
from bnconform.render.requirement_view import Rule, chapters, kill_rows, with_unknown
from bnconform.render.standing import standings
from bnconform.render.terminal import entries
from bnconform.results.kill_matrix import KillMatrix
from bnconform.results.result import FAILURES, LEVELS, Result, Row, dtype_order

KINDS = {
    "conforms": "c",
    "deviates": "d",
    "violates": "v",
    "crashed": "x",
    "untrusted": "t",
    "unsupported": "u",
}
"""The class of a cell by verdict; the letter says the same."""

FIRST = ("got", "should be", "off by")
"""The lines of a card that are always shown; the others are folded."""

LONGEST = 130
"""Characters of a cause that are always shown; longer ones are folded whole."""

CUT = " ..."
"""What stands where a text was cut."""

ROWS = 24
"""Rows of the picture; where there would be more, each implementation has one, of its worst dtype."""

OPEN = 4
"""Chapters in which something fails that are unfolded; where there are more, none is."""

OUTCOMES = {"fail": FAILURES, "as declared": ("deviates",), "hold": ("conforms",), "unsupported": ("unsupported",)}
"""What the summary counts, by the verdicts."""

WORST = ("crashed", "violates", "untrusted", "deviates", "conforms", "unsupported")


class PageData(NamedTuple):
    """What a page shows besides the result.

    Attributes:
        rules: the catalogue, in its order. conditioning: errors over condition number. problems: what of that could
            not be read, each in words. kills: the kill matrix, or None. porting: what the porting table has on those
            that were judged, as Markdown, or "".
    """

    rules: Sequence[Rule]
    conditioning: Sequence[plots.Condition] = ()
    problems: Sequence[str] = ()
    kills: KillMatrix | None = None
    porting: str = ""


def page(result: Result, shown: PageData) -> str:
    """The page."""
    judged = {row.requirement for row in result.rows}
    rules = [rule for rule in with_unknown(result, shown.rules) if rule["id"] in judged]
    words = {
        **report(result, rules, {rule["id"]: f"#{rule['id']}" for rule in rules}, shown.kills),
        "title": headline(result),
        "standings": standings(result, cards(result)),
        "environment": environment(result),
        "used": [(name, usage.calls, f"{usage.seconds:.1f}") for name, usage in result.environment.backends.items()],
        "conditioning": plots.conditioning(shown.conditioning),
        "problems": shown.problems,
        "devices": plots.devices(result.rows),
        "kills": shown.kills,
        "kill_rows": kill_rows(rules, shown.kills) if shown.kills else [],
        "porting": html_of(shown.porting) if shown.porting else "",
    }
    return render("page.html.j2", words, scripted=True)


def report(result: Result, rules: Sequence[Rule], links: Mapping[str, str], kills: KillMatrix | None) -> dict[str, Any]:
    """What a page, of a run or of one implementation of many, says of a result.

    Args:
        rules: those that were judged, in order. links: where each leads.
    """
    titles = {rule["id"]: rule["title"] for rule in rules}
    columns = _columns(result.rows)
    found = cards(result)
    sections = chapters(result.rows, rules, kills)
    return {
        "cards": [_card(number, one, titles, links) for number, one in enumerate(found, 1)],
        "heat_map": heat_map(result.rows, rules, links, by_dtype=sum(len(group.dtypes) for group in columns) <= ROWS),
        "summary": summary(result.rows),
        "declared": list(_declarations(result)),
        "lacking": list(_lacking(result)),
        "columns": columns,
        "width": sum(len(group.dtypes) for group in columns),
        "flaky": any(row.flaky for row in result.rows),
        "mostly_refused": any(row.is_mostly_refused for row in result.rows),
        "legend": [(name, LETTERS[name], KINDS[name]) for name in LETTERS if counts(result.rows)[name]],
        "backends": list(dict.fromkeys(group.backend for group in columns)),
        "dtypes": sorted({row.dtype for row in result.rows}, key=dtype_order),
        "levels": [level for level in LEVELS if any(row.level == level for row in result.rows)],
        "matrix": list(_matrix(result.rows, rules, columns, links)),
        "chapters": sections,
        "unfolded": sum(one["counts"][0][0] in FAILURES for one in sections) <= OPEN,
    }


def _card(number: int, card: Card, titles: Mapping[str, str], links: Mapping[str, str]) -> dict[str, Any]:
    """A cause: the lines that say most, and those that are folded."""
    row = card.shown
    lines = [*entries(card, titles.get(row.requirement, ""))][1:]
    what = next((text for label, text in lines if label == "what"), "")
    got = [(label, text) for label, text in lines if label in FIRST]
    first = [("what", first_line(what, LONGEST if got else 3 * LONGEST)), *got] if what else got
    folded = [(label, text) for label, text in lines if label not in (*FIRST, "where", "alike")]
    if not first:
        first, folded = folded[:2], folded[2:]
    why, cause = card.short, card.cause.removeprefix(card.short).strip(" ()")
    if why.endswith(CUT) and len(card.cause) <= LONGEST:
        why, cause = card.cause, ""  # which was cut to stand beside others
    rest = [("cause", card.cause), *folded] if len(cause) > LONGEST else folded
    return {
        "number": number, "card": card, "why": why, "row": row, "title": titles.get(row.requirement, ""),
        "link": links.get(row.requirement, ""), "first": first,
        "rest": [line for line in rest if line not in first],
        "others": [(name, many, links.get(name, "")) for name, many in card.requirements],
        "kind": KINDS[row.verdict] if row.level == "must" else "l", "known": (),
        "cause": shorten(cause, LONGEST, placeholder=CUT),
    }  # fmt: skip


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """One table for all levels: how many requirements of each come to what, by implementation."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    used: set[tuple[str, str]] = set()
    backends = list(dict.fromkeys(row.backend for row in rows))
    for (backend, level, _), members in groupby(
        sorted(rows, key=lambda row: (row.backend, row.level, row.requirement)),
        key=lambda row: (row.backend, row.level, row.requirement),
    ):
        worst = min((row.verdict for row in members), key=WORST.index)
        outcome = next(name for name, verdicts in OUTCOMES.items() if worst in verdicts)
        many = found.setdefault((backend, level), {})
        many[outcome] = many.get(outcome, 0) + 1
        used.add((level, outcome))
    heads = [
        (level, [name for name in OUTCOMES if (level, name) in used])
        for level in LEVELS
        if any((level, name) in used for name in OUTCOMES)
    ]
    lines = [
        (
            backend,
            [(name, found.get((backend, level), {}).get(name, "")) for level, names in heads for name in names],
        )
        for backend in backends
    ]
    return {"heads": heads, "lines": lines}


def _declarations(result: Result) -> Iterator[tuple[str, str, str]]:
    """The deviations of each backend and device; the parts of a run that was split say them again."""
    yield from dict.fromkeys(
        (one.backend, one.device, ", ".join(f"{name} = {value}" for name, value in one.deviations.items()))
        for one in result.declarations
        if one.deviations
    )


def _lacking(result: Result) -> Iterator[tuple[str, str, str]]:
    """What is unsupported, of what was judged so, with the reason."""
    judged = {(row.backend, row.device) for row in result.rows if row.verdict == "unsupported"}
    yield from dict.fromkeys(
        (one.backend, feature, reason)
        for one in result.declarations
        if (one.backend, one.device) in judged
        for feature, reason in one.unsupported.items()
    )


class _Group(NamedTuple):
    """The columns of one backend and device: dtypes with their short names."""

    backend: str
    device: str
    dtypes: list[tuple[str, str]]


def _columns(rows: Iterable[Row]) -> list[_Group]:
    keys = sorted({row.key[:3] for row in rows}, key=lambda key: (key[0], key[1], dtype_order(key[2])))
    return [
        _Group(backend, device, [(key[2], SHORT_DTYPES.get(key[2], key[2])) for key in members])
        for (backend, device), members in groupby(keys, key=lambda key: key[:2])
    ]


def _matrix(
    rows: Sequence[Row], rules: Sequence[Rule], columns: Sequence[_Group], links: Mapping[str, str]
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The chapters with their lines."""
    cells = {row.key: row for row in rows}
    for chapter, members in groupby(rules, key=lambda rule: rule["chapter"]):
        lines = []
        for rule in members:
            line = [
                _cell(cells.get((group.backend, group.device, dtype, rule["id"])), edge=place == 0)
                for group in columns
                for place, (dtype, _) in enumerate(group.dtypes)
            ]
            lines.append({
                "id": rule["id"], "level": rule["level"], "title": rule["title"], "link": links.get(rule["id"], ""),
                "text": f"{rule['id']} {rule['title']}".lower(), "cells": line,
            })  # fmt: skip
        yield chapter, lines


def _cell(row: Row | None, *, edge: bool) -> dict[str, Any]:
    if row is None:
        return {"verdict": "", "letter": "", "kind": "", "linked": False, "edge": edge}
    lesser = row.level != "must" and row.verdict not in ("conforms", "unsupported")
    letter = LETTERS[row.verdict].lower() if lesser else LETTERS[row.verdict]
    letter = f"({letter})" if row.is_mostly_refused else letter
    letter += FLAKY if row.flaky else ""
    kind = "l" if lesser or row.is_mostly_refused else KINDS[row.verdict]
    linked = row.verdict not in ("conforms", "unsupported")
    return {"verdict": row.verdict, "letter": letter, "kind": kind, "linked": linked, "edge": edge}
