"""A right layer that can be frozen, cut into the pieces that a fault changes.

Frozen, it runs as in evaluation whatever it is asked for, and has no gradients for weight and bias. The layers of
`layer` cannot be frozen, so that the other wrong ones are not asked for it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

from bnconform.tests.mutants.layer import Array, Gradients, Layer


class Freezing(Layer):
    """A right layer with `freeze`."""

    is_frozen = False

    def freeze(self, frozen: bool) -> None:
        """Frozen from now on, or not any more."""
        self.is_frozen = frozen

    def mode(self, training: bool) -> bool:
        """The mode of a pass that is asked for in one."""
        return training and not self.is_frozen

    def forward(self, x: Array, *, training: bool) -> Array:
        """y; frozen, that of evaluation."""
        return super().forward(x, training=self.mode(training))

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The gradients; frozen, that for x in evaluation."""
        return self.operands(super().backward(x, grad_output, training=self.gradient_mode(training)))

    def gradient_mode(self, training: bool) -> bool:
        """The mode of a backward pass that is asked for in one."""
        return self.mode(training)

    def operands(self, found: Gradients) -> Gradients:
        """What there is of the gradients: frozen, none for weight and bias."""
        return (found[0], None, None) if self.is_frozen else found

    def vjp(self, x: Array, *, training: bool) -> tuple[Array, Callable[[Array], Gradients]]:
        """(y, pullback): the pass is recorded as x and the layer as they are before it."""
        recorded, given = copy.deepcopy(self), x.copy()
        y = self.forward(x, training=training)
        return y, lambda grad_output: recorded.backward(given, grad_output, training=training)
