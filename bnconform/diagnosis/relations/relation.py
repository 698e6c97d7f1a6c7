"""Relations between what was seen and what is due, where no decision explains it: a factor, another quantity, zero.

A relation predicts what a failing call should have shown, with how far it may lie from that. The prediction is made of
what is due by a few operations in float64, so that its limit is the derived bound under the same operations, and
`CallView.slack` for those that the relation adds. It holds of a call where every element lies within its limit, and
where what is due does not lie there, too: what cannot be told from the truth explains nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bnconform.cases.program import GRADIENTS, HESSIAN
from bnconform.diagnosis.relations.call_view import CallView
from bnconform.spec.exact import Floats

Size = Callable[[CallView], float]
"""A number of a call."""

Prediction = tuple[Floats, Floats]
"""What should have been seen, and how far it may lie from that."""


@dataclass(frozen=True)
class Relation:
    """One way in which a quantity may be wrong.

    Attributes:
        words: what it says, with `{}` for the name of the quantity.
        predict: what should have been seen of a call; None where the relation says nothing of it.
    """

    words: str
    predict: Callable[[CallView], Prediction | None]

    def explains(self, view: CallView, *, everywhere: bool = True) -> tuple[bool, bool]:
        """Whether what was seen is what it predicts, and whether what is due lies beyond its limits.

        A call that fails by little may be explained without telling the relation from the truth; where the limits are
        much wider than the bound, and it fails by more, that is no explanation.

        Args:
            everywhere: whether of all channels; else of those that are wrong.
        """
        with np.errstate(all="ignore"):
            found = self.predict(view)
            if found is None or not all(_fits(part, view.expected.shape) for part in found):
                return False, False
            value, limit = (np.broadcast_to(part, view.expected.shape) for part in found)
            at = np.ones(view.expected.shape, bool) if everywhere else view.wrong_channels
            tells = not within(view.observed[at], view.expected[at], limit[at])
            holds = within(view.observed[at], value[at], limit[at])
            little = float(np.max(view.comparison.error_ratio, initial=0.0)) <= WIDER
            close = little or bool((limit[at] <= WIDER * view.bound[at]).all())
            return holds and (tells or close), tells

    def holds(self, view: CallView, *, everywhere: bool = True) -> bool:
        """Whether what was seen is what it predicts, as far as that says something."""
        return self.explains(view, everywhere=everywhere)[0]

    def is_hidden(self, view: CallView) -> bool:
        """Whether what it predicts cannot be told from what is due."""
        with np.errstate(all="ignore"):
            found = self.predict(view)
            return found is None or within(view.expected, found[0], found[1] + view.bound)


def _fits(part: Floats, shape: tuple[int, ...]) -> bool:
    """Whether a prediction is one of this shape: what is said channel by channel says nothing of a counter."""
    return np.ndim(part) <= len(shape) and np.broadcast_shapes(np.shape(part), shape) == shape


WIDER = 4.0
"""How much wider than the bound the limits of a prediction may be where what is due lies within them, too; and by how
many bounds a call fails that fails by little."""


def within(got: Floats, value: Floats, limit: Floats) -> bool:
    """Whether every element lies within its limit; what is no number must be the same."""
    same = (got == value) | (np.isnan(got) & np.isnan(value))
    near = np.abs(got - value) <= limit
    finite = np.isfinite(got) & np.isfinite(value) & np.isfinite(limit)
    return got.size > 0 and bool((same | (near & finite)).all())


# -- what is wrong whatever the numbers -------------------------------------------------------------------------------


def relations_without_number() -> Iterator[Relation]:
    """Relations without a number that is to be found, the simplest first."""
    yield Relation("{} is 0", lambda view: (np.zeros_like(view.expected), np.zeros_like(view.expected)))
    yield Relation("{} is NaN", lambda view: (np.full_like(view.expected, np.nan), np.zeros_like(view.expected)))
    yield Relation("{} has the opposite sign", lambda view: (-view.expected, view.bound))
    yield from _earlier()
    yield from _equal()
    yield from _affine()
    yield from _channel_factors()
    yield from _sums()
    yield from _gradients()


def _earlier() -> Iterator[Relation]:
    def latest(view: CallView) -> Prediction | None:
        found = next(iter(view.earlier()), None)
        if found is None:
            return None
        value = found.astype(np.float64)
        return value, np.zeros_like(value)

    words = "{} is the answer of an earlier call: the answer belongs to another call"
    yield Relation(words, lambda view: latest(view) if view.name in RESULTS else None)
    yield Relation(
        "{} is what it was before the call", lambda view: None if view.name in RESULTS else _without_movement(view)
    )


RESULTS = ("y", "tangent_y", "second_y", *GRADIENTS, *HESSIAN, "third_x")


def _without_movement(view: CallView) -> Prediction | None:
    old = view.entry(view.name)
    return None if old is None else (old, np.zeros_like(old))


def _equal() -> Iterator[Relation]:
    """One quantity in the place of another."""

    def other(name: str, value: Callable[[CallView], Floats | None]) -> Relation:
        def predict(view: CallView) -> Prediction | None:
            found = value(view)
            if found is None or view.name == name or found.shape != view.expected.shape:
                return None
            return found, np.abs(found) * view.slack

        return Relation(f"{{}} is {name}", predict)

    def spread(value: Callable[[CallView], Floats | None]) -> Callable[[CallView], Floats | None]:
        return lambda view: value(view) if view.is_spread else None

    yield other("the input", spread(lambda view: view.x))
    yield other("grad_output", spread(lambda view: view.grad_output))
    others: tuple[tuple[str, Of], ...] = (
        ("the weight", lambda view: view.weight), ("the bias", lambda view: view.bias),
        ("the mean of the batch", lambda view: view.batch_mean),
        ("the variance of the batch", lambda view: view.batch_variance),
        ("running_mean", lambda view: view.entry("running_mean")),
        ("running_var", lambda view: view.entry("running_var")),
        ("grad_bias", _grad_bias), ("grad_weight", _grad_weight),
    )  # fmt: skip
    for name, value in others:
        yield other(name, _of_channels(value))


Of = Callable[[CallView], Floats | None]
"""A quantity of a call; None where it has none."""


def _of_channels(value: Of) -> Of:
    return lambda view: None if view.is_spread else value(view)


def _grad_bias(view: CallView) -> Floats | None:
    return None if view.grad_output is None else view.over_values(view.grad_output)


def _grad_weight(view: CallView) -> Floats | None:
    return None if view.grad_output is None else view.over_values(view.grad_output * _z(view))


def _z(view: CallView) -> Floats:
    shape = (1, -1) + (1,) * (view.x.ndim - 2)
    return np.asarray((view.x - view.mean.reshape(shape)) / view.deviation.reshape(shape))


def _affine() -> Iterator[Relation]:
    """What is done with weight and bias after the normalisation."""

    def form(words: str, value: Callable[[Floats, Floats, Floats], Floats], grows: Grows) -> Relation:
        def predict(view: CallView) -> Prediction | None:
            if view.name != "y" or view.entry("weight") is None:
                return None
            weight, bias = view.along(view.weight), view.along(view.bias)
            found = value(view.expected - bias, weight, bias)
            factor = np.abs(grows(weight))
            size = np.abs(found) + np.abs(bias) * (1 + factor)
            return found, view.bound * factor + size * SPARED * view.u

        return Relation(words, predict)

    # s is what is scaled: the weight times z.
    yield form("the bias is subtracted", lambda s, w, b: s - b, np.ones_like)
    yield form("the bias is added twice", lambda s, w, b: s + 2 * b, np.ones_like)
    yield form("{} uses the square of the weight", lambda s, w, b: s * w + b, lambda w: w)
    yield form("{} is divided by the weight, not multiplied by it", lambda s, w, b: s / w**2 + b, lambda w: 1 / w**2)
    root = "{} uses the root of the weight"
    yield form(root, lambda s, w, b: s / w * np.sqrt(np.abs(w)) + b, lambda w: np.abs(w) ** -0.5)
    yield form("{} uses the negative of the weight", lambda s, w, b: b - s, np.ones_like)
    yield form("weight and bias are exchanged", lambda s, w, b: s / w * b + w, lambda w: 1 + 1 / np.abs(w))
    yield form("{} uses the bias times the weight", lambda s, w, b: s + b * w, np.ones_like)
    for words, shift in (("the channel before", 1), ("the channel after", -1)):
        for name in ("weight", "bias"):
            yield _neighbouring(f"{{}} uses the {name} of {words}", name, shift)


Grows = Callable[[Floats], Floats]
"""How much an error of an output grows with it, of the weight."""

SPARED = 8.0
"""Roundings of the few operations that take an output apart and put it together again."""


def _neighbouring(words: str, name: str, shift: int) -> Relation:
    def predict(view: CallView) -> Prediction | None:
        if view.name != "y" or view.entry(name) is None or view.x.shape[1] < 2:
            return None
        weight, bias = view.along(view.weight), view.along(view.bias)
        z = (view.expected - bias) / weight
        other = np.roll(view.weight if name == "weight" else view.bias, shift)
        found = view.along(other) * z + bias if name == "weight" else weight * z + view.along(other)
        factor = np.abs(view.along(other) / weight) if name == "weight" else 1.0
        return found, view.bound * factor + (np.abs(found) + np.abs(bias)) * SPARED * view.u

    return Relation(words, predict)


def _weight(view: CallView) -> Floats:
    return view.weight


def _weight_squared(view: CallView) -> Floats:
    return np.asarray(view.weight**2)


WEIGHTS = (_weight, _weight_squared)
"""What `_affine` says of outputs in better words."""

FACTORS: tuple[tuple[str, Callable[[CallView], Floats]], ...] = (
    ("the weight", _weight),
    ("the square of the weight", _weight_squared),
    ("the deviation", lambda view: view.deviation),
    ("the variance plus epsilon", lambda view: view.deviation**2),
)
"""What each channel of a quantity may be multiplied or divided by."""


def _channel_factors() -> Iterator[Relation]:
    """A quantity times something of its channel; of an output, before the bias."""
    for words, factor in FACTORS:
        for phrase, power in ((f"{{}} has {words} as a further factor", 1), (f"{{}} lacks the factor 1 / {words}", 1)):
            # Of gradients the deviation divides already: to have it as a factor is to lack the division.
            if ("deviation" in words or "variance" in words) == phrase.startswith("{} lacks"):
                yield Relation(phrase, _multiply(factor, power))
        yield Relation(f"{{}} is divided by {words} once more", _multiply(factor, -1))


def _multiply(factor: Callable[[CallView], Floats], power: int) -> Callable[[CallView], Prediction | None]:
    def predict(view: CallView) -> Prediction | None:
        if view.name not in RESULTS or (view.name == "y" and factor in WEIGHTS):
            return None
        times = view.along(factor(view) ** power)
        base = view.along(view.bias) if view.name == "y" else np.zeros(())
        found = (view.expected - base) * times + base
        return found, view.bound * np.abs(times) + (np.abs(found) + np.abs(base)) * view.slack

    return predict


def _sums() -> Iterator[Relation]:
    """Something of the channel added to a statistic or an output."""
    added: tuple[tuple[str, Callable[[CallView], Floats]], ...] = (
        ("epsilon", lambda view: np.full(view.x.shape[1], view.config.eps)),
        ("the bias", lambda view: view.bias),
        ("the mean", lambda view: view.mean),
    )
    for words, value in added:
        for sign, phrase in ((1.0, f"{words} is added to {{}}"), (-1.0, f"{words} is subtracted from {{}}")):
            if words == "the bias" and sign < 0:
                phrase = "{} lacks the bias"

            def predict(view: CallView, value: Callable[[CallView], Floats] = value, sign: float = sign) -> Prediction:
                more = view.along(value(view))
                found = view.expected + sign * more
                return found, view.bound + (np.abs(view.expected) + np.abs(more)) * view.slack

            yield Relation(phrase, predict)


# -- gradients made by other formulas ---------------------------------------------------------------------------------


def _gradients() -> Iterator[Relation]:
    yield Relation("grad_weight lacks the mean: it is the sum of g x / sqrt(var + eps)", _weight_gradient_of_raw)
    divisors: tuple[tuple[str, Size], ...] = (
        ("n - 1", lambda view: view.values - 1), ("the number of samples", lambda view: view.samples),
        ("the number of positions", lambda view: view.values // max(view.samples, 1)),
    )  # fmt: skip
    for words, divisor in divisors:
        for term, which in (("of g", (True, False)), ("of g z", (False, True)), ("of g and of g z", (True, True))):
            yield Relation(f"in grad_x the mean {term} divides by {words}", _input_gradient(divisor, which))
    yield Relation("grad_x lacks the mean of g", _input_gradient(lambda _: np.inf, (True, False)))
    yield Relation("grad_x lacks the mean of g z", _input_gradient(lambda _: np.inf, (False, True)))
    for term, which in (("of g", (True, False)), ("of g z", (False, True))):
        words = f"grad_x adds the mean {term} instead of subtracting it"
        yield Relation(words, _input_gradient(lambda view: -view.values, which))


def _weight_gradient_of_raw(view: CallView) -> Prediction | None:
    if view.name != "grad_weight" or view.grad_output is None:
        return None
    products = view.grad_output * view.x
    found = view.over_values(products) / view.deviation
    return found, view.bound + view.over_values(np.abs(products)) / view.deviation * view.slack


def _input_gradient(
    divisor: Callable[[CallView], float], which: tuple[bool, bool]
) -> Callable[[CallView], Prediction | None]:
    """The gradient for x with other divisors of its two means."""

    def predict(view: CallView) -> Prediction | None:
        if view.name != "grad_x" or view.grad_output is None or not view.from_batch or view.values < 2:
            return None
        if view.selected is not None:
            return None  # `mask_relations` has those
        g, z, n, other = view.grad_output, _z(view), view.values, divisor(view)
        if other == 0:
            return None
        first, second = (other if chosen else n for chosen in which)
        scale = view.along(view.weight / view.deviation)
        mean = view.along(view.over_values(g) / first)
        product = z * view.along(view.over_values(g * z) / second)
        found = scale * (g - mean - product)
        grown = max(1.0, n / abs(other))
        parts = np.abs(g) + view.along(view.over_values(np.abs(g))) / n
        parts = parts + np.abs(z) * view.along(view.over_values(np.abs(g * z))) / n
        return found, view.bound * grown + np.abs(scale) * parts * grown * view.slack

    return predict
