"""One circumstance of a failure: in words, and whether a program has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bnconform.cases.program import Program


@dataclass(frozen=True)
class Circumstance:
    """Something whose change makes a failure go away.

    Attributes:
        words: what is told. has: whether a program, seen from its last call, has it.
    """

    words: str
    has: Callable[[Program], bool] = lambda _: True
