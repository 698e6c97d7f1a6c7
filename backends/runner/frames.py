"""Messages between the two sides: JSON with arrays beside it, never pickled, as the other side is trusted in nothing.

A frame is MAGIC, the lengths of two parts (unsigned, 8 bytes each, little-endian), a JSON object in UTF-8, and the
bytes of its arrays one after the other. In the object an array stands as {"$": [dtype, shape, offset, length]}. Scalars
of NumPy become Python's. Arrays are little-endian, in C order.
"""

from __future__ import annotations

import json
import math
import struct
import sys
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MAGIC = b"BNC2"
HEAD = struct.Struct("<4sQQ")
LONGEST = 2**36
"""Bytes that a part may have where nothing else is said; a length beyond it is no length."""

DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "bool")
"""The dtypes of arrays in messages."""

NUMPY = {name: np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name) for name in DTYPES}


class FrameError(ValueError):
    """Bytes that are no message; the text says why."""


def encode(message: dict[str, Any]) -> bytes:
    """The frame of a message: a tree of dicts, lists, texts, numbers, None and arrays."""
    parts: list[bytes] = []
    place = 0

    def plain(value: Any) -> Any:
        nonlocal place
        if isinstance(value, np.ndarray):
            data = value.byteswap().tobytes() if sys.byteorder == "big" else value.tobytes()
            parts.append(data)
            place += len(data)
            return {"$": [str(value.dtype), list(value.shape), place - len(data), len(data)]}
        if isinstance(value, np.generic):
            return value.item()
        raise TypeError(f"a {type(value).__name__} cannot be sent")

    head = json.dumps(message, default=plain, separators=(",", ":")).encode()
    return b"".join((HEAD.pack(MAGIC, len(head), place), head, *parts))


def decode(head: bytes, blob: bytes) -> dict[str, Any]:
    """The message of a frame's two parts; FrameError where they are none, or more arrays than were sent."""
    left = len(blob)

    def restore(entry: dict[str, Any]) -> Any:
        nonlocal left
        if len(entry) != 1 or "$" not in entry:
            return entry
        array = _array(entry["$"], blob)
        left -= array.nbytes
        if left < 0:
            raise FrameError("arrays that overlap")
        return array

    try:
        message = json.loads(head, object_hook=restore)
    except (ValueError, RecursionError) as problem:
        raise FrameError(f"no JSON ({problem})") from None
    if not isinstance(message, dict):
        raise FrameError(f"a {type(message).__name__} where an object is due")
    return message


def _array(given: Any, blob: bytes) -> Array:
    try:
        name, shape, offset, length = given
        dtype = NUMPY[name]
        sizes = tuple(int(size) for size in shape)
        if min((*sizes, offset, length)) < 0 or math.prod(sizes) * dtype.itemsize != length:
            raise ValueError("its size and its shape do not go together")
        # Of its own memory, so that it can be written and outlives the frame.
        array = np.frombuffer(bytearray(memoryview(blob)[offset : offset + length]), dtype).reshape(sizes)
    except (ValueError, TypeError, KeyError, OverflowError) as problem:
        raise FrameError(f"an array that is none: {problem}") from None
    return array.byteswap() if sys.byteorder == "big" else array


def lengths(start: bytes | bytearray, room: int = LONGEST, head_room: int = LONGEST) -> tuple[int, int]:
    """The lengths of the two parts of a frame, of which `start` is the beginning.

    Raises:
        FrameError: where it is none, or a part is longer than there is room for it.
    """
    if len(start) < HEAD.size or not start.startswith(MAGIC):
        raise FrameError(f"{bytes(start[:40])!r} where a message should begin")
    _, head, blob = HEAD.unpack_from(start)
    if head > head_room or blob > room:
        raise FrameError(f"a message of {head} and {blob} bytes, far beyond what is due")
    return head, blob


def read(take: Callable[[int], bytes]) -> dict[str, Any] | None:
    """The next message; None at the end of the stream.

    Args:
        take: as many bytes as asked for, or fewer only at the end.

    Raises:
        FrameError: where what comes is no frame, or ends within one.
    """
    start = take(HEAD.size)
    if not start:
        return None
    head_length, blob_length = lengths(start)
    head, blob = take(head_length), take(blob_length)
    if len(head) < head_length or len(blob) < blob_length:
        raise FrameError("the stream ends within a message")
    return decode(head, blob)
