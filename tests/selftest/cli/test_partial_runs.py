"""Runs that judge a part of the suite, or do not come to their end: what they write, say and return."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from bnconform.cli.main import main
from bnconform.results.result import Result, read
from bnconform.tests.selftest.command import ADAPTERS, CLONE, COMMAND, Answer, bnconform, environment

BIASED = ("--backend", f"{ADAPTERS / 'subjects.py'}:RemembersBiased")
WHOLE_COLUMN = ("--dtype", "bfloat16")
NARROW = (*WHOLE_COLUMN, "-k", "BN-RUN-VAR")

SLOW = """
import pathlib, time
from bnconform.backends.numpy_layer import NumpyBackend

class Slow(NumpyBackend):
    name = "slow"

    def build(self, config, device):
        if config.ndim == 3:
            pathlib.Path("slow").touch()
            time.sleep(0.5)
        return super().build(config, device)
"""


def judge(result: Result) -> tuple[bool, str, bool]:
    """Whether it is complete, how it ended, and whether nothing narrowed it."""
    assert result.completion is not None and result.selection is not None
    return result.completion.complete, result.completion.ended, not result.selection.narrowed_by


def end_by(number: signal.Signals, folder: Path, options: Sequence[str]) -> Answer:
    """A run that gets a signal when some of its checks are done."""
    (folder / "adapter.py").write_text(SLOW)
    command = [*COMMAND, "--backend", "adapter.py:Slow", "--dtype", "float32", *options]
    with subprocess.Popen(
        command, cwd=folder, env=environment(COLUMNS="100"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        for _ in range(600):
            if (folder / "slow").exists():
                break
            time.sleep(0.1)
        time.sleep(1)  # the first slow layer is that of the smoke check, before anything is judged
        run.send_signal(number)
        out, err = run.communicate(timeout=60)
    return Answer(run.returncode, out, err)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a complete run of one column."""
    folder = tmp_path_factory.mktemp("whole")
    assert bnconform(folder, *WHOLE_COLUMN, "--json", "r.json").status == 0
    return folder


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("processes", [(), ("-n", "2")], ids=["one process", "two processes"])
def test_column_is_a_complete_run(processes: tuple[str, ...], whole: Path, tmp_path: Path) -> None:
    """A run of one dtype is whole in what it judges, however many processes run it."""
    answer = bnconform(tmp_path, *WHOLE_COLUMN, "--json", "r.json", "--badge", "b.svg", *processes)
    assert answer.status == 0 and "only a part" not in answer.out
    result = read(tmp_path / "r.json")
    assert judge(result) == (True, "finished", True)
    assert result.selection is not None and result.selection.dtypes == ("bfloat16",)
    assert result.selection == read(whole / "r.json").selection
    assert "conforms" in (tmp_path / "b.svg").read_text()


NARROWINGS: dict[str, tuple[tuple[str, ...], str]] = {
    "words": (("-k", "BN-RUN-VAR"), "-k BN-RUN-VAR"),
    "words, in two processes": (("-k", "BN-RUN-VAR", "-n", "2"), "-k BN-RUN-VAR"),
    "mark": (("-m", "not once"), "-m not once"),
    "chapter": (("--chapter", "quality", "--level", "may"), "--chapter quality"),
    "left out": (
        ("--deselect", "tests/conformance/test_running.py::test_sequences"),
        "--deselect tests/conformance/test_running.py::test_sequences",
    ),
}


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize(("options", "words"), NARROWINGS.values(), ids=list(NARROWINGS))
def test_narrowed_run_is_never_green(options: tuple[str, ...], words: str, tmp_path: Path) -> None:
    """Badge, Markdown, annotations and last line say that it is a part, and of what; the status is that of the part."""
    files = ("--json", "r.json", "--badge", "b.svg", "--markdown", "m.md", "--annotations")
    answer = bnconform(tmp_path, "--dtype", "float64", *options, *files)
    assert answer.status == 0
    assert f"narrowed by {words}" in " ".join(answer.out.split())
    assert "::warning title=bnconform::this is only a part" in answer.out
    result = read(tmp_path / "r.json")
    assert judge(result) == (False, "finished", False)
    assert result.selection is not None and result.selection.narrowed_by == (words,)
    badge = (tmp_path / "b.svg").read_text()
    assert "musts judged" in badge and "conforms" not in badge
    assert "Only a part" in (tmp_path / "m.md").read_text()


