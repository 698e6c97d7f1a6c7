"""The processes that an implementation starts: counted, and ended with it, orphans too.

A process that its starter left behind is handed to this one (Linux: child subreaper) and is known by a mark in its
environment; whoever leaves both his session and his environment behind within a moment of dying is not found.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from functools import cache

import psutil

MARK = "BNCONFORM_PROCESS"
"""The environment variable that marks a process and what it starts."""

PR_SET_CHILD_SUBREAPER = 36

REAPED = 1.0
"""Seconds in which processes that were killed must have ended."""


@cache
def adopt_orphans() -> None:
    """Let the orphans of our descendants become our children, once a process (Linux; elsewhere the system's)."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


class ProcessTree:
    """A process that leads a group of its own, with what it starts."""

    def __init__(self, pid: int, mark: str) -> None:
        self.pid, self.mark = pid, mark
        self._known: set[psutil.Process] = set()

    def look(self) -> None:
        """Remember who is there now."""
        with suppress(psutil.Error):
            root = psutil.Process(self.pid)
            self._known |= {root, *root.children(recursive=True)}

    def resident(self) -> int:
        """The bytes of memory that the process and its children hold."""
        self.look()
        held = 0
        for process in self._known:
            with suppress(psutil.Error):
                held += process.memory_info().rss
        return held

    def end(self) -> None:
        """Kill the process, its group, whatever it has started, and the orphans of those."""
        self.look()
        with suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)
        mine = {process for process in self._known if process.pid != os.getpid()}
        for _ in range(3):  # whoever is killed may leave orphans of his own
            mine |= self._orphans()
            for process in mine:
                with suppress(psutil.Error):
                    if process.pid != self.pid:
                        mine = mine | set(process.children(recursive=True))
                    process.kill()
            if not self._orphans():
                break
        _reap({process.pid for process in mine} - {self.pid})  # that one is its starter's to wait for

    def _orphans(self) -> set[psutil.Process]:
        found = set()
        with suppress(psutil.Error):
            for process in psutil.Process().children():
                with suppress(psutil.Error):
                    is_marked = process.pid != self.pid and process.environ().get(MARK) == self.mark
                    if is_marked and process.status() != psutil.STATUS_ZOMBIE:
                        found.add(process)
        return found


def _reap(pids: set[int]) -> None:
    """Wait for killed processes, for a moment; those that have just become our children leave no zombie behind."""
    end = time.monotonic() + REAPED
    while pids and time.monotonic() < end:
        for pid in list(pids):
            try:
                is_gone = os.waitpid(pid, os.WNOHANG)[0] == pid
            except ChildProcessError:  # not ours, or not yet
                is_gone = not psutil.pid_exists(pid)
            if is_gone:
                pids.discard(pid)
        time.sleep(0.001)
