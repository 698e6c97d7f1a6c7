"""The command with a tool that deploys models: it is judged by its own chapter, and refused where a layer is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnconform.results.result import read
from bnconform.tests.selftest.command import bnconform

TOOL = '''
from bnconform.tests.mutants.right_folding import {name}


class Tool:
    """A folder of the suite's own, as a tool."""

    name = "tool"
    deviations = {{}}
    unsupported = {{}}

    def devices(self):
        return ["cpu"]

    def load(self, model, device):
        return {name}(model)

    def deploy(self, original, example):
        return original.deploy(example)

    def parameters(self, original):
        return original.parameters()
'''


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    """A right one, in a file."""
    path = tmp_path / "tool.py"
    path.write_text(TOOL.format(name="FoldsNothing"), encoding="utf-8")
    return path


def test_a_tool_is_judged_by_its_chapter(tool: Path) -> None:
    """In a process of its own, beside a layer: each has the rows of its kind, and none of the other's."""
    part = ("--dtype", "float32", "-k", "BN-FOLD-EQUAL or BN-STATE-INPUT", "--json", "r.json")
    answer = bnconform(tool.parent, "--backend", f"{tool}:Tool", "--backend", "numpy", *part)
    assert answer.status == 0, answer.out
    rows = {(row.backend, row.requirement): row.verdict for row in read(tool.parent / "r.json").rows}
    assert rows == {("tool", "BN-FOLD-EQUAL"): "conforms", ("numpy", "BN-STATE-INPUT"): "conforms"}


def test_a_tool_has_no_layer(tool: Path) -> None:
    """What measures a layer refuses it in one line that says what to do."""
    answer = bnconform(tool.parent, "identify", "--backend", f"{tool}:Tool")
    answer.assert_refused("tool deploys models and has no layer to measure; bnconform --backend judges it")
