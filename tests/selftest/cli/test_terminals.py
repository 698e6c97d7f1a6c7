"""The command at terminals of every kind: 80 and 120 columns, without colours, a dumb one, and a pipe."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path

import pytest

from bnconform.results import result as results
from bnconform.tests.selftest.command import COMMAND, bnconform, environment
from bnconform.tests.selftest.rows import grid, row, run

ESCAPE = "\x1b"
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[;\d]*m")
"""A sequence that sets a colour; weight is none."""

SECONDS = 120
LONG = "bnconform replay", "replay  "
"""A command to copy stays in one line."""

ASKED = ("--dtype", "float32", "-k", "BN-RUN-MEAN-2-values")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a result of every verdict, and long texts."""
    place = tmp_path_factory.mktemp("terminals")
    more = row("violates", backend="a name that is longer than its column", message="found " + "words " * 60)
    results.write(place / "r.json", run(*grid(["a", "b", "c"]), more))
    return place


def at_a_terminal(folder: Path, *words: str, **variables: str) -> str:
    """What the command shows at a terminal that it takes for one."""
    ours, theirs = pty.openpty()
    settings = environment() | {"COLUMNS": "80", "LINES": "40", "TERM": "xterm-256color"} | variables
    process = subprocess.Popen(
        [*COMMAND, *words], cwd=folder, env=settings, stdin=theirs, stdout=theirs, stderr=theirs
    )  # fmt: skip
    os.close(theirs)
    shown, until = b"", time.monotonic() + SECONDS
    try:
        while time.monotonic() < until:
            ready, _, _ = select.select([ours], [], [], 0.2)
            if ready:
                try:
                    part = os.read(ours, 65536)
                except OSError:  # the other side is closed
                    break
                if not part:
                    break
                shown += part
            elif process.poll() is not None:
                break
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return shown.decode("utf-8").replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [80, 120])
def test_nothing_is_wider_than_the_terminal(columns: int, folder: Path) -> None:
    """But a command to copy; and what stands at the end is the verdict."""
    answer = bnconform(folder, "report", "r.json", columns=columns)
    answer.assert_no_traceback()
    assert [line for line in answer.lines if len(line) > columns and not any(word in line for word in LONG)] == []
    assert answer.lines[-2].startswith(("next: ", "      ")) or answer.lines[-1].startswith("next: ")


def test_more_room_is_used(folder: Path) -> None:
    """In 120 columns there are fewer lines than in 80."""
    few, many = (len(bnconform(folder, "report", "r.json", columns=columns).lines) for columns in (120, 80))
    assert few < many


@pytest.mark.parametrize("words", [("report", "r.json"), ASKED], ids=["report", "run"])
def test_colours_are_for_terminals(words: tuple[str, ...], folder: Path) -> None:
    """At a terminal there are some."""
    assert COLOUR.search(at_a_terminal(folder, *words))


PLAIN = {"no colours": {"NO_COLOR": "1"}, "dumb": {"TERM": "dumb"}}


@pytest.mark.parametrize("words", [("report", "r.json"), ASKED], ids=["report", "run"])
@pytest.mark.parametrize("variables", PLAIN.values(), ids=list(PLAIN))
def test_no_colour_where_none_is_wanted(variables: dict[str, str], words: tuple[str, ...], folder: Path) -> None:
    """Where NO_COLOR is set, nor where the terminal knows none; a dumb one gets no escape at all."""
    shown = at_a_terminal(folder, *words, **variables)
    assert not COLOUR.search(shown)
    assert variables.get("TERM") != "dumb" or ESCAPE not in shown
    assert "next: " in shown


def test_a_pipe_gets_text(folder: Path) -> None:
    """No escape, whatever the terminal would be, and the same words."""
    done = subprocess.run(
        [*COMMAND, "report", "r.json"], cwd=folder, capture_output=True, encoding="utf-8", timeout=SECONDS,
        env=environment(COLUMNS="80", TERM="xterm-256color"), check=False,
    )  # fmt: skip
    assert done.returncode == 0 and ESCAPE not in done.stdout
    dumb = at_a_terminal(folder, "report", "r.json", TERM="dumb")
    assert dumb.split() == done.stdout.split()


def test_letters_carry_the_verdicts(folder: Path) -> None:
    """Without colour nothing is lost: each verdict has its letter, and the legend says which."""
    text = bnconform(folder, "report", "r.json", columns=120).out
    for legend in ("+ conforms", "D deviates", "V violates", "C crashed", "U untrusted", "- unsupported"):
        assert legend in text
