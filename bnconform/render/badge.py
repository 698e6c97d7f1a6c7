"""A badge: one line about a run, as a picture or as the data from which shields.io draws one."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

from bnconform.render.evidence import clean, failures
from bnconform.results.completeness import partial
from bnconform.results.files import FileError
from bnconform.results.result import Result

LABEL = "BatchNorm"
COLOURS = {"brightgreen": "#2a7d2e", "red": "#b3261e", "lightgrey": "#5f6368"}
"""The colours by shields.io's names; white letters are readable on each (contrast above 4.5 to 1)."""

_DIGIT = 6.6
"""Width of a letter in px, about: the text is stretched to the width that it is given room for."""


def check(path: Path) -> None:
    """Raise FileError for a path whose ending does not say which kind of badge is meant."""
    if path.suffix.lower() not in (".svg", ".json"):
        raise FileError(f"cannot tell the form of the badge {path}: give a path that ends in .svg or .json")


def words(result: Result) -> tuple[str, str]:
    """What the badge says, and in which colour.

    Green is only a complete result, or one that does not say, in which no must is violated, crashed or untrusted.
    """
    musts = [row for row in result.rows if row.level == "must"]
    judged = [row for row in musts if row.verdict != "unsupported"]
    failed = failures(musts, by_explanation=False)
    if failed:
        rules = len({finding.row.requirement for finding in failed})
        found = {finding.row.verdict for finding in failed}
        word = "violated" if "violates" in found else "crashed" if "crashed" in found else "untrusted"
        return f"{rules} requirement{'s' if rules > 1 else ''} {word}", "red"
    if not judged:
        return "nothing judged", "lightgrey"
    if part := partial(result):
        return part, "lightgrey"
    if any(row.verdict == "deviates" for row in judged):
        return "conforms as declared", "brightgreen"
    return "conforms", "brightgreen"


def badge(result: Result, path: Path) -> str:
    """The badge in the form that the path's ending asks for."""
    return as_json(result) if path.suffix.lower() == ".json" else as_svg(result)


def as_json(result: Result) -> str:
    """For shields.io's endpoint badge."""
    message, colour = words(result)
    data = {"schemaVersion": 1, "label": LABEL, "message": message, "color": colour}
    if colour == "red":
        data["isError"] = True
    return json.dumps(data, indent=1) + "\n"


def as_svg(result: Result) -> str:
    """A picture that needs nothing from elsewhere."""
    message, colour = words(result)
    left, right = (round(len(text) * _DIGIT) + 12 for text in (LABEL, message))
    label, said = (escape(clean(text)) for text in (LABEL, message))
    style = 'fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f'aria-label="{label}: {said}"><title>{label}: {said}</title>'
        f'<clipPath id="r"><rect width="{left + right}" height="20" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left}" height="20" fill="#444"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{COLOURS[colour]}"/></g>'
        f'<g {style} aria-hidden="true"><text x="{left / 2:g}" y="14" textLength="{left - 12}">{label}</text>'
        f'<text x="{left + right / 2:g}" y="14" textLength="{right - 12}">{said}</text></g></svg>\n'
    )
