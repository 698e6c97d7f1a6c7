"""The command `train`: what it prints and writes of right and wrong layers, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnconform.results import training
from bnconform.tests.selftest.cases.test_images import fill
from bnconform.tests.selftest.command import bnconform

SMALL = ("--data", "set", "--steps", "2", "--batch", "8")

WRONG = """
from bnconform.backends.numpy_layer import NumpyBackend


class Forgets(NumpyBackend):
    name = "forgets"

    def build(self, config, device):
        layer = super().build(config, device)
        layer.momentum = 0.9
        return layer


class Lacks(NumpyBackend):
    name = "lacks"
    unsupported = {"backward": "it has no gradients"}


class Dies(NumpyBackend):
    name = "dies"

    def build(self, config, device):
        layer = super().build(config, device)
        layer.backward = None
        return layer
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a set of images and some layers."""
    (tmp_path / "set").mkdir()
    fill(tmp_path / "set", count=128, labels=128)
    (tmp_path / "mine.py").write_text(WRONG, encoding="utf-8")
    return tmp_path


def test_layers_of_ones_own(folder: Path) -> None:
    """A wrong momentum is named though the loss is right; a crash fails, what is lacking does not; files are there."""
    names = ("numpy", "mine.py:Forgets", "mine.py:Lacks", "mine.py:Dies")
    answer = bnconform(
        folder, "train", *(word for name in names for word in ("--backend", name)), *SMALL, "--json", "found.json",
        "--markdown", "page.md",
    )  # fmt: skip
    answer.assert_no_traceback()
    assert answer.status == 1, answer.out + answer.err
    rows = {(row.backend, row.dtype): row for row in training.read(folder / "found.json").rows}
    assert len(rows) == 2 * len(names)
    for dtype in ("float64", "float32"):
        wrong = rows["mine.py:Forgets", dtype]
        assert (wrong.verdict, wrong.explained) == ("violates", ("momentum_weighs = running",))
        assert wrong.largest("loss") <= 1 < wrong.largest("running_mean")
        assert rows["numpy", dtype].verdict == "conforms"
        assert (rows["mine.py:Lacks", dtype].verdict, rows["mine.py:Lacks", dtype].words) == (
            "unsupported", "it has no gradients",
        )  # fmt: skip
        assert rows["mine.py:Dies", dtype].verdict == "crashed"
    assert "momentum_weighs = running" in answer.out and "2 steps" in answer.out
    again = bnconform(folder, "train", "--read", "found.json", "--markdown", "again.md")
    assert again.status == 1
    assert (folder / "again.md").read_text("utf-8") == (folder / "page.md").read_text("utf-8")


REFUSED = {
    "half": (("--backend", "numpy", "--dtype", "f16", *SMALL), "train knows float64 and float32"),
    "no backend": (("--backend", "nunpy", *SMALL), "did you mean numpy?"),
    "a tool": (("--backend", "mine.py:None", *SMALL), "mine.py has no None"),
    "device": (("--backend", "numpy", "--device", "cuda:7", *SMALL), "no device 'cuda:7'"),
    "few images": (("--backend", "numpy", "--data", "set", "--batch", "100"), "are needed"),
    "no steps": (("--steps", "0"), "no number from 1"),
    "no set": (("--data", "absent", "--backend", "numpy"), "there is no such folder"),
    "no result": (("--read", "absent.json"), "cannot read the training absent.json"),
    "picture": (("--plot", "picture.png"), "ends in .svg"),
    "no folder": (("--json", "absent/found.json"), "absent is not a folder"),
}


@pytest.mark.parametrize(("given", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_carried_out(given: tuple[str, ...], words: str, folder: Path) -> None:
    """One line, exit status 2."""
    bnconform(folder, "train", *given).assert_refused(words)
