"""Floating-point formats: the names, roundoffs and ranges that everything else refers to.

A dtype is named by its NumPy name ("float64", "float32", "float16") or "bfloat16" (through ml_dtypes).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

DTYPES = ("float64", "float32", "float16", "bfloat16")
"""The dtypes that the suite judges, in the order in which it reports them."""


@dataclass(frozen=True)
class Format:
    """A binary floating-point format.

    Attributes:
        name: the dtype's name.
        unit_roundoff: u, half the distance from 1 to the next larger number (Higham 2002, section 2.1);
            rounding to nearest gives fl(a) = a(1 + d) with |d| <= u where the result is normal.
        underflow: the largest absolute error that one operation makes where its result is tiny. Formats with
            the exponent range of float32 or float64 are commonly flushed to zero by devices and compilers, so
            for them it is the smallest normal number; float16 is not, so for it, it is half the smallest subnormal.
        largest: the largest finite number.
    """

    name: str
    unit_roundoff: float
    underflow: float
    largest: float

    @property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy dtype."""
        return numpy_dtype(self.name)

    def gamma(self, count: float) -> float:
        """g(m) = m u / (1 - m u), what m roundings change a product by at most (Higham 2002, lemma 3.1).

        Infinite where m u >= 1.
        """
        u = self.unit_roundoff
        return count * u / (1 - count * u) if count * u < 1 else math.inf


@cache
def numpy_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype called `name`; raises ValueError for a dtype that the suite does not judge."""
    if name not in DTYPES:
        raise ValueError(f"unknown dtype {name!r}; the suite judges {', '.join(DTYPES)}")
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def _limits(name: str) -> Any:
    return ml_dtypes.finfo(numpy_dtype(name))  # type: ignore[no-untyped-call]  # finfo comes without types


@cache
def format_of(name: str) -> Format:
    """The Format of the dtype called `name`."""
    info = _limits(name)
    underflow = float(info.smallest_subnormal) / 2 if name == "float16" else float(info.smallest_normal)
    return Format(name, float(info.eps) / 2, underflow, float(info.max))


def is_half(name: str) -> bool:
    """Whether `name` is one of the two 16-bit formats."""
    return name in ("float16", "bfloat16")


def parameter_dtype(name: str) -> str:
    """The dtype of weight, bias and statistics that goes with input of dtype `name` unless a case says otherwise."""
    return "float32" if is_half(name) else name


def ulp_of(value: float, name: str) -> float:
    """The distance between neighbouring numbers of the format at one |value|, which is finite; as `ulp`."""
    info = _limits(name)
    _, exponent = math.frexp(max(abs(value), float(info.smallest_normal)))
    return math.ldexp(float(info.eps), exponent - 1)


def ulp(value: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The distance between neighbouring numbers of the format at each |value| (float64, the shape of `value`).

    Shown to people; the verdict rests on the bounds, never on ulps.
    """
    info = _limits(name)
    magnitude = np.maximum(np.abs(np.asarray(value, np.float64)), float(info.smallest_normal))
    with np.errstate(all="ignore"):
        exponent = np.floor(np.log2(np.where(np.isfinite(magnitude), magnitude, 1.0)))
    return np.asarray(np.exp2(exponent) * float(info.eps))
