"""One worker: a process of `bnconform.backends.runner.serve`, and the conversation with it.

The life of a worker: it is started, answers requests in the order in which they came, and is gone, of its own or by
`close`; it never comes back. A frame that is not the reply due ends it, as nothing that follows could be trusted.
"""

from __future__ import annotations

import json
import os
import queue
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import bnconform
from bnconform.backends.runner import frames
from bnconform.execution import bundle
from bnconform.execution.process_tree import MARK, ProcessTree, adopt_orphans
from bnconform.execution.settings import Settings

POLL = 0.25
"""Seconds between two looks at a silent process."""

WORDS, SHOWN = 10, 300
"""The last lines of standard error that are told, and characters of each."""

KEPT = 2**16
"""Bytes of its output that are kept."""

DRAINED = 0.5
"""Seconds that a process which is gone has for what it has still written to arrive."""


class Died(Exception):
    """The process is gone, or was ended because it cannot be spoken with.

    Attributes:
        cause: in a few words, the same for every death of this kind. hung: whether it gave no answer in time.
    """

    def __init__(self, text: str, cause: str, *, hung: bool = False) -> None:
        super().__init__(text)
        self.cause, self.hung = cause, hung


class CannotStart(Exception):
    """The process cannot be started in its environment; one line that says what to do."""


