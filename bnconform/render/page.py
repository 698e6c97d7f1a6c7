"""A run as one HTML page that needs nothing else: no network, and no script to be read.

Whatever a result says is text: the templates escape it, and control characters are replaced. A policy in the page
forbids every request and every script but the page's own.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from bnconform.render import plots
from bnconform.render.evidence import FAILURES, by_level, clean, counts, environment, findings, headline, number
from bnconform.render.matrix import FLAKY, LETTERS
from bnconform.results.kill_matrix import KillMatrix, Wrong
from bnconform.results.result import VERDICTS, Result, Row, dtype_order, flakiness

TEMPLATES = Path(__file__).parent / "templates"
OTHER = "Other"
MEANINGS = {
    "must": "What the documents and the frameworks' own documentation fix.",
    "should": "Quality; fails a run only with --level should.",
    "may": "A policy left open; recorded, never a failure.",
}
KINDS = {
    "conforms": "c",
    "deviates": "d",
    "violates": "v",
    "crashed": "x",
    "untrusted": "t",
    "unsupported": "u",
}
"""The class of a cell by verdict; the letter says the same."""

_SHORT = {"float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16"}

Rule = Mapping[str, Any]
"""A requirement as plain data: the fields of `spec.catalogue.Requirement`; `decisions` as name and entries, each a
value with its meaning, the specified one first; `sources` as mappings."""


class PageData(NamedTuple):
    """What a page shows besides the result.

    Attributes:
        rules: the catalogue, in its order. conditioning: errors over condition number. problems: what of that could
            not be read, each in words. kills: the kill matrix, or None. porting: the porting table as Markdown, or "".
    """

    rules: Sequence[Rule]
    conditioning: Sequence[plots.Condition] = ()
    problems: Sequence[str] = ()
    kills: KillMatrix | None = None
    porting: str = ""


def page(result: Result, shown: PageData) -> str:
    """The page."""
    rules = _rules(result, shown.rules)
    columns = _columns(result.rows)
    script = (TEMPLATES / "script.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    words: dict[str, Any] = {
        "script": Markup(script),
        "script_hash": Markup(f"sha256-{digest}"),
        "style": Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        "failures": FAILURES,
        "meanings": MEANINGS,
        "headline": headline(result),
        "environment": environment(result),
        "summary": list(_summary(result.rows)),
        "diagnoses": [(one.backend, one.text) for one in result.diagnoses],
        "declared": list(_declared(result)),
        "used": [(n, u.calls, f"{u.seconds:.1f}") for n, u in result.environment.backends.items()],
        "columns": columns,
        "width": sum(len(group.dtypes) for group in columns),
        "flaky": any(row.flaky for row in result.rows),
        "legend": [(name, LETTERS[name], KINDS[name]) for name in LETTERS if counts(result.rows)[name]],
        "backends": list(dict.fromkeys(group.backend for group in columns)),
        "dtypes": sorted({row.dtype for row in result.rows}, key=dtype_order),
        "chapters": list(_matrix(result.rows, rules, columns)),
        "sections": list(_sections(result.rows, rules, shown.kills)),
        "conditioning": plots.conditioning(shown.conditioning),
        "problems": shown.problems,
        "shares": plots.shares(result.rows, [rule["id"] for rule in rules]),
        "devices": plots.devices(result.rows),
        "kills": shown.kills,
        "kill_rows": list(_kill_rows(rules, shown.kills)) if shown.kills else [],
        "wrong_rows": [_wrong_row(one) for one in shown.kills.wrong] if shown.kills else [],
        "porting": _html(shown.porting) if shown.porting else "",
    }
    return _templates().get_template("page.html.j2").render(words)


def _templates() -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: clean(value) if type(value) is str else value,
    )
    made.filters["breakable"] = _breakable
    return made


def _breakable(name: str) -> Markup:
    """A name that may be broken after its punctuation."""
    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[._+/:-])", clean(name)))


def _html(text: str) -> Markup:
    """Our own Markdown, below the page's headings; HTML in it is text, and a link to a file beside it is words."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(clean(text))
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = "h3" if token.tag == "h1" else "h4"
        if token.type == "table_open":
            token.attrSet("class", "plain")
        for child in token.children or []:
            if child.type == "link_open" and not str(child.attrGet("href")).startswith("https://"):
                child.attrs.clear()
    made = parser.renderer.render(tokens, parser.options, {})
    region = '<div class="scroll" role="region" tabindex="0" aria-label="table">'
    return Markup(made.replace("<table", f"{region}<table").replace("</table>", "</table></div>"))


def _rules(result: Result, catalogue: Sequence[Rule]) -> list[Rule]:
    """The catalogue, and after it what is judged and not in it."""
    known = {rule["id"] for rule in catalogue}
    levels = {row.requirement: row.level for row in result.rows if row.requirement not in known}
    unknown = {"chapter": OTHER, "title": "", "statement": "", "decisions": ()}
    return [*catalogue, *({**unknown, "id": name, "level": level} for name, level in sorted(levels.items()))]


