"""A program that is asked and answers in lines: started, watched, ended. It knows nothing of what the lines say.

Nothing here waits without an end: a program that does not read, does not answer, prints without a line's end, or dies
is `Lost`, with the reason in one line.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

FAREWELL = 1.0
"""Seconds that a program has to end after its input has."""

WORDS, SHOWN = 10, 300
"""The last lines of its standard error that are told, and characters of each."""

KEPT, LOOK = 2**20, 1.0
"""Bytes of its standard error that are kept, and seconds between two looks at how many there are."""

LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None

keeper: Callable[[str, bool], None] | None = None
"""Set in a process that lives for one program and is ended with its whole group: it is told why the program was lost,
and whether it hung, and does not return. Without it `Lost` is raised, and a program has a group of its own."""


class Lost(RuntimeError):
    """The program is gone, or was ended because it cannot be spoken with; never a refusal.

    Attributes:
        hung: whether it gave no answer in time.
    """

    is_refusal = False

    def __init__(self, text: str, *, hung: bool = False) -> None:
        super().__init__(text)
        self.hung = hung


def _die_with_parent() -> None:
    """In the new process: to be ended with the one that started it (Linux; elsewhere the end of the input must do)."""
    if LIBC is not None:
        LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class LineProcess:
    """A running program.

    Args:
        command: the program and its arguments.
        seconds: in which an answer must be there.
        limit: the name of the setting behind `seconds`, for messages.

    Raises:
        OSError: where it cannot be started.
    """

    def __init__(self, command: Sequence[str], seconds: float, limit: str) -> None:
        self.seconds, self.limit = seconds, limit
        self.said = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the process
        self.grouped = keeper is None
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.said,
                bufsize=0,
                process_group=0 if self.grouped else None,
                preexec_fn=_die_with_parent,
            )
        except OSError:
            self.said.close()
            raise
        assert self.process.stdin is not None and self.process.stdout is not None
        self.entry, self.exit = self.process.stdin.fileno(), self.process.stdout.fileno()
        for end in (self.entry, self.exit):
            os.set_blocking(end, False)
        self.fate = ""
        """Why the program is lost, where it is."""
        self.held = bytearray()
        """What was read and belongs to no answer yet."""
        atexit.register(self.close)

    def exchange(self, request: bytes, room: int, what: str) -> bytes:
        """The line that answers this one, without its end; Lost where there is none in time or it exceeds `room` bytes.

        Args:
            what: the request in a word, for messages.
        """
        if self.held:
            raise self.lose(f"it printed {show(self.held)} after its answer, before it was asked for {what}")
        end = time.monotonic() + self.seconds
        unsent = self._write_out(memoryview(request + b"\n"))
        searched = 0
        with selectors.DefaultSelector() as ready:
            ready.register(self.exit, selectors.EVENT_READ)
            if unsent:
                ready.register(self.entry, selectors.EVENT_WRITE)
            while (found := self.held.find(b"\n", searched)) < 0:
                searched = len(self.held)
                if searched > room:
                    raise self.lose(
                        f"its answer to {what} goes on after {searched} bytes, far beyond what is due; "
                        f"it begins {show(self.held)}"
                    )
                left = end - time.monotonic()
                if left <= 0:
                    read = "" if not unsent else ", and did not read the request to its end"
                    raise self.lose(
                        f"it gave no answer to {what} within {self.seconds:g} s ({self.limit}){read}", hung=True
                    )
                self._forget()
                for key, _ in ready.select(min(left, LOOK)):
                    if key.fd == self.entry:
                        unsent = self._write_out(unsent)
                        if not unsent:
                            ready.unregister(self.entry)
                    elif not self._read():
                        raise self.lose(f"{self._ending()} when it was asked for {what}")
        line = bytes(self.held[:found])
        del self.held[: found + 1]
        return line

    def _write_out(self, unsent: memoryview) -> memoryview:
        """What is left to write."""
        try:
            return unsent[os.write(self.entry, unsent) :]
        except BlockingIOError:
            return unsent
        except OSError:  # it has closed its input: what it still says, or its end, is what counts
            return memoryview(b"")

    def _read(self) -> bool:
        """Whether its output goes on."""
        try:
            chunk = os.read(self.exit, 2**20)
        except BlockingIOError:
            return True
        self.held += chunk
        return bool(chunk)

    def _ending(self) -> str:
        """How the program ended, its output being at an end."""
        half = f", in the middle of {show(self.held)}," if self.held else ""
        try:
            status = self.process.wait(FAREWELL)
        except subprocess.TimeoutExpired:
            return f"it closed its standard output{half}"
        if status >= 0:
            return f"it ended with status {status}{half}"
        with suppress(ValueError):
            return f"it died of {signal.Signals(-status).name}{half}"
        return f"it died of signal {-status}{half}"

    def lose(self, text: str, *, hung: bool = False) -> Lost:
        """End the program; why it is lost, with its last words, as an error to raise."""
        self._kill()
        text = f"the program is lost: {text}"
        words = self._last_words()
        self.fate = text = text + (f"; its last words: {words}" if words else "")
        self.close()
        if keeper is not None:
            keeper(text, hung)
        return Lost(text, hung=hung)

    def _last_words(self) -> str:
        size = self.said.seek(0, os.SEEK_END)
        self.said.seek(max(size - WORDS * SHOWN, 0))
        lines = [line.strip() for line in self.said.read().decode(errors="replace").splitlines() if line.strip()]
        return " | ".join(line[:SHOWN] for line in lines[-WORDS:])

    def _forget(self) -> None:
        """Let what it said begin anew where it is too long: the program writes at the place that is set here."""
        if os.fstat(self.said.fileno()).st_size > KEPT:
            self.said.seek(0)
            self.said.truncate()

    def _kill(self) -> None:
        with suppress(OSError):
            if self.grouped:
                os.killpg(self.process.pid, signal.SIGKILL)  # and what it has started
            else:
                self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Tell the program to end, by the end of its input, and see to it that it does."""
        atexit.unregister(self.close)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(FAREWELL)
        self._kill()
        self.said.close()

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return not self.said.closed


def show(text: bytes | bytearray) -> str:
    """The beginning of what a program printed, fit for a message."""
    words = bytes(text[:80]).decode(errors="backslashreplace")
    return repr(words) + ("..." if len(text) > 80 else "")
