"""A pass under transformations of functions: mapped over lanes, and differentiated to a whole Jacobian.

A map is a loop: each lane is a pass of its own, and none sees another. A Jacobian is made of derivatives that
`passes` and `derivatives` give one at a time: a row is the gradient for x of one element of y, a column the tangent of
y as one element of x moves, so that the two modes are computed by different means.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import gmpy2
import numpy as np

from bnconform.spec.behaviour import Behaviour
from bnconform.spec.config import Config
from bnconform.spec.exact import Exact, require_precision
from bnconform.spec.oracle.derivatives import Tangent, jvp
from bnconform.spec.oracle.passes import backward, forward
from bnconform.spec.oracle.record import Backward, Batch, Forward, State


@dataclass(frozen=True)
class Jacobian:
    """A forward pass, and dy/dx, of the shape of y and that of x after it: (N, C, *S, N, C, *S).

    Attributes:
        rows: in reverse mode the gradients that it is made of, one for each element of y, in C order; else ().
        columns: in forward mode the tangents, one for each element of x; else ().
    """

    forward: Forward
    value: Exact
    rows: tuple[Backward, ...] = ()
    columns: tuple[Tangent, ...] = ()


def vmap(
    config: Config, behaviour: Behaviour, states: Sequence[State], batches: Sequence[Exact | Batch], *, training: bool
) -> tuple[Forward, ...]:
    """The passes of lanes, each of its own batch (N, C, *S) from its own state."""
    return tuple(
        forward(config, behaviour, state, batch, training=training)
        for state, batch in zip(states, batches, strict=True)
    )


def jacrev(config: Config, behaviour: Behaviour, state: State, x: Exact | Batch, *, training: bool) -> Jacobian:
    """dy/dx row by row: the gradients for x of each element of y, weight, bias and the state being held fixed.

    Raises:
        PrecisionError: outside of `exact.arithmetic()`, as `jacfwd` does.
    """
    require_precision()
    record = forward(config, behaviour, state, x, training=training)
    rows = tuple(
        backward(config, behaviour, state, x, unit, training=training) for unit in _units(record) if not record.refused
    )
    value = np.stack([row.grad_x for row in rows]) if rows else record.x
    return Jacobian(record, value.reshape(_shape(record) if rows else value.shape), rows=rows)


def jacfwd(config: Config, behaviour: Behaviour, state: State, x: Exact | Batch, *, training: bool) -> Jacobian:
    """dy/dx column by column: the tangents of y as each element of x moves."""
    require_precision()
    record = forward(config, behaviour, state, x, training=training)
    columns = tuple(
        jvp(config, behaviour, state, x, unit, training=training) for unit in _units(record) if not record.refused
    )
    value = np.stack([column.tangent_y for column in columns], axis=-1) if columns else record.x
    return Jacobian(record, value.reshape(_shape(record) if columns else value.shape), columns=columns)


def _shape(record: Forward) -> tuple[int, ...]:
    return (*record.x.shape, *record.x.shape)


def _units(record: Forward) -> Iterator[Exact]:
    """For each element of x an array of its shape that is 1 there and 0 elsewhere."""
    for place in range(record.x.size):
        unit = np.full(record.x.size, gmpy2.mpfr(0), dtype=object)
        unit[place] = gmpy2.mpfr(1)
        yield unit.reshape(record.x.shape)
