"""Relations whose number the failing calls fix: a factor, a momentum, a divisor, told by name where it has one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from bnconform.diagnosis.experiments.numeric_laws import shortest
from bnconform.diagnosis.relations.call_view import CallView
from bnconform.diagnosis.relations.relation import SPARED, Prediction, Relation, Size
from bnconform.spec.exact import Floats

NAMED: Sequence[tuple[str, Size]] = (
    ("n / (n - 1) times what it should be, n the values of a channel", lambda v: v.values / max(v.values - 1, 1)),
    ("(n - 1) / n times what it should be, n the values of a channel", lambda v: (v.values - 1) / v.values),
    ("n / (n - 2) times what it should be, n the values of a channel", lambda v: v.values / ((v.values - 2) or 1)),
    ("what it should be, times the number of samples", lambda v: v.samples),
    ("what it should be, divided by the number of samples", lambda v: 1 / v.samples),
    ("what it should be, times the number of values of a channel", lambda v: v.values),
    ("what it should be, divided by the number of values of a channel", lambda v: 1 / v.values),
    ("what it should be, times the number of positions", lambda v: v.values / v.samples),
    ("what it should be, divided by the number of positions", lambda v: v.samples / v.values),
    ("what it should be, times the number of channels", lambda v: v.x.shape[1]),
    ("what it should be, divided by the number of channels", lambda v: 1 / v.x.shape[1]),
    ("what it should be, times the momentum", lambda v: np.nan if v.momentum is None else v.momentum),
    ("what it should be, times 1 less the momentum", lambda v: np.nan if v.momentum is None else 1 - v.momentum),
    ("what it should be, divided by 1 plus epsilon", lambda v: 1 / (1 + v.config.eps)),
    ("what it should be, times 1 plus epsilon", lambda v: 1 + v.config.eps),
    ("what it should be, times the square root of 1 plus epsilon", lambda v: (1 + v.config.eps) ** 0.5),
)
"""Factors that depend on the call, in words."""


def scale(size: Size, words: str, *, before_bias: bool = False) -> Relation:
    """A quantity times a number; of an output, also before the bias."""

    def predict(view: CallView) -> Prediction | None:
        times = size(view)
        base = view.along(view.bias) if before_bias else np.zeros(())
        found = (view.expected - base) * times + base
        return found, view.bound * max(1.0, abs(times)) + (np.abs(found) + 2 * np.abs(base)) * 4 * view.u

    return Relation(words, predict)


def move(size: Size, words: str) -> Relation:
    """A running statistic that has moved by a number times what it should have."""

    def predict(view: CallView) -> Prediction | None:
        old = view.entry(view.name)
        if view.name not in ("running_mean", "running_var") or old is None:
            return None
        times = size(view)
        found = old + (view.expected - old) * times
        return found, view.bound * max(1.0, abs(times)) + (np.abs(found) + np.abs(old)) * 4 * view.u

    return Relation(words, predict)


def divide(size: Size, words: str) -> Relation:
    """A running variance that was moved towards the sum of squares over another divisor than n - 1."""

    def predict(view: CallView) -> Prediction | None:
        old, weight, divisor = view.entry("running_var"), view.momentum, size(view)
        if view.name != "running_var" or old is None or weight is None or not divisor > 0:
            return None
        times = (view.values - 1) / divisor
        kept = (1 - weight) * old
        found = kept + (view.expected - kept) * times
        return found, view.bound * max(1.0, times) + (np.abs(found) + np.abs(kept)) * SPARED * view.u

    return Relation(words, predict)


DIVISORS: Sequence[tuple[str, Size]] = (
    ("n - 2", lambda v: v.values - 2), ("n - 3", lambda v: v.values - 3), ("n + 1", lambda v: v.values + 1),
    ("the number of samples", lambda v: v.samples), ("the number of samples less 1", lambda v: v.samples - 1),
    ("the number of positions", lambda v: v.values // v.samples),
    ("the number of positions less 1", lambda v: v.values // v.samples - 1),
    ("n times the number of channels", lambda v: v.values * v.x.shape[1]), ("1", lambda v: 1),
)  # fmt: skip
"""What the sum of squares may be divided by, n the values of a channel."""


def interval(views: Sequence[CallView], base: Callable[[CallView], Floats | None]) -> tuple[float, float] | None:
    """The factors a for which got = base + a (due - base) within the bounds in every call; None for none.

    The bound of a product grows with the factor, so that it is taken at the factor that the clearest element shows.
    """
    low, high = -np.inf, np.inf
    for view in views:
        origin = base(view)
        if origin is None:
            return None
        moved_by, seen_by = view.expected - origin, view.observed - origin
        at = (np.abs(moved_by) > 4 * view.bound) & view.wrong_channels
        if not at.any() or not np.isfinite(seen_by).all():
            return None
        ratio = seen_by[at] / moved_by[at]
        about = max(1.0, float(np.abs(ratio).max()))
        rounded = (np.abs(view.observed[at]) + 2 * np.abs(np.broadcast_to(origin, at.shape)[at])) * 4 * view.u
        width = (view.bound[at] * about + rounded) / np.abs(moved_by[at])
        low, high = max(low, float((ratio - width).max())), min(high, float((ratio + width).min()))
    return (low, high) if low <= high else None


def solve(views: Sequence[CallView]) -> Iterator[Relation]:
    """Relations whose number the calls fix: of factors and of momenta, those with a name first."""
    name = views[0].name
    if name == "running_var":
        for words, size in DIVISORS:
            note = ", n the values of a channel" if words.startswith("n") else ""
            yield divide(size, f"the running variance divides by {words}{note}")
    if name in ("running_mean", "running_var"):
        found = interval(views, lambda view: view.entry(name))
        if found is not None:
            number = shortest(*found)
            yield move(lambda _: float(number), f"momentum is {number} times the one given")
    yield from _scale_relations(views, before_bias=False)
    if name == "y" and any(view.bias.any() for view in views):
        yield from _scale_relations(views, before_bias=True)


def _scale_relations(views: Sequence[CallView], *, before_bias: bool) -> Iterator[Relation]:
    """A factor of the whole quantity, or of what an output is before the bias is added."""

    def origin(view: CallView) -> Floats:
        return np.broadcast_to(view.along(view.bias) if before_bias else np.zeros(()), view.expected.shape)

    noun = "{} before the bias" if before_bias else "{}"
    for words, size in NAMED:
        yield scale(size, f"{noun} is {words}", before_bias=before_bias)
    found = interval(views, origin)
    if found is not None:
        number = shortest(*found)
        words = PLAIN.get(number, f"{{}} is {number} times what it should be").replace("{}", noun)
        yield scale(lambda _: float(number), words, before_bias=before_bias)


PLAIN = {"0": "{} is 0", "-0": "{} is 0", "-1": "{} has the opposite sign"}
"""Factors that have words of their own."""
