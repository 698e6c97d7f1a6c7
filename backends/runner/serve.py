"""The process that implementations live in: it answers requests, one frame each way, until there are no more.

The conversation has descriptors of its own, so that what an implementation prints cannot reach it. A reply repeats the
request's id and the nonce of the conversation. The process ends with the one that started it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from bnconform.backends.external import line_process
from bnconform.backends.runner import frames, loading
from bnconform.backends.runner.programs import execute

Data = dict[str, Any]

PROTOCOL = "bnconform-runner/1"


def answer(request: Mapping[str, Any]) -> Data:
    """The reply to one request, without its id."""
    what = request["do"]
    if what == "hello":
        return {"protocol": PROTOCOL, "python": sys.version.split()[0]}
    if what == "describe":
        return {"described": {key: loading.describe(key) for key in request["keys"]}}
    if what == "smoke":
        return {"refused": loading.smoked(request["key"], request["device"])}
    if what == "run":
        backend = loading.adapter(request["key"])
        return {"name": backend.name, "trace": execute(backend, request["device"], request["program"])}
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
        give(frames.encode({"id": current["id"], "nonce": current["nonce"], **reply}))

    def lost(text: str, hung: bool) -> None:
        """A program is lost to its adapter: so is this process, which its starter ends, with its group."""
        send({"lost": text, "hung": hung})
        while True:
            signal.pause()

    line_process.keeper = lost
    while (request := frames.read(take)) is not None:
        current = request
        try:
            reply = answer(request)
        except Exception:
            reply = {"internal": traceback.format_exc()}
        send(reply)


def _settle() -> None:
    """End with the starter, be quiet, and keep threads from spinning where cores are shared."""
    with suppress(OSError, AttributeError):  # Linux only; elsewhere the end of the input is the sign
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    warnings.simplefilter("ignore")


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
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    over_descriptors(entry, exit_)
