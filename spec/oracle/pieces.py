"""A training pass in pieces: a batch that is normalised piece by piece, as ghost or virtual batch normalization does.

Each piece is a batch of its own, in a layer in the state that the piece before has left (Hoffer, Hubara and Soudry
2017, "Train longer, generalize better", algorithm 1).
"""

from __future__ import annotations

from bnconform.spec.behaviour import Behaviour, VirtualBatch
from bnconform.spec.config import Config
from bnconform.spec.exact import Exact
from bnconform.spec.oracle.passes import backward, forward
from bnconform.spec.oracle.record import Backward, Forward, State

SIZES = {
    VirtualBatch.PIECES_OF_32: 32,
    VirtualBatch.PIECES_OF_128: 128,
    VirtualBatch.EVEN_PIECES_OF_128: 128,
}
"""How many samples a piece has at most."""

SMALLEST = min(SIZES.values())
"""A batch of no more samples is one piece at every point."""


def pieces(behaviour: Behaviour, samples: int) -> tuple[slice, ...]:
    """Which samples make each piece of a batch of so many, in their order; one piece of all where it is not divided."""
    whole = (slice(0, samples),)
    if samples <= SMALLEST or behaviour.virtual_batch is VirtualBatch.WHOLE:
        return whole
    size = SIZES[behaviour.virtual_batch]
    if behaviour.virtual_batch is VirtualBatch.EVEN_PIECES_OF_128:
        count = -(-samples // size)
        size = -(-samples // count)
    return tuple(slice(start, min(start + size, samples)) for start in range(0, samples, size))


def forward_in_pieces(
    config: Config, behaviour: Behaviour, state: State, x: Exact, parts: tuple[slice, ...]
) -> tuple[Forward, ...]:
    """The training passes over the pieces of x, of shape (N, C, *S), each in the state that the one before has left.

    Raises:
        PrecisionError: outside of `exact.arithmetic()`.
    """
    found: list[Forward] = []
    for part in parts:
        found.append(forward(config, behaviour, state, x[part], training=True))
        state = found[-1].state
    return tuple(found)


def backward_in_pieces(
    config: Config, behaviour: Behaviour, state: State, x: Exact, grad_output: Exact, parts: tuple[slice, ...]
) -> tuple[Backward, ...]:
    """The same with gradients: those for x are pieces of that for all of it, those for parameters its summands.

    Raises:
        PrecisionError: outside of `exact.arithmetic()`.
    """
    found: list[Backward] = []
    for part in parts:
        found.append(backward(config, behaviour, state, x[part], grad_output[part], training=True))
        state = found[-1].forward.state
    return tuple(found)
