"""Relations of derivatives: which of the statistics a wrong one takes for constant, and which term it lacks.

z is the normalised value, t the direction of x, g grad_output, p = mean(z t), q = mean(z g) and s the covariance of g
and t; the formulas are those of BN-DERIV-JVP and BN-DERIV-HVP. Each prediction is computed from the formula, not from
what is due, in float64; what it errs by is less than the derived bound, which counts the same terms and more. The bound
of evaluation counts fewer, so that those of a tangent are added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from bnconform.diagnosis.relations.call_view import CallView
from bnconform.diagnosis.relations.relation import Prediction, Relation
from bnconform.spec.exact import Floats

Parts = Callable[[CallView, Floats, Floats, Floats], Floats]
"""A derivative over its scale, of z, t and g, (N, C, *S)."""


def derivatives() -> Iterator[Relation]:
    """The family."""
    tangents: dict[str, Parts] = {
        "takes mean and variance for constant": lambda view, z, t, _: t,
        "takes the variance for constant": lambda view, z, t, _: t - _mean(view, t),
        "takes the mean for constant": lambda view, z, t, _: t - z * _mean(view, z * t),
        "has the batch's terms": lambda view, z, t, _: t - _mean(view, t) - z * _mean(view, z * t),
    }
    for words, parts in tangents.items():
        yield Relation(f"tangent_y {words}", _predict("tangent_y", parts, 1))
    seconds: dict[str, Parts] = {
        "takes mean and variance for constant: it is 0": lambda view, z, t, g: z * 0,
        "takes the deviation for constant": lambda view, z, t, g: (
            _mean(view, z * g) * (_mean(view, t) - t) - z * _covariance(view, g, t)
        ),
        "takes the mean in the variance for constant: mean(g t) and t stand for what is less their means": _uncentre,
        "has the mean of t**2 for the variance of t: the mean is taken for constant in the second derivative": _freeze,
        "has mean(g t) for the covariance of g and t": lambda view, z, t, g: (
            _second(view, z, t, g, 3, 0) - z * _mean(view, g * t)
        ),
        "lacks the covariance of g and t": lambda view, z, t, g: _second(view, z, t, g, 3, 0),
        "has one of three products of means": lambda view, z, t, g: _second(view, z, t, g, 1, 1),
        "has two of three products of means": lambda view, z, t, g: _second(view, z, t, g, 2, 1),
    }
    for words, parts in seconds.items():
        yield Relation(f"hvp_x {words}", _predict("hvp_x", parts, 2))
    saved = "takes the mean and deviation that the pass saved for constants"
    forwards: dict[str, Parts] = {
        saved: lambda view, z, t, u: -u * _mean(view, z * t) - z * _covariance(view, t, u),
        "takes the deviation for constant": lambda view, z, t, u: (
            _mean(view, z * t) * (_mean(view, u) - u) - z * _covariance(view, t, u)
        ),
        "lacks the covariance of both tangents": seconds["lacks the covariance of g and t"],
        "has mean(t u) for the covariance of both tangents: the mean is taken for constant in the second derivative": (
            seconds["has mean(g t) for the covariance of g and t"]
        ),
    }
    for words, parts in forwards.items():
        yield Relation(f"second_y {words}", _predict("second_y", parts, 2))
    constant = "the mean is taken for constant in"
    thirds: dict[str, Parts] = {
        saved: _freeze_saved,
        f"has u for u less its mean: {constant} the variance's second derivative of the backward pass": (
            lambda view, z, t, g: _third(view, z, t, g) + _stop_in_backward(view, z, t, g)
        ),
        f"has products of means more: {constant} every second derivative of the variance": (
            lambda view, z, t, g: _third(view, z, t, g) + _stop_everywhere(view, z, t, g)
        ),
    }
    for words, parts in thirds.items():
        yield Relation(f"third_x {words}", _predict("third_x", parts, 3))


def _second(view: CallView, z: Floats, t: Floats, g: Floats, products: float, covariances: float) -> Floats:
    p, q = _mean(view, z * t), _mean(view, z * g)
    inner = products * p * q - covariances * _covariance(view, g, t)
    return p * (_mean(view, g) - g) + q * (_mean(view, t) - t) + z * inner


def _uncentre(view: CallView, z: Floats, t: Floats, g: Floats) -> Floats:
    p, q = _mean(view, z * t), _mean(view, z * g)
    return p * (_mean(view, g) - g) - q * t + z * (3 * p * q - _mean(view, g * t))


def _freeze(view: CallView, z: Floats, t: Floats, g: Floats) -> Floats:
    """With the mean held fixed where the variance is differentiated: c' is t there, and t - mean(t) elsewhere."""
    return _second(view, z, t, g, 3, 1) - _mean(view, z * g) * _mean(view, t)


