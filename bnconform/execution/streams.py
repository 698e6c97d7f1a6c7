"""The streams of a worker's process: requests go out, replies and what is printed come in.

One thread moves them all, waits for none alone, and owns their descriptors: whoever holds an end of them open, a
process that was left behind too, keeps nobody waiting, and a descriptor that was closed is used by nobody any more.
"""

from __future__ import annotations

import os
import queue
import select
import threading
from collections import deque
from contextlib import suppress
from typing import Any

from bnconform.backends.runner import frames

CHUNK = 2**18
"""Bytes that are read at a time."""

ARRIVED = 2**24
"""Bytes of one stream, at most, that are taken in at once: a pipe holds less."""

KEPT = 2**16
"""Bytes of what is printed that are kept, the last ones."""

HEAD_ROOM, ROOM, PER_BYTE = 2**20, 2**24, 32
"""Bytes that the two parts of a reply may have, and how many more for each byte of the same part of what was asked, as
what is said of a step, and the arrays of a state, are longer."""

JOINING = 2.0
"""Seconds in which the thread ends; it waits for nobody, so that this is for a machine that is very busy."""

Message = dict[str, Any] | Exception | None


class Streams:
    """Three ends of pipes, of which this object is the owner from here on.

    Attributes:
        messages: what came in, in order; an exception for what is no message, or was not asked for, after which
            nothing is read; None at the end of the stream.

    Raises:
        OSError, RuntimeError: where no descriptor or no thread is left; the three are closed then.
    """

    def __init__(self, requests: int, replies: int, output: int) -> None:
        self.messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._requests, self._replies, self._output = requests, replies, output
        self._open = [requests, replies, output]
        self._lock = threading.Lock()
        self._closing = False
        self._settling: list[threading.Event] = []
        self._unsent: deque[memoryview] = deque()
        self._came, self._due = bytearray(), 0
        self._head_room, self._room = HEAD_ROOM, ROOM
        self._said: deque[bytes] = deque()
        self._said_bytes = 0
        self._poll = select.poll()
        try:
            self._woken, self._wake = ends = os.pipe()
            self._open += ends
            for end in self._open:
                os.set_blocking(end, False)
            self._listening = {replies, output, self._woken}
            for end in self._listening:
                self._poll.register(end, select.POLLIN)
            self._thread = threading.Thread(target=self._run, daemon=True, name="bnconform-streams")
            self._thread.start()
        except BaseException:
            self._close_all()
            raise

    # -- for the thread that asks ------------------------------------------------------------------------------------

    def ask(self, frame: bytes) -> None:
        """Send a frame, for which one reply may come."""
        head, blob = frames.lengths(frame)
        with self._lock:
            self._due += 1
            self._head_room = max(self._head_room, HEAD_ROOM + PER_BYTE * head)
            self._room = max(self._room, ROOM + PER_BYTE * blob)
        self.send(frame)

    def send(self, data: bytes) -> None:
        """Let bytes go out, at once as far as the other side takes them."""
        with self._lock:
            if self._closing:
                return
            self._unsent.append(memoryview(data))
            if len(self._unsent) == 1:
                self._write()
            waits = bool(self._unsent)
        if waits:
            self._rouse()

    def settle(self, seconds: float = 1.0) -> None:
        """Take in all that has arrived by now."""
        done = threading.Event()
        with self._lock:
            self._settling.append(done)
        self._rouse()
        if self._thread.is_alive():
            done.wait(seconds)

    def tail(self) -> bytes:
        """The last bytes that were printed."""
        with self._lock:
            return b"".join(self._said)[-KEPT:]

    def close(self) -> None:
        """Close all; what was still to be sent is lost."""
        with self._lock:
            self._closing = True
        self._rouse()
        self._thread.join(JOINING)

    def _rouse(self) -> None:
        with self._lock, suppress(OSError):  # where the pipe is full, it is awake anyway
            if self._open:
                os.write(self._wake, b"!")

    def _write(self) -> None:
        """Write what the other side takes now; to be called with the lock."""
        try:
            while self._unsent:
                self._unsent[0] = self._unsent[0][os.write(self._requests, self._unsent[0]) :]
                if not self._unsent[0]:
                    self._unsent.popleft()
        except BlockingIOError:
            return
        except OSError:  # the process is gone, which its silence will say
            self._unsent.clear()

    # -- the thread that moves them ----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closing:
                for end, _ in self._poll.poll():
                    if end == self._woken:
                        self._attend()
                    elif end == self._requests:
                        with self._lock:
                            self._write()
                            if not self._unsent:
                                self._poll.unregister(end)
                    else:
                        self._take(end)
        finally:
            self._close_all()

    def _attend(self) -> None:
        """See why it was woken."""
        with suppress(OSError):
            os.read(self._woken, 2**12)
        with self._lock:
            if self._unsent:
                self._poll.register(self._requests, select.POLLOUT)
            settling, self._settling = self._settling, []
        for end in (self._replies, self._output) if settling else ():
            taken = 0
            while taken < ARRIVED and (count := self._take(end)):
                taken += count
        for done in settling:
            done.set()

    def _take(self, end: int) -> int:
        """Take in a part of a stream; its bytes, 0 where nothing is there now."""
        if end not in self._listening:
            return 0
        try:
            part = os.read(end, CHUNK)
        except BlockingIOError:
            return 0
        except OSError:
            part = b""
        if not part:
            self._end(end)
        elif end == self._output:
            with self._lock:
                self._said.append(part)
                self._said_bytes += len(part)
                while self._said_bytes - len(self._said[0]) > KEPT:
                    self._said_bytes -= len(self._said.popleft())
        else:
            self._came += part
            self._decode()
        return len(part)

    def _decode(self) -> None:
        """Put the messages that are whole where they are waited for."""
        try:
            while self._came:
                starts_well = frames.MAGIC.startswith(self._came[: len(frames.MAGIC)])
                if starts_well and len(self._came) < frames.HEAD.size:
                    return
                head, blob = frames.lengths(self._came, self._room, self._head_room)
                if not self._due:
                    raise frames.FrameError("it answered what it was not asked")
                begin, middle, end = frames.HEAD.size, frames.HEAD.size + head, frames.HEAD.size + head + blob
                if len(self._came) < end:
                    return
                message = frames.decode(bytes(self._came[begin:middle]), bytes(self._came[middle:end]))
                del self._came[:end]
                with self._lock:
                    self._due -= 1
                self.messages.put(message)
        except Exception as problem:  # whatever it is, nothing that follows could be trusted
            self.messages.put(problem)
            self._came.clear()
            self._leave(self._replies)

    def _end(self, end: int) -> None:
        self._leave(end)
        if end == self._replies:
            if self._came:
                self.messages.put(frames.FrameError(f"{bytes(self._came[:40])!r}, in which the stream ended"))
            self.messages.put(None)

    def _leave(self, end: int) -> None:
        """Listen to a stream no more."""
        self._listening.discard(end)
        self._poll.unregister(end)

    def _close_all(self) -> None:
        with self._lock:
            for end in self._open:
                with suppress(OSError):
                    os.close(end)
            self._open.clear()
            settling, self._settling = self._settling, []
        for done in settling:
            done.set()
