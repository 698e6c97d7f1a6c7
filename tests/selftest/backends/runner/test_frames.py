"""Frames: what is sent comes back bit by bit, and bytes that are no message are refused, whatever they are."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest

from bnconform.backends.runner import frames
from bnconform.backends.runner.frames import HEAD, LONGEST, MAGIC, NUMPY, Array, FrameError, decode, encode, read

SHAPES = ((2, 3), (0,), (3, 0, 2), (), (1,), (2, 1, 2, 1, 2))


def send(message: dict[str, Any]) -> Any:
    """A message after its way through a stream."""
    return read(io.BytesIO(encode(message)).read)


def frame(head: bytes, blob: bytes = b"") -> bytes:
    """A frame of these two parts."""
    return HEAD.pack(MAGIC, len(head), len(blob)) + head + blob


def describe(*entry: Any) -> bytes:
    """The JSON of a message with one array."""
    return json.dumps({"x": {"$": list(entry)}}).encode()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NUMPY)
def test_arrays_come_back(name: str, shape: tuple[int, ...]) -> None:
    """Values, dtype and shape are those that were sent, and what comes can be written to and is its own."""
    x = (np.arange(np.prod(shape, dtype=int)) - 2).reshape(shape).astype(NUMPY[name])
    first, second = send({"x": x, "more": [{"x": x}]}), send({"x": x})
    for back in (first["x"], first["more"][0]["x"], second["x"]):
        assert (back.dtype, back.shape, back.tobytes()) == (x.dtype, x.shape, x.tobytes())
        assert back.flags.writeable and back.flags["C_CONTIGUOUS"]
    assert not np.shares_memory(first["x"], first["more"][0]["x"])


@pytest.mark.parametrize("name", [name for name in NUMPY if name != "int64"])
def test_every_float_comes_back(name: str) -> None:
    """NaN with its payload, infinities, zeros of both signs and subnormals are bits like all others."""
    special = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0]).astype(NUMPY[name])
    tiny = np.arange(1, 8, dtype=f"u{special.itemsize}").view(special.dtype)
    quiet = tiny.view(f"u{special.itemsize}") | special[:1].view(f"u{special.itemsize}")
    for x in (special, tiny, quiet.view(special.dtype)):
        assert send({"x": x})["x"].tobytes() == x.tobytes()


@pytest.mark.parametrize("order", ["F", "stepped"])
def test_arrays_are_sent_in_c_order(order: str) -> None:
    """However an array lies in memory, its values come in C order."""
    x: Array = np.arange(12.0).reshape(3, 4)
    laid = {"F": np.asfortranarray(x), "stepped": np.repeat(x, 2, axis=1)[:, ::2]}[order]
    np.testing.assert_array_equal(send({"x": laid})["x"], x)


def test_plain_values_come_back() -> None:
    """Texts of any kind, numbers, None and nested lists; NumPy's scalars as Python's."""
    message = {"text": 'a\n"ü\x00', "none": None, "list": [1, [2.5, True, {}]], "id": 2**60}
    assert send(message) == message
    assert send({"a": np.float32(0.5), "b": np.int64(3), "c": np.bool_(True)}) == {"a": 0.5, "b": 3, "c": True}


@pytest.mark.parametrize("value", [object(), b"bytes", {1, 2}, 1j], ids=lambda value: type(value).__name__)
def test_what_cannot_be_sent(value: object) -> None:
    """It is an error of ours, at once, and not of the side that would receive it."""
    with pytest.raises(TypeError):
        encode({"x": value})


def test_messages_follow_each_other() -> None:
    """Each read takes one message, and the end of the stream is the end."""
    stream = io.BytesIO(encode({"id": 1, "x": np.ones(3)}) + encode({"id": 2}))
    assert [found and found["id"] for found in (read(stream.read), read(stream.read), read(stream.read))] == [
        1,
        2,
        None,
    ]


WHOLE = encode({"id": 1, "x": np.arange(4.0)})


@pytest.mark.parametrize("length", range(1, len(WHOLE)))
def test_truncated_frame(length: int) -> None:
    """A stream that ends anywhere within a message is refused."""
    with pytest.raises(FrameError):
        read(io.BytesIO(WHOLE[:length]).read)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"epoch 1 done, loss 0.25\n", "where a message should begin"),
        (b"\x00" * 40, "where a message should begin"),
        (HEAD.pack(MAGIC, LONGEST + 1, 0), "a message of"),
        (HEAD.pack(MAGIC, 2, 2**64 - 1), "a message of"),
        (frame(b"{"), "no JSON"),
        (frame(b"\xff\xfe"), "no JSON"),
        (frame(b"[" * 100_000), "no JSON"),
        (frame(b"9" * 10_000), "no JSON"),
        (frame(b"[1, 2]"), "a list where an object is due"),
        (frame(describe("float64", [1], 0, 8), b"1234567"), "an array that is none"),
    ],
    ids=["text", "zeros", "long head", "long blob", "half", "no text", "deep", "digits", "list", "short"],
)
def test_garbage(given: bytes, words: str) -> None:
    """Bytes that are no message are refused, without reading what they claim to be long."""
    with pytest.raises(FrameError, match=words):
        read(io.BytesIO(given).read)


@pytest.mark.parametrize(
    "entry",
    [
        ("float64", [2], 0, 16, 1),
        ("float64", [2], 0),
        ("float80", [2], 0, 16),
        ("object", [2], 0, 16),
        (["float64"], [2], 0, 16),
        ("float64", [3], 0, 16),
        ("float64", [-2], 0, 16),
        ("float64", [-1, -2], 0, 16),
        ("float64", [2**62, 4], 0, 0),
        ("float64", [2**40], 0, 2**43),
        ("float64", [2], 8, 16),
        ("float64", [2], -16, 16),
        ("float64", [2], 0.5, 16),
        ("float64", "2", "0", 16),
        ("float64", 2, 0, 16),
        ("float64", [None], 0, 16),
        ("float64", [1] * 100 + [2], 0, 16),
        (),
    ],
    ids=str,
)
def test_arrays_that_are_none(entry: tuple[Any, ...]) -> None:
    """An entry whose dtype, shape, place and length do not go together is refused, and nothing of its size is made."""
    with pytest.raises(FrameError):
        decode(describe(*entry), bytes(16))


def test_dtypes_are_those_of_results() -> None:
    """Whatever a result may be, the counter and a mask can be sent."""
    from bnconform.backends.runner.instrumented import DTYPES

    assert set(frames.DTYPES) == {*DTYPES, "int64", "bool"}
