"""What the findings say is so: their reproductions, their verdicts, the page that lists them, the known failures."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import bnconform
from bnconform.backends import registry
from bnconform.render.findings_page import page
from bnconform.results.findings import FAILING, INDEX, Finding, FindingError, findings, read
from bnconform.spec.catalogue import requirement
from bnconform.spec.formats import DTYPES

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "backends" / "findings"
FINDINGS = findings(FOLDER)

SEEN = {"crashed": ("crashed", "violates")}
"""What may be seen of a verdict: whether a fault in memory ends the process is chance."""

Cell = tuple[str, str, str]


def find_version(package: str) -> str | None:
    """The version of a package, or None; TensorFlow comes under two names."""
    for name in (package, f"{package}-cpu"):
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return None


def lacking(finding: Finding) -> str:
    """Which version that a finding is about is not here; "" where all are."""
    for package, version in finding.packages.items():
        if not (find_version(package) or "none").startswith(version):
            return f"{finding.name} is about {package} {version}; here is {find_version(package) or 'none'}"
    return ""


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda finding: finding.name)
def test_reproduction(finding: Finding, tmp_path: Path) -> None:
    """The code block runs on the framework alone and prints the block after it."""
    assert "bnconform" not in finding.code
    if reason := lacking(finding):
        pytest.skip(reason)
    run = subprocess.run(
        [sys.executable, "-c", finding.code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == finding.printed


def say(row: str) -> Iterator[tuple[Cell, str, Finding]]:
    """What the findings say of a row: the cells, the verdict on each, and which finding says it."""
    for finding in FINDINGS:
        for verdict in finding.verdicts:
            for cell in verdict.cells():
                if cell[0] == row:
                    yield cell, verdict.verdict, finding


ROWS = sorted({row for finding in FINDINGS for row in finding.rows})


@pytest.mark.thorough
@pytest.mark.parametrize("row", ROWS)
def test_verdicts(row: str) -> None:
    """The suite says of a row, on the CPU, what the findings say, and fails nothing else of these in these dtypes."""
    expected = {cell: (verdict, finding) for cell, verdict, finding in say(row)}
    if reason := registry.missing(registry.find_known(row)):
        pytest.skip(reason)
    for _, finding in expected.values():
        if reason := lacking(finding):
            pytest.skip(reason)
    names = sorted({requirement for _, _, requirement in expected})
    dtypes = [dtype for dtype in DTYPES if any(dtype == cell[1] for cell in expected)]
    result = bnconform.judge(row, devices=["cpu"], requirements=names, dtypes=dtypes)
    found = {(line.backend, line.dtype, line.requirement): line.verdict for line in result.rows}
    wrong = [
        f"{' '.join(cell)}: {finding.name} says {verdict}, the suite {found.get(cell, 'nothing')}"
        for cell, (verdict, finding) in expected.items()
        if found.get(cell) not in SEEN.get(verdict, (verdict,))
    ]
    wrong += [
        f"{' '.join(cell)}: {verdict}, of which no finding is"
        for cell, verdict in found.items()
        if verdict in FAILING and cell not in expected
    ]
    assert not wrong


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda finding: finding.name)
def test_what_is_named_exists(finding: Finding) -> None:
    """Rows and requirements are those of this version, and levels are those of the catalogue."""
    for verdict in finding.verdicts:
        assert set(verdict.rows) <= {*registry.BUILTIN, *registry.DEPLOYMENTS}
        assert {requirement(name).level for name in verdict.requirements} == {verdict.level}


def test_page_is_up_to_date() -> None:
    """The page lists all findings as they are; `bnconform list --findings` prints it."""
    assert (FOLDER / INDEX).read_text(encoding="utf-8") == page(FINDINGS)


def test_known_failures_are_findings() -> None:
    """Each failure that the continuous integration accepts is one that the finding named in its reason names."""
    by_name = {finding.name: finding for finding in FINDINGS}
    for entry in json.loads((ROOT / ".ci" / "known.json").read_text(encoding="utf-8"))["entries"]:
        finding = by_name[Path(entry["reason"].split()[-1]).stem]
        cells = {
            (*cell, verdict.verdict) for verdict in finding.verdicts for cell in verdict.cells()
        }  # fmt: skip
        assert (entry["backend"], entry["dtype"], entry["requirement"], entry["verdict"]) in cells


HEAD = """\
# Title

```toml
class = "defect"
packages = {torch = "2.13.0"}
seen = "2026-11-22"
trackers = ["none found on 2026-11-22: pytorch/pytorch"]

[[verdicts]]
rows = ["torch.nn"]
dtypes = ["float32"]
requirements = ["BN-RUN-VAR"]
level = "must"
verdict = "violates"
```
"""
BODY = "\nWhat.\n\n```python\nprint(1)\n```\n\nprints\n\n```\n1\n```\n"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("# Title", "Title", "does not begin with a title"),
        ('class = "defect"', 'class = "bug"', "at class: 'bug' is not one of"),
        ("[[verdicts]]", "[[verdict]]", "at the top:"),
        ('seen = "2026-11-22"', "seen = ", "Invalid value"),
        ("none found on 2026-11-22: pytorch/pytorch", "none found", "at trackers/0"),
        ('verdict = "violates"', 'verdict = "conforms"', "'because' is a required property"),
        ("prints", "gives", "has not one block of Python"),
        ('torch = "2.13.0"', 'torch = "new"', "at packages/torch"),
    ],
)
def test_refusals(tmp_path: Path, old: str, new: str, words: str) -> None:
    """A file that is no finding is refused in one line that names it and the place."""
    path = tmp_path / "one.md"
    path.write_text(HEAD + BODY, encoding="utf-8")
    assert read(path).rows == ("torch.nn",)
    path.write_text((HEAD + BODY).replace(old, new), encoding="utf-8")
    with pytest.raises(FindingError) as refused:
        read(path)
    assert words in str(refused.value) and "one.md" in str(refused.value) and "\n" not in str(refused.value)


def test_two_that_contradict_are_refused(tmp_path: Path) -> None:
    """One cell has one verdict, whichever findings name it."""
    (tmp_path / "one.md").write_text(HEAD + BODY, encoding="utf-8")
    other = HEAD.replace('"violates"', '"conforms"\nbecause = "of something else"')
    (tmp_path / "other.md").write_text(other + BODY, encoding="utf-8")
    with pytest.raises(FindingError, match=r"torch.nn float32 BN-RUN-VAR: violates by one.md, conforms by other.md"):
        findings(tmp_path)


def test_worst_come_first(tmp_path: Path) -> None:
    """By level, by class, then by the number of rows; what violates nothing is last."""
    ways = {
        "a": ('"violates"', '"conforms"\nbecause = "of something else"'),
        "b": ('"must"', '"should"'),
        "c": ('"defect"', '"quality"'),
        "d": ('["torch.nn"]', '["torch.nn", "torch.nn+lazy"]'),
        "e": ("Title", "Other"),
    }
    for name, (old, new) in ways.items():
        text = (HEAD + BODY).replace(old, new)
        text = text.replace("BN-RUN-VAR", "BN-RUN-MEAN") if name == "a" else text
        (tmp_path / f"{name}.md").write_text(text, encoding="utf-8")
    assert [finding.name for finding in findings(tmp_path)] == ["d", "e", "c", "b", "a"]
