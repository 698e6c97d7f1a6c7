"""A right layer whose forward pass is run again for the gradients, cut into the pieces that a fault changes.

A step keeps its input and drops the rest; the backward part runs the forward pass once more and then takes the
gradients. What a forward pass moves is moved by the first run alone. The layers of `layer` have no such steps, so that
the other wrong ones are not asked for them.
"""

from __future__ import annotations

from bnconform.tests.mutants.layer import Array, Entries, Gradients, Layer


class Recomputing(Layer):
    """A right layer with `recomputed`."""

    def recomputed(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """(grad_x, grad_weight, grad_bias); in training the running statistics have moved once."""
        kept = self.save(x)
        self.first_run(x, training)
        return self.second_run(kept, grad_output, training)

    def save(self, x: Array) -> Array:
        """What is kept between the forward and the backward part: the input."""
        return x.copy()

    def first_run(self, x: Array, training: bool) -> None:
        """The forward pass, of which nothing is kept but what it moves."""
        self.forward(x, training=training)

    def second_run(self, x: Array, grad_output: Array, training: bool) -> Gradients:
        """The forward pass again, with what it moves put back, and the gradients."""
        before: Entries = dict(self.entries)
        self.forward(x, training=training)
        self.put_back(before)
        return self.backward(x, grad_output, training=training)

    def put_back(self, before: Entries) -> None:
        """The state as it was before the second run."""
        self.entries = before
