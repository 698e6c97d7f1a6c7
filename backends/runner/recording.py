"""Recordings: what an implementation showed of each program, in a file, and plans: which programs those are.

Both are sequences of frames (`bnconform.backends.runner.frames`). A recording begins with a head, {"recording": FORMAT,
"key", "device", "dtypes", "description", ...}, goes on with {"program": its key in hexadecimal, "trace"} and ends with
{"end": how many}; one without that end is not whole. While it is made it is called PATH.part, and is continued there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from bnconform.backends.runner import frames
from bnconform.backends.runner.frames import FrameError

Data = dict[str, Any]

FORMAT = "bnconform-recording/1"


def read(path: Path) -> tuple[Data, dict[str, Data]]:
    """The head of a recording and its traces by program.

    Raises:
        OSError: where it cannot be read. FrameError: where it is no recording, or not whole; the text says which.
    """
    with path.open("rb") as stream:
        head = next(_frames(stream), {})
        if head.get("recording") != FORMAT:
            raise FrameError(f"it does not begin as a recording does ({FORMAT})")
        traces: dict[str, Data] = {}
        for frame in _frames(stream):
            if "end" in frame:
                if frame["end"] != len(traces):
                    raise FrameError(f"it has {len(traces)} programs, and says {frame['end']}")
                return head, traces
            traces[str(frame["program"])] = frame["trace"]
    raise FrameError("it is not whole: make it again, or go on with it by the same command")


def continue_recording(path: Path, head: Data) -> list[str]:
    """The programs that an unfinished recording with this head holds; what follows the last whole frame is cut off."""
    if not path.exists():
        return []
    found: list[str] = []
    with path.open("r+b") as stream:
        place = 0
        try:
            first = next(_frames(stream), {})
            if any(first.get(name) != head[name] for name in ("recording", "key", "device", "dtypes", "plan")):
                stream.truncate(0)
                return []
            place = stream.tell()
            for frame in _frames(stream):
                if "program" in frame:
                    found.append(str(frame["program"]))
                    place = stream.tell()
        except FrameError:  # the machine stopped while it was written
            pass
        stream.truncate(place)
    return found


def _frames(stream: BinaryIO) -> Iterator[Data]:
    while (frame := frames.read(stream.read)) is not None:
        yield frame
