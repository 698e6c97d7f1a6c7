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


class PrecisionError(RuntimeError):
    """The oracle was asked outside of `arithmetic()`; the message says so in one line."""


class _Arithmetic:
    """The 320-bit context of gmpy2, and NumPy's silence about flags that mean nothing for object arrays."""

    def __enter__(self) -> None:
        self._context = gmpy2.context(precision=PRECISION)
        self._context.__enter__()
        self._quiet = np.errstate(all="ignore")
        self._quiet.__enter__()

    def __exit__(self, *raised: Any) -> None:
        self._quiet.__exit__(*raised)
        self._context.__exit__(*raised)


def arithmetic() -> _Arithmetic:
    """A context manager in which operations on Exact arrays keep 320 bits, and NumPy warns of nothing."""
    return _Arithmetic()


def require_precision() -> None:
    """Raise PrecisionError unless operations keep at least 320 bits here."""
    precision = gmpy2.get_context().precision
    if precision < PRECISION:
        raise PrecisionError(
            f"the oracle computes in {PRECISION} bits and was asked to in {precision}; "
            "call it within `bnconform.spec.exact.arithmetic()`"
        )


_ONE = gmpy2.mpfr(1)
_sqrt = np.frompyfunc(gmpy2.sqrt, 1, 1)
_is_finite = np.frompyfunc(gmpy2.is_finite, 1, 1)


def exact(values: Any) -> Exact:
    """The same numbers, exactly, as an Exact array; `values` has any of the four dtypes, or is Exact already."""
    array = np.asarray(values)
    if array.dtype == object:
        return array
    # A product with one is exact at any precision from 53 bits on, and made several times faster than gmpy2.mpfr().
    numbers = [_ONE * number for number in array.astype(np.float64).ravel().tolist()]
    return np.fromiter(numbers, object, len(numbers)).reshape(array.shape)


def constant(text: str) -> Any:
    """One number from decimal text or a fraction's text, rounded once to 320 bits."""
    return gmpy2.mpfr(gmpy2.mpq(text), PRECISION)


def floats(values: Any) -> Floats:
    """The nearest float64 of each number (infinite where it is beyond float64)."""
    array = np.asarray(values, dtype=object)
    # Through Python's own numbers, as a conversion by NumPy raises flags that mean nothing here.
    return np.fromiter(map(float, array.ravel().tolist()), np.float64, array.size).reshape(array.shape)


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
