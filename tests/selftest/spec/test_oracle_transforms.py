"""The oracle's Jacobians and maps by rational arithmetic, and the bounds on Jacobians."""

from __future__ import annotations

from fractions import Fraction

import gmpy2
import numpy as np
import pytest

from bnconform.cases import inputs
from bnconform.cases.program import Program, jacfwd, jacrev, load, vmap_layers
from bnconform.execution.sessions import InProcess
from bnconform.judge.judgement import judge
from bnconform.spec import oracle
from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.config import Config
from bnconform.spec.exact import arithmetic, exact, floats
from bnconform.tests.mutants.catalogue import Mutant, all_right
from bnconform.tests.mutants.transforming import Transforming

X = [1, 5, -3, 9]
"""The values of one channel: mean 3, variance 20, and with an epsilon of 5 the deviation is 5."""

EPSILON, DEVIATION = 5.0, 5
WEIGHT = Fraction(-3, 2)
ERROR = Fraction(1, 2**150)
"""What the oracle's difference quotient may err by (`spec.oracle.derivatives`); its gradients err by far less."""

RIGHT = [mutant for mutant in all_right() if isinstance(mutant.build_layer, type) and issubclass(
    mutant.build_layer, Transforming
)]  # fmt: skip
RATIOS = (0.3, 30.0, 1000.0)
"""Mean over standard deviation."""


def _state(config: Config) -> oracle.State:
    new = oracle.initial_state(config, SPECIFIED)
    weight = exact(np.array([float(WEIGHT), 2.0]))
    return oracle.State(**{**vars(new), "weight": weight, "running_var": exact(np.array([11.0, 4.0]))})


