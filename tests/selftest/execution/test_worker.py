"""One worker's life: what it leaves behind, and what happens where many die, or several things happen at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from bnconform.backends.runner import frames
from bnconform.execution.settings import Settings
from bnconform.execution.streams import Streams
from bnconform.execution.worker import CannotStart, Died, Worker

SETTINGS = Settings(seconds=20)


def _resources() -> tuple[int, int, int]:
    """Descriptors, threads and children of this process, zombies too."""
    process = psutil.Process()
    return process.num_fds(), threading.active_count(), len(process.children())


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """An interpreter that ends at once, in the place of Python's: a death that costs little."""
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\necho dead >&2\nexit 3\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A worker that is closed."""
    found = Worker(SETTINGS, "numpy")
    yield found
    found.close()


def test_two_hundred_deaths_leave_nothing(stand_in: Path) -> None:
    """No descriptor, no thread, no zombie."""
    settings = Settings(seconds=20, pythons={"numpy": str(stand_in)})
    before = _resources()
    for _ in range(200):
        worker = Worker(settings, "numpy")
        worker.ask({"do": "hello"})
        with pytest.raises(Died, match=r"^the process ended with status 3; its last words: dead$"):
            worker.reply()
        worker.close()
    assert _resources() == before


def test_worker_that_cannot_start_leaves_nothing(tmp_path: Path) -> None:
    """So it is where there is no interpreter."""
    before = _resources()
    for _ in range(20):
        with pytest.raises(CannotStart, match="numpy cannot run: /no/such/python: No such file or directory"):
            Worker(Settings(pythons={"numpy": "/no/such/python"}), "numpy")
    assert _resources() == before


def test_close_twice_and_after_death(worker: Worker) -> None:
    """It ends once; whoever asks afterwards hears so at once."""
    worker.ask({"do": "hello"})
    assert worker.reply()["protocol"] == "bnconform-runner/1"
    worker.close()
    worker.close()
    worker.ask({"do": "hello"})
    with pytest.raises(Died):
        worker.reply()
    assert worker.status == -9


def test_close_while_another_thread_waits(worker: Worker) -> None:
    """A thread that waits for a reply hears of the end within a moment."""
    os.kill(worker.process.pid, 19)  # SIGSTOP
    worker.ask({"do": "hello"})
    threading.Timer(0.3, worker.close).start()
    begin = time.monotonic()
    with pytest.raises(Died, match="it was ended"):
        worker.reply()
    assert time.monotonic() - begin < 5


def test_request_that_nobody_reads(worker: Worker) -> None:
    """The limit counts from the call, though the process does not even take the request."""
    os.kill(worker.process.pid, 19)  # SIGSTOP
    begin = time.monotonic()
    for _ in range(4):
        worker.ask({"do": "run", "x": np.zeros(2**18)})
    assert time.monotonic() - begin < 1
    with pytest.raises(Died, match="no answer within 1 s"):
        worker.reply(1)
    assert time.monotonic() - begin < 5


def test_large_requests_and_replies_pass_each_other(worker: Worker) -> None:
    """What is more than a pipe holds goes both ways at once; a reply names its request."""
    keys = [f"no such backend {'x' * 10**5} {number}" for number in range(4)]
    for key in keys:
        worker.ask({"do": "describe", "keys": [key], "more": np.zeros(2**18)})
    for key in keys:
        assert key[:20] in worker.reply()["described"][key]["refused"]


def test_what_fails_there_is_told_in_a_line(worker: Worker) -> None:
    """A request that cannot be carried out is no answer, and shows no traceback."""
    worker.ask({"do": "dance"})
    with pytest.raises(Died) as death:
        worker.reply()
    words = "the runner failed in its process: ValueError: unknown request 'dance' (serve.py, line "
    assert str(death.value).startswith(words)
    assert death.value.breach


# -- the streams alone -----------------------------------------------------------------------------------------------


@pytest.fixture
def ends() -> Iterator[tuple[Streams, int, int, int]]:
    """Streams, and the other ends of the three."""
    asked, requests = os.pipe()
    replies, replied = os.pipe()
    output, printed = os.pipe()
    streams = Streams(requests, replies, output)
    yield streams, asked, replied, printed
    streams.close()
    for end in (asked, replied, printed):
        os.close(end)


FRAME = frames.encode({"id": 1})


def test_messages_come_whole(ends: tuple[Streams, int, int, int]) -> None:
    """However a frame is cut, it comes as one."""
    streams, _, replied, _ = ends
    streams.ask(FRAME)
    for byte in FRAME:
        os.write(replied, bytes([byte]))
    assert streams.messages.get(timeout=5) == {"id": 1}


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"x", "where a message should begin"),
        (b"BNX", "where a message should begin"),
        (FRAME + FRAME, "answered what it was not asked"),
        (frames.HEAD.pack(frames.MAGIC, 2**30, 0), "far beyond what is due"),
        (frames.HEAD.pack(frames.MAGIC, 0, 2**63), "far beyond what is due"),
        (frames.HEAD.pack(frames.MAGIC, 3, 0) + b"[1]", "where an object is due"),
        (frames.HEAD.pack(frames.MAGIC, 9, 0) + b'{"a":\xff\xff\xff}', "no JSON"),
        (frames.HEAD.pack(frames.MAGIC, 10**5, 0) + b"[" * 10**5, ""),
        (frames.HEAD.pack(frames.MAGIC, 10**5, 0) + b"9" * 10**5, "no JSON"),
    ],
)
def test_what_is_no_message_ends_the_stream(sent: bytes, words: str, ends: tuple[Streams, int, int, int]) -> None:
    """It is told, and nothing that follows is read."""
    streams, _, replied, _ = ends
    streams.ask(FRAME)
    os.write(replied, sent)
    found = streams.messages.get(timeout=5)
    if isinstance(found, dict):
        found = streams.messages.get(timeout=5)
    assert isinstance(found, Exception) and words in str(found)
    os.write(replied, FRAME)
    streams.settle()
    assert streams.messages.empty()


@pytest.mark.parametrize(
    "entry",
    [
        '["float64",[1e400],0,0]',
        '["float64",[-1],0,-8]',
        '["float64",[2],0,16]',
        '["float64",["a"],0,8]',
        '["float64",[1],NaN,8]',
        '["object",[1],0,8]',
        '[["float64"],[1],0,8]',
        '["float64",[1000000000000000000000000,0],0,0]',
        "3",
        "[]",
        "null",
    ],
)
def test_array_that_is_none_ends_the_stream(entry: str, ends: tuple[Streams, int, int, int]) -> None:
    """Sizes that are no sizes, of a dtype that is none, of bytes that are not there."""
    streams, _, replied, _ = ends
    streams.ask(FRAME)
    head = f'{{"x":{{"$":{entry}}}}}'.encode()
    os.write(replied, frames.HEAD.pack(frames.MAGIC, len(head), 8) + head + bytes(8))
    assert isinstance(streams.messages.get(timeout=5), frames.FrameError)


def test_what_is_left_open_by_others_keeps_nobody_waiting(ends: tuple[Streams, int, int, int]) -> None:
    """Streams close though other processes hold every end of them, and what was printed is there."""
    streams, asked, replied, printed = ends
    command = [sys.executable, "-c", "import time; time.sleep(1000)"]
    holder = subprocess.Popen(command, pass_fds=(asked, replied, printed))
    os.write(printed, b"x" * 10**5 + b"last")
    streams.send(bytes(2**22))
    streams.settle()
    assert streams.tail().endswith(b"xlast") and len(streams.tail()) == 2**16
    begin = time.monotonic()
    streams.close()
    streams.close()
    assert time.monotonic() - begin < 1
    holder.kill()
    holder.wait()
