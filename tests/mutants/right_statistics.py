"""Right by other means: the mean and the variance of a batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bnconform.tests.mutants.algorithms import (
    Algorithm,
    Array,
    Sum,
    compensate,
    correct,
    in_format,
    merge,
    one_pass,
    pairwise,
    sequential,
    shift,
    sum_reversed,
    sum_strided,
    tree,
    two_pass,
    welford,
)
from bnconform.tests.mutants.assembled import PLAIN, Assembled
from bnconform.tests.mutants.catalogue import right
from bnconform.tests.mutants.layer import Layer


def summing(add: Sum) -> Algorithm:
    """The plain layer with another sum everywhere: in the statistics and in the gradients."""
    return replace(PLAIN, statistics=two_pass(add), add=add)


@right
class WelfordDividing(Assembled):
    """Mean and squared deviations are updated value by value, dividing by the count so far."""

    how = replace(PLAIN, statistics=welford(False))


@right
class WelfordByReciprocal(Assembled):
    """Mean and squared deviations are updated value by value, multiplying with a rounded 1/k."""

    how = replace(PLAIN, statistics=welford(True))


@right
class SequentialSums(Assembled):
    """Every sum goes from the first value to the last in one accumulator."""

    how = summing(sequential)


@right
class ReversedSums(Assembled):
    """Every sum goes from the last value to the first in one accumulator."""

    how = summing(sum_reversed)


@right
class PairwiseSums(Assembled):
    """Every sum is the sum of the sums of both halves."""

    how = summing(pairwise)


@right
class StridedLanes(Assembled):
    """Every sum is kept in four interleaved partial sums."""

    how = summing(sum_strided)


@right
class CompensatedSums(Assembled):
    """Every sum hands what an addition lost to the next."""

    how = summing(compensate)


@right
class OnePassInDouble(Assembled):
    """The mean of the squares less the square of the mean, in the next wider format."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        """The mean and the biased variance of a batch, each (C,); 0 and 1 of an empty one."""
        if not values.shape[1]:
            return super().moments(values)
        wider = np.float64 if self.work == np.float32 else np.longdouble
        return in_format(wider, one_pass(sequential))(values.T)


@right
class OnePass(Assembled):
    """The mean of the squares less the square of the mean, in the arithmetic of everything else, not below 0."""

    how = replace(PLAIN, statistics=one_pass(pairwise))


@right
class OnePassFromFirstValue(Assembled):
    """One pass over the differences from the first value of each channel."""

    how = replace(PLAIN, statistics=shift)


@right
class CorrectedTwoPass(Assembled):
    """Two-pass, less the square of the mean deviation."""

    how = replace(PLAIN, statistics=correct)


@right
class ChunksMergedInTurn(Assembled):
    """Chunks of eight values, each merged into what came before by Chan's formula."""

    how = replace(PLAIN, statistics=merge(8, two_pass(sequential)))


@right
class ChunksMergedAsTree(Assembled):
    """Halves merged with each other by Chan's formula, down to chunks of at most four values."""

    how = replace(PLAIN, statistics=tree(4, welford(True)))


@right
class UnbiasedFromSquares(Layer):
    """The remembered variance is the sum of squares over n - 1, not the biased one times n / (n - 1)."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """What of a batch is remembered: its mean and its unbiased variance, each (C,)."""
        mean = values.mean(axis=1)
        deviations = values - mean[:, None]
        return mean, (deviations * deviations).sum(axis=1) / self.work.type(values.shape[1] - 1)
