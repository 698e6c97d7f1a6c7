"""BatchNorm once more, value by value, in rational numbers and in 60 decimal digits: a second opinion on the oracle.

Written from the words of `bnconform.spec.behaviour` alone; it imports nothing of the oracle. x is seen
through `cells`, a mapping from index to Fraction. Roots are taken by mpmath.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import product
from typing import Any

import mpmath

Index = tuple[int, ...]
Cells = Mapping[Index, Fraction]

DIGITS = 60


def cells(x: Any) -> Cells:
    """The values of an array, exactly, by index."""
    return {index: Fraction(float(x[index])) for index in product(*(range(length) for length in x.shape))}


def group(axes: str, index: Index) -> Index:
    """What the indices that share their statistics have in common."""
    return {
        "per_channel": (index[1],),
        "per_position": index[1:],
        "per_sample_channel": index[:2],
        "per_sample": index[:1],
        "all": (),
    }[axes]


def group_values(x: Cells, axes: str = "per_channel") -> dict[Index, list[Fraction]]:
    """The values by group."""
    found: dict[Index, list[Fraction]] = {}
    for index, value in x.items():
        found.setdefault(group(axes, index), []).append(value)
    return found


def mean(values: Iterable[Fraction]) -> Fraction:
    """The mean."""
    listed = list(values)
    return sum(listed, Fraction(0)) / len(listed)


def variance(values: list[Fraction], kind: str) -> Fraction:
    """The variance that normalises."""
    centre = mean(values)
    squares = sum(((value - centre) ** 2 for value in values), Fraction(0))
    if kind == "biased":
        return squares / len(values)
    if kind == "unbiased":
        return squares / (len(values) - 1)
    assert kind == "uncentred"
    return mean(value * value for value in values)


def variance_to_remember(values: list[Fraction], kind: str, samples: int, eps: Fraction) -> Fraction | Any:
    """What the running variance remembers of a batch."""
    biased, unbiased = variance(values, "biased"), variance(values, "unbiased")
    if kind == "standard_deviation":
        return root(biased)
    return {
        "unbiased": unbiased,
        "biased": biased,
        "unbiased_plus_eps": unbiased + eps,
        "biased_plus_eps": biased + eps,
        "samples": biased * Fraction(samples, samples - 1),
        "uncentred": mean(value * value for value in values),
    }[kind]


def decimal(value: Any) -> Any:
    """A number in 60 decimal digits."""
    return mpmath.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def root(value: Fraction) -> Any:
    """The square root in 60 decimal digits."""
    return mpmath.sqrt(decimal(value))


def denominator(value: Fraction, eps: Fraction, form: str) -> Any:
    """What the deviation is divided by."""
    return {
        "inside": lambda: root(value + eps),
        "outside": lambda: root(value) + decimal(eps),
        "maximum": lambda: root(max(value, eps)),
        "squared": lambda: root(value + eps * eps),
        "absent": lambda: root(value),
    }[form]()


def affine(z: Any, weight: Fraction, bias: Fraction, form: str) -> Any:
    """What weight and bias make of the normalised value."""
    w, b = decimal(weight), decimal(bias)
    return {
        "scale_then_shift": w * z + b,
        "shift_then_scale": w * (z + b),
        "no_bias": w * z,
        "no_weight": z + b,
        "one_plus_weight": (1 + w) * z + b,
        "absolute_weight": abs(w) * z + b,
    }[form]


def weight_of_batch(momentum: Fraction | None, seen: int, none: str) -> Fraction:
    """The weight of the next batch, `seen` having gone before."""
    if momentum is not None:
        return momentum
    return {
        "cumulative": Fraction(1, seen + 1),
        "counting_initial": Fraction(1, seen + 2),
        "default_momentum": Fraction(0.1),
        "batch": Fraction(1),
        "unchanged": Fraction(0),
    }[none]


def zero_debiased(values: list[Fraction], a: Fraction) -> Fraction:
    """The closed form: the sum of a (1 - a)**(k - i) value_i over 1 - (1 - a)**k."""
    k = len(values)
    total = sum((a * (1 - a) ** (k - i) * value for i, value in enumerate(values, 1)), Fraction(0))
    return total / (1 - (1 - a) ** k)
