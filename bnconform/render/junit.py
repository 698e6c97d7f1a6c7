"""A result as JUnit's XML: a suite for each backend, device and dtype, a case for each requirement and cause."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping

from bnconform.render.cards import Card, cards
from bnconform.render.evidence import clean
from bnconform.results.result import FAILURES, LEVELS, FailedCheck, Key, Result, Row
from bnconform.results.visible import visible

LONGEST = 8000
"""Characters of a failure's text; the result file has all of it."""


def junit(result: Result, level: str = "must", known: Mapping[Key, str] | None = None) -> str:
    """The file's text.

    Args:
        level: up to which a failure counts; one of a lesser level is skipped, with what it came to.
        known: by the key of a row the reason why its failure is known: such a case is skipped.
    """
    root = ET.Element("testsuites", {"name": "bnconform"})
    columns: dict[tuple[str, str, str], list[Row]] = {}
    for row in result.rows:
        columns.setdefault(row.key[:3], []).append(row)
    causes = _causes(result)
    for column, rows in columns.items():
        suite = ET.SubElement(root, "testsuite", {"name": visible(".".join(("bnconform", *column)))})
        suite.set("timestamp", result.environment.started)
        for row in rows:
            for name, failed, card in _cases(row, causes):
                _case(suite, name, failed, card, level, (known or {}).get(row.key, ""))
        for word, tag in (("tests", "testcase"), ("failures", "testcase/failure"), ("skipped", "testcase/skipped")):
            suite.set(word, str(len(suite.findall(tag))))
        suite.set("errors", "0")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _causes(result: Result) -> dict[Key, list[tuple[FailedCheck, Card]]]:
    """By row, each cause for which it fails with the check that shows it."""
    found: dict[Key, list[tuple[FailedCheck, Card]]] = {}
    for card in cards(result):
        for key, check in card.examples.items():
            found.setdefault(key, []).append((check, card))
    return found


def _cases(row: Row, causes: Mapping[Key, list[tuple[FailedCheck, Card]]]) -> Iterator[tuple[str, Row, Card | None]]:
    """The cases of a row: one for each cause of its failure, the first called as the requirement."""
    mine = causes.get(row.key, []) if row.verdict in FAILURES else []
    if not mine:
        yield row.requirement, row, None
    for number, (check, card) in enumerate(mine, start=1):
        yield row.requirement + (f" (cause {number})" if number > 1 else ""), check.row, card


def _case(suite: ET.Element, name: str, row: Row, card: Card | None, level: str, known: str) -> None:
    case = ET.SubElement(suite, "testcase", {"classname": str(suite.get("name")), "name": visible(name)})
    words = ET.SubElement(case, "properties")
    told = {"level": row.level, "verdict": row.verdict, "checks": str(row.checks)}
    if row.bound_share is not None:
        told["bound_share"] = f"{row.bound_share:.3g}"
    for key, value in told.items():
        ET.SubElement(words, "property", {"name": key, "value": value})
    said = visible(card.cause if card else row.summary) or row.verdict
    if row.verdict == "unsupported":
        ET.SubElement(case, "skipped", {"message": said})
    elif row.verdict in FAILURES and (known or LEVELS.index(row.level) > LEVELS.index(level)):
        why = f"known: {known}" if known else f"level {row.level}"
        ET.SubElement(case, "skipped", {"message": visible(f"{row.verdict} ({why}): ") + said})
    elif row.verdict in FAILURES:
        failure = ET.SubElement(case, "failure", {"type": row.verdict, "message": said})
        failure.text = clean(row.message[:LONGEST])
