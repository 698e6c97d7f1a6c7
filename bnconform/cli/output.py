"""Standard output that may be closed or full: what cannot be written is dropped, and said once at the end."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from bnconform.results.visible import visible

FIRST_DESCRIPTORS = (0, 1, 2)
"""Standard input, output and error: another file that took one of these numbers would be written to by accident."""


class Output:
    """A text stream that passes everything on to another, until that one cannot be written; then it drops it.

    Attributes:
        problem: why the other stream could not be written, "" as long as it could.
    """

    def __init__(self, stream: TextIO, problem: str = "") -> None:
        self._stream = stream
        self.problem = problem

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or drop; the number of characters."""
        if not self.problem:
            try:
                return self._stream.write(text)
            except (OSError, ValueError) as problem:
                if isinstance(problem, UnicodeError):
                    raise
                self._give_up(problem)
        return len(text)

    def flush(self) -> None:
        """Write what is waiting, or drop it."""
        if not self.problem:
            try:
                self._stream.flush()
            except (OSError, ValueError) as problem:
                self._give_up(problem)

    def _give_up(self, problem: OSError | ValueError) -> None:
        self.problem = getattr(problem, "strerror", None) or str(problem)
        # What is waiting in the other stream's buffer would fail again, at the latest when Python ends.
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
            self._stream.flush()


def watch() -> Output:
    """Put an Output in the place of `sys.stdout`, and something in the place of what is closed; `release` undoes it."""
    for descriptor in FIRST_DESCRIPTORS:
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  as long as the process
    if sys.stdout is None:
        stream = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
        output = Output(stream, "it is closed")
    else:
        output = Output(sys.stdout)
    sys.stdout = output
    return output


def release(output: Output) -> None:
    """Write what is waiting, and let `sys.stdout` be what it was."""
    output.flush()
    if sys.stdout is output:
        sys.stdout = output._stream


def say(problem: object) -> None:
    """One line on standard error, as far as that can be written."""
    with suppress(OSError, ValueError):
        print(f"bnconform: {visible(str(problem))}", file=sys.stderr, flush=True)
