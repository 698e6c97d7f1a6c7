"""An implementation that dies, hangs or eats memory costs its own checks, and is told from one that answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bnconform.results.result import Row, read
from bnconform.tests.selftest.command import ADAPTERS, COMMAND, Answer, bnconform, environment

DYING = ADAPTERS / "dying.py"
PART = ("--dtype", "float32", "--json", "result.json", "-k", "BN-EDGE-EMPTY or BN-RUN-VAR or BN-EVAL-STATS")
"""A part of the suite in which some checks give an empty batch, and most do not."""


def _judge(folder: Path, *arguments: str) -> tuple[Answer, list[Row]]:
    answer = bnconform(folder, *arguments)
    answer.assert_no_traceback()
    return answer, list(read(folder / "result.json").rows)


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("processes", [(), ("-n", "2")], ids=["alone", "two workers"])
@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("Aborts", (), "died of SIGABRT; its last words: kernel: division by zero in block 7"),
        ("Hangs", ("--time-limit", "5"), "no answer within 5 s (--time-limit)"),
        ("Hoards", ("--memory-limit", "1"), "(--memory-limit 1)"),
        ("Interrupts", (), "KeyboardInterrupt"),
    ],
)
def test_end_of_a_process_costs_its_own_check(
    name: str, options: tuple[str, ...], words: str, processes: tuple[str, ...], tmp_path: Path
) -> None:
    """The check that ends the process has crashed, with the reason; the same backend's other checks are judged."""
    _, rows = _judge(tmp_path, "--backend", f"{DYING}:{name}", *PART, *options, *processes)
    verdicts = {row.requirement: row.verdict for row in rows}
    crashed = {row.requirement: row.message for row in rows if row.verdict == "crashed"}
    assert {text for text in crashed.values() if words in " ".join(text.split())} == set(crashed.values()) != set()
    assert all(requirement.startswith("BN-EDGE-EMPTY") for requirement in crashed)
    assert verdicts["BN-RUN-VAR"] == verdicts["BN-EVAL-STATS"] == "conforms"


def test_what_an_implementation_prints_is_no_answer(tmp_path: Path) -> None:
    """Standard output belongs to the implementation, and the verdicts are those of a quiet one."""
    loud, rows = _judge(tmp_path, "--backend", f"{DYING}:Prints", *PART)
    assert loud.status == 0
    assert {row.verdict for row in rows} == {"conforms"}
    assert '{"ended"' not in loud.out


def test_backend_that_always_dies_is_given_up(tmp_path: Path) -> None:
    """After five deaths in a row the rest is not asked, and every requirement has its verdict all the same."""
    answer, rows = _judge(tmp_path, "--backend", f"{DYING}:AlwaysDies", "--dtype", "float32", "--json", "result.json")
    assert answer.status == 1
    assert {row.verdict for row in rows} <= {"crashed", "conforms"}
    messages = [row.message for row in rows if row.verdict == "crashed"]
    assert any("died of SIGKILL" in message for message in messages)
    assert any("the process has died 5 times before" in message for message in messages)


@pytest.mark.thorough
def test_killing_one_process_leaves_the_others_whole(tmp_path: Path) -> None:
    """A backend's process that is killed from outside in the middle of a run costs one check; all others conform."""
    adapter = tmp_path / "adapters.py"
    adapter.write_text(
        "import os, pathlib, time\n"
        "from bnconform.backends.numpy_layer import NumpyBackend\n"
        "class Quiet(NumpyBackend):\n name = 'quiet'\n"
        "class Victim(NumpyBackend):\n"
        " name = 'victim'\n"
        " def build(self, config, device):\n"
        f"  pathlib.Path({str(tmp_path)!r}, f'{{os.getpid()}}.pid').touch()\n"
        "  time.sleep(0.2)\n"
        "  return super().build(config, device)\n"
    )
    names = [f"{adapter}:Victim", f"{adapter}:Quiet", "numpy"]
    options = [word for name in names for word in ("--backend", name)]
    command = [*COMMAND, *options, *PART, "--level", "should", "-n", "2"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL) as run:
        described = _pid(tmp_path, set())  # the process that was asked what devices there are
        os.kill(_pid(tmp_path, {described}), signal.SIGKILL)
    assert run.returncode == 1
    rows = read(tmp_path / "result.json").rows
    assert [row.backend for row in rows if row.verdict != "conforms"] == ["victim"]
    assert {row.backend for row in rows} == {"victim", "quiet", "numpy"}


def _pid(folder: Path, known: set[int]) -> int:
    """A process that has left its number in the folder, other than the known ones."""
    end = time.monotonic() + 200
    while time.monotonic() < end:
        found = {int(path.stem) for path in folder.glob("*.pid")} - known
        if found:
            return found.pop()
        time.sleep(0.01)
    raise AssertionError("no process left its number")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--python", "numpy"), "is not B=PATH"),
        (("--python", "numpy=/no/such/python"), "is not B=PATH"),
        (("--time-limit", "0"), "give numbers above 0"),
        (("--memory-limit", "-1"), "give numbers above 0"),
    ],
)
def test_senseless_limit_is_refused(given: tuple[str, str], words: str, tmp_path: Path) -> None:
    """A limit or an interpreter that makes no sense is refused in one line."""
    bnconform(tmp_path, *given).assert_refused(words)


def test_another_interpreter(tmp_path: Path) -> None:
    """A backend runs under the interpreter that is named for it, though nothing of ours is on its path."""
    adapter = tmp_path / "adapter.py"
    adapter.write_text(
        "import sys\nfrom bnconform.backends.numpy_layer import NumpyBackend\n"
        "class Elsewhere(NumpyBackend):\n name = 'elsewhere'\n"
        " def describe_device(self, device):\n  return sys.argv[0] + ' ' + sys.executable\n"
    )
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nunset PYTHONPATH\nexec "{sys.executable}" -X dev "$@"\n')
    python.chmod(0o755)
    given = f"{adapter}:Elsewhere"
    answer, rows = _judge(tmp_path, "--backend", given, "--python", f"{given}={python}", *PART)
    assert answer.status == 0
    assert {row.verdict for row in rows} == {"conforms"}