@pytest.mark.parametrize("ability", ["jacrev", "jacfwd"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_jacobian_in_rational_arithmetic(ability: str, training: bool) -> None:
    """Within a channel it is w/s (1 - 1/n - z z/n), in evaluation w/s on the diagonal, and 0 between channels."""
    config = Config(num_features=2, ndim=2, eps=EPSILON, dtype="float64", param_dtype="float64")
    x = np.stack([np.array(X, float), np.array(X[::-1], float) * 7], axis=1)
    with arithmetic():
        found = getattr(oracle, ability)(config, SPECIFIED, _state(config), exact(x), training=training)
        assert found.value.shape == (4, 2, 4, 2)
        assert not found.value[:, 0, :, 1].any() and not found.value[:, 1, :, 0].any()
        for i, j in np.ndindex(4, 4):
            due = Fraction(int(i == j))
            if training:
                z = [Fraction(value - 3, DEVIATION) for value in X]
                due -= Fraction(1, 4) + z[i] * z[j] / 4
            due = due * WEIGHT / (DEVIATION if training else 4)
            got = gmpy2.mpq(found.value[i, 0, j, 0])
            assert abs(Fraction(int(got.numerator), int(got.denominator)) - due) <= ERROR
    assert (len(found.rows), len(found.columns)) == ((8, 0) if ability == "jacrev" else (0, 8))


def test_second_tangent_in_rational_arithmetic() -> None:
    """It is w/25 (p (mean(u) - u) + q (mean(t) - t) + z (3 p q - s)), and exactly 0 in evaluation."""
    config = Config(num_features=1, ndim=2, eps=EPSILON, affine=False, dtype="float64", param_dtype="float64")
    t, u = [1, 0, 2, 1], [1, 0, 0, 1]
    z = [Fraction(value - 3, DEVIATION) for value in X]

    def mean(values: list[Fraction] | list[int]) -> Fraction:
        return sum(map(Fraction, values), Fraction(0)) / 4

    p, q = mean([a * b for a, b in zip(z, t, strict=True)]), mean([a * b for a, b in zip(z, u, strict=True)])
    s = mean([a * b for a, b in zip(t, u, strict=True)]) - mean(t) * mean(u)
    x, one, other = (exact(np.array(values, float).reshape(4, 1)) for values in (X, t, u))
    with arithmetic():
        state = oracle.initial_state(config, SPECIFIED)
        found = oracle.jvp_jvp(config, SPECIFIED, state, x, one, other, training=True)
        for value, a, b, c in zip(found.second_y.ravel(), z, t, u, strict=True):
            due = (p * (mean(u) - c) + q * (mean(t) - b) + a * (3 * p * q - s)) / 25
            got = gmpy2.mpq(value)
            assert abs(Fraction(int(got.numerator), int(got.denominator)) - due) <= Fraction(1, 2**100)
        assert not oracle.jvp_jvp(config, SPECIFIED, state, x, one, other, training=False).second_y.any()


def test_map_is_a_loop() -> None:
    """Each lane is the pass of its own state and batch, to the last bit."""
    config = Config(num_features=2, ndim=2, dtype="float64", param_dtype="float64")
    batches = [exact(inputs.values((5, 2), seed)) for seed in range(3)]
    with arithmetic():
        states = [_state(config), oracle.initial_state(config, SPECIFIED), _state(config)]
        lanes = oracle.vmap(config, SPECIFIED, states, batches, training=True)
        for lane, state, batch in zip(lanes, states, batches, strict=True):
            alone = oracle.forward(config, SPECIFIED, state, batch, training=True)
            assert np.all(lane.y == alone.y) and np.all(lane.state.running_var == alone.state.running_var)


def test_refused_pass_has_no_jacobian() -> None:
    """One value a channel: there is no row to be had."""
    config = Config(num_features=2, ndim=2, dtype="float64", param_dtype="float64")
    with arithmetic():
        found = oracle.jacrev(config, SPECIFIED, _state(config), exact(np.ones((1, 2))), training=True)
    assert found.forward.refused and found.rows == ()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("mutant", RIGHT, ids=lambda mutant: mutant.name)
def test_right_jacobians_lie_within(mutant: Mutant, dtype: str) -> None:
    """Row by row, column by column and in closed form, near and far from the mean."""
    for number, shape in enumerate([(2, 2), (3, 2), (2, 2, 2)]):
        for ratio in RATIOS:
            config = Config(num_features=2, ndim=len(shape), eps=0.3, dtype=dtype, param_dtype=dtype)
            x = inputs.ill_conditioned(shape, ratio, number)
            start = load(**inputs.everything(2, number))
            for step in (jacrev(x, "jacobian"), jacfwd(x, "jacobian")):
                program = Program(config, (start, step)).cast(dtype, dtype)
                assert judge(InProcess(mutant, "cpu").run(program), SPECIFIED).error_ratio <= 1


def test_bound_tells_a_jacobian_from_its_neighbours() -> None:
    """In single precision the terms through mean and variance are thousands of times larger than the bound."""
    config = Config(num_features=2, ndim=2, eps=0.1, dtype="float32", param_dtype="float32")
    x = inputs.values((4, 2), 60)
    with arithmetic():
        from bnconform.spec.error_bounds.error_model import error_model_of
        from bnconform.spec.error_bounds.transforms import jacobian

        model = error_model_of(config, SPECIFIED)
        for ability in (oracle.jacrev, oracle.jacfwd):
            found = ability(config, SPECIFIED, _state(config), exact(x.astype(np.float32)), training=True)
            bound, value = jacobian(found, model), floats(found.value)
            assert bound.shape == value.shape
            within = np.abs(value[:, 0, :, 0])
            assert (bound[:, 0, :, 0] < 1e-3 * within.max()).all()
            assert not bound[:, 0, :, 1].any() or (bound[:, 0, :, 1] < 1e-30).all()


def test_mapped_layers_are_judged_lane_by_lane() -> None:
    """Two lanes exchanged are wrong in both, and said to be of their lane."""

    class Exchanged(Transforming):
        def vmap_layers(self, xs, states, *, training):  # type: ignore[no-untyped-def]
            ys, after = super().vmap_layers(xs, states, training=training)
            return ys[::-1].copy(), after

    states = [inputs.everything(2, seed) for seed in (1, 2)]
    step = vmap_layers([inputs.values((4, 2), seed) for seed in (1, 2)], states, "y", "mapped_running_mean")
    program = Program(Config(num_features=2, ndim=2), (step,)).cast("float32", "float32")
    wrong, right = (
        judge(InProcess(Mutant(made.__name__, "a layer", made), "cpu").run(program), SPECIFIED)
        for made in (Exchanged, Transforming)
    )
    assert right.holds and not wrong.holds
    assert {one.name for one in wrong.comparisons if one.worst > 1} == {"y"}
    assert (wrong.comparisons[0].error_ratio.reshape(2, -1) > 1).any(axis=1).all()
