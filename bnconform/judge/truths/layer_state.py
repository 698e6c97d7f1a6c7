"""The state from which a call is judged: what the layer shows, and what it does not show as the oracle carries it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import gmpy2
import numpy as np

from bnconform.cases.program import Array
from bnconform.spec import oracle
from bnconform.spec.config import Config
from bnconform.spec.exact import Exact, Floats, exact

STATISTICS = ("running_mean", "running_var")
PARAMETERS = ("weight", "bias")

Values = Exact | Floats
"""(C,): float64 where the layer has shown them or they were set, 320-bit where the oracle carries them."""


@dataclass(frozen=True)
class LayerState:
    """What a layer remembers between calls; the fields are those of `oracle.State`.

    Attributes:
        moved: computes the running statistics, (mean, variance), where the oracle has moved them and nobody has asked
            for them yet: a layer that shows its own makes it unnecessary. The two fields then hold the old ones.
        options: what has been set of the configuration since the layer was built, by name.
    """

    running_mean: Values | None
    running_var: Values | None
    num_batches_tracked: int | None
    weight: Values | None
    bias: Values | None
    updates: int = 0
    moved: Callable[[], tuple[Exact, Exact]] | None = None
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def is_frozen(self) -> bool:
        """Whether the layer is frozen, as its framework understands it."""
        return dict(self.options).get("frozen") is True

    @property
    def keeps_statistics(self) -> bool:
        """Whether tracking was switched off, so that the statistics stay, and evaluation goes on using them."""
        return self.running_mean is not None and dict(self.options).get("track_running_stats") is False

    def with_options(self, options: Mapping[str, Any]) -> LayerState:
        """The same with options set."""
        return replace(self, options=tuple({**dict(self.options), **options}.items()))

    def config(self, built: Config) -> Config:
        """The configuration that holds now of a layer that was built with this one."""
        changed = {name: value for name, value in self.options if name in ("momentum", "eps")}
        return replace(built, **changed) if changed else built

    def values(self, name: str) -> Values | None:
        """One of the four arrays."""
        found: Values | None = getattr(self.settle() if self.moved and name in STATISTICS else self, name)
        return found

    def settle(self) -> LayerState:
        """The same with the running statistics computed."""
        if self.moved is None:
            return self
        mean, variance = self.moved()
        return replace(self, running_mean=mean, running_var=variance, moved=None)

    def show(self, state: Mapping[str, Array | None]) -> LayerState:
        """The same with everything that a layer shows of what this one has."""
        changes: dict[str, Any] = {}
        for name in (*STATISTICS, *PARAMETERS):
            value = state[name]
            if value is not None and getattr(self, name) is not None:
                changes[name] = value.astype(np.float64)
        if state["num_batches_tracked"] is None:
            changes["num_batches_tracked"] = None
        return self._change(changes)

    def with_everything_shown(self, state: Mapping[str, Array | None]) -> LayerState:
        """The same with everything that a layer shows, its count too: after a call of which nothing is known."""
        count = state["num_batches_tracked"]
        known = self.show(state)
        return known if count is None else replace(known, num_batches_tracked=int(count))

    def after_unjudged_update(self, state: Mapping[str, Array | None]) -> LayerState:
        """The same after a training pass that showed this state, of which nothing else is asked."""
        after = self.with_everything_shown(state)
        shown = state["num_batches_tracked"] is not None
        count = after.num_batches_tracked if shown or self.num_batches_tracked is None else self.num_batches_tracked + 1
        return replace(after, num_batches_tracked=count, updates=self.updates + 1)

    def load_values(self, state: Mapping[str, Array]) -> LayerState:
        """The same with the entries that a load sets."""
        changes: dict[str, Any] = {
            name: int(value) if name == "num_batches_tracked" else value.astype(np.float64)
            for name, value in state.items()
            if getattr(self, name) is not None
        }
        return self._change(changes)

    def _change(self, changes: dict[str, Any]) -> LayerState:
        if changes.keys() >= set(STATISTICS):
            return replace(self, **changes, moved=None)
        return replace(self.settle(), **changes)

    def exact(self) -> oracle.State:
        """The state for the oracle."""
        state = self.settle()
        arrays = (state.running_mean, state.running_var, state.weight, state.bias)
        mean, variance, weight, bias = (None if values is None else exact(values) for values in arrays)
        return oracle.State(mean, variance, state.num_batches_tracked, weight, bias, state.updates)

    def key(self) -> bytes:
        """Bytes that two states share only if they are equal."""
        state = self.settle()
        found = [b"%d %d" % (-1 if state.num_batches_tracked is None else state.num_batches_tracked, state.updates)]
        for values in (state.running_mean, state.running_var, state.weight, state.bias):
            if values is None:
                found.append(b"none")
            elif values.dtype == object:
                found.append(b"exact" + b" ".join(_bytes(number) for number in values.reshape(-1)))
            else:
                found.append(b"%d " % values.size + values.tobytes())
        return b"|".join(found)


def _bytes(number: Any) -> bytes:
    return bytes(gmpy2.to_binary(gmpy2.mpfr(number)))
