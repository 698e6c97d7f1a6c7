"""Wrong in batches of many samples: pieces that nobody asked for."""

from __future__ import annotations

import numpy as np

from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Gradients, Layer


def pieces(x: Array, size: int) -> list[Array]:
    """The samples in pieces of a size, the last one shorter."""
    return [x[start : start + size] for start in range(0, len(x), size)]


class Ghost(Layer):
    """One whose training passes normalise and remember pieces, where it is in effect."""

    size = 64

    def in_effect(self, x: Array, training: bool) -> bool:
        """Whether a pass is made in pieces."""
        return training and len(x) > self.size

    def forward(self, x: Array, *, training: bool) -> Array:
        """Piece by piece."""
        if not self.in_effect(x, training):
            return super().forward(x, training=training)
        return np.concatenate([super(Ghost, self).forward(part, training=True) for part in pieces(x, self.size)])

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """Piece by piece; the parameters' gradients add up."""
        if not self.in_effect(x, training):
            return super().backward(x, grad_output, training=training)
        pairs = zip(pieces(x, self.size), pieces(grad_output, self.size), strict=True)
        each = [super(Ghost, self).backward(part, given, training=True) for part, given in pairs]
        found: list[Array | None] = []
        for place in (1, 2):
            there = [one[place] for one in each if one[place] is not None]
            found.append(np.sum(np.asarray(there), axis=0, dtype=self.kept) if there else None)
        return np.concatenate([one[0] for one in each]), found[0], found[1]


@wrong("BN-VIRTUAL-TRAIN", "BN-VIRTUAL-RUN", thread="tabnet#243")
class GhostBatchesOf64(Ghost):
    """Training normalises pieces of 64 samples, a virtual batch size that was left on."""


@wrong("BN-VIRTUAL-TRAIN", "BN-VIRTUAL-GRAD")
class GhostBatchesOf1024(Ghost):
    """Training normalises pieces of 1024 samples, which is all that fits the buffer."""

    size = 1024


@wrong("BN-VIRTUAL-TRAIN", thread="keras#15790")
class GhostBatchesAtRank5(Ghost):
    """Training normalises pieces of 32 samples, at rank 5 alone."""

    size = 32

    def in_effect(self, x: Array, training: bool) -> bool:
        """Where there are three axes of positions."""
        return x.ndim == 5 and super().in_effect(x, training)


@wrong("BN-VIRTUAL-TRAIN", thread="tensorflow#23050")
class RefusesWhatDoesNotDivide(Layer):
    """A batch of more than 128 samples that 128 does not divide is refused."""

    def check(self, x: Array, training: bool) -> None:
        """In training."""
        super().check(x, training)
        if training and len(x) > 128 and len(x) % 128:
            raise ValueError(f"the virtual batch size 128 does not divide {len(x)} samples")


@wrong("BN-VIRTUAL-RUN")
class RemembersPiece32ByPiece(Layer):
    """y is normalised by the whole batch, and the running statistics are moved by each piece of 32."""

    def remember(self, values: Array, x: Array) -> None:
        """One update a piece, of which one value alone has no part."""
        for part in pieces(x, 32):
            if part.size > part.shape[1]:
                super().remember(self.channels(part), part)


@wrong("BN-VIRTUAL-RUN")
class RemembersTheMeanVarianceOfPieces(Layer):
    """The running variance remembers the mean of the variances of pieces of 32, without what lies between them."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean is that of the batch; below 64 values there is one piece."""
        mean, variance = super().memory_of(values)
        whole = values.shape[1] // 32
        if whole < 2:
            return mean, variance
        parts = values[:, : whole * 32].reshape(len(values), whole, 32)
        return mean, np.asarray(parts.var(axis=2, ddof=1).mean(axis=1))


@wrong("BN-VIRTUAL-GRAD")
class BackwardInPiecesOf32(Layer):
    """The forward pass is of the whole batch; the means in the gradient for x are over blocks of 32 values."""

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """Each block by its own."""
        found = [
            super(BackwardInPiecesOf32, self).through_statistics(z[:, i : i + 32], upstream[:, i : i + 32])
            for i in range(0, z.shape[1], 32)
        ]
        return np.concatenate(found, axis=1)


@wrong("BN-VIRTUAL-LAST")
class LoneLastSampleIsRefused(Layer):
    """A batch of which one sample is left over after pieces of 128 is refused, as that one has no variance."""

    def check(self, x: Array, training: bool) -> None:
        """In training."""
        super().check(x, training)
        if training and len(x) > 128 and len(x) % 128 == 1:
            raise ValueError("one value per channel has no variance")


@wrong("BN-VIRTUAL-LAST", thread="torchgan#146")
class LoneLastSampleBecomesTheBias(Layer):
    """The sample that is left over after pieces of 32 is normalised by itself: it becomes the bias."""

    def normalise(self, values: Array, mean: Array, variance: Array, training: bool) -> Array:
        """Its z is 0."""
        z = super().normalise(values, mean, variance, training)
        if training and values.shape[1] > 32 and values.shape[1] % 32 == 1:
            z[:, -1] = 0
        return z
