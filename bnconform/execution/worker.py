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
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import bnconform
from bnconform.backends.registry import BackendError
from bnconform.backends.runner import frames
from bnconform.execution import bundle
from bnconform.execution.printable import printable
from bnconform.execution.process_tree import MARK, ProcessTree
from bnconform.execution.settings import Settings
from bnconform.execution.streams import Streams

POLL = 0.25
"""Seconds between two looks at a silent process."""

LOOK = 1.0
"""Seconds between two looks at the memory of a process that answers."""

WORDS, SHOWN = 10, 300
"""The last lines of what it printed that are told, and characters of each."""

GOING = 0.5
"""Seconds that a process has to be gone after it closed the conversation."""


class Died(Exception):
    """The process is gone, or was ended because it cannot be spoken with.

    Attributes:
        cause: in a few words, the same for every death of this kind. hung: whether it gave no answer in time.
        breach: whether it was ended for what it sent.
    """

    def __init__(self, text: str, cause: str, *, hung: bool = False, breach: bool = False) -> None:
        super().__init__(text)
        self.cause, self.hung, self.breach = cause, hung, breach


class CannotStart(BackendError):
    """The process cannot be started in its environment; one line that says why, and no fault of an implementation."""


class Worker:
    """A running process; it may be asked several things ahead.

    Args:
        key: the backend that it is started for, whose file is sent along where it starts behind a command.
        run: a mark of the whole run, by which what it starts is found (`process_tree`).

    Raises:
        CannotStart: where the interpreter or the command does not exist, or nothing more can be started.
    """

    def __init__(self, settings: Settings, key: str, run: str = "") -> None:
        self.settings = settings
        self.nonce = secrets.token_hex(8)
        self.waiting: deque[int] = deque()
        self._number = 0
        self._since = self._looked = time.monotonic()
        self._closed = False
        # Who knows the mark, which is there for everybody to see, does not know the nonce of the conversation.
        mark = f"{run}.{secrets.token_hex(8)}"
        # What the command sets for pytest-xdist is not for programs of the user's, which find what lies beside them.
        kept = dict(item for item in os.environ.items() if item != ("PYTHONSAFEPATH", "bnconform"))
        environment = {**kept, MARK: mark}
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        command = settings.command(key)
        files = bundle.adapter_files(key) if command else {}
        try:
            if command:
                self._start([*command, *_behind(command, settings.interpreter(key))], environment, here=False)
            else:
                self._start([settings.interpreter(key), "-c", bundle.LOCAL], environment, here=True)
        except (OSError, RuntimeError) as problem:
            what = shlex.join(command) or settings.interpreter(key)
            reason = getattr(problem, "strerror", None) or problem
            raise CannotStart(f"the backend {key} cannot run: {what}: {reason}") from None
        self.tree = ProcessTree(self.process.pid, mark)
        if command:
            self.streams.send(bundle.remote_start(files))

    def _start(self, command: list[str], environment: Mapping[str, str], *, here: bool) -> None:
        """Start the process, with pipes of which this side's ends go to the streams."""
        theirs: list[int] = []
        ours: list[int] = []
        try:
            for mine in (1, 0, 0):  # the end of each pipe that is ours: it is asked, it replies, it prints
                ends = os.pipe()
                ours.append(ends[mine])
                theirs.append(ends[1 - mine])
            requests, replies, output = theirs
            if here:
                path = [place for place in sys.path if place] if command[0] == sys.executable else []
                command = [*command, json.dumps([path, list(bnconform.__path__), requests, replies])]
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if here else requests,
                stdout=output if here else replies,
                stderr=output,
                pass_fds=(requests, replies) if here else (),
                env=environment,
                start_new_session=True,
            )
        except BaseException:
            for end in ours:
                os.close(end)
            raise
        finally:
            for end in theirs:
                os.close(end)
        try:
            self.streams = Streams(*ours)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    # -- the conversation --------------------------------------------------------------------------------------------

    def ask(self, request: Mapping[str, Any]) -> None:
        """Send a request; its reply comes after those of the ones before it."""
        self._number += 1
        if not self.waiting:
            self._since = time.monotonic()
        self.waiting.append(self._number)
        self.streams.ask(frames.encode({"id": self._number, "nonce": self.nonce, **request}))

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
            self._end(
                f"it answered what it was not asked (request {due})", "answered what it was not asked", breach=True
            )
        self.waiting.popleft()
        self._since = time.monotonic()
        if "lost" in message:
            text = printable(message["lost"])
            self._end(text, text.partition(";")[0], hung=message.get("hung") is True)
        if "internal" in message:
            text = printable(message["internal"])
            self._end(f"the runner failed in its process: {text}", "the runner failed", breach=True)
        if self.settings.memory and self._since - self._looked > LOOK:
            self._weigh()
        return message

    def _next(self, end: float, limit: float) -> dict[str, Any]:
        while True:
            try:
                found = self.streams.messages.get(timeout=max(min(POLL, end - time.monotonic()), 0.001))
            except queue.Empty:
                self._look(end, limit)
                continue
            if isinstance(found, dict):
                return found
            if isinstance(found, Exception):
                text = f"what it sent is no message: {printable(found)[:SHOWN]}"
                self._end(text, "sent what is no message", breach=True)
            self._raise_ending()

    def _look(self, end: float, limit: float) -> None:
        """Whether a silent process is still there, has time, and holds no more memory than it may."""
        if self._closed:
            self._raise_ending()
        if self._is_gone():
            self.streams.settle()
            if self.streams.messages.empty():  # a child of it may hold the stream open, which then never ends
                self._raise_ending()
            return
        if time.monotonic() > end:
            self._end(f"no answer within {limit:g} s (--time-limit)", "no answer in time", hung=True)
        self.tree.look()
        if self.settings.memory:
            self._weigh()

    def _weigh(self) -> None:
        """End a process that holds more memory than it may, with its children."""
        self._looked = time.monotonic()
        held = self.tree.memory(self.settings.memory)
        if held > self.settings.memory:
            allowed = f"--memory-limit {self.settings.memory / 2**30:g}"
            self._end(f"the process held {held / 2**30:.1f} GiB of memory ({allowed})", "too much memory")

    # -- its end -----------------------------------------------------------------------------------------------------

    def last_words(self, lines: int = WORDS) -> list[str]:
        """The last lines that it printed."""
        text = self.streams.tail().decode(errors="replace")
        return [printable(line)[:SHOWN] for line in text.splitlines() if line.strip()][-lines:]

    def _is_gone(self) -> bool:
        """Whether the process has ended; it is not waited for yet, so that its number is nobody else's."""
        if self.process.returncode is not None:
            return True
        if not hasattr(os, "waitid"):  # macOS, before Python 3.13
            return self.process.poll() is not None
        try:
            return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # where nobody is to hear of the ends of children
            return True

    def _end(self, text: str, cause: str, *, hung: bool = False, breach: bool = False) -> NoReturn:
        self.close()
        raise Died(text, cause, hung=hung, breach=breach)

    def _raise_ending(self) -> NoReturn:
        """Say how a process that is gone has ended."""
        if self._closed:  # from another thread, as at an interrupt
            raise Died("it was ended", "was ended")
        end = time.monotonic() + GOING
        while not self._is_gone():
            if time.monotonic() > end:
                self._end("it closed the conversation", "closed the conversation")
            time.sleep(0.002)
        self.streams.settle()
        self.close()
        status = self.process.returncode
        how = cause = f"the process ended with status {status}"
        if status < 0:
            name = f"signal {-status}"
            with suppress(ValueError):
                name = signal.Signals(-status).name
            cause, how = name, f"the process died of {name}"
        words = self.last_words()
        raise Died(f"{how}; its last words: {' | '.join(words)}" if words else how, cause)

    @property
    def status(self) -> int | None:
        """The exit status, where it is gone."""
        return self.process.returncode

    def close(self) -> None:
        """End the process, and what it has started; nothing is waited for that another could hold."""
        if self._closed:
            return
        self._closed = True
        try:
            self.tree.end()
        finally:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
            self.streams.close()


def _behind(command: tuple[str, ...], python: str) -> list[str]:
    """The words that start the runner behind a command."""
    words = [python, "-c", bundle.REMOTE]
    # A shell of the other machine takes them apart again.
    return [shlex.join(words)] if Path(command[0]).name in ("ssh", "slogin") else words
