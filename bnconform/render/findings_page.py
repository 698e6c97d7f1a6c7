"""The page of all findings: one row each, the worst first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bnconform.results.findings import FAILING, Finding, FindingVerdict

INTRODUCTION = """\
What was found out about released frameworks, each shown by a few lines of the framework alone. This page is made by
`bnconform list --findings`; a self-test compares it with the files, and the verdicts in them with what the suite says
of the rows today.

- **defect**: it contradicts the documentation, mathematics, or what the same library does elsewhere.
- **quality**: the answer is right in exact arithmetic, and less accurate than it could be.
- **convention**: a choice that others make otherwise, and that its users should know.

The worst come first: by the level of the requirement that is violated, then by class, then by the number of rows. Where
the last column says "none found", the tracker was searched and has no report."""


class FindingText(NamedTuple):
    """A finding with what its file says below its facts, as Markdown."""

    finding: Finding
    text: str

    @property
    def level(self) -> str:
        """Of the requirement that is violated, or "none violated"."""
        return _level(self.finding.verdicts)


def body(text: str) -> str:
    """What the file of a finding says below its title and its facts."""
    return re.sub(r"\A# .+\n\n```toml\n.*?```\n", "", text, count=1, flags=re.S).lstrip("\n")


def page(findings: Sequence[Finding]) -> str:
    """The page, as Markdown."""
    lines = [
        "# Findings",
        "",
        INTRODUCTION,
        "",
        "| finding | class | level | what the suite says | with | known |",
        "|---|---|---|---|---|---|",
        *(_line(finding) for finding in findings),
    ]
    return "\n".join(lines) + "\n"


def _line(finding: Finding) -> str:
    cells = (
        f"[{finding.title}]({finding.name}.md)",
        finding.kind,
        _level(finding.verdicts),
        "; ".join(_words(one) for one in finding.verdicts),
        ", ".join(f"{name} {version}" for name, version in finding.packages.items()),
        ", ".join(_tracker(text) for text in finding.trackers),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _level(verdicts: Iterable[FindingVerdict]) -> str:
    levels = [one.level for one in verdicts if one.verdict in FAILING]
    return next((level for level in ("must", "should", "may") if level in levels), "none violated")


def _words(one: FindingVerdict) -> str:
    rows = ", ".join(f"`{row}`" for row in one.rows)
    return f"{rows}: {one.verdict} {_ids(one.requirements)} in {_dtypes(one.dtypes)}"


REQUIREMENTS_SHOWN = 3
"""Requirements that are named; of more, the others are counted."""


def _ids(names: Sequence[str]) -> str:
    more = len(names) - REQUIREMENTS_SHOWN
    return ", ".join(names[:REQUIREMENTS_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _dtypes(names: Sequence[str]) -> str:
    return "every dtype" if len(names) == 4 else ", ".join(names)


def _tracker(text: str) -> str:
    if text.startswith("none found"):
        return text.partition(":")[0]
    place, _, words = text.partition(": ")
    return f"[{words}]({place})"