class Worker:
    """A running process; it may be asked several things ahead.

    Args:
        key: the backend that it is started for, whose file is sent along where it starts behind a command.

    Raises:
        CannotStart: where the interpreter or the command does not exist.
    """

    def __init__(self, settings: Settings, key: str) -> None:
        self.settings = settings
        self._requests: IO[bytes]
        self._replies: IO[bytes]
        self.nonce = secrets.token_hex(8)
        self.waiting: deque[int] = deque()
        self._number = 0
        self._since = 0.0
        self._output: deque[bytes] = deque()
        self._frames: queue.Queue[dict[str, Any] | Exception | None] = queue.Queue()
        adopt_orphans()
        # What the command sets for pytest-xdist is not for programs of the user's, which find what lies beside them.
        kept = dict(item for item in os.environ.items() if item != ("PYTHONSAFEPATH", "bnconform"))
        environment = {**kept, MARK: self.nonce}
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            if settings.command(key):
                self._start_behind_command(key, environment)
            else:
                self._start_here(key, environment)
        except OSError as problem:
            what = shlex.join(settings.command(key)) or settings.interpreter(key)
            raise CannotStart(f"{what}: {problem.strerror or problem}") from None
        self.tree = ProcessTree(self.process.pid, self.nonce)
        self._readers = [threading.Thread(target=each, daemon=True) for each in (self._read_frames, self._read_output)]
        for reader in self._readers:
            reader.start()

    def _start_here(self, key: str, environment: Mapping[str, str]) -> None:
        requests_out, requests_in = os.pipe()
        replies_out, replies_in = os.pipe()
        python = self.settings.interpreter(key)
        path = [place for place in sys.path if place] if python == sys.executable else []
        given = json.dumps([path, list(bnconform.__path__), requests_out, replies_in])
        try:
            self.process = subprocess.Popen(
                [python, "-c", bundle.LOCAL, given],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                pass_fds=(requests_out, replies_in), env=environment, start_new_session=True,
            )  # fmt: skip
        except OSError:
            os.close(requests_in)
            os.close(replies_out)
            raise
        finally:
            os.close(requests_out)
            os.close(replies_in)
        self._requests, self._replies = os.fdopen(requests_in, "wb"), os.fdopen(replies_out, "rb")
        self._outputs = self.process.stdout

    def _start_behind_command(self, key: str, environment: Mapping[str, str]) -> None:
        command = self.settings.command(key)
        words = [self.settings.interpreter(key), "-c", bundle.REMOTE]
        if Path(command[0]).name in ("ssh", "slogin"):
            words = [shlex.join(words)]  # a shell of the other machine takes them apart again
        self.process = subprocess.Popen(
            [*command, *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment, start_new_session=True,
        )  # fmt: skip
        assert self.process.stdin is not None and self.process.stdout is not None
        self._requests, self._replies = self.process.stdin, self.process.stdout
        self._outputs = self.process.stderr
        file = Path(key.rpartition(":")[0])
        files = {str(file): file.read_text(encoding="utf-8")} if file.suffix == ".py" and file.is_file() else {}
        with suppress(OSError):
            self._requests.write(bundle.remote_start(files))
            self._requests.flush()

    # -- the streams, each read and closed by a thread of its own, so that nobody waits for the other ---------------

    def _read_frames(self) -> None:
        try:
            with self._replies:
                while (message := frames.read(self._replies.read)) is not None:
                    self._frames.put(message)
        except (frames.FrameError, OSError, ValueError, MemoryError) as problem:
            self._frames.put(problem)
        self._frames.put(None)

    def _read_output(self) -> None:
        assert self._outputs is not None
        held = 0
        with suppress(OSError, ValueError), self._outputs:
            while part := os.read(self._outputs.fileno(), KEPT):
                self._output.append(part)
                held += len(part)
                while held - len(self._output[0]) > KEPT:
                    held -= len(self._output.popleft())

    def last_words(self, lines: int = WORDS) -> list[str]:
        """The last lines that it printed."""
        text = b"".join(list(self._output))[-KEPT:].decode(errors="replace")
        return [line.strip()[:SHOWN] for line in text.splitlines() if line.strip()][-lines:]

    # -- the conversation --------------------------------------------------------------------------------------------

    def ask(self, request: Mapping[str, Any]) -> None:
        """Send a request; its reply comes after those of the ones before it."""
        self._number += 1
        if not self.waiting:
            self._since = time.monotonic()
        self.waiting.append(self._number)
        with suppress(OSError, ValueError):  # a process that is gone is noticed by its silence
            self._requests.write(frames.encode({"id": self._number, "nonce": self.nonce, **request}))
            self._requests.flush()

    def reply(self, seconds: float | None = None) -> dict[str, Any]:
        """The reply to the oldest request that waits.

        Args:
            seconds: in which it must be there, from the request or from the reply before it on; by default those of
                the settings.

        Raises:
            Died: where none comes.
        """
        limit = self.settings.seconds if seconds is None else seconds
        due = self.waiting[0]
        message = self._next(self._since + limit, limit)
        if message.get("id") != due or message.get("nonce") != self.nonce:
            self._end(f"it answered what it was not asked (request {due})", "answered what it was not asked")
        self.waiting.popleft()
        self._since = time.monotonic()
        if "lost" in message:
            self.close()
            raise Died(str(message["lost"]), str(message["lost"]).partition(";")[0], hung=bool(message.get("hung")))
        return message

    def _next(self, end: float, limit: float) -> dict[str, Any]:
        while True:
            try:
                found = self._frames.get(timeout=max(min(POLL, end - time.monotonic()), 0.001))
            except queue.Empty:
                self._look(end, limit)
                continue
            if isinstance(found, dict):
                return found
            if found is not None:
                self._end(f"what it sent is no message: {str(found)[:SHOWN]}", "sent what is no message")
            self._ended()

    def _look(self, end: float, limit: float) -> None:
        """Whether a silent process is still there, has time, and holds no more memory than it may."""
        if self.process.poll() is not None:
            with suppress(queue.Empty):  # a child of it may hold the stream open, which then never ends
                found = self._frames.get(timeout=DRAINED)
                self._frames.put(found)
                if isinstance(found, dict):
                    return
            self._ended()
        if time.monotonic() > end:
            self._end(f"no answer within {limit:g} s (--time-limit)", "no answer in time", hung=True)
        self.tree.look()
        if self.settings.memory and (held := self.tree.resident()) > self.settings.memory:
            allowed = f"--memory-limit {self.settings.memory / 2**30:g}"
            self._end(f"the process held {held / 2**30:.1f} GiB of memory ({allowed})", "too much memory")

    def _end(self, text: str, cause: str, *, hung: bool = False) -> None:
        self.close()
        raise Died(text, cause, hung=hung)

    def _ended(self) -> None:
        """Say how a process that is gone has ended."""
        try:
            status = self.process.wait(DRAINED)
        except subprocess.TimeoutExpired:
            self._end("it closed the conversation", "closed the conversation")
            return
        how = cause = f"the process ended with status {status}"
        if status < 0:
            with suppress(ValueError):
                cause = signal.Signals(-status).name
                how = f"the process died of {cause}"
        self._readers[1].join(DRAINED)  # what it printed last may be on its way
        words = self.last_words()
        self._end(f"{how}; its last words: {' | '.join(words)}" if words else how, cause)

    @property
    def status(self) -> int | None:
        """The exit status, where it is gone."""
        return self.process.poll()

    def close(self) -> None:
        """End the process, and what it has started; nothing is waited for that another could hold."""
        self.tree.end()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        for reader in self._readers:  # each ends with its stream, unless another process holds that
            reader.join(DRAINED)
        _closed(self._requests.close)


def _closed(close: Callable[[], object]) -> None:
    """Close a stream; what could not be written to a process that is gone is lost."""
    with suppress(OSError, ValueError):
        close()
