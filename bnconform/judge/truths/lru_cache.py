"""The one cache of the judge: what was used least recently goes when a budget in bytes is spent."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class LruCache(Generic[Key, Value]):
    """Values by key, each with a size in bytes that whoever stores it says.

    Attributes:
        budget: bytes that all values may take together; it may be changed at any time.
        size: bytes that they take.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.size = 0
        self._values: OrderedDict[Key, tuple[Value, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Key) -> Value | None:
        """The value, which is then the one used last; None where there is none."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: Key, value: Value, size: int) -> None:
        """Keep a value, unless it alone would take more than half of the budget, as everything else had to go then."""
        before = self._values.pop(key, None)
        self.size -= before[1] if before else 0
        if 2 * size > self.budget:
            return
        self._values[key] = value, size
        self.size += size
        while self.size > self.budget:
            _, (_, gone) = self._values.popitem(last=False)
            self.size -= gone

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()
        self.size = 0
