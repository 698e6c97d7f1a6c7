"""What differs is told by its first element, and no array is written out."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from bnconform.judge.first_difference import quantity
from bnconform.results.failure import Quantity

ONE = np.arange(12, dtype=np.float32).reshape(3, 4)


def change(*at: int, to: float, dtype: Any = np.float32) -> NDArray[Any]:
    """ONE with another element."""
    other: NDArray[Any] = ONE.astype(dtype)
    other[at] = to
    return other


def test_the_first_element_that_differs() -> None:
    """Where it stands, what was got and what should be, with the dtypes; later ones are not told."""
    other = change(1, 2, to=99)
    other[2, 3] = 7
    found = quantity("y", other, ONE)
    assert found == Quantity("y: its first element that differs, [1, 2]", "99.0 (float32)", "6.0 (float32)")


@pytest.mark.parametrize(
    ("got", "due", "at"),
    [
        (change(0, 0, to=-0.0), ONE, "[0, 0]"),
        (change(0, 1, to=math.nan), ONE, "[0, 1]"),
        (change(2, 0, to=1, dtype=ml_dtypes.bfloat16), ONE.astype(ml_dtypes.bfloat16), "[2, 0]"),
    ],
    ids=["sign of zero", "NaN", "bfloat16"],
)
def test_bits_count(got: NDArray[Any], due: NDArray[Any], at: str) -> None:
    """Zeros of two signs differ, and so do NaN and numbers."""
    assert quantity("y", got, due).what == f"y: its first element that differs, {at}"


def test_nan_is_like_nan() -> None:
    """Where both have NaN, the first difference is a later one."""
    due = change(0, 1, to=math.nan)
    got = due.copy()
    got[1, 1] = 0
    assert "[1, 1]" in quantity("y", got, due).what


@pytest.mark.parametrize(
    "due", ["the bias", np.zeros(3), None, ONE], ids=["words", "another shape", "nothing", "the same"]
)
def test_what_cannot_be_set_beside_each_other_is_described(due: object) -> None:
    """An array is its shape, its dtype and its beginning; words are words."""
    found = quantity("y", ONE, due)
    assert found.what == "y"
    assert found.got == "an array of shape (3, 4) and dtype float32 that begins with 0.0, 1.0, 2.0"
    assert str(found.expected)


def test_long_words_are_cut() -> None:
    """Whatever is got has a bounded length."""
    assert len(str(quantity("y", "x" * 9999, "z").got)) == 300
    assert quantity("y", np.float32(3), 4).got == "3.0"
