"""Two things that should be the same, as a record: of arrays the first element that differs, and never all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnconform.results.failure import Quantity

BEGINNING = 3
"""Elements of an array that are shown where it is not compared with another one of its shape."""

LONGEST = 300
"""Characters of what is no array."""


def quantity(what: str, got: object, due: object) -> Quantity:
    """The record of `got` where `due` should be."""
    if isinstance(got, np.ndarray) and isinstance(due, np.ndarray) and got.shape == due.shape and got.ndim:
        at = _first(got, due)
        if at is not None:
            return Quantity(f"{what}: its first element that differs, {list(at)}", _number(got[at]), _number(due[at]))
    return Quantity(what, _words(got), _words(due))


def _first(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> tuple[int, ...] | None:
    """Where two arrays differ first, NaN being like NaN, or else in a bit of it; None where they do not."""
    wide = [array.astype(np.float64) if array.dtype.kind not in "iub" else array for array in (one, other)]
    both_nan = np.isnan(wide[0]) & np.isnan(wide[1]) if all(array.dtype.kind == "f" for array in wide) else False
    differs = (wide[0] != wide[1]) & ~np.asarray(both_nan)
    if not differs.any() and one.dtype == other.dtype:
        size = one.dtype.itemsize
        bits = [np.frombuffer(np.ascontiguousarray(array).tobytes(), f"V{size}") for array in (one, other)]
        differs = np.reshape([a.tobytes() != b.tobytes() for a, b in zip(*bits, strict=True)], one.shape)
    return tuple(int(i) for i in np.argwhere(differs)[0]) if differs.any() else None


def _number(value: Any) -> str:
    return f"{value} ({value.dtype})"


def _words(value: object) -> str:
    if isinstance(value, np.ndarray) and value.size > BEGINNING:
        first = ", ".join(str(number) for number in value.ravel()[:BEGINNING])
        return f"an array of shape {value.shape} and dtype {value.dtype} that begins with {first}"
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
