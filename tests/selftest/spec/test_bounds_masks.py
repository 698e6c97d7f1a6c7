"""The bounds on passes with a mask admit right algorithms in every format, and tell wrong answers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from bnconform.cases import inputs
from bnconform.cases.probes import probes
from bnconform.cases.program import Array, Program, load, masked, masked_backward
from bnconform.execution.sessions import InProcess
from bnconform.judge.judgement import Judgement, judge
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.catalogue import requirements
from bnconform.spec.config import Config
from bnconform.spec.formats import DTYPES, is_half, numpy_dtype, parameter_dtype
from bnconform.tests.mutants.catalogue import Mutant, all_right
from bnconform.tests.mutants.masked_replicas import MaskedReplicas
from bnconform.tests.mutants.masks import Masked
from bnconform.tests.mutants.oracle_layer import MaskedOracleLayer
from bnconform.tests.selftest.spec.test_oracle_masks import POINTS

RIGHT = [
    mutant for mutant in all_right() if isinstance(mutant.build_layer, type) and issubclass(mutant.build_layer, Masked)
]
RATIOS = (0.0, 10.0, 1e3)
"""Mean over standard deviation of the inputs; the last in full precision only."""

GRADIENTS = ("grad_x", "grad_weight", "grad_bias")


def _judge(mutant: Mutant, program: Program, point: Behaviour = SPECIFIED) -> Judgement:
    return judge(InProcess(mutant, "cpu").run(program), point)


def _programs(config: Config, shape: tuple[int, ...], ratio: float, seed: int) -> Iterator[Program]:
    """A masked pass and its gradients, of each channel another number of values."""
    x, g = inputs.ill_conditioned(shape, ratio, seed), inputs.upstream(shape, seed)
    mask = inputs.rng(22, seed).random(shape) < 0.7
    mask[:2] = True
    start = load(**inputs.everything(shape[1], seed))
    for step in (masked(x, mask, "y", "running_mean", "running_var"), masked_backward(x, mask, g, *GRADIENTS)):
        yield Program(config, (start, step)).cast(config.dtype, config.param_dtype)


def _cases(dtype: str, param_dtype: str) -> Iterator[Program]:
    """Few and many values, near and far means, small and large epsilons."""
    for number, shape in enumerate([(2, 3), (5, 3), (4, 3, 5), (60, 2)]):
        for ratio in RATIOS[: 2 if is_half(dtype) else 3]:
            eps = 0.3 if number % 2 else 1e-5
            config = Config(shape[1], ndim=len(shape), eps=eps, dtype=dtype, param_dtype=param_dtype)
            yield from _programs(config, shape, ratio, number)


def _takes(mutant: Mutant, program: Program) -> bool:
    return getattr(mutant.build_layer, program.steps[-1].op) is not None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mutant", RIGHT, ids=lambda mutant: mutant.name)
def test_right_algorithms_lie_within(mutant: Mutant, dtype: str) -> None:
    """Two-pass, one-pass, updating, gathered, scaled from all; closed forms and reverse mode; far means, too."""
    for program in _cases(dtype, parameter_dtype(dtype)):
        if _takes(mutant, program):
            found = _judge(mutant, program)
            assert found.error_ratio <= 1 and not found.problems


@pytest.mark.parametrize("mutant", RIGHT, ids=lambda mutant: mutant.name)
def test_arithmetic_in_half_precision_lies_within(mutant: Mutant) -> None:
    """So do they where each operation is rounded to float16, as a bound at level must admits."""
    made = mutant.build_layer

    def build(config: Config) -> Masked:
        layer: Masked = made(config)
        layer.work = numpy_dtype("float16")
        return layer

    for program in _cases("float16", "float32"):
        if _takes(mutant, program) and program.config.eps > 1e-3:  # smaller ones leave the range of float16
            assert _judge(Mutant(mutant.name, mutant.says, build), program).error_ratio <= 1


@pytest.mark.parametrize("point", POINTS[::4], ids=lambda point: "-".join(point.differences().values()) or "specified")
def test_every_point_holds_at_itself(point: Behaviour) -> None:
    """What the oracle says of a point, rounded once, is right there; at the specified point it is told to differ."""
    mutant = Mutant("point", "the oracle at a point", lambda config: MaskedOracleLayer(config, point))
    config = Config(ndim=3, eps=0.3, momentum=0.3, dtype="float64", param_dtype="float64")
    told = False
    for program in _programs(config, (4, 3, 5), 0.0, 5):
        found = _judge(mutant, program, point)
        assert found.holds and found.checks
        told = told or not _judge(mutant, program).holds
    assert told or point == SPECIFIED


@pytest.mark.parametrize("requirement", [name for name in probes() if name.startswith("BN-MASK")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_something_is_told_in_every_dtype_that_is_asked(requirement: str, dtype: str) -> None:
    """No requirement rests on vacuous bounds alone."""
    chosen = [probe for probe in probes()[requirement] if dtype in probe.dtypes][:3]
    both = {"masked_replicated", "masked_replicated_vjp"} & requirements()[requirement].features
    layer = MaskedReplicas if both else Masked
    mutant = Mutant("right", "right", layer)
    told = [_judge(mutant, probe.at(dtype, parameter_dtype(dtype))).checks for probe in chosen]
    assert any(told) or not chosen


def test_a_mean_scaled_from_all_is_within_of_one_value() -> None:
    """One selected value times N/n over N errs by three roundings, and not by ten."""
    shape = (7, 1)
    mask = np.arange(7).reshape(-1, 1) == 3
    config = Config(1, ndim=2, momentum=1.0, dtype="float64", param_dtype="float64")
    program = Program(config, (masked(inputs.values(shape, 1), mask, "running_mean"),)).cast("float64", "float64")
    point = SPECIFIED.but(single_value="bias_output")

    def off(roundings: int) -> Mutant:
        class Off(Masked):
            def moments_under_mask(self, values: Array, seen: Array) -> tuple[Array, Array]:
                mean, variance = super().moments_under_mask(values, seen)
                return mean * (1 + roundings * 2.0**-53), variance

        return Mutant("off", "off", Off)

    assert _judge(off(2), program, point).holds
    assert not _judge(off(10), program, point).holds
