"""Right in what becomes of options and of loads, by unusual means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bnconform.tests.mutants.catalogue import right
from bnconform.tests.mutants.layer import Array, Layer


@right
class FoldsAgainWhenAnOptionIsSet(Layer):
    """Evaluation is by an inverse deviation that is kept until something that it depends on changes."""

    kept_inverse: Array | None = None

    def inverse_std(self, variance: Array, training: bool) -> Array:
        """As it is kept, or made now; of a batch always now."""
        if self.from_batch(training):
            return super().inverse_std(variance, training)
        if self.kept_inverse is None:
            self.kept_inverse = super().inverse_std(variance, training)
        return self.kept_inverse

    def remember(self, values: Array, x: Array) -> None:
        """Other statistics, another deviation."""
        super().remember(values, x)
        self.kept_inverse = None

    def load(self, state: Mapping[str, Array]) -> None:
        """Other statistics, another deviation."""
        super().load(state)
        self.kept_inverse = None

    def reset(self) -> None:
        """Other statistics, another deviation."""
        super().reset()
        self.kept_inverse = None

    def set(self, **options: Any) -> None:
        """Another epsilon, another deviation."""
        super().set(**options)
        self.kept_inverse = None


@right
class FrozenByMovingNothing(Layer):
    """With tracking switched off updates are made all the same, and the statistics of before are put back."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """The right y."""
        before, frozen = dict(self.entries), self.frozen
        self.frozen = False
        try:
            return super().forward(x, training=training)
        finally:
            self.frozen = frozen
            if frozen:
                self.entries = before


@right
class RefusesStatesOfAnotherDtype(Layer):
    """A load of another dtype than the layer's is refused."""

    def load(self, state: Mapping[str, Array]) -> None:
        """Only what is kept in the same dtype."""
        for name, value in state.items():
            if name != "num_batches_tracked" and np.asarray(value).dtype != self.kept:
                raise TypeError(f"{name} is {np.asarray(value).dtype}; the layer keeps {self.kept}")
        super().load(state)
