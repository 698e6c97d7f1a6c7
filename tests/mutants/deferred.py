"""A layer that puts its updates off: the batches of training passes wait until the statistics are needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bnconform.spec.config import Config
from bnconform.tests.mutants.layer import Array, Entries, Layer


class Deferred(Layer):
    """A right layer that counts and remembers a batch when the state is read or loaded, or used in evaluation."""

    def __init__(self, config: Config) -> None:
        self.waiting: list[tuple[Array, Array]] = []
        super().__init__(config)

    def remember(self, values: Array, x: Array) -> None:
        """Keep the batch."""
        self.waiting.append((values.copy(), x.copy()))

    def settle(self) -> None:
        """Make the updates that were put off, in their order."""
        with np.errstate(all="ignore"):
            while self.waiting:
                super().remember(*self.waiting.pop(0))

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """The mean and variance, each (C,), that normalise; those of evaluation as they are now."""
        if not self.from_batch(training):
            self.settle()
        return super().normalizing(values, x, training)

    def state(self) -> Entries:
        """Copies of what the layer remembers by now."""
        self.settle()
        return super().state()

    def reset(self) -> None:
        """Forget the batches that wait, too."""
        self.waiting.clear()
        super().reset()

    def load(self, state: Mapping[str, Array]) -> None:
        """Set some entries of the state as it is now."""
        self.settle()
        super().load(state)

    def set(self, **options: Any) -> None:
        """Change options of the passes to come: what waits is moved by those of before."""
        self.settle()
        super().set(**options)
