"""What is due at one call as plain float64 arrays, and its bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gmpy2
import numpy as np

from bnconform.judge.truths.expansion import Expansion
from bnconform.spec.exact import Exact, Floats


class Expected(NamedTuple):
    """What one array must be, and how far it may lie from that, element by element (broadcastable to its shape)."""

    value: Expansion
    bound: Floats


@dataclass(frozen=True)
class Truth:
    """One forward or backward pass.

    Attributes:
        refused: why the point refuses the call; "" where it does not, and then:
        unspecified: the names of what nothing fixes.
        quantities: what the call returns, by the names of `bnconform.cases.program.RESULTS`, as far as it observes them
            and something fixes them; None for what belongs to a parameter that there is not. With running_mean and
            running_var after the pass, where they are observed and it moves them.
        moves: whether the pass moves the running statistics.
        batches, updates: the counters of the state afterwards.
        statistics: the running statistics afterwards in 320 bits, where they have just been computed.
    """

    refused: str
    unspecified: frozenset[str]
    quantities: Mapping[str, Expected | None]
    moves: bool
    batches: int | None
    updates: int
    statistics: tuple[Exact, Exact] | None = field(default=None, compare=False)

    def expect(self, name: str) -> Expected | None:
        """One of the quantities."""
        return self.quantities[name]

    def value(self, name: str) -> Expansion:
        """What a quantity must be."""
        due = self.quantities[name]
        assert due is not None
        return due.value

    def bound(self, name: str) -> Floats:
        """How far a quantity may lie from that."""
        due = self.quantities[name]
        assert due is not None
        return due.bound

    @property
    def nbytes(self) -> int:
        """Its size in memory, roughly."""
        found = [due.value.nbytes + due.bound.nbytes for due in self.quantities.values() if due is not None]
        return sum(found) + (0 if self.statistics is None else 300 * self.statistics[0].size) + 1000


def encode(truth: Truth) -> bytes:
    """A line of JSON, and the arrays as little-endian float64 behind it: of each quantity the bound, and the parts."""
    entries: dict[str, Any] = {}
    arrays: list[Floats] = []
    for name, due in truth.quantities.items():
        if due is None:
            entries[name] = None
            continue
        last = max((number for number in range(3) if due.value.parts[number].any()), default=0)
        beside = {str(index): gmpy2.to_binary(gmpy2.mpfr(number)).hex() for index, number in due.value.beside.items()}
        entries[name] = {"shape": due.value.shape, "bound": due.bound.shape, "parts": last + 1, "beside": beside}
        arrays += [due.bound, due.value.parts[: last + 1]]
    head = {
        "refused": truth.refused, "unspecified": sorted(truth.unspecified), "moves": truth.moves,
        "batches": truth.batches, "updates": truth.updates, "quantities": entries,
    }  # fmt: skip
    return b"".join([json.dumps(head).encode(), b"\n", *(array.astype("<f8").tobytes() for array in arrays)])


def decode(data: bytes) -> Truth:
    """The truth of encoded bytes, which are known to be whole."""
    line, _, rest = data.partition(b"\n")
    head = json.loads(line)
    numbers = np.frombuffer(rest, "<f8") if rest else np.zeros(0)
    place = 0

    def following(shape: tuple[int, ...]) -> Floats:
        nonlocal place
        size = int(np.prod(shape, dtype=np.int64))
        place += size
        return numbers[place - size : place].reshape(shape)

    quantities: dict[str, Expected | None] = {}
    for name, entry in head["quantities"].items():
        if entry is None:
            quantities[name] = None
            continue
        bound = following(tuple(entry["bound"]))
        parts = np.zeros((3, *entry["shape"]))
        parts[: entry["parts"]] = following((entry["parts"], *entry["shape"]))
        beside = {int(index): gmpy2.from_binary(bytes.fromhex(text)) for index, text in entry["beside"].items()}
        quantities[name] = Expected(Expansion(parts, beside), bound)
    return Truth(
        head["refused"], frozenset(head["unspecified"]), quantities, head["moves"], head["batches"], head["updates"]
    )
