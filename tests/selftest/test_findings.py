"""Each finding's reproduction runs, without bnconform, and prints what the finding says."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

FINDINGS = sorted((Path(__file__).parents[2] / "report" / "findings").glob("*.md"))


@pytest.mark.parametrize("path", FINDINGS, ids=lambda path: path.stem)
def test_reproduction(path: Path, tmp_path: Path) -> None:
    """The code block runs on the framework alone and prints the block after it."""
    pytest.importorskip("torch")
    text = path.read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", text, re.S)
    printed = re.findall(r"prints\n\n```\n(.*?)```", text, re.S)[0]
    version = re.search(r"torch (\d+\.\d+\.\d+)", text)
    assert version and "bnconform" not in code
    if not importlib.metadata.version("torch").startswith(version.group(1)):
        pytest.skip(f"the finding is about torch {version.group(1)}")
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout == printed
