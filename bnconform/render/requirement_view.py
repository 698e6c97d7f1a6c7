"""What pages say of requirements: what each asks for, what was found, and what wrong implementations it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from bnconform.render.evidence import count_compared, counts, findings, number
from bnconform.results.kill_matrix import KillMatrix, Wrong
from bnconform.results.result import VERDICTS, Result, Row, dtype_order, flakiness

Rule = Mapping[str, Any]
"""A requirement as plain data: the fields of `spec.catalogue.Requirement`; `decisions` as name and entries, each a
value with its meaning, the specified one first; `sources` as mappings."""

OTHER = "Other"
"""The chapter of what was judged and is not in the catalogue."""


def with_unknown(result: Result, catalogue: Sequence[Rule]) -> list[Rule]:
    """The catalogue, and after it what is judged and not in it."""
    known = {rule["id"] for rule in catalogue}
    levels = {row.requirement: row.level for row in result.rows if row.requirement not in known}
    unknown = {"chapter": OTHER, "title": "", "statement": "", "decisions": ()}
    return [*catalogue, *({**unknown, "id": name, "level": level} for name, level in sorted(levels.items()))]


def chapters(rows: Sequence[Row], rules: Sequence[Rule], kills: KillMatrix | None) -> list[dict[str, Any]]:
    """The chapters of which something was judged, each with what there is to say of its requirements."""
    by_rule: dict[str, list[Row]] = {}
    for row in rows:
        by_rule.setdefault(row.requirement, []).append(row)
    judged = [rule for rule in rules if rule["id"] in by_rule]
    found = []
    for chapter, members in groupby(judged, key=lambda rule: rule["chapter"]):
        sections = [section(rule, by_rule[rule["id"]], kills) for rule in members]
        of_chapter = [row for one in sections for row in by_rule[one["id"]]]
        found.append({"name": chapter, "sections": sections, "counts": verdicts(of_chapter)})
    return found


def verdicts(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """The verdicts that occur, the worst first, each with its number."""
    many = counts(rows)
    return [(verdict, many[verdict]) for verdict in VERDICTS if many[verdict]]


def section(rule: Rule, rows: Sequence[Row], kills: KillMatrix | None) -> dict[str, Any]:
    """All that there is to say of one requirement."""
    found = [
        {
            "row": finding.row,
            "places": finding.places,
            "headline": finding.headline,
            "message": "" if finding.row.verdict == "deviates" else finding.message,
            "measured": _measurement_text(finding.row),
            "dtypes": sorted({row.dtype for row in finding.rows}, key=dtype_order),
        }
        for finding in findings(row for row in rows if row.verdict != "conforms")
    ]
    killed = [(one, _margin(one, rule["id"])) for one in kills.killers_of(rule["id"])] if kills else []
    return {
        **rule,
        "counts": verdicts(rows),
        "findings": found,
        "closest": _closest(rows),
        "named": [pair for pair in killed if rule["id"] in pair[0].named_by],
        "also": [pair for pair in killed if rule["id"] not in pair[0].named_by],
    }


def _measurement_text(row: Row) -> str:
    words = [count_compared([row])]
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


def kill_rows(rules: Sequence[Rule], kills: KillMatrix) -> list[list[Any]]:
    """Of each: its level, how many wrong implementations it fails, names, and fails alone, and the least margin."""
    rows = []
    for rule in rules:
        name = rule["id"]
        killed = kills.killers_of(name)
        margins = [margin for one in killed if (margin := one.killed[name]) is not None]
        named = sum(name in one.named_by for one in killed)
        alone = sum(one.alone == name for one in killed)
        least = number(min(margins)) if margins else "no number" if killed else ""
        rows.append([name, rule["level"], len(killed), named, alone, least])
    return rows


def wrong_row(one: Wrong) -> list[Any]:
    """A wrong implementation: its name, its fault, what it is modelled on, what names it, and how many more fail it."""
    also = [name for name in one.killed if name not in one.named_by]
    return [one.name, one.says, one.thread, ", ".join(one.named_by), len(also)]
