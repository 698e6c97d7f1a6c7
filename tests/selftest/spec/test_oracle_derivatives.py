"""The oracle's derivatives: closed forms in rational arithmetic, transposition, symmetry, and the step's error."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import gmpy2
import numpy as np
import pytest

from bnconform.cases import inputs
from bnconform.spec import behaviour as b
from bnconform.spec import oracle
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.config import Config
from bnconform.spec.exact import Exact, arithmetic, exact, floats
from bnconform.spec.oracle import derivatives

ERROR = 2.0**-150
"""The share of a derivative's size by which the quotient may err, as `spec.oracle.derivatives` says."""

Rationals = list[Fraction]

RATIONAL = {
    "2 values": ([-2, 4], 7, Fraction(1, 4)),
    "3 values": ([-3, 0, 3], 3, Fraction(1, 3)),
    "4 values": ([-3, -1, 1, 3], 4, Fraction(1, 3)),
    "5 values": ([8, 9, 10, 11, 12], 2, Fraction(1, 2)),
    "6 values": ([0, 0, 0, 4, 4, 4], 12, Fraction(1, 4)),
}
"""x of one channel, epsilon, and 1 / sqrt(variance + epsilon), which is rational."""

UPSTREAM, VECTOR = [3, -1, 2, 5, -4, 1], [1, 4, -2, 3, 2, -5]
WEIGHT = Fraction(-3, 2)


def _mean(values: Rationals) -> Fraction:
    return sum(values, Fraction(0)) / len(values)


def chain_rule(x: list[int], factor: Fraction, g: list[int], t: list[int]) -> tuple[Rationals, Rationals, Fraction]:
    """y', grad_x' and grad_weight' along t of one channel, by the chain rule with f' = -f**3/2 and f'' = 3 f**5/4."""
    n = len(x)
    moved, first, second = _mean([Fraction(v) for v in t]), -(factor**3) / 2, 3 * factor**5 / 4
    centre = _mean([Fraction(v) for v in x])
    c, along = [v - centre for v in x], [v - moved for v in t]
    variance = 2 * _mean([a * d for a, d in zip(c, along, strict=True)])
    z = [factor * d + a * first * variance for a, d in zip(c, along, strict=True)]
    upstream = [WEIGHT * v for v in g]
    product = sum((u * a for u, a in zip(upstream, c, strict=True)), Fraction(0))
    changed = sum((u * d for u, d in zip(upstream, along, strict=True)), Fraction(0))
    within = [
        first * variance * u + Fraction(2, n) * (first * (changed * a + product * d) + second * variance * product * a)
        for u, a, d in zip(upstream, c, along, strict=True)
    ]
    by_weight = sum((v * d for v, d in zip(g, z, strict=True)), Fraction(0))
    return [WEIGHT * v for v in z], [v - _mean(within) for v in within], by_weight


def _column(values: list[int]) -> Exact:
    return exact(np.array(values, np.float64).reshape(-1, 1))


def _state(config: Config, weight: float) -> oracle.State:
    state = oracle.initial_state(config)
    return oracle.State(
        state.running_mean, state.running_var, 0, exact(np.full(config.num_features, weight)), state.bias
    )


def _far(found: Exact, due: list[Fraction]) -> float:
    """The largest distance, over the largest of what is due."""
    flat = [abs(gmpy2.mpq(value) - gmpy2.mpq(right)) for value, right in zip(found.ravel(), due, strict=True)]
    return float(max(flat) / max(max(abs(gmpy2.mpq(right)) for right in due), gmpy2.mpq(1, 1000)))


@pytest.mark.parametrize("name", RATIONAL)
def test_closed_form_in_rational_arithmetic(name: str) -> None:
    """Where 1 / sqrt(variance + epsilon) is rational, all is; the quotient is that to 150 bits and more."""
    x, epsilon, factor = RATIONAL[name]
    g, t = UPSTREAM[: len(x)], VECTOR[: len(x)]
    tangent_y, hvp_x, hvp_weight = chain_rule(x, factor, g, t)
    config = Config(num_features=1, eps=float(epsilon), ndim=2, dtype="float64", param_dtype="float64")
    with arithmetic():
        state = _state(config, float(WEIGHT))
        tangent = oracle.jvp(config, SPECIFIED, state, _column(x), _column(t), training=True)
        hessian = oracle.hvp(config, SPECIFIED, state, _column(x), _column(g), _column(t), training=True)
        assert hessian.hvp_weight is not None and hessian.hvp_bias is not None
        assert _far(tangent.tangent_y, tangent_y) < ERROR
        assert _far(hessian.hvp_x, hvp_x) < ERROR
        assert _far(hessian.hvp_weight, [hvp_weight]) < ERROR
        assert not hessian.hvp_bias.any()


