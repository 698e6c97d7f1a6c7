"""The command `deploy`: what it prints of a model of one's own, what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bnconform.tests.selftest.command import bnconform

MODEL = """
import torch


def make():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU())
    model[1].running_var.copy_(torch.tensor([1.0, 4.0, 9.0, 16.0]))
    return model, torch.randn(3, 4, 4)
"""


def test_a_tool_that_is_wrong_is_told_with_the_batch_norm(tmp_path: Path) -> None:
    """Exit status 1, the name and the pattern; the file has the same."""
    pytest.importorskip("torch")
    (tmp_path / "own.py").write_text(MODEL, encoding="utf-8")
    answer = bnconform(
        tmp_path, "deploy", "--torch", "own.py:make", "--tool", "torch.fx.fuse", "--tool", "torch.jit.trace", "--json",
        "found.json",
    )  # fmt: skip
    assert answer.status == 1, answer.out
    assert "Linear 0 -> BatchNorm1d 1 of rank 3 (3, 4, 4) -> ReLU 2" in answer.out
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert {one["tool"]: one["verdict"] for one in found["tools"]} == {
        "torch.fx.fuse": "violates", "torch.jit.trace": "conforms",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((), "deploy takes one model"),
        (("--torch", "own.py:make", "--keras", "own.py:make"), "deploy takes one model"),
        (("--torch", "own.py:make", "--tool", "torch.fx.fuze"), "did you mean torch.fx.fuse?"),
        (("--torch", "own.py:make", "--input", "three"), "neither a shape such as 4,3,32,32"),
        (("--torch", "own.py:make", "--input", "absent.npy"), "cannot be read as an array"),
    ],
)
def test_what_cannot_be_carried_out(given: tuple[str, ...], words: str, tmp_path: Path) -> None:
    """One line, exit status 2."""
    bnconform(tmp_path, "deploy", *given).assert_refused(words)
