"""The pipe to a program: what it says on standard error is told, and kept, as far as it is of use."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from bnconform.backends.external.line_process import KEPT, LineProcess, Lost

TALKS = """
import sys
for line in sys.stdin:
    for number in range(2000):
        sys.stderr.write(f"{number} " + "x" * 10**4 + chr(10))
    for number in range(12):
        sys.stderr.write(f"line {number}" + chr(10))
    sys.stderr.flush()
    if line == "die" + chr(10):
        sys.exit(3)
    print(line, end="", flush=True)
"""


@pytest.fixture
def pipe() -> Iterator[LineProcess]:
    """A program that says twenty megabytes for every line that it is sent, and then says it again."""
    found = LineProcess([sys.executable, "-c", TALKS], 20, "the limit")
    yield found
    found.close()


def test_last_ten_lines_are_told(pipe: LineProcess) -> None:
    """Those before its death, each cut off where it is long."""
    assert pipe.exchange(b"hello", 100, "hello") == b"hello"
    with pytest.raises(Lost) as loss:
        pipe.exchange(b"die", 100, "forward")
    words = " | ".join(f"line {number}" for number in range(2, 12))
    assert str(loss.value).endswith(f"it ended with status 3 when it was asked for forward; its last words: {words}")


def test_little_is_kept(pipe: LineProcess) -> None:
    """What it says does not fill the disk: what was said before the last request is forgotten."""
    for _ in range(3):
        pipe.exchange(b"hello", 100, "hello")
    assert os.fstat(pipe.said.fileno()).st_size <= KEPT + 21 * 2**20
