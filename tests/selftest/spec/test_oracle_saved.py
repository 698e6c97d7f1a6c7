"""The oracle's statistics beside y by rational arithmetic, passes of frozen layers, and the bounds of both."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from bnconform.cases import inputs
from bnconform.cases.program import SAVED, Program, forward, freeze, load, saved_statistics
from bnconform.judge.judgement import judge
from bnconform.judge.subject import Subject
from bnconform.spec import oracle
from bnconform.spec.behaviour import SPECIFIED, Behaviour, FrozenMode
from bnconform.spec.config import Config
from bnconform.spec.exact import arithmetic, exact, floats
from bnconform.spec.formats import DTYPES, parameter_dtype
from bnconform.tests.mutants.catalogue import Mutant
from bnconform.tests.mutants.freezing import Freezing
from bnconform.tests.mutants.layer import Array
from bnconform.tests.mutants.oracle_layer import layer_at
from bnconform.tests.mutants.saving import Saving

X = [1, 5, -3, 9]
"""The values of one channel: their mean is 3, their variance 20, of which 80 / 3 is unbiased."""

EPSILON = 5

UNIT_ROUNDOFF = Fraction(1, 2**53)
"""Of float64."""


def _find(training: bool = True, decisions: dict[str, str] | None = None) -> list[float] | None:
    """What is saved of a pass at a neighbour of the specified point, from a running mean of 2 and a variance of 4."""
    config = Config(num_features=1, ndim=2, eps=EPSILON, momentum=0.5, dtype="float64", param_dtype="float64")
    with arithmetic():
        new = vars(oracle.initial_state(config))
        state = oracle.State(**{**new, "running_mean": exact(np.array([2.0])), "running_var": exact(np.array([4.0]))})
        x = exact(np.array(X, float).reshape(-1, 1))
        found = oracle.results_beside(
            oracle.forward(config, SPECIFIED.but(**decisions or {}), state, x, training=training)
        )
        return None if found is None else [float(floats(found.value(name))[0]) for name in SAVED]


@pytest.mark.parametrize(
    ("decisions", "due"),
    [
        ({}, (3, Fraction(1, 5) ** 2, 20)),
        ({"saved_deviation": "without_epsilon"}, (3, Fraction(1, 20), 20)),
        ({"saved_deviation": "unbiased"}, (3, Fraction(3, 95), 20)),
        ({"saved_deviation": "deviation"}, (3, 25, 20)),
        ({"saved_deviation": "variance"}, (3, 400, 20)),
        ({"saved_variance": "unbiased"}, (3, Fraction(1, 25), Fraction(80, 3))),
        ({"saved_variance": "plus_eps"}, (3, Fraction(1, 25), 25)),
        ({"saved_variance": "inverse_deviation"}, (3, Fraction(1, 25), Fraction(1, 5))),
        ({"saved_statistics": "running"}, (Fraction(5, 2), 1 / (Fraction(2) + Fraction(40, 3) + 5), Fraction(46, 3))),
    ],
    ids=lambda given: "-".join(given.values()) or "specified" if isinstance(given, dict) else "",
)
def test_in_rational_arithmetic(decisions: dict[str, str], due: tuple[Fraction | int, ...]) -> None:
    """Each form of each; of the inverse deviation the square is compared, which is rational."""
    found = _find(decisions=decisions)
    assert found is not None
    mean, deviation, variance = found
    assert (mean, variance) == (float(due[0]), float(due[2]))
    # deviation = sqrt(due) (1 + d) with |d| <= u, as it was rounded once, so that its square is off by 2 d + d d.
    assert abs(Fraction(deviation) ** 2 - due[1]) <= due[1] * (2 * UNIT_ROUNDOFF + UNIT_ROUNDOFF**2)


def test_of_evaluation() -> None:
    """Nothing; or the running statistics; or those of the batch, which normalise nothing."""
    assert _find(False) is None
    assert _find(False, {"saved_in_evaluation": "running"}) == [2, 1 / 3, 4]
    assert _find(False, {"saved_in_evaluation": "batch"}) == [3, 1 / 5, 20]


@pytest.mark.parametrize("kind", FrozenMode)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_frozen(kind: FrozenMode, training: bool) -> None:
    """Which statistics normalise, and what becomes of the running ones; in evaluation all are alike."""
    config = Config(num_features=1, ndim=2, eps=EPSILON, momentum=0.5, dtype="float64", param_dtype="float64")
    point, x = SPECIFIED.but(frozen_mode=str(kind)), exact(np.array(X, float).reshape(-1, 1))
    with arithmetic():
        new = vars(oracle.initial_state(config))
        state = oracle.State(**{**new, "running_mean": exact(np.array([2.0])), "running_var": exact(np.array([4.0]))})
        mode = oracle.mode_when_frozen(point, training)
        passed = oracle.forward(config, point, state, x, training=mode)
        after, moving = oracle.state_when_frozen(config, point, state, x, passed, training=training)
        first, mean = float(floats(passed.y)[0, 0]), after.running_mean
    assert mean is not None
    by_batch = training and kind in (FrozenMode.TRAINING, FrozenMode.STATISTICS_KEPT)
    moves = training and kind in (FrozenMode.TRAINING, FrozenMode.STATISTICS_MOVED)
    assert first == ((1 - 3) / 5 if by_batch else (1 - 2) / 3)
    assert (float(floats(mean)[0]), after.num_batches_tracked) == ((2.5, 1) if moves else (2.0, 0))
    assert (moving is not None) == (training and kind is FrozenMode.STATISTICS_MOVED)


class Shifted(Saving):
    """A layer whose saved statistics are some units in the last place of the dtype that is kept too large."""

    ULPS = 40

    def keep_as(self, found: dict[str, Array]) -> dict[str, Array | None]:
        """All of them."""
        more = {name: value + self.ULPS * np.spacing(np.abs(value.astype(self.kept))) for name, value in found.items()}
        return super().keep_as(more)


def _ratio(build: type[Saving], dtype: str, point: Behaviour = SPECIFIED) -> float:
    """The largest error ratio of what a layer saves, as seen from a point."""
    x = inputs.values((7, 3), 4)
    steps = (load(**inputs.everything(3)), saved_statistics(x, *SAVED))
    program = Program(Config(ndim=2, eps=0.25), steps).cast(dtype, parameter_dtype(dtype))
    found = judge(Subject("mine", Mutant("mine", "a layer", build), "cpu", dtype).run(program), point)
    assert not found.problems and found.checks
    return found.error_ratio


@pytest.mark.parametrize("dtype", DTYPES)
def test_bound_admits_a_right_layer(dtype: str) -> None:
    """In every dtype."""
    assert _ratio(Saving, dtype) <= 1


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_bound_tells_something(dtype: str) -> None:
    """What is some units in the last place off is refused, and so is the layer from another point."""
    assert _ratio(Shifted, dtype) > 1
    for decisions in ({"saved_deviation": "unbiased"}, {"saved_variance": "plus_eps"}, {"saved_statistics": "running"}):
        assert _ratio(Saving, dtype, SPECIFIED.but(**decisions)) > 1


@pytest.mark.parametrize("kind", FrozenMode)
def test_frozen_layer_is_judged_at_its_point_alone(kind: FrozenMode) -> None:
    """The ideal layer of each value holds there, and the right layer at the specified one."""
    x = inputs.values((7, 3), 5)
    shown = ("y", "running_mean", "running_var", "num_batches_tracked")
    program = Program(Config(ndim=2), (load(**inputs.everything(3)), freeze(), forward(x, *shown)))
    program = program.cast("float32", "float32")
    point = SPECIFIED.but(frozen_mode=str(kind))
    ideal = Mutant("ideal", "a layer", lambda config: layer_at(config, point))
    trace = Subject("ideal", ideal, "cpu", "float32").run(program)
    assert [judge(trace, SPECIFIED.but(frozen_mode=str(other))).holds for other in FrozenMode] == [
        other is kind for other in FrozenMode
    ]
    right = Subject("right", Mutant("right", "a layer", Freezing), "cpu", "float32").run(program)
    assert judge(right, point).holds == (kind is FrozenMode.EVALUATION)
