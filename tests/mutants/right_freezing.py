"""Right in what freezing a layer does, by unusual means."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bnconform.spec.config import Config
from bnconform.tests.mutants.catalogue import right
from bnconform.tests.mutants.freezing import Freezing
from bnconform.tests.mutants.layer import Array, Gradients
from bnconform.tests.mutants.masks import Masked


@right
class FrozenByTheMode(Freezing):
    """A frozen layer is one in evaluation, whatever is asked."""


@right
class FrozenByPuttingBack(Freezing):
    """Each frozen pass moves the statistics by 0, counts, and puts the counter back."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """Y of evaluation."""
        y = super().forward(x, training=training)
        if self.is_frozen and training and self.tracked:
            for name in ("running_mean", "running_var"):
                self.entries[name] = self.blend(self.entry(name), self.entry(name) * 0, 0.0)
        return y


@right
class FrozenAndFolded(Freezing):
    """A frozen layer is scale * x + shift, computed when it is frozen, and again whenever something is loaded."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.fold: tuple[Array, Array] | None = None

    def freeze(self, frozen: bool) -> None:
        """Folded where there are statistics."""
        super().freeze(frozen)
        self.refold()

    def load(self, state: Mapping[str, Array]) -> None:
        """And folded anew."""
        super().load(state)
        self.refold()

    def reset(self) -> None:
        """And folded anew."""
        super().reset()
        self.refold()

    def refold(self) -> None:
        """Scale and shift, each (C,), of what the layer remembers now."""
        self.fold = None
        if self.is_frozen and self.tracked:
            with np.errstate(all="ignore"):
                scale = self.gradient_scale(self.entry("running_var"), False)
                shift = -self.entry("running_mean") * scale
                self.fold = scale, shift + self.entry("bias") if self.config.bias else shift

    def forward(self, x: Array, *, training: bool) -> Array:
        """One multiplication and one addition."""
        if self.fold is None:
            return super().forward(x, training=training)
        self.check(x, False)
        scale, shift = self.fold
        with np.errstate(all="ignore"):
            return self.reshape_like(scale[:, None] * self.channels(x) + shift[:, None], x)


class FreezingUnderMasks(Freezing, Masked):
    """A layer with masks that can be frozen."""

    def masked(self, x: Array, mask: Array, *, training: bool) -> Array:
        """Frozen, that of evaluation."""
        return super().masked(x, mask, training=self.mode(training))

    def masked_backward(self, x: Array, mask: Array, grad_output: Array, *, training: bool) -> Gradients:
        """Frozen, the gradient for x alone, in evaluation."""
        found = super().masked_backward(x, mask, grad_output, training=self.gradient_mode(training))
        return self.operands(found)


@right
class FrozenWithMasksByTheMode(FreezingUnderMasks):
    """A frozen layer is one in evaluation, with a mask, too."""


@right
class FrozenInDouble(Freezing):
    """A frozen layer computes in double precision and rounds once."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """The arithmetic is wider while it is frozen."""
        narrow = self.work
        self.work = np.dtype(np.float64) if self.is_frozen else narrow
        y = super().forward(x, training=training)
        self.work = narrow
        return y


@right
class FrozenFromTheBackOfTheBatch(Freezing):
    """A frozen layer goes through the samples one by one, from the last to the first."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """Each is normalised alone, as none depends on another."""
        if not self.is_frozen or not self.tracked or not len(x):
            return super().forward(x, training=training)
        rows = [super(FrozenFromTheBackOfTheBatch, self).forward(x[i : i + 1], training=False) for i in range(len(x))]
        return np.concatenate(rows[::-1])[::-1].copy()