def test_closed_form_of_the_requirement() -> None:
    """The formula of BN-DERIV-HVP, with p, q and s, is the chain rule's."""
    x, epsilon, factor = RATIONAL["5 values"]
    g, t, n = UPSTREAM[:5], VECTOR[:5], 5
    assert _mean([Fraction(v) ** 2 for v in x]) - _mean([Fraction(v) for v in x]) ** 2 + epsilon == factor**-2
    centre, mean_g, mean_t = (_mean([Fraction(v) for v in values]) for values in (x, g, t))
    z = [(v - centre) * factor for v in x]
    p, q = (_mean([a * v for a, v in zip(z, values, strict=True)]) for values in (t, g))
    s = _mean([Fraction(a * v) for a, v in zip(g, t, strict=True)]) - mean_g * mean_t
    scale = WEIGHT * factor**2
    found = [scale * (p * (mean_g - g[i]) + q * (mean_t - t[i]) + z[i] * (3 * p * q - s)) for i in range(n)]
    assert found == chain_rule(x, factor, g, t)[1]


def test_third_derivative_in_rational_arithmetic() -> None:
    """The formula of BN-DERIV-THIRD, to 100 bits, and exactly 0 in evaluation; it is symmetric in its directions."""
    x, epsilon, factor = RATIONAL["5 values"]
    config = Config(num_features=1, eps=float(epsilon), ndim=2, dtype="float64", param_dtype="float64")
    given = UPSTREAM[:5], VECTOR[:5], [3, 0, -1, 2, 1]
    g, t, u = ([Fraction(v) - _mean([Fraction(w) for w in values]) for v in values] for values in given)
    z = [(Fraction(v) - _mean([Fraction(w) for w in x])) * factor for v in x]

    def mean(one: list[Fraction], other: list[Fraction]) -> Fraction:
        return _mean([a * b for a, b in zip(one, other, strict=True)])

    p, q, r = mean(z, g), mean(z, t), mean(z, u)
    gt, gu, tu = mean(g, t), mean(g, u), mean(t, u)
    due = [
        WEIGHT * factor**3 * (
            3 * (z[i] * (r * gt + q * gu + p * tu) + q * r * g[i] + p * r * t[i] + p * q * u[i])
            - 15 * p * q * r * z[i] - (tu * g[i] + gu * t[i] + gt * u[i])
        )
        for i in range(5)
    ]  # fmt: skip
    with arithmetic():
        state = _state(config, float(WEIGHT))
        operands = [_column(list(values)) for values in (x, *given)]
        found = oracle.third(config, SPECIFIED, state, *operands, training=True).third_x
        assert _far(found, due) < 2.0**-100
        exchanged = [operands[0], operands[1], operands[3], operands[2]]
        assert _far(oracle.third(config, SPECIFIED, state, *exchanged, training=True).third_x, due) < 2.0**-100
        assert not oracle.third(config, SPECIFIED, state, *operands, training=False).third_x.any()


NEIGHBOURS = [
    SPECIFIED,
    *(SPECIFIED.but(epsilon_form=form) for form in b.EpsilonForm),
    *(SPECIFIED.but(statistics_axes=axes) for axes in b.StatisticsAxes),
    *(SPECIFIED.but(normalizing_variance=kind) for kind in b.NormalizingVariance),
    SPECIFIED.but(training_statistics="running_updated"),
    SPECIFIED.but(training_statistics="running_updated", averaging="zero_debiased", running_variance="biased"),
    SPECIFIED.but(affine_form="one_plus_weight"),
]
"""Points whose gradient is the derivative of their output, which those with another gradient than that are not."""


def _words(point: Behaviour) -> str:
    return "-".join(point.differences().values()) or "specified"


