"""The bounds over replicas admit right algorithms in every format, far from the mean too, and little else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bnconform.cases import inputs
from bnconform.cases.probes.replicas import upstream
from bnconform.cases.program import Program, load, replicated, replicated_vjp
from bnconform.execution.sessions import InProcess
from bnconform.judge.judgement import judge
from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.config import Config
from bnconform.spec.error_bounds.error_model import error_model_of
from bnconform.spec.error_bounds.replicas import MERGED, over_replicas
from bnconform.spec.formats import DTYPES, is_half, parameter_dtype
from bnconform.tests.mutants.catalogue import Mutant, all_right
from bnconform.tests.mutants.layer import Array
from bnconform.tests.mutants.replicas import ReplicatedLayer

RIGHT = [
    mutant
    for mutant in all_right()
    if isinstance(mutant.build_layer, type)
    and issubclass(mutant.build_layer, ReplicatedLayer)
    and mutant.build_layer.replicated_vjp is not None
]

RATIOS = (0.3, 30.0, 1000.0)
"""Mean over standard deviation; the last in full precision, as half has no bits left."""

SHAPES = (((2, 3), (2, 3)), ((3, 3), (1, 3), (0, 3)), ((2, 3, 5), (3, 3, 2)), ((30, 3), (7, 3)))


def _programs(dtype: str) -> Iterator[Program]:
    """Few and many values, equal and unequal, near and far means, small and large epsilons."""
    for number, shapes in enumerate(SHAPES):
        for ratio in RATIOS[: 2 if is_half(dtype) else 3]:
            for eps in (1e-5, 0.3):
                given = [inputs.ill_conditioned(shape, ratio, number + i) for i, shape in enumerate(shapes)]
                config = Config(ndim=len(shapes[0]), eps=eps)
                steps = (
                    load(**inputs.everything(3)),
                    replicated(given, "y", "replica_running_mean", "replica_running_var"),
                    replicated_vjp(given, upstream(shapes), "grad_x", "replica_grad_weight", "replica_grad_bias"),
                )
                yield Program(config, steps).cast(dtype, parameter_dtype(dtype))


WIDEST = ("replicas_by_mean_of_means", "replicas_by_merged_moments")
"""Those that err most, asked in every dtype."""

CASES = [(mutant, dtype) for mutant in RIGHT for dtype in DTYPES if dtype == "float32" or mutant.name in WIDEST]


@pytest.mark.parametrize(("mutant", "dtype"), CASES, ids=[f"{mutant.name}-{dtype}" for mutant, dtype in CASES])
def test_right_algorithms_lie_within(mutant: Mutant, dtype: str) -> None:
    """Two passes, merged moments and means of means, in any order of the replicas."""
    for program in _programs(dtype):
        found = judge(InProcess(mutant, "cpu").run(program), SPECIFIED)
        assert found.holds, (program.describe(), found.worst and found.worst.name, found.error_ratio)


def test_bounds_tell_a_few_roundings_from_many() -> None:
    """In single precision an error of a thousand roundings is told in y, statistics and gradients alike."""

    class Off(ReplicatedLayer):
        def reshape_like(self, values: Array, x: Array) -> Array:
            return super().reshape_like(values * (1 + 1e-4), x)

        def blend(self, old: Array, new: Array, weight: float) -> Array:
            return super().blend(old, new * self.work.type(1 + 1e-4), weight)

        def weight_part(self, zs: list[Array], upstream: list[Array], i: int) -> Array:
            return super().weight_part(zs, upstream, i) * self.work.type(1 + 1e-4)

    program = next(_programs("float32"))
    found = judge(InProcess(Mutant("off", "a ten-thousandth too large", Off), "cpu").run(program), SPECIFIED)
    off = {comparison.name for comparison in found.comparisons if comparison.worst > 1}
    assert off == {"y", "replica_running_mean", "replica_running_var", "grad_x", "replica_grad_weight"}


@pytest.mark.parametrize("quality", ["", "blocked"])
def test_a_sum_of_sums_has_few_roundings_more(quality: str) -> None:
    """MERGED for each term, whatever the number of values; everything else is as for one batch."""
    model = error_model_of(Config(), SPECIFIED, quality=quality)
    merged = over_replicas(model)
    assert [merged.terms(n) - model.terms(n) for n in (1, 10, 10_000)] == [MERGED] * 3
    assert (merged.u, merged.gamma(3), merged.updating(9)) == (model.u, model.gamma(3), model.updating(9))
