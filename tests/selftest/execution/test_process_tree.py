"""The processes of an implementation are found wherever they have gone, and nobody else's is touched."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from bnconform.execution.process_tree import MARK, ProcessTree, end_marked, find_marked

SLEEP = (sys.executable, "-c", "import time; time.sleep(1000)")
STARTS = """
import os, subprocess, sys, time
words = [sys.executable, "-c", "import time; time.sleep(1000)"]
held = subprocess.Popen(words, start_new_session=sys.argv[1] == "session", env={} if sys.argv[2] == "bare" else None)
print(held.pid, flush=True)
if sys.argv[3] == "ends":
    os._exit(0)
time.sleep(1000)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="environments and sessions are seen so on Linux")


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _starter(mark: str, session: str, environment: str, end: str) -> tuple[subprocess.Popen[str], int]:
    """A process that leads a session and has started another, whose number it says."""
    command = [sys.executable, "-c", STARTS, session, environment, end]
    given = {**os.environ, MARK: mark}
    found = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", env=given, start_new_session=True)
    assert found.stdout is not None
    with found.stdout:
        return found, int(found.stdout.readline())


@pytest.fixture
def mark() -> Iterator[str]:
    """A mark that nobody else has; nothing that bears it is left."""
    mark = secrets.token_hex(8)
    yield mark
    end_marked(mark)


@pytest.mark.parametrize(
    ("session", "environment", "end"),
    [
        ("same", "kept", "stays"),
        ("session", "kept", "stays"),
        ("session", "bare", "stays"),
        ("same", "bare", "stays"),
        ("session", "kept", "ends"),
        ("same", "bare", "ends"),
    ],
)
def test_what_a_process_started_ends_with_it(session: str, environment: str, end: str, mark: str) -> None:
    """Known by its parent, its session or its mark; and ending it again is harmless."""
    process, child = _starter(mark, session, environment, end)
    if end == "ends":
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert _lives(child)
    begin = time.monotonic()
    tree = ProcessTree(process.pid, mark)
    tree.end()
    tree.end()
    process.wait(5)
    assert not _lives(child)
    assert time.monotonic() - begin < 0.9


def test_what_was_seen_is_remembered(mark: str) -> None:
    """A process that has left both its session and its environment behind is known if it was seen as a child once."""
    process, child = _starter(mark, "session", "bare", "stays")
    tree = ProcessTree(process.pid, mark)
    tree.look()
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    tree.end()
    process.wait(5)
    assert not _lives(child)


ADOPTS = """
import ctypes, os, subprocess, sys, psutil
from bnconform.execution.process_tree import MARK, ProcessTree
ctypes.CDLL(None).prctl(36, 1)
process = subprocess.Popen(sys.argv[2:], env={**os.environ, MARK: sys.argv[1]}, stdout=-1, start_new_session=True)
child = int(process.stdout.readline())
ProcessTree(process.pid, sys.argv[1]).end()
process.wait()
print([one.status() for one in psutil.Process().children()], psutil.pid_exists(child))
"""


@pytest.mark.parametrize("end", ["stays", "ends"])
def test_no_zombie_is_left_where_orphans_are_adopted(end: str, mark: str) -> None:
    """In a container the process that judges may be the one to which orphans fall."""
    words = [sys.executable, "-c", ADOPTS, mark, sys.executable, "-c", STARTS, "session", "kept", end]
    assert subprocess.run(words, capture_output=True, encoding="utf-8", timeout=60, check=False).stdout == "[] False\n"


def test_nobody_else_is_touched(mark: str) -> None:
    """Children of the caller's own, and what they have left behind, are nobody's business."""
    own = subprocess.Popen(SLEEP)
    foreign = subprocess.Popen(SLEEP, env={**os.environ, MARK: secrets.token_hex(8)}, start_new_session=True)
    starter, orphan = _starter("", "session", "kept", "ends")
    starter.wait(5)
    process, _ = _starter(mark, "session", "kept", "stays")
    try:
        ProcessTree(process.pid, mark).end()
        end_marked(mark)
        process.wait(5)
        assert [own.poll(), foreign.poll(), _lives(orphan)] == [None, None, True]
        # An orphan of somebody's child is not handed to this process.
        assert psutil.Process(orphan).ppid() != os.getpid()
    finally:
        for each in (own, foreign):
            each.kill()
            each.wait()
        psutil.Process(orphan).kill()


def test_mark_is_looked_for_at_its_beginning(mark: str) -> None:
    """A run's mark finds what all of its workers started, and a longer one that of one worker."""
    one, two = (subprocess.Popen(SLEEP, env={**os.environ, MARK: f"{mark}.{name}"}) for name in ("one", "two"))
    _await(lambda: {process.pid for process in find_marked(mark)} == {one.pid, two.pid})
    assert {process.pid for process in find_marked(f"{mark}.one")} == {one.pid}
    end_marked(mark)
    assert [one.wait(5), two.wait(5)] == [-9, -9]
    assert find_marked(mark) == set()


def test_memory(mark: str) -> None:
    """What a process and its children hold; what is shared counts once where it would be too much otherwise."""
    code = (
        "import os, time\nheld = b'x' * (200 * 2**20)\n"
        "for _ in range(3):\n if not os.fork():\n  break\nprint('ready', flush=True)\ntime.sleep(1000)"
    )
    given = {**os.environ, MARK: mark}
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=given, start_new_session=True)
    assert process.stdout is not None
    with process.stdout:
        for _ in range(4):
            process.stdout.readline()
    tree = ProcessTree(process.pid, mark)
    assert tree.memory(2**40) > 700 * 2**20
    assert 190 * 2**20 < tree.memory(500 * 2**20) < 400 * 2**20
    tree.end()
    process.wait(5)


def _await(condition: object) -> None:
    end = time.monotonic() + 5
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)
