"""The processes that an implementation starts: counted, and ended with it, wherever they have gone.

A process is known by its parent, by its session, or by a mark in its environment. The worker itself adopts what its
descendants leave behind (Linux: child subreaper, set by `bnconform.backends.runner.serve`), so that it is found among
its children as long as that process lives; nothing is asked of the process that judges, and nothing but what bears the
mark, or belongs to a worker, is ever ended. Whoever leaves both his session and his environment behind within a moment
of the worker's death is not found.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

MARK = "BNCONFORM_PROCESS"
"""The environment variable that marks a process and what it starts."""

ROUNDS = 8
"""How often what was started while others were ended is looked for."""

BEGINNING = 20
"""How often the environment of a new process is looked for."""

DYING = 2.0
"""Seconds in which what was killed is gone."""


class ProcessTree:
    """A process that leads a session of its own, with what it starts; its starter has not waited for it yet."""

    def __init__(self, pid: int, mark: str) -> None:
        self.pid, self.mark = pid, mark
        self._known: set[psutil.Process] = set()

    def look(self) -> None:
        """Remember who is there now."""
        with suppress(psutil.Error):
            root = psutil.Process(self.pid)
            self._known = {process for process in self._known if _lives(process)}
            self._known |= {root, *root.children(recursive=True)}

    def memory(self, enough: float) -> int:
        """The bytes of memory that the process and its children hold; those that they share count once, if need be.

        Args:
            enough: up to how many it does not matter whether some count twice.
        """
        self.look()
        resident = sum(_bytes_held(process, shared=True) for process in self._known)
        if resident <= enough or len(self._known) == 1:
            return resident
        return sum(_bytes_held(process, shared=False) for process in self._known)

    def end(self) -> None:
        """Kill the process, its group, whatever it has started, and what those left behind."""
        self.look()
        with suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)
        mine = self._known
        for _ in range(ROUNDS):  # whoever is killed may have started others meanwhile
            mine = {process for process in mine | find_marked(self.mark, self.pid) if _lives(process)}
            for process in set(mine):
                with suppress(psutil.Error):
                    mine |= set(process.children(recursive=True))
            if not mine:
                return
            _kill(mine)
            _wait(mine)
            _reap(mine, self.pid)


def end_marked(mark: str) -> None:
    """Kill every process whose mark begins so, as a process that was itself killed could not do."""
    for _ in range(ROUNDS):
        found = find_marked(mark)
        if not found:
            return
        _kill(found)
        _wait(found)


def find_marked(mark: str, session: int = 0) -> set[psutil.Process]:
    """The processes that live and bear a mark that begins so, or belong to a session; never this process."""
    sought = f"{MARK}={mark}".encode()
    found = set()
    for pid, environment in _environments():
        if pid == os.getpid():
            continue
        if any(entry.startswith(sought) for entry in environment.split(b"\0")) or (
            session and _session(pid) == session
        ):
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                if _lives(process):
                    found.add(process)
    return found


def _environments() -> Iterator[tuple[int, bytes]]:
    """The environments with which processes started, as far as they can be seen; b"" for those that cannot."""
    if sys.platform == "linux":
        yield from ((pid, _environment(pid)) for pid in psutil.pids())
        return
    for process in psutil.process_iter():
        given: dict[str, str] = {}
        with suppress(psutil.Error, OSError):
            given = process.environ()
        yield process.pid, "\0".join(f"{name}={value}" for name, value in given.items()).encode(errors="replace")


def _environment(pid: int) -> bytes:
    """That of a process; of one that is just beginning another program, it is there only a moment later."""
    try:
        for _ in range(BEGINNING):
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            if environment or psutil.Process(pid).create_time() < time.time() - 1 or not _lives(psutil.Process(pid)):
                return environment
            time.sleep(0.002)
    except (OSError, psutil.Error):
        pass
    return b""


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _kill(processes: set[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.kill()


def _wait(processes: set[psutil.Process]) -> None:
    """Wait until none lives."""
    end = time.monotonic() + DYING
    while any(_lives(process) for process in processes) and time.monotonic() < end:
        time.sleep(0.002)


def _reap(processes: set[psutil.Process], root: int) -> None:
    """Leave no zombies where they have become children of this process, as in a container; not of `root`, its own."""
    for process in processes:
        if process.pid != root:
            with suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)


def _bytes_held(process: psutil.Process, *, shared: bool) -> int:
    """The bytes that a process holds, with all that it shares with others, or its part of that; 0 where it is gone."""
    with suppress(psutil.Error):
        if not shared:
            full = process.memory_full_info()
            return int(getattr(full, "pss", full.rss))
        return int(process.memory_info().rss)
    return 0
