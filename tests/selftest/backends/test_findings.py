"""Each finding's reproduction runs, without bnconform, and prints what the finding says."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

FINDINGS = sorted((Path(__file__).parents[3] / "backends" / "findings").glob("*.md"))


def seen_with(text: str) -> list[tuple[str, str]]:
    """The packages and versions that a finding is about; at least one."""
    sentence = re.search(r"Seen\s+with\s(.*?)\d{4}-\d\d-\d\d", text, re.S)
    assert sentence, "a finding says with which versions it was seen: Seen with PACKAGE VERSION, DATE"
    found = re.findall(r"([A-Za-z][\w-]*)\s+(\d+\.\d+(?:\.\d+)*)", sentence.group(1))
    assert found
    return found


def installed(package: str) -> str | None:
    """The version of a package, or None; TensorFlow comes under two names."""
    for name in (package, f"{package}-cpu"):
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return None


@pytest.mark.parametrize("path", FINDINGS, ids=lambda path: path.stem)
def test_reproduction(path: Path, tmp_path: Path) -> None:
    """The code block runs on the framework alone and prints the block after it."""
    text = path.read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", text, re.S)
    printed = re.findall(r"prints\n\n```\n(.*?)```", text, re.S)[0]
    assert "bnconform" not in code
    for package, version in seen_with(text):
        if not (installed(package) or "none").startswith(version):
            pytest.skip(f"the finding is about {package} {version}; here is {installed(package) or 'none'}")
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout == printed
