"""Wrong in what lasts beyond a pass, or is there before the first one."""

from __future__ import annotations

from typing import Any

from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Gradients, Layer


@wrong("BN-STATE-HISTORY")
class VarianceIsMovedByARecordedUpdate(Layer):
    """The update of the running variance is recorded for automatic differentiation."""

    updated = False

    def remember(self, values: Array, x: Array) -> None:
        """Moved, and recorded."""
        super().remember(values, x)
        self.updated = True

    def gradient_history(self) -> list[str]:
        """The running variance, once it has moved."""
        return ["running_var"] if self.updated else []


@wrong("BN-STATE-HISTORY")
class HistoryOfBackwardPasses(Layer):
    """A backward pass leaves the graph of its batch on the running mean."""

    recorded = False

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The right gradients."""
        self.recorded = self.recorded or training
        return super().backward(x, grad_output, training=training)

    def gradient_history(self) -> list[str]:
        """The running mean, after a backward pass in training."""
        return ["running_mean"] if self.recorded else []


@wrong("BN-STATE-LAZY")
class LazyLayerHasStateBeforeItsInput(Layer):
    """A layer that is to be built by its first input shows a whole state before it."""

    @classmethod
    def build_lazy(cls, config: Any, device: str) -> Layer:
        """A layer that has all that it will have."""
        return cls(config)