@pytest.mark.thorough
@pytest.mark.skipif(CLONE is None, reason="pytest runs the suite itself in a clone alone")
def test_node_id_is_a_part(tmp_path: Path) -> None:
    """So is what is named by the id of a test; beside the folder of all tests, the id narrows nothing."""
    assert CLONE is not None
    node = f"{CLONE / 'tests' / 'conformance' / 'test_running.py'}::test_sequences"
    options = ["--dtype", "float64", "--json", str(tmp_path / "r.json")]
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", node, *options]
    done = subprocess.run(command, cwd=CLONE, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = read(tmp_path / "r.json")
    assert judge(result) == (False, "finished", False)
    assert result.selection is not None and result.selection.narrowed_by == ("test_running.py::test_sequences",)
    bnconform(tmp_path, "run", node, *options)
    assert judge(read(tmp_path / "r.json")) == (True, "finished", True)


def test_stopped_run_says_so(tmp_path: Path) -> None:
    """With -x the rest is not judged."""
    answer = bnconform(tmp_path, *BIASED, "--dtype", "float32", "-x", "--json", "r.json")
    assert answer.status == 1
    assert judge(read(tmp_path / "r.json")) == (False, "stopped", True)
    assert "stopped after " in " ".join(answer.out.split())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["interrupt", "termination"])
def test_interrupted_run_writes_what_there_is(number: signal.Signals, tmp_path: Path) -> None:
    """It is marked, the status is 2, and nothing of ours is shown as a traceback."""
    answer = end_by(number, tmp_path, ["--json", "r.json", "--badge", "b.json"])
    answer.assert_no_traceback()
    assert answer.status == 2, answer.out + answer.err
    result = read(tmp_path / "r.json")
    assert judge(result) == (False, "interrupted", True)
    assert result.completion is not None and 0 < result.completion.finished < result.completion.selected
    assert result.rows
    assert "interrupted after " in " ".join(answer.out.split())
    assert "conforms" not in (tmp_path / "b.json").read_text()


def test_interrupted_run_leaves_a_complete_file(whole: Path, tmp_path: Path) -> None:
    """What there is is written beside it, and one line says so; a partial file is replaced."""
    kept = (whole / "r.json").read_bytes()
    for name in ("r.json", "b.svg"):
        (tmp_path / name).write_bytes(kept)
    answer = end_by(signal.SIGINT, tmp_path, ["--json", "r.json", "--badge", "b.svg"])
    assert answer.status == 2
    assert (tmp_path / "r.json").read_bytes() == (tmp_path / "b.svg").read_bytes() == kept
    assert judge(read(tmp_path / "r.partial.json")) == (False, "interrupted", True)
    assert (tmp_path / "b.partial.svg").exists()
    assert "The result is in r.partial.json" in answer.lines
    assert "r.json is left as it was, since the run did not come to its end" in answer.lines
    (tmp_path / "r.partial.json").replace(tmp_path / "r.json")
    (tmp_path / "slow").unlink()
    again = end_by(signal.SIGINT, tmp_path, ["--json", "r.json"])
    assert "The result is in r.json" in again.lines and not (tmp_path / "r.partial.json").exists()


def test_narrowed_run_says_what_it_replaces(whole: Path, tmp_path: Path) -> None:
    """A complete result in whose place a part is written is not lost in silence."""
    (tmp_path / "r.json").write_bytes((whole / "r.json").read_bytes())
    line = "r.json held a complete result, which this part of a run has replaced"
    assert line in bnconform(tmp_path, *NARROW, "--json", "r.json").lines
    assert line not in bnconform(tmp_path, *NARROW, "--json", "r.json").lines


def test_reports_of_files(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is made from files says what the run said, also of several of which one is a part."""
    bnconform(tmp_path, "--dtype", "float32", "-k", "BN-RUN-VAR", "--json", "part.json")
    given = [str(whole / "r.json"), str(tmp_path / "part.json")]
    assert main(["report", *given]) == 0
    assert "(only a part: " in capsys.readouterr().out
    known = str(tmp_path / "known.json")
    assert main(["baseline", "update", known, *given]) == 0
    assert f"{given[1]} is only a part of a run" in capsys.readouterr().out
    assert main(["baseline", "check", known, *given]) == 0
    assert "nothing is newly wrong in what was judged, which is only a part" in capsys.readouterr().out
