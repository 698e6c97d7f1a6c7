"""Findings: what was found out about released frameworks, each a Markdown file with its facts as data.

Under the title of a finding stands a block of TOML of the form `finding.schema.json`; the text after it says what a
user sees and has lines that show it by the framework alone, with what they print.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnconform.cases.json_files import JsonForm
from bnconform.results.files import FileError
from bnconform.results.result import LEVELS

INDEX = "README.md"
"""The page in the folder that lists all of them, made by `bnconform list --findings`."""

CLASSES = ("defect", "quality", "convention")
"""What a finding may be, the worst first."""


FAILING = ("crashed", "violates", "untrusted")
"""The verdicts that say that a requirement is not met."""


class FindingError(FileError):
    """A finding that cannot be used; the message says why, in one line."""


FORM = JsonForm("finding", Path(__file__).parent / "finding.schema.json", FindingError)

Cell = tuple[str, str, str]
"""(row, dtype, requirement): what a verdict is on."""


@dataclass(frozen=True)
class FindingVerdict:
    """What the suite says of some rows: every row in every one of these dtypes, for every one of these requirements.

    Attributes:
        level: of all these requirements. because: why the verdict is not a violation, or "".
    """

    rows: tuple[str, ...]
    dtypes: tuple[str, ...]
    requirements: tuple[str, ...]
    level: str
    verdict: str
    because: str = ""

    def cells(self) -> Iterable[Cell]:
        """What it is on, one by one."""
        for row in self.rows:
            for dtype in self.dtypes:
                for requirement in self.requirements:
                    yield row, dtype, requirement


@dataclass(frozen=True)
class Finding:
    """A finding.

    Attributes:
        name: of its file, without the ending. title: its first line.
        kind: one of CLASSES. packages: version by distribution. seen: the date, ISO 8601.
        trackers: where it is known, "https://...: in words", or "none found on DATE: where".
        code, printed: lines that use the framework alone, and what they print.
    """

    name: str
    title: str
    kind: str
    packages: Mapping[str, str]
    seen: str
    trackers: tuple[str, ...]
    verdicts: tuple[FindingVerdict, ...]
    code: str
    printed: str

    @property
    def rows(self) -> tuple[str, ...]:
        """The rows that it is about, each once."""
        return tuple(dict.fromkeys(row for verdict in self.verdicts for row in verdict.rows))

    def severity(self) -> tuple[Any, ...]:
        """A sorting key, the worst first: by the level that is violated, class and number of rows; then by name."""
        levels = [LEVELS.index(one.level) for one in self.verdicts if one.verdict in FAILING]
        return min(levels, default=len(LEVELS)), CLASSES.index(self.kind), -len(self.rows), self.name


def findings(folder: Path) -> tuple[Finding, ...]:
    """All findings in a folder, the worst first.

    Raises:
        FindingError: for a file that is none, and where two of them say different things of one cell.
    """
    found = [read(path) for path in sorted(folder.glob("*.md")) if path.name != INDEX]
    said: dict[Cell, tuple[str, str]] = {}
    for one in found:
        for verdict in one.verdicts:
            for cell in verdict.cells():
                name, before = said.setdefault(cell, (one.name, verdict.verdict))
                if before != verdict.verdict:
                    words = " ".join(cell)
                    raise FindingError(f"{words}: {before} by {name}.md, {verdict.verdict} by {one.name}.md")
    return tuple(sorted(found, key=Finding.severity))


def read(path: Path) -> Finding:
    """The finding in a file; FindingError, naming file and place, where it is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as problem:
        raise FindingError(f"cannot read the finding {path}: {problem.strerror or problem}") from None
    head = re.match(r"# (.+)\n\n```toml\n(.*?)```\n", text, re.S)
    if head is None:
        raise FindingError(f"{path} is not a finding: it does not begin with a title and a block of TOML")
    code = re.findall(r"```python\n(.*?)```", text, re.S)
    printed = re.findall(r"prints\n\n```\n(.*?)```", text, re.S)
    if len(code) != 1 or len(printed) != 1:
        raise FindingError(f"{path} is not a finding: it has not one block of Python and, after 'prints', one more")
    try:
        data = tomllib.loads(head[2])
        FORM.check(data)
    except (tomllib.TOMLDecodeError, FindingError) as problem:
        raise FORM.refusal(path, problem) from None
    return Finding(
        path.stem, head[1], data["class"], data["packages"], data["seen"], tuple(data["trackers"]),
        tuple(_verdict(entry) for entry in data["verdicts"]), code[0], printed[0],
    )  # fmt: skip


def _verdict(entry: Mapping[str, Any]) -> FindingVerdict:
    lists = {name: tuple(entry[name]) for name in ("rows", "dtypes", "requirements")}
    return FindingVerdict(**lists, level=entry["level"], verdict=entry["verdict"], because=entry.get("because", ""))