def _freeze_saved(view: CallView, z: Floats, t: Floats, g: Floats) -> Floats:
    """The gradient of sum(u hvp_x), u the second vector, through z = (x - m) f with m and f held fixed."""
    u = view.second
    assert u is not None
    p, q, r = _mean(view, z * g), _mean(view, z * t), _mean(view, z * u)
    with_g, with_t = _covariance(view, g, u), _covariance(view, t, u)
    return u * (3 * p * q - _covariance(view, g, t)) + 3 * r * (q * g + p * t) - with_g * t - with_t * g


def _third(view: CallView, z: Floats, t: Floats, g: Floats) -> Floats:
    """The formula of BN-DERIV-THIRD, over its scale."""
    assert view.second is not None
    g, t, u = (each - _mean(view, each) for each in (g, t, view.second))
    p, q, r = _mean(view, z * g), _mean(view, z * t), _mean(view, z * u)
    with_gt, with_gu, with_tu = _mean(view, g * t), _mean(view, g * u), _mean(view, t * u)
    pairs = z * (r * with_gt + q * with_gu + p * with_tu) + q * r * g + p * r * t + p * q * u
    return 3 * pairs - 15 * p * q * r * z - (with_tu * g + with_gu * t + with_gt * u)


def _stop_in_backward(view: CallView, z: Floats, t: Floats, g: Floats) -> Floats:
    """What a backward pass has more whose variance is about a mean that is stopped: v'' along t and u has mean(t u)."""
    assert view.second is not None
    inner = 3 * _mean(view, z * g) * _mean(view, z * t) - _covariance(view, g, t)
    return _mean(view, view.second) * inner + z * 0


def _stop_everywhere(view: CallView, z: Floats, t: Floats, g: Floats) -> Floats:
    """The same of a forward pass: also of each pair that contains the direction of the last derivative."""
    u = view.second
    assert u is not None
    p, r = _mean(view, z * g), _mean(view, z * u)
    both = _mean(view, t) * _mean(view, u)
    other = _mean(view, t) * (3 * p * r - _covariance(view, g, u))
    return _stop_in_backward(view, z, t, g) + other + both * (3 * p * z - g + _mean(view, g))


def _covariance(view: CallView, g: Floats, t: Floats) -> Floats:
    return _mean(view, g * t) - _mean(view, g) * _mean(view, t)


def _mean(view: CallView, values: Floats) -> Floats:
    return view.along(view.over_values(values) / view.values)


def _predict(name: str, parts: Parts, power: int) -> Callable[[CallView], Prediction | None]:
    """The weight over a power of the deviation, times the parts; of a second tangent, that one stands for g."""

    def predict(view: CallView) -> Prediction | None:
        t = view.tangent
        if view.name != name or t is None or not view.values:
            return None
        z = (view.x - view.along(view.mean)) / view.along(view.deviation)
        upstream = view.second if name == "second_y" else view.grad_output
        g = np.zeros(t.shape) if upstream is None else upstream
        scale = view.along(view.weight / view.deviation**power)
        terms = np.abs(t) + _mean(view, np.abs(t)) + np.abs(z) * _mean(view, np.abs(z * t))
        limit = view.bound + (np.abs(scale) * terms * view.slack if power == 1 else 0.0)
        return scale * parts(view, z, t, g), limit

    return predict
