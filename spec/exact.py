"""Arrays of numbers with 320 bits of precision: the arithmetic of the oracle.

NumPy object arrays of MPFR numbers (through gmpy2), so that the oracle reads like NumPy code. Every value of the
four dtypes is represented exactly; each operation errs by at most 2**-320 of its result, and the exponent range is
far beyond float64's, so neither overflow nor underflow occurs in the oracle. NaN and infinity follow IEEE 754.
"""

from __future__ import annotations

from typing import Any

import gmpy2
import numpy as np
from numpy.typing import NDArray

PRECISION = 320
"""Bits in the oracle's numbers; at least 100 are needed to judge float64, and 320 keep sums of widely spread terms."""

Exact = NDArray[np.object_]
"""An array of 320-bit numbers."""
Floats = NDArray[np.float64]


def arithmetic() -> Any:
    """A context manager in which operations on Exact arrays keep 320 bits."""
    return gmpy2.context(precision=PRECISION)


_ONE = np.asarray(gmpy2.mpfr(1), dtype=object)
_floats = np.frompyfunc(float, 1, 1)
_sqrt = np.frompyfunc(gmpy2.sqrt, 1, 1)
_is_finite = np.frompyfunc(gmpy2.is_finite, 1, 1)


def exact(values: Any) -> Exact:
    """The same numbers, exactly, as an Exact array; `values` has any of the four dtypes, or is Exact already."""
    array = np.asarray(values)
    if array.dtype == object:
        return array
    numbers = array.astype(np.float64).astype(object)
    with np.errstate(all="ignore"):  # the conversion raises flags that mean nothing here
        # A product with one is exact at any precision from 53 bits on, and made several times faster than gmpy2.mpfr().
        return np.asarray(_ONE * numbers, dtype=object)


def constant(text: str) -> Any:
    """One number from decimal text or a fraction's text, rounded once to 320 bits."""
    return gmpy2.mpfr(gmpy2.mpq(text), PRECISION)


def floats(values: Exact) -> Floats:
    """The nearest float64 of each number (infinite where it is beyond float64)."""
    with np.errstate(all="ignore"):
        return np.asarray(_floats(np.asarray(values, dtype=object)), dtype=object).astype(np.float64)


def sqrt(values: Exact) -> Exact:
    """The square root of each number; NaN for negative ones."""
    return np.asarray(_sqrt(values), dtype=object)


def is_finite(values: Exact) -> NDArray[np.bool_]:
    """Whether each number is neither NaN nor infinite."""
    return np.asarray(_is_finite(values), dtype=object).astype(bool)


def total(values: Exact, axes: tuple[int, ...]) -> Exact:
    """The sum over `axes`, which stay with length 1; zero where nothing is summed."""
    if not axes:
        return values
    if values.size == 0:
        shape = tuple(1 if axis in axes else length for axis, length in enumerate(values.shape))
        return exact(np.zeros(shape))
    return np.asarray(np.add.reduce(values, axis=axes, keepdims=True), dtype=object)
