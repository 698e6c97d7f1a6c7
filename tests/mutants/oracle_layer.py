"""An implementation at any point of the behaviour space: the oracle itself, rounded once to the dtypes in question.

It is as right as an implementation at its point can be, so whatever a check says of it, it says of the point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bnconform.cases.program import STATE, Array
from bnconform.spec import oracle
from bnconform.spec.behaviour import SPECIFIED, Behaviour, OutputDtype, StatisticsDtype
from bnconform.spec.config import Config
from bnconform.spec.exact import Exact, arithmetic, exact, floats
from bnconform.spec.formats import numpy_dtype
from bnconform.spec.oracle.record import State


class PuppetLayer:
    """A layer of the contract in backends/__init__.py."""

    def __init__(self, config: Config, behaviour: Behaviour) -> None:
        self.config, self.behaviour = config, behaviour
        own = behaviour.output_dtype is OutputDtype.INPUT
        kept = behaviour.statistics_dtype is StatisticsDtype.PARAMETER
        self.output = numpy_dtype(config.dtype if own else config.param_dtype)
        self.statistics = numpy_dtype(config.param_dtype if kept else config.dtype)
        with arithmetic():
            self.current = self._rounded(oracle.initial_state(config, behaviour))

    def _rounded(self, state: State) -> State:
        values: dict[str, Any] = {
            name: None if getattr(state, name) is None else exact(floats(getattr(state, name)).astype(self.statistics))
            for name in ("running_mean", "running_var")
        }
        return replace(state, **values)

    def _out(self, values: Exact, dtype: np.dtype[Any]) -> Array:
        with np.errstate(all="ignore"):
            return floats(values).astype(dtype)

    def forward(self, x: Array, *, training: bool) -> Array:
        """y, rounded once."""
        with arithmetic(), np.errstate(all="ignore"):
            record = oracle.forward(self.config, self.behaviour, self.current, exact(x), training=training)
            if record.refused:
                raise ValueError(record.refused)
            y = self._out(record.y, self.output)  # which raises where x does not fit, before the state moves
            self.current = self._rounded(record.state)
            return y

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients, each rounded once; the statistics move as the point's forward pass moves them."""
        with arithmetic(), np.errstate(all="ignore"):
            record = oracle.backward(
                self.config, self.behaviour, self.current, exact(x), exact(grad_output), training=training
            )
            if record.forward.refused:
                raise ValueError(record.forward.refused)
            self.current = self._rounded(record.forward.state)
            grad_weight, grad_bias = (
                None if value is None else self._out(value, self.statistics)
                for value in (record.grad_weight, record.grad_bias)
            )
            return self._out(record.grad_x, numpy_dtype(self.config.dtype)), grad_weight, grad_bias

    def state(self) -> dict[str, Array | None]:
        """The state in the layer's dtypes."""
        shown: dict[str, Array | None] = {}
        for name in STATE:
            value = getattr(self.current, name)
            if value is None:
                shown[name] = None
            elif name == "num_batches_tracked":
                shown[name] = np.asarray(value, np.int64)
            else:
                kept = name in ("weight", "bias")
                shown[name] = self._out(value, numpy_dtype(self.config.param_dtype) if kept else self.statistics)
        return shown

    def load(self, state: Mapping[str, Array]) -> None:
        """Set some of the state."""
        with arithmetic():
            values: dict[str, Any] = {
                name: int(value) if name == "num_batches_tracked" else exact(value) for name, value in state.items()
            }
            self.current = self._rounded(replace(self.current, **values))


class Puppet:
    """The backend at one point."""

    def __init__(self, behaviour: Behaviour = SPECIFIED, declares: bool = False) -> None:
        self.behaviour = behaviour
        differences = behaviour.differences()
        self.name = "puppet" + "".join(f".{name}.{value}" for name, value in differences.items())
        self.deviations = differences if declares else {}
        self.unsupported: dict[str, str] = {}

    def devices(self) -> list[str]:
        """The CPU."""
        return ["cpu"]

    def build(self, config: Config, device: str) -> PuppetLayer:
        """A layer at the point."""
        return PuppetLayer(config, self.behaviour)

    def build_default(self, num_features: int, device: str) -> PuppetLayer:
        """A layer with the specified defaults."""
        return PuppetLayer(Config(num_features), self.behaviour)
