"""A pass whose forward part is run again for its gradients, at any point of the behaviour space.

Recomputation (checkpoint, remat) trades time for memory: nothing is kept between the forward and the backward pass but
the input, and the forward pass is run once more where its values are needed. It is one training step: what it returns
and what it leaves are what the step without recomputation returns and leaves.

Shapes are those of `bnconform.spec.oracle.passes`.
"""

from __future__ import annotations

from dataclasses import dataclass

from bnconform.spec.behaviour import Behaviour, RecomputationUpdate
from bnconform.spec.config import Config
from bnconform.spec.exact import Exact
from bnconform.spec.oracle.passes import backward, forward
from bnconform.spec.oracle.record import Backward, Batch, Forward, State


@dataclass(frozen=True)
class Recomputed:
    """One forward and backward pass with recomputation.

    Attributes:
        backward: the pass without: its gradients, and the state after its forward part.
        again: the forward part as it is run again in the state after the first, where that moves the statistics.
        state: the state afterwards.
    """

    backward: Backward
    again: Forward | None
    state: State


def recomputed(
    config: Config, behaviour: Behaviour, state: State, x: Exact | Batch, grad_output: Exact, *, training: bool
) -> Recomputed:
    """One forward and backward pass with recomputation of a layer in `state` at the point `behaviour`.

    The gradients are those of the pass without at every point: what is run again are the same values.

    Args:
        x, grad_output: (N, C, *S). training: the layer's mode.

    Raises:
        PrecisionError: outside of `exact.arithmetic()`.
    """
    given = x if isinstance(x, Batch) else Batch(x)
    first = backward(config, behaviour, state, given, grad_output, training=training)
    passed = first.forward
    if passed.refused or behaviour.recomputation_update is RecomputationUpdate.ONCE:
        return Recomputed(first, None, passed.state)
    if behaviour.recomputation_update is RecomputationUpdate.NEVER:
        return Recomputed(first, None, state)
    again = forward(config, behaviour, passed.state, given, training=passed.training)
    return Recomputed(first, again, again.state)
