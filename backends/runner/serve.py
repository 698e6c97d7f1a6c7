"""The process that implementations live in: it answers requests, one frame each way, until there are no more.

The conversation has descriptors of its own, so that what an implementation prints cannot reach it. A reply repeats the
request's id and the nonce of the conversation. The process ends with the one that started it, and adopts what its
descendants leave behind, so that whoever ends it finds them.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from bnconform.backends.external import line_process
from bnconform.backends.runner import frames, loading
from bnconform.backends.runner.deployments import deploy
from bnconform.backends.runner.own_models import own_model
from bnconform.backends.runner.programs import execute
from bnconform.backends.runner.training import train

Data = dict[str, Any]

PROTOCOL = "bnconform-runner/1"

DISTURBED = 87
"""The exit status of a process whose conversation was disturbed; its last line says how."""

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def answer(request: Mapping[str, Any]) -> Data:
    """The reply to one request, without its id."""
    what = request["do"]
    if what == "hello":
        return {"protocol": PROTOCOL, "python": sys.version.split()[0]}
    if what == "describe":
        return {"described": {key: loading.describe(key) for key in request["keys"]}}
    if what == "smoke":
        return {"refused": loading.find_refusal(request["key"], request["device"])}
    if what == "run":
        backend = loading.adapter(request["key"])
        return {"name": backend.name, "trace": execute(backend, request["device"], request["program"])}
    if what == "deploy":
        backend = loading.adapter(request["key"])
        return {"name": backend.name, "deployed": deploy(backend, request["device"], request)}
    if what == "own_model":
        return {"own": own_model(request)}
    if what == "train":
        return {"trained": train(request)}
    raise ValueError(f"unknown request {what!r}")


def serve(take: Callable[[int], bytes], give: Callable[[bytes], None]) -> None:
    """Answer requests until the stream ends.

    Args:
        take: as many bytes as asked for, fewer only at the end. give: writes all of its bytes.
    """
    own = os.getpid()
    current: Data = {}

    def send(reply: Data) -> None:
        if os.getpid() != own:
            # A call forked, and the child came back: its answers are nobody's.
            os._exit(0)
        head = {"id": current["id"], "nonce": current["nonce"]}
        try:
            frame = frames.encode({**head, **reply})
        except Exception as error:  # such as a description that has no plain values
            frame = frames.encode({**head, "internal": in_a_line(error)})
        try:
            give(frame)
        except (OSError, ValueError) as problem:
            leave(f"it could not be sent: {problem}")

    def lose(text: str, hung: bool) -> None:
        """A program is lost to its adapter: so is this process, which its starter ends, with its group."""
        send({"lost": text, "hung": hung})
        while True:
            signal.pause()

    line_process.keeper = lose
    while True:
        try:
            request = frames.read(take)
        except (OSError, ValueError) as problem:
            leave(f"it could not be read: {problem}")
        if request is None:
            return
        current = request
        try:
            reply = answer(request)
        except BaseException as error:
            reply = {"internal": in_a_line(error)}
        send(reply)


def in_a_line(error: BaseException) -> str:
    """What an error is and where it was raised: the name of the file and the line."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = "" if place is None else f" ({Path(place.tb_frame.f_code.co_filename).name}, line {place.tb_lineno})"
    return f"{type(error).__name__}: {' '.join(str(error).split())}{where}"


def leave(text: str) -> NoReturn:
    """End a process with which nobody can speak any more, in one line."""
    with suppress(OSError):
        os.write(2, f"the conversation with bnconform was disturbed here; {text}\n".encode(errors="replace"))
    os._exit(DISTURBED)


def _settle() -> None:
    """End with the starter, keep what is left behind, and be quiet."""
    with suppress(OSError, AttributeError):  # Linux only; elsewhere the end of the input is the sign
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    warnings.simplefilter("ignore")


def _end_with(entry: int) -> None:
    """End this process, and its group where it leads one, when its requests come to an end while it is busy."""
    ends = select.poll()
    ends.register(entry, getattr(select, "POLLRDHUP", 0))  # and the signs of a pipe's end, which are always given

    def watch() -> None:
        with suppress(OSError):
            ends.poll()
        with suppress(OSError):
            if os.getpgrp() == os.getpid():
                os.killpg(0, signal.SIGKILL)
        os._exit(0)

    with suppress(RuntimeError):  # no thread is left: the end of the input is seen once it is idle
        threading.Thread(target=watch, daemon=True).start()


def over_descriptors(entry: int, exit_: int) -> None:
    """Serve over two descriptors that are there for it; standard input and output are the implementation's."""
    _settle()
    os.set_inheritable(entry, False)
    os.set_inheritable(exit_, False)
    with open(entry, "rb") as requests, open(exit_, "wb") as replies:

        def give(data: bytes) -> None:
            replies.write(data)
            replies.flush()

        serve(requests.read, give)


def over_standard_streams() -> None:
    """Serve over standard input and output, as behind ssh or in a container; what is printed goes to standard error.

    What sent this code has read standard input without a buffer, so that all that follows is still there.
    """
    entry, exit_ = os.dup(0), os.dup(1)
    _end_with(entry)  # whoever started it may be on another machine, which no signal says
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    over_descriptors(entry, exit_)