def _summary(rows: Sequence[Row]) -> Iterator[tuple[str, list[str], list[list[Any]]]]:
    for level, members in by_level(rows):
        present = [verdict for verdict in VERDICTS if counts(members)[verdict]]
        lines = []
        for backend, mine in groupby(sorted(members, key=lambda row: row.backend), key=lambda row: row.backend):
            many = counts(mine)
            lines.append([backend, *(many[verdict] or "" for verdict in present)])
        yield level, present, lines


def _declared(result: Result) -> Iterator[tuple[str, str, str]]:
    for one in result.declarations:
        if one.deviations:
            yield one.backend, one.device, ", ".join(f"{name} = {value}" for name, value in one.deviations.items())


class _Group(NamedTuple):
    """The columns of one backend and device: dtypes with their short names."""

    backend: str
    device: str
    dtypes: list[tuple[str, str]]


def _columns(rows: Iterable[Row]) -> list[_Group]:
    keys = sorted({row.key[:3] for row in rows}, key=lambda key: (key[0], key[1], dtype_order(key[2])))
    return [
        _Group(backend, device, [(key[2], _SHORT.get(key[2], key[2])) for key in members])
        for (backend, device), members in groupby(keys, key=lambda key: key[:2])
    ]


def _matrix(
    rows: Sequence[Row], rules: Sequence[Rule], columns: Sequence[_Group]
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The chapters with their lines, of the requirements that were judged."""
    cells = {row.key: row for row in rows}
    judged = {row.requirement for row in rows}
    shown = (rule for rule in rules if rule["id"] in judged)
    for chapter, members in groupby(shown, key=lambda rule: rule["chapter"]):
        lines = []
        for rule in members:
            line = [
                _cell(cells.get((group.backend, group.device, dtype, rule["id"])), edge=place == 0)
                for group in columns
                for place, (dtype, _) in enumerate(group.dtypes)
            ]
            text = f"{rule['id']} {rule['title']}".lower()
            lines.append(
                {"id": rule["id"], "level": rule["level"], "title": rule["title"], "text": text, "cells": line}
            )
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


def _sections(
    rows: Sequence[Row], rules: Sequence[Rule], kills: KillMatrix | None
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The chapters with what there is to say of each requirement."""
    by_rule: dict[str, list[Row]] = {}
    for row in rows:
        by_rule.setdefault(row.requirement, []).append(row)
    for chapter, members in groupby(rules, key=lambda rule: rule["chapter"]):
        yield chapter, [_section(rule, by_rule.get(rule["id"], []), kills) for rule in members]


def _section(rule: Rule, rows: Sequence[Row], kills: KillMatrix | None) -> dict[str, Any]:
    many = counts(rows)
    found = [
        {
            "row": finding.row,
            "places": finding.places,
            "headline": finding.headline,
            "message": "" if finding.row.verdict == "deviates" else finding.message,
            "measured": _measured(finding.row),
            "dtypes": sorted({row.dtype for row in finding.rows}, key=dtype_order),
        }
        for finding in findings(row for row in rows if row.verdict != "conforms")
    ]
    killed = [(one, _margin(one, rule["id"])) for one in kills.killed_by(rule["id"])] if kills else []
    return {
        **rule,
        "counts": [(verdict, many[verdict]) for verdict in VERDICTS if many[verdict]],
        "findings": found,
        "closest": _closest(rows),
        "named": [pair for pair in killed if rule["id"] in pair[0].named_by],
        "also": [pair for pair in killed if rule["id"] not in pair[0].named_by],
    }


def _measured(row: Row) -> str:
    words = [f"{row.checks} checks"]
    if row.bound_share is not None:
        words.append(f"at worst {number(row.bound_share)} of the bound")
    if row.ulp is not None:
        words.append(f"{number(row.ulp)} ulp")
    if row.flaky:
        words.append(f"flaky: {flakiness(row.flaky)}")
    return ", ".join(words)


def _closest(rows: Sequence[Row]) -> str:
    """How near to the bound the conforming rows came."""
    measured = [row for row in rows if row.verdict == "conforms" and row.bound_share is not None]
    if not measured:
        return ""
    worst = max(measured, key=lambda row: row.bound_share or 0)
    where = f"{worst.backend} {worst.device} {worst.dtype}"
    return f"Of what conforms, {where} comes closest to the bound: {number(worst.bound_share)} of it."


def _margin(wrong: Wrong, requirement: str) -> str:
    margin = wrong.killed[requirement]
    return "no number" if margin is None else f"{number(margin)} times the bound"


def _kill_rows(rules: Sequence[Rule], kills: KillMatrix) -> Iterator[list[Any]]:
    for rule in rules:
        name = rule["id"]
        killed = kills.killed_by(name)
        margins = [margin for one in killed if (margin := one.killed[name]) is not None]
        named = sum(name in one.named_by for one in killed)
        alone = sum(one.alone == name for one in killed)
        least = number(min(margins)) if margins else "no number" if killed else ""
        yield [name, rule["level"], len(killed), named, alone, least]


def _wrong_row(one: Wrong) -> list[Any]:
    also = [name for name in one.killed if name not in one.named_by]
    return [one.name, one.says, one.thread, ", ".join(one.named_by), len(also)]