def _passes(shape: tuple[int, ...], point: Behaviour, *, training: bool) -> dict[str, Any]:
    """x, g, two directions, and what the oracle says of them."""
    config = Config(num_features=shape[1], ndim=len(shape), eps=0.25, dtype="float64", param_dtype="float64")
    x, g, t, other = (exact(make(shape, seed)) for make, seed in (
        (inputs.values, 1), (inputs.upstream, 2), (inputs.upstream, 3), (inputs.values, 4)
    ))  # fmt: skip
    state = oracle.initial_state(config, point)
    loaded = {name: exact(value) for name, value in inputs.everything(shape[1]).items()}
    state = oracle.State(**{**vars(state), **loaded})
    return {
        "x": x, "g": g, "t": t, "other": other,
        "tangent": oracle.jvp(config, point, state, x, t, training=training),
        "backward": oracle.backward(config, point, state, x, g, training=training),
        "hvp": oracle.hvp(config, point, state, x, g, t, training=training),
        "exchanged": oracle.hvp(config, point, state, x, g, other, training=training),
    }  # fmt: skip


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("point", dict.fromkeys(NEIGHBOURS), ids=_words)
def test_transposed_and_symmetric(point: Behaviour, training: bool) -> None:
    """<g, J t> = <J^T g, t> with the oracle's own backward pass, and <H t, t'> = <t, H t'>, at points of all kinds."""
    with arithmetic():
        found = _passes((3, 4, 5), point, training=training)
        forwards = (found["g"] * found["tangent"].tangent_y).sum()
        backwards = (found["backward"].grad_x * found["t"]).sum()
        assert abs(forwards - backwards) < ERROR * abs(backwards)
        one, two = (found["hvp"].hvp_x * found["other"]).sum(), (found["t"] * found["exchanged"].hvp_x).sum()
        size = abs(found["hvp"].hvp_x * found["other"]).sum()
        assert abs(one - two) <= ERROR * size


def test_weight_is_a_row_of_the_same_hessian() -> None:
    """The gradient for x is linear in the weight: weight times hvp_weight is <grad_x, t> in each channel."""
    with arithmetic():
        found = _passes((3, 4, 5), SPECIFIED, training=True)
        product = (found["backward"].grad_x * found["t"]).sum(axis=(0, 2))
        rows = found["hvp"].hvp_weight * exact(inputs.everything(4)["weight"])
        assert (abs(rows - product) <= ERROR * abs(product)).all()


def test_evaluation_is_a_line() -> None:
    """In evaluation y' = w t / sqrt(running_var + e), and the gradient for x does not depend on x at all."""
    with arithmetic():
        found = _passes((4, 3), SPECIFIED, training=False)
        assert not found["hvp"].hvp_x.any()
        record = found["tangent"].forward
        due = record.scale * record.inverse_std * found["t"]
        assert (abs(found["tangent"].tangent_y - due) <= ERROR * abs(due)).all()


@pytest.mark.parametrize("bits", [20, 40, 60])
def test_error_falls_with_the_square_of_the_step(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a larger step the truncation shows, and is at most 2 (2 h/R)**2 of M/R, the share that is stated."""
    x, epsilon, factor = RATIONAL["4 values"]
    g, t = UPSTREAM[:4], VECTOR[:4]
    config = Config(num_features=1, eps=float(epsilon), ndim=2, dtype="float64", param_dtype="float64")
    monkeypatch.setattr(derivatives, "STEP_BITS", bits)
    with arithmetic():
        state = _state(config, float(WEIGHT))
        tangent = oracle.jvp(config, SPECIFIED, state, _column(x), _column(t), training=True)
        step = float(floats(derivatives.step(tangent.forward, _column(t))).item())
        radius = 1 / float(factor) / max(map(abs, t))
        # |y| <= |w| |c + h t| |f|, |v(h) + e| at least a quarter of v + e for |h| <= R/2.
        largest = 2 * abs(float(WEIGHT)) * (max(map(abs, x)) + 0.5 * radius * max(map(abs, t)) * 2) * float(factor)
        due, _, _ = chain_rule(x, factor, g, t)
        off = max(abs(float(gmpy2.mpq(a) - gmpy2.mpq(v))) for a, v in zip(tangent.tangent_y.ravel(), due, strict=True))
        assert 0 < off <= 2 * (2 * step / radius) ** 2 * largest / radius
        assert off > 2.0 ** (-2 * bits - 12)


def test_scale_of_the_input_changes_nothing() -> None:
    """The step follows the numbers of each channel: values of 1e-30 beside values of 1e30 keep all bits."""
    config = Config(num_features=2, eps=0.0, ndim=2, dtype="float64", param_dtype="float64")
    x = inputs.values((5, 2), 3)
    t = inputs.upstream((5, 2), 4)
    with arithmetic():
        state = oracle.initial_state(config)
        plain = oracle.jvp(config, SPECIFIED, state, exact(x), exact(t), training=True).tangent_y
        scales = exact(np.array([[2.0**-100, 2.0**100]]))
        moved = oracle.jvp(config, SPECIFIED, state, exact(x) * scales, exact(t), training=True).tangent_y
        assert (abs(moved * scales - plain) <= ERROR * abs(plain).max()).all()
