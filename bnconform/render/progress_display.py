"""How far a run has come: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bnconform.results.visible import visible

EVERY_LINE, EVERY_BAR = 30.0, 0.1
"""Seconds between two lines of a log, and between two states of a bar."""

DUMB = ("", "dumb", "unknown")
"""Values of TERM of what can show no bar."""


def has_bar(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can show a bar."""
    return stream.isatty() and os.environ.get("TERM", "") not in DUMB


class ProgressDisplay:
    """What is shown while checks are made; it is drawn when `advance` is called, and by nothing else.

    Args:
        stream: where it is shown. bar: whether as a bar. clock: seconds, of which only differences matter.
    """

    def __init__(self, stream: TextIO, *, bar: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream, self.clock = stream, clock
        self.total = self.done = self.failing = 0
        self.drawn = clock()
        self.progress: Progress | None = None
        self.is_bar = bar

    def begin(self, total: int, head: str) -> None:
        """Say what is judged, by how many checks."""
        self.total, self.drawn = total, self.clock()
        print(visible(head), file=self.stream, flush=True)
        if self.is_bar:
            self.progress = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                console=Console(file=self.stream, force_terminal=True), auto_refresh=False, transient=True,
                redirect_stdout=False, redirect_stderr=False,
            )  # fmt: skip
            self.task = self.progress.add_task("", total=total)
            self.progress.start()

    def advance(self, label: str, *, failed: bool) -> None:
        """One check more is done, of the subject that is called so."""
        self.done += 1
        self.failing += failed
        now = self.clock()
        if now - self.drawn < (EVERY_BAR if self.is_bar else EVERY_LINE) or not self.total:
            return
        self.drawn = now
        fail = f", {self.failing} fail" if self.failing else ""
        if self.progress is not None:
            words = escape(visible(f"{label}{fail}"))
            self.progress.update(self.task, completed=self.done, description=words, refresh=True)
        elif not self.is_bar:
            share = 100 * self.done // self.total
            said = f"  {share:2} %: {self.done} of {self.total} checks{fail} ({visible(label)})"
            print(said, file=self.stream, flush=True)

    def end(self) -> None:
        """Take the bar away."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None
