"""Where the command runs: standard output that is closed or full, a folder that is gone, links that lead nowhere."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bnconform.cli import output
from bnconform.results.files import FileError, check_writable
from bnconform.results.result import read
from bnconform.tests.selftest.command import COMMAND, Answer, bnconform, environment

RUN = ("--dtype", "float32", "-k", "BN-RUN-VAR")
WORDS = {
    "run": RUN,
    "run with worker processes": (*RUN, "-n", "2"),
    "list": ("list", "--requirements"),
    "explain": ("explain", "BN-RUN-VAR"),
    "help": ("--help",),
}
"""Commands that print more than a pipe's reader takes, or at least something."""


def shell(folder: Path, script: str) -> Answer:
    """A line of a shell in a folder; `bnconform` in it is the command."""
    line = script.replace("bnconform", shlex.join(COMMAND), 1)
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=folder, env=environment(COLUMNS="100"), capture_output=True, encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip
    return Answer(done.returncode, done.stdout, done.stderr)


def assert_said(answer: Answer, *words: str) -> None:
    """One line on standard error says that the output could not be written, and the status is 2."""
    answer.assert_no_traceback()
    assert answer.status == 2, answer.out + answer.err
    lines = [line for line in answer.err.splitlines() if line.strip()]
    assert [line for line in lines if line.startswith("bnconform: cannot write to standard output: ")] == lines
    assert [word for word in words if word not in answer.err] == []


@pytest.mark.parametrize("words", WORDS.values(), ids=list(WORDS))
def test_full_output(words: tuple[str, ...], tmp_path: Path) -> None:
    """A device without room is said in one line."""
    assert_said(shell(tmp_path, f"bnconform {shlex.join(words)} > /dev/full"), "No space left on device")


@pytest.mark.parametrize("words", WORDS.values(), ids=list(WORDS))
def test_closed_output(words: tuple[str, ...], tmp_path: Path) -> None:
    """A command that is started without standard output does its work, and says that nobody saw it."""
    assert_said(shell(tmp_path, f"bnconform {shlex.join(words)} >&-"))


@pytest.mark.parametrize("words", WORDS.values(), ids=list(WORDS))
def test_output_that_nobody_reads(words: tuple[str, ...], tmp_path: Path) -> None:
    """A reader that has gone, as `head` has, is no reason for a traceback."""
    assert_said(shell(tmp_path, f"bnconform {shlex.join(words)} | true"), "Broken pipe")


def test_output_of_which_one_line_is_read(tmp_path: Path) -> None:
    """`head` has its line."""
    answer = shell(tmp_path, "bnconform list --requirements | head -1")
    answer.assert_no_traceback()
    assert answer.out.startswith("Requirements")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-", "> /dev/full", "| true"])
def test_result_is_written_all_the_same(closed: str, tmp_path: Path) -> None:
    """What was judged is in the file, which nothing was printed into, whatever became of the streams."""
    answer = shell(tmp_path, f"bnconform {shlex.join(RUN)} --json r.json {closed}")
    answer.assert_no_traceback()
    assert answer.status == (0 if closed in ("2>&-", "<&-") else 2)
    assert [row.verdict for row in read(tmp_path / "r.json").rows] == ["conforms"]


def test_characters_that_the_output_lacks(tmp_path: Path) -> None:
    """An output is not given up for a character that it cannot show."""
    stream = (tmp_path / "out").open("w", encoding="ascii")
    guarded = output.Output(stream)
    with pytest.raises(UnicodeEncodeError):
        guarded.write("\N{GREEK SMALL LETTER EPSILON}")
    assert guarded.write("e") == 1 and guarded.problem == ""
    stream.close()
    assert guarded.write("lost") == 4 and "closed" in guarded.problem
    guarded.flush()


@pytest.mark.parametrize("words", [RUN, ("list",), ("report", "r.json")], ids=["run", "list", "report"])
def test_folder_that_is_gone(words: tuple[str, ...], tmp_path: Path) -> None:
    """A command that starts in a folder that was removed is refused in one line."""
    gone = tmp_path / "gone"
    gone.mkdir()
    # The shell removes its own folder, and then becomes the command.
    script = f"rmdir {shlex.quote(str(gone))}; exec {shlex.join([*COMMAND, *words])}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=gone, env=environment(), capture_output=True, encoding="utf-8", check=False
    )
    Answer(done.returncode, done.stdout, done.stderr).assert_refused("the folder in which the command runs")


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    """A link that leads to itself by way of another."""
    (tmp_path / "a.json").symlink_to("b.json")
    (tmp_path / "b.json").symlink_to("a.json")
    return tmp_path / "a.json"


@pytest.mark.parametrize("option", ["--json", "--markdown", "--badge", "--baseline"])
def test_links_that_lead_to_each_other(option: str, loop: Path) -> None:
    """A run that is to write, or read, such a path is refused before it begins, and the links stay."""
    answer = bnconform(loop.parent, *RUN, "--json", "r.json", option, loop.name)
    answer.assert_refused("a.json", "symbolic links")
    assert loop.is_symlink() and not (loop.parent / "r.json").exists()


def test_links_that_lead_to_each_other_in_every_verb(loop: Path) -> None:
    """So is every verb that takes a file."""
    for words in (
        ("report", "a.json"),
        ("compare", "a.json", "a.json"),
        ("baseline", "update", "known.json", "a.json"),
        ("replay", "a.json"),
        ("identify", "--json", "a.json"),
    ):
        bnconform(loop.parent, *words).assert_refused("a.json", "symbolic links")


def test_link_to_a_file_is_followed(tmp_path: Path) -> None:
    """A link to a file that is there, or to one that is not yet, is written through; one out of a folder is not."""
    (tmp_path / "kept.json").write_text("")
    for name, target in (("link.json", "kept.json"), ("new.json", "later.json")):
        (tmp_path / name).symlink_to(target)
        check_writable(tmp_path / name)
    (tmp_path / "lost.json").symlink_to("nowhere/r.json")
    with pytest.raises(FileError):
        check_writable(tmp_path / "lost.json")


def test_nothing_is_left_of_the_guard(capsys: pytest.CaptureFixture[str]) -> None:
    """After the command standard output is what it was."""
    before = sys.stdout
    guarded = output.watch()
    sys.stdout.write("through\n")
    output.release(guarded)
    assert sys.stdout is before and capsys.readouterr().out == "through\n"
