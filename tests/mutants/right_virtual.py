"""Right in batches of many samples, by going through them in pieces."""

from __future__ import annotations

import numpy as np

from bnconform.tests.mutants.catalogue import right
from bnconform.tests.mutants.layer import Array, Layer
from bnconform.tests.mutants.wrong_virtual import pieces


@right
class PiecesMerged(Layer):
    """Mean and variance of pieces of 32 values are merged into those of the batch, by Chan's formula."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        """From the first piece to the last."""
        if values.shape[1] <= 32:
            return super().moments(values)
        count, mean, squares = 0, np.zeros(len(values), self.work), np.zeros(len(values), self.work)
        for part in pieces(values.T, 32):
            own, size = part.mean(axis=0), len(part)
            off, total = own - mean, count + size
            squares = squares + np.square(part - own).sum(axis=0) + off**2 * self.work.type(count * size / total)
            mean = mean + off * self.work.type(size / total)
            count = total
        return mean, squares / self.work.type(count)


@right
class SumsOfPieces(Layer):
    """The sums in the gradient for x are sums over pieces of 128 values, and sums of those."""

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """Divided by the number of all values."""
        n = self.work.type(z.shape[1])
        starts = np.arange(0, z.shape[1], 128)
        plain, product = (
            np.add.reduceat(v, starts, axis=1).sum(axis=1, keepdims=True) for v in (upstream, upstream * z)
        )
        return np.asarray(upstream - plain / n - z * (product / n))
