"""What a failing call would be right with if an operand, or a result, lay in memory in another order than it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bnconform.backends.runner.layouts import LAYOUTS
from bnconform.cases.program import Array
from bnconform.diagnosis.relations.call_view import CallView
from bnconform.diagnosis.relations.other_operands import of_step, with_operands
from bnconform.diagnosis.relations.relation import Prediction, Relation
from bnconform.spec.behaviour import Behaviour
from bnconform.spec.exact import Floats

Order = Callable[[Array, tuple[int, ...]], Array]
"""Numbers as they follow each other, (size,), as an array of a shape (N, C, *S)."""

OPERANDS = {"x": ("x_layout", "the input"), "grad_output": ("grad_layout", "grad_output")}
"""By name in a step, where its layout stands there, and what it is called."""


def memory(point: Behaviour) -> Iterator[Relation]:
    """The family, the simplest first."""
    for order, how in ORDERS:
        for name, (_, noun) in OPERANDS.items():
            words = f"{{}} is that of {noun} read as if it were {how}"
            yield with_operands(words, of_step(_read(name, order)), point)
    words = "{} is that of grad_output read as if it lay in memory as x does"
    yield with_operands(words, of_step(_read_as_x), point)
    for order, how in ORDERS:
        yield Relation(f"{{}} is written as if it were {how}", _write_in_order(order))


def _row_major(flat: Array, shape: tuple[int, ...]) -> Array:
    return flat.reshape(shape)


def _channels_last(flat: Array, shape: tuple[int, ...]) -> Array:
    return np.moveaxis(flat.reshape(shape[0], *shape[2:], shape[1]), -1, 1)


ORDERS: tuple[tuple[Order, str], ...] = ((_row_major, "contiguous"), (_channels_last, "channels-last"))


def _read(name: str, order: Order) -> Callable[[CallView], dict[str, Any] | None]:
    """The operand as it is read from its first element on in another order; None where that is the order it has."""

    def other(view: CallView) -> dict[str, Any] | None:
        given, layout = getattr(view.step, name), getattr(view.step, OPERANDS[name][0])
        if given is None or not given.size:
            return None
        flat = _following(LAYOUTS[layout](given), given.size)
        read = None if flat is None else np.array(order(flat, given.shape))
        return None if read is None or (read == given).all() else {name: read}

    return other


def _read_as_x(view: CallView) -> dict[str, Any] | None:
    """grad_output as it is read in the order of x: channels-last where that lies so, else contiguous."""
    given = view.step.x
    if given is None:
        return None
    is_last = np.moveaxis(LAYOUTS[view.step.x_layout](given), 1, -1).flags.c_contiguous
    return _read("grad_output", _channels_last if is_last else _row_major)(view)


def _following(laid: Array, count: int) -> Array | None:
    """`count` elements of memory from the first of `laid` on; None where the array that it is a part of ends before.

    What runs backwards through memory is taken as a copy that does not: many frameworks have no negative strides.
    """
    if min(laid.strides, default=0) < 0:
        laid = np.array(laid, order="C")
    root = laid
    while isinstance(root.base, np.ndarray):
        root = root.base
    start = laid.ctypes.data - root.ctypes.data
    if (
        start < 0
        or start + count * laid.itemsize > root.nbytes
        or not (root.flags.c_contiguous or root.flags.f_contiguous)
    ):
        return None
    everything = root.ravel(order="K").view(np.uint8)[start : start + count * laid.itemsize]
    return everything.copy().view(laid.dtype)


def _write_in_order(order: Order) -> Callable[[CallView], Prediction | None]:
    """What is due, written to memory in the layout of x and taken for another."""

    def predict(view: CallView) -> Prediction | None:
        if not view.is_spread:
            return None
        shape = view.expected.shape

        def move(values: Floats) -> Floats | None:
            flat = _following(LAYOUTS[view.step.x_layout](values), values.size)
            return None if flat is None else np.array(order(flat, shape))

        found, limit = move(view.expected), move(np.array(view.bound))
        return None if found is None or limit is None else (found, limit)

    return predict
