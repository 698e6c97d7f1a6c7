"""The processes that a process has started end with it, at once, and leave no zombies behind."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time

import psutil
import pytest

from bnconform.execution.process_tree import MARK, ProcessTree, adopt_orphans

SLEEP = "import time; print('here', flush=True); time.sleep(600)"
STARTS = {
    "children": "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {sleep!r}]); time.sleep(600)",
    "session": (
        "import subprocess, sys, time; "
        "subprocess.Popen([sys.executable, '-c', {sleep!r}], start_new_session=True); time.sleep(600)"
    ),
    "orphan": "import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sleep!r}], start_new_session=True)",
}
"""What the process does: it has a child, one that leads a session of its own, or such a one that it leaves behind."""


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted on Linux")
@pytest.mark.parametrize("name", STARTS)
def test_what_a_process_has_started_ends_with_it(name: str) -> None:
    """Nobody with its mark is left, not even as a zombie, and that takes no second."""
    adopt_orphans()
    mark = secrets.token_hex(8)
    code = STARTS[name].format(sleep=SLEEP)
    root = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, MARK: mark}, stdout=subprocess.PIPE, start_new_session=True
    )
    assert root.stdout is not None and root.stdout.readline() == b"here\n"
    if name == "orphan":
        root.wait()
    started = {child.pid for child in psutil.Process().children(recursive=True) if _mark(child) == mark} - {root.pid}
    assert len(started) == 1
    begin = time.monotonic()
    ProcessTree(root.pid, mark).end()
    root.wait()
    root.stdout.close()
    assert time.monotonic() - begin < 0.9
    assert [pid for pid in started if psutil.pid_exists(pid)] == []


def _mark(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except psutil.Error:
        return None
