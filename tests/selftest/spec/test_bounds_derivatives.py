"""The bounds on derivatives admit right algorithms in every format, and tell wrong answers where they are said to."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from bnconform.cases import inputs
from bnconform.cases.probes import probes
from bnconform.cases.program import Array, Probe, Program, hvp, jvp, load, third
from bnconform.execution.sessions import InProcess
from bnconform.judge.judgement import Judgement, judge
from bnconform.spec.behaviour import SPECIFIED, Behaviour, TrainingGradient
from bnconform.spec.config import Config
from bnconform.spec.formats import DTYPES, is_half, numpy_dtype, parameter_dtype
from bnconform.tests.mutants.catalogue import Mutant, all_right
from bnconform.tests.mutants.derivatives import Differentiable
from bnconform.tests.mutants.oracle_layer import DifferentiableOracleLayer

RIGHT = [mutant for mutant in all_right() if isinstance(mutant.build_layer, type) and issubclass(
    mutant.build_layer, Differentiable
)]  # fmt: skip

RATIOS = (0.3, 30.0, 1000.0)
"""Mean over standard deviation: the condition number's root; the last in full precision, as half has no bits left."""


def _judge(mutant: Mutant, program: Program, point: Behaviour = SPECIFIED) -> Judgement:
    return judge(InProcess(mutant, "cpu").run(program), point)


def _program(config: Config, x: Array, seed: int, op: str, *, training: bool) -> Program:
    g, t = inputs.upstream(x.shape, seed), inputs.upstream(x.shape, seed + 1) - 0.4
    called = {
        "jvp": lambda: jvp(x, t, "y", "tangent_y", training=training),
        "hvp": lambda: hvp(x, g, t, "hvp_x", "hvp_weight", "hvp_bias", training=training),
        "third": lambda: third(x, g, t, inputs.values(x.shape, seed + 2), "third_x", training=training),
    }
    steps = load(**inputs.everything(x.shape[1], seed)), called[op]()
    return Program(config, steps).cast(config.dtype, config.param_dtype)


def _cases(dtype: str, param_dtype: str) -> Iterator[Program]:
    """Few and many values, near and far means, small and large epsilons, both modes."""
    for number, shape in enumerate([(2, 3), (3, 3), (5, 3), (4, 3, 5), (60, 3)]):
        for ratio in RATIOS[: 2 if is_half(dtype) else 3]:
            for eps in (1e-5, 0.3):
                config = Config(ndim=len(shape), eps=eps, dtype=dtype, param_dtype=param_dtype)
                x = inputs.ill_conditioned(shape, ratio, number)
                for op in ("jvp", "hvp", "third"):
                    yield _program(config, x, number, op, training=True)
        yield _program(config, x, number, "jvp", training=False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mutant", RIGHT, ids=lambda mutant: mutant.name)
def test_right_algorithms_lie_within(mutant: Mutant, dtype: str) -> None:
    """Closed forms, dual numbers and reverse mode, of two-pass and one-pass variance, far from the mean too."""
    for program in _cases(dtype, parameter_dtype(dtype)):
        if getattr(mutant.build_layer, program.steps[-1].op) is not None:
            assert _judge(mutant, program).error_ratio <= 1


@pytest.mark.parametrize("mutant", RIGHT, ids=lambda mutant: mutant.name)
def test_arithmetic_in_half_precision_lies_within(mutant: Mutant) -> None:
    """So do they where each operation is rounded to float16, as a bound at level must admits."""
    made = mutant.build_layer

    def build(config: Config) -> Differentiable:
        layer: Differentiable = made(config)
        layer.work = numpy_dtype("float16")
        return layer

    for program in _cases("float16", "float32"):
        if getattr(made, program.steps[-1].op) is not None:
            found = _judge(Mutant(mutant.name, mutant.says, build), program)
            assert found.error_ratio <= 1 or not _is_in_range(program)


def _is_in_range(program: Program) -> bool:
    """Whether what a pass computes on the way stays in the range of float16, which the bound does not speak of."""
    x = program.steps[-1].x
    assert x is not None
    largest = float(np.square(x.astype(np.float64)).sum())
    return largest < 6e4 and program.config.eps > 1e-3


POINTS = [
    SPECIFIED.but(training_statistics="running_updated"),
    SPECIFIED.but(training_statistics="running_updated", running_variance="biased"),
    *(SPECIFIED.but(epsilon_form=form) for form in ("outside", "maximum", "squared", "absent")),
    *(SPECIFIED.but(statistics_axes=axes) for axes in ("per_position", "per_sample_channel", "per_sample", "all")),
    *(SPECIFIED.but(normalizing_variance=kind) for kind in ("unbiased", "uncentred")),
    *(SPECIFIED.but(gradient_scale=kind) for kind in ("without_weight", "without_std")),
    *(SPECIFIED.but(training_gradient=kind) for kind in TrainingGradient if kind != SPECIFIED.training_gradient),
    *(SPECIFIED.but(weight_gradient=kind) for kind in ("mean", "raw_input", "zero")),
    SPECIFIED.but(mode_source="gradients_enabled"),
]  # fmt: skip


@pytest.mark.parametrize("point", POINTS, ids=lambda point: "-".join(point.differences().values()))
def test_every_point_holds_at_itself(point: Behaviour) -> None:
    """What the oracle says of a point, rounded once, is right there; at the specified point it is told to differ."""
    mutant = Mutant("point", "the oracle at a point", lambda config: DifferentiableOracleLayer(config, point))
    told = False
    for training in (True, False):
        for op in ("jvp", "hvp", "third"):
            config = Config(ndim=3, eps=0.3, momentum=0.3, dtype="float64", param_dtype="float64")
            program = _program(config, inputs.values((4, 3, 5), 5), 5, op, training=training)
            found = _judge(mutant, program, point)
            assert found.holds and (found.checks or (op == "third" and point.gradient_scale == "without_std"))
            told = told or not _judge(mutant, program).holds
    assert told


HALVES = [(probe, dtype) for rule in ("HVP", "THIRD") for probe in probes()[f"BN-DERIV-{rule}"]
          for dtype in ("float16", "bfloat16") if dtype not in probe.dtypes]  # fmt: skip


@pytest.mark.parametrize(("probe", "dtype"), HALVES, ids=lambda value: getattr(value, "name", value))
def test_second_derivatives_in_half_precision_are_vacuous(probe: Probe, dtype: str) -> None:
    """What is not asked for in half precision would be: the bound admits any answer, and the judgement says so."""
    found = _judge(Mutant("right", "right", Differentiable), probe.at(dtype, parameter_dtype(dtype)))
    assert found.holds and found.vacuous and not found.checks


@pytest.mark.parametrize("requirement", [name for name in probes() if name.startswith("BN-DERIV")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_something_is_told_in_every_dtype_that_is_asked(requirement: str, dtype: str) -> None:
    """No requirement rests on vacuous bounds alone."""
    chosen = [probe for probe in probes()[requirement] if dtype in probe.dtypes]
    mutant = Mutant("right", "right", Differentiable)
    told = [_judge(mutant, probe.at(dtype, parameter_dtype(dtype))).checks for probe in chosen]
    assert any(told) or not chosen
