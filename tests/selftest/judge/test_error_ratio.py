"""Ratios by array arithmetic are those of the exact distance, wherever float64 ends."""

from __future__ import annotations

import gmpy2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnconform.judge.error_ratio import error_ratios
from bnconform.judge.truths.expansion import Expansion
from bnconform.spec.exact import Exact, Floats, arithmetic, exact, floats

TEXTS = (
    "1", "-1/3", "1e-200/7", "1e-280/3", "1e-300/7", "1e-320/3", "1e-400", "1e308", "3e308", "-1e400/3", "70000/3",
    "123456789/7", "0",
)  # fmt: skip
"""Numbers within float64's range, among its subnormals, and beyond both ends."""

ROUNDING = 1e-12
"""Relative: three roundings of 2**-53 of a distance that is at least 2**-10 of the numbers."""


def number(text: str) -> Exact:
    """One number in 320 bits, (1,)."""
    return np.asarray([gmpy2.mpfr(gmpy2.mpq(_fraction(text)), 320)], dtype=object)


def _fraction(text: str) -> str:
    mantissa, _, divisor = text.partition("/")
    value, _, power = mantissa.partition("e")
    scale = 10 ** abs(int(power or 0))
    top, bottom = (int(value) * scale, 1) if int(power or 0) >= 0 else (int(value), scale)
    return f"{top}/{bottom * int(divisor or 1)}"


@pytest.mark.parametrize("text", [text for text in TEXTS if text != "1e-400"])
def test_an_expansion_is_the_number(text: str) -> None:
    """To 2**-150 of it, or exactly where three float64 do not do."""
    with arithmetic():
        value = number(text)
        found = Expansion.of(value)
        again = found.exact()
        assert abs(again - value)[0] <= abs(value)[0] * gmpy2.mpfr(2) ** -150
        assert found.nearest == floats(value)
        assert found.finite.all()


@pytest.mark.parametrize("off", [0.0, 0.25, 0.999, 1.0, 1.001, 7.0])
@pytest.mark.parametrize("text", [text for text in TEXTS if text != "0"])
def test_the_ratio_is_that_of_the_exact_distance(text: str, off: float) -> None:
    """The bound is a thousandth of the number, or the smallest normal one."""
    with arithmetic():
        value = number(text)
        bound = np.minimum(np.maximum(np.abs(floats(value)) * 2.0**-10, 2.3e-308), 1e300)
        got = floats(value + exact(bound) * off)
        if not np.isfinite(got).all():
            return
        due = floats(abs(exact(got) - value)) / bound
        ratio = error_ratios(got, Expansion.of(value, bound), bound)
    np.testing.assert_allclose(ratio, due, rtol=ROUNDING, atol=0)
    assert (ratio <= 1) == (due <= 1)


def test_the_limit_is_decided_exactly() -> None:
    """Where two roundings would hide on which side of the bound an observation lies."""
    with arithmetic():
        value = exact(np.ones(1)) + gmpy2.mpfr(2) ** -140
        bound = np.full(1, 2.0**-40)
        inside, outside = np.array([1 + 2.0**-40]), np.array([1 - 2.0**-40])
        found = [error_ratios(got, Expansion.of(value, bound), bound)[0] for got in (inside, outside)]
        exactly = [floats(abs(exact(got) - value))[0] / bound[0] for got in (inside, outside)]
    assert found == exactly


def test_a_bound_that_the_rest_would_decide_keeps_the_number() -> None:
    """A bound of 2**-150 of the number is below what three float64 hold."""
    with arithmetic():
        value = exact(np.ones(1)) / 3
        narrow = np.full(1, 2.0**-150)
        assert Expansion.of(value).is_plain
        assert not Expansion.of(value, narrow).is_plain
        assert (Expansion.of(value, narrow).exact() == value).all()


@pytest.mark.parametrize("largest", [np.inf, 65504.0])
def test_infinities(largest: float) -> None:
    """Infinity is right where the exact result may round beyond the largest number, NaN where nothing finite is due."""
    with arithmetic():
        due = Expansion.of(exact(np.array([70000.0, -70000.0, 70000.0, 1.0, np.nan, np.inf, np.inf, 2.0])))
    got = np.array([np.inf, -np.inf, -np.inf, np.inf, np.nan, np.nan, 3.0, np.nan])
    right = largest < np.inf
    wanted = [0.0 if right else np.inf, 0.0 if right else np.inf, np.inf, np.inf, 0.0, 0.0, np.inf, np.inf]
    assert error_ratios(got, due, np.ones(8), largest).tolist() == wanted


@given(st.lists(st.tuples(st.floats(width=32, allow_nan=False), st.floats(0, 1e3)), min_size=1, max_size=8))
def test_any_numbers(pairs: list[tuple[float, float]]) -> None:
    """Against the exact distance, element by element, of numbers that three float64 do not hold."""
    values: Floats = np.array([value for value, _ in pairs])
    bound = np.array([limit for _, limit in pairs])
    with arithmetic():
        due = exact(values) + exact(bound) / 3
        expansion = Expansion.of(due, bound)
        ratio = error_ratios(values, expansion, bound)
        off = floats(abs(exact(values) - due))
        wanted = np.where(off == 0, 0.0, off / bound)
    wanted = np.where(np.isfinite(values), wanted, 0.0)  # an infinity that is due may be any
    np.testing.assert_allclose(ratio, wanted, rtol=ROUNDING, atol=0)
