"""Workflow commands of GitHub Actions: lines on standard output that it shows as annotations of the job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from bnconform.render.evidence import RowGroup, clean, failures, first_line
from bnconform.results.completeness import partial, reason
from bnconform.results.result import Result

MOST = 10
"""Annotations of each kind: GitHub shows no more of a step."""

LONGEST = 4000
"""Characters of a message; the job's log has all of it."""

COMMANDS = {"must": "error", "should": "warning"}
"""A failed `may` is a policy that is left open, and no annotation."""


class Place(NamedTuple):
    """Where an adapter is written, as GitHub finds it: the path from the repository's root."""

    file: str
    line: int


def workflow_commands(result: Result, adapters: Mapping[str, Place] | None = None) -> list[str]:
    """One line for each backend and requirement that failed, whatever the dtypes; the last says what is left out.

    Args:
        adapters: where the adapter of a backend is, for those that are files of the repository.
    """
    lines = []
    for level, command in COMMANDS.items():
        found = failures((row for row in result.rows if row.level == level), by_explanation=False)
        shown = found if len(found) <= MOST else found[: MOST - 1]
        lines += [_line(command, finding, (adapters or {}).get(finding.row.backend)) for finding in shown]
        if len(found) > len(shown):
            rest = f"{len(found) - len(shown)} more requirements of level {level} fail; the result file has them all"
            lines.append(f"::{command} title=bnconform::{_data(rest)}")
    if part := partial(result):
        lines.append(f"::warning title=bnconform::{_data(f'this is only a part: {part}; {reason(result)}')}")
    return lines


def _line(command: str, finding: RowGroup, place: Place | None) -> str:
    row = finding.row
    title = first_line(f"{row.requirement} {row.verdict}: {row.backend} {finding.places}")
    at = {"file": place.file, "line": str(place.line)} if place else {}
    properties = ",".join(f"{name}={_property(value)}" for name, value in {**at, "title": title}.items())
    message = "\n".join(_message(finding))
    return f"::{command} {properties}::{_data(message)}"


def _message(finding: RowGroup) -> Iterator[str]:
    if finding.row.diagnosis:
        yield f"explained by {finding.headline}"
    text = finding.row.message.strip() or f"{finding.row.verdict}, and nothing more is known"
    yield text if len(text) <= LONGEST else text[:LONGEST] + "\n..."


def _data(text: str) -> str:
    """The message of a command; the order matters, since % is what escapes."""
    return clean(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
