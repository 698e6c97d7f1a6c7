"""Exact numbers as unevaluated sums of three float64, so that judging is plain array arithmetic.

v = a + b + c with a the float64 nearest to v, b the one nearest to v - a, c the one nearest to v - a - b: some 159
bits, of which a distance of the size of a bound needs far fewer. The few numbers that a sum cannot stand for (beyond
float64's range, so small that its parts underflow, or of a bound so narrow that the rest would count) are kept in 320
bits beside it. What is nearer to 0 than to any other float64 stands as 0: every computed number's bound is larger.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import gmpy2
import numpy as np
from numpy.typing import NDArray

from bnconform.spec.exact import Exact, Floats, arithmetic, exact

TINY = 1e-260
"""Size of a number below which it is kept in 320 bits, as the parts of its sum would be subnormal."""

FINE = 2.0**-98
"""Bound over size of a number below which it is kept in 320 bits: the rest of the sum is at most 2**-159 of it."""

_nearest = gmpy2.context(precision=53).plus
"""The nearest number of 53 bits: float64's, but where that is subnormal or none."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Expansion:
    """An array of exact numbers.

    Attributes:
        parts: (3, *shape) float64; NaN or an infinity stands in the first part, beside zeros.
        beside: flat index -> the number in 320 bits, where the sum does not do.
    """

    parts: Floats
    beside: Mapping[int, Any] = field(default_factory=dict)

    @staticmethod
    def of(values: Exact | Floats, bound: Floats | None = None) -> Expansion:
        """The expansion of exact numbers (to be called within `arithmetic()`) or of float64 ones.

        Args:
            bound: how far an observation may lie from them, broadcastable to their shape.
        """
        parts = np.zeros((3, *values.shape))
        if values.dtype != object:
            parts[0] = values
            return Expansion(parts)
        flat = values.ravel().tolist()
        columns = parts.reshape(3, -1)
        columns[0] = np.fromiter(map(float, flat), np.float64, len(flat))
        first = parts[0]
        known = np.isfinite(first)
        rest = flat
        for number in (1, 2):
            # Rounded as numbers of gmpy2, as each conversion from a float costs more than the subtraction.
            rest = [value - _nearest(value) for value in rest]
            columns[number] = np.fromiter(map(float, rest), np.float64, len(rest))
            if not columns[number].any():
                break
        if not known.all():
            parts[1:, ~known] = 0.0
        size = np.abs(first)
        needed = (size < TINY) & (size != 0) | ~known
        if bound is not None and parts[2].any():
            needed |= (parts[2] != 0) & (bound < FINE * size)
        if not needed.any():
            return Expansion(parts)
        found = {int(index): flat[index] for index in np.flatnonzero(needed)}
        return Expansion(parts, {index: value for index, value in found.items() if gmpy2.is_finite(value)})

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.parts.shape[1:]

    @property
    def size(self) -> int:
        """The number of its elements."""
        return int(self.parts[0].size)

    @property
    def nearest(self) -> Floats:
        """The nearest float64 of each number (infinite where it is beyond float64)."""
        return np.asarray(self.parts[0])

    @cached_property
    def finite(self) -> Mask:
        """Whether each number is neither NaN nor infinite; one beyond float64 is finite."""
        found: Mask = np.isfinite(self.parts[0])
        if self.beside:
            found.reshape(-1)[list(self.beside)] = True
        return found

    @cached_property
    def is_plain(self) -> bool:
        """Whether every number is finite and its sum stands for it."""
        return not self.beside and bool(np.isfinite(self.parts[0]).all())

    @cached_property
    def nbytes(self) -> int:
        """Its size in memory, roughly."""
        return int(self.parts.nbytes) + 200 * len(self.beside) + 200

    def equals(self, got: NDArray[Any]) -> bool:
        """Whether an array holds exactly these numbers, which are finite float64 ones."""
        return bool((got == self.parts[0]).all()) and self._is_float

    @cached_property
    def _is_float(self) -> bool:
        return self.is_plain and not self.parts[1:].any()

    def distance(self, index: tuple[int, ...], got: float) -> float:
        """The distance of a finite float64 from the number at an index, which is finite, correctly rounded."""
        place = int(np.ravel_multi_index(index, self.shape)) if index else 0
        if place in self.beside:
            with arithmetic():
                return float(abs(got - self.beside[place]))
        return abs(math.fsum([got, *(-float(part[index]) for part in self.parts)]))

    def exact(self) -> Exact:
        """The numbers in 320 bits; to be called within `arithmetic()`."""
        return self.exact_at(np.ones(self.shape, bool)).reshape(self.shape)

    def exact_at(self, where: Mask) -> Exact:
        """Those at the elements of a mask, one after the other, in 320 bits."""
        first, second, third = (exact(part[where]) for part in self.parts)
        values = np.asarray(first + second + third, dtype=object)
        if self.beside:
            places = np.flatnonzero(where)
            for number, place in enumerate(places):
                if int(place) in self.beside:
                    values[number] = self.beside[int(place)]
        return values
