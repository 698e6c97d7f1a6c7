"""What a conformance test says of itself. Marks of pytest would be unknown where another project's pytest runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

NAME = "__bnconform__"
"""The attribute of a test function that keeps its marks."""


@dataclass(frozen=True)
class Marks:
    """What a test function was decorated with.

    Attributes:
        requirement: the id of the one that it checks; "" for the test that runs the cases of those without one.
        over_cases: whether it runs once for each probe and relation of its requirement.
        once: whether it does not depend on the dtype, and runs in the first one only.
    """

    requirement: str = ""
    over_cases: bool = False
    once: bool = False


def checks(requirement: str, *, over_cases: bool = False, once: bool = False) -> Callable[[Function], Function]:
    """Say which requirement a test checks; see `Marks`."""
    return _mark(Marks(requirement, over_cases, once))


def checks_catalogue(function: Function) -> Function:
    """Say that a test runs for the cases of every requirement that has no test of its own for them."""
    return _mark(Marks(over_cases=True))(function)


def marks_of(function: Any) -> Marks | None:
    """What a function says; None for nothing."""
    found = getattr(function, NAME, None)
    return found if isinstance(found, Marks) else None


def _mark(marks: Marks) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        setattr(function, NAME, marks)
        return function

    return decorate
