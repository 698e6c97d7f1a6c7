"""`bnconform export` as a command: what it leaves, what it replaces, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bnconform.cli import export
from bnconform.cli.main import main
from bnconform.tests.selftest.command import bnconform
from bnconform.tests.selftest.vector_reader import strict

ONE_REQUIREMENT = ["--requirement", "BN-EVAL-MODE", "--dtype", "float32"]


def test_command_says_what_there_is(tmp_path: Path) -> None:
    """Two lines, a folder that others can read, and nothing else left behind."""
    answer = bnconform(tmp_path, "export", "out", *ONE_REQUIREMENT)
    assert answer.status == 0 and answer.err.strip() == ""
    assert answer.lines[0].startswith("2 vectors with 8 expected arrays are in 1 files")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "VECTORS.md", "consume.mjs", "manifest.json", "vectors", "vectors.schema.json",
    ]  # fmt: skip
    assert (tmp_path / "out").stat().st_mode & 0o777 == (tmp_path / "out" / "vectors").stat().st_mode & 0o777


def test_force_replaces_an_earlier_export_and_nothing_else(tmp_path: Path) -> None:
    """Files of the earlier export go, those that somebody else put there stay."""
    folder = tmp_path / "out"
    folder.mkdir()
    assert main(["export", str(folder), *ONE_REQUIREMENT, "--requirement", "BN-RUN-INIT-VAR"]) == 0
    (folder / "mine.txt").write_text("keep")
    (folder / "vectors" / "mine.json").write_text("keep")
    assert main(["export", str(folder), "--force", *ONE_REQUIREMENT]) == 0
    assert sorted(path.name for path in (folder / "vectors").iterdir()) == ["BN-EVAL-MODE-float32.json", "mine.json"]
    assert (folder / "mine.txt").read_text() == "keep"
    assert [entry["requirement"] for entry in strict(folder / "manifest.json")["files"]] == ["BN-EVAL-MODE"]
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


REFUSED: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "no folder": ([], ("export: the following arguments are required: DIR",)),
    "unknown option": (["out", "--fast"], ("export does not take '--fast'", "usage: bnconform export")),
    "two folders": (["out", "more"], ("export does not take 'more'", "usage: bnconform export")),
    "option without value": (["out", "--dtype"], ("--dtype", "expected one argument")),
    "unknown dtype": (["out", "--dtype", "float8"], ("float8", "float64, float32, float16, bfloat16")),
    "unknown requirement": (["out", "--requirement", "BN-RUN-VARS"], ("BN-RUN-VARS", "did you mean BN-RUN-VAR")),
    "nothing to export": (["out", "--requirement", "BN-ERR-RANK"], ("nothing to export", "BN-ERR-RANK", "law")),
    "no such dtype there": (
        ["out", "--requirement", "BN-DTYPE-HALF-SINGLE", "--dtype", "float64"],
        ("nothing to export", "bfloat16, float16"),
    ),
    "a file": (["file", *ONE_REQUIREMENT], ("file", "not a folder")),
    "below a file": (["file/out", *ONE_REQUIREMENT], ("file", "not a folder")),
    "no parent": (["no/such/out", *ONE_REQUIREMENT], ("no/such", "not a folder")),
    "not empty": (["full", *ONE_REQUIREMENT], ("full is not empty", "--force")),
    "not of ours": (["full", "--force", *ONE_REQUIREMENT], ("full", "no manifest of an export")),
    "another manifest": (["foreign", "--force", *ONE_REQUIREMENT], ("foreign", "no manifest of an export")),
    "manifest that points out": (["trap", "--force", *ONE_REQUIREMENT], ("trap", "no manifest of an export")),
    "in the way": (
        ["taken", "--force", *ONE_REQUIREMENT],
        ("vectors/BN-EVAL-MODE-float32.json", "belongs to no earlier export"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_and_nothing_is_left(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says what to do, and every folder is as it was."""
    arguments, words = REFUSED[case]
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    empty: dict[str, Any] = {
        "schema": export.SCHEMA, "bnconform": "", "created": "2026-01-01", "files": [], "documents": [],
        "without_vectors": [], "left_out": [],
        "counts": dict.fromkeys(("files", "vectors", "expected", "numbers", "left_out", "bytes"), 0),
    }  # fmt: skip
    escaping = empty | {"documents": [{"path": "../file", "sha256": "0" * 64, "bytes": 0}]}
    for name, content in (("full", None), ("foreign", {"files": []}), ("trap", escaping), ("taken", empty)):
        (Path(name) / "vectors").mkdir(parents=True)
        (Path(name) / "vectors" / "BN-EVAL-MODE-float32.json").write_text("mine")
        if content is not None:
            (Path(name) / "manifest.json").write_text(json.dumps(content))
    before = {path: path.read_bytes() if path.is_file() else b"" for path in Path().rglob("*")}
    assert main(["export", *arguments]) == 2
    shown = capsys.readouterr()
    lines = [line for line in (shown.out + shown.err).splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("bnconform: ")
    assert [word for word in words if word not in lines[0]] == []
    assert {path: path.read_bytes() if path.is_file() else b"" for path in Path().rglob("*")} == before


@pytest.mark.parametrize("problem", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "stop"])
def test_an_export_that_breaks_off_leaves_nothing(
    problem: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk, or an interruption, leaves no folder and no temporary one."""
    put = export._put

    def breaking(place: Path, path: str, content: bytes) -> dict[str, Any]:
        if path == "manifest.json":
            raise problem
        return put(place, path, content)

    monkeypatch.setattr(export, "_put", breaking)
    assert main(["export", str(tmp_path / "out"), *ONE_REQUIREMENT]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("bnconform: ") and ("No space left" in said or said == "bnconform: interrupted")
    assert list(tmp_path.iterdir()) == []
