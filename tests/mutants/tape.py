"""Reverse-mode differentiation over a few primitive operations, as a framework's autograd does it.

A tape remembers each operation with how its result's gradient goes back to its operands; `gradients` runs it backwards.
Arrays are (n, C) or (1, C); an operand that was broadcast has its gradient summed over the values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bnconform.tests.mutants.algorithms import Array, Sum, number

Back = Callable[[Array], Array]


@dataclass(eq=False)
class TapeNode:
    """A value on the tape, and where its gradient goes."""

    value: Array
    parents: tuple[tuple[TapeNode, Back], ...] = ()


class Tape:
    """Primitive operations, all in the dtype of their operands; sums by `add`."""

    def __init__(self, add: Sum) -> None:
        self.add = add
        self.nodes: list[TapeNode] = []

    def leaf(self, value: Array) -> TapeNode:
        """A value that the gradient is wanted for, or a constant."""
        return self._note(value)

    def plus(self, a: TapeNode, b: TapeNode) -> TapeNode:
        """The sum a + b."""
        return self._note(a.value + b.value, (a, lambda g: g), (b, lambda g: g))

    def minus(self, a: TapeNode, b: TapeNode) -> TapeNode:
        """The difference a - b."""
        return self._note(a.value - b.value, (a, lambda g: g), (b, lambda g: -g))

    def times(self, a: TapeNode, b: TapeNode) -> TapeNode:
        """The product a b."""
        return self._note(a.value * b.value, (a, lambda g: g * b.value), (b, lambda g: g * a.value))

    def mean(self, a: TapeNode) -> TapeNode:
        """The mean over the values, (1, C)."""
        count = number(len(a.value), a.value)
        return self._note(self.add(a.value)[None] / count, (a, lambda g: np.broadcast_to(g / count, a.value.shape)))

    def inverse_root(self, a: TapeNode) -> TapeNode:
        """1 / sqrt(a)."""
        root = number(1, a.value) / np.sqrt(a.value)
        return self._note(root, (a, lambda g: g * (number(-0.5, a.value) * root * root * root)))

    def not_negative(self, a: TapeNode) -> TapeNode:
        """max(a, 0)."""
        kept = (a.value > 0).astype(a.value.dtype)
        return self._note(np.maximum(a.value, number(0, a.value)), (a, lambda g: g * kept))

    def gradients(self, result: TapeNode, upstream: Array) -> dict[TapeNode, Array]:
        """The gradient of sum(result * upstream) for every node that it depends on."""
        found = {result: upstream}
        for node in reversed(self.nodes):
            if node not in found:
                continue
            for parent, back in node.parents:
                part = back(found[node])
                if part.shape != parent.value.shape:
                    part = self.add(part)[None]
                found[parent] = found[parent] + part if parent in found else part
        return found

    def _note(self, value: Array, *parents: tuple[TapeNode, Back]) -> TapeNode:
        node = TapeNode(np.asarray(value), parents)
        self.nodes.append(node)
        return node
