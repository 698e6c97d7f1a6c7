"""Executing a program: a layer is built, each call is made, and everything that it shows is kept.

A program comes as data: {"config": the fields of `LayerConfig`, or None for the implementation's own defaults,
"num_features", "reads": when the state is read ("always" or "end"), "watch": what is watched besides (see `memory`),
"steps": [{"op", "training", "x", "grad_output", "state", "x_layout", "grad_layout"}]}. A trace goes back as data:
{"steps": [{"values", "raised", "misfit", "after"}], "before": the state of the new layer, "broken", "mutated",
"counter": the dtype and shape of the counter as it was shown, "facts", "calls", "seconds"}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bnconform.backends.runner.instrumented import (
    AdapterError,
    Array,
    Clock,
    InstrumentedLayer,
    Misfit,
    Observation,
    Raised,
    observed,
)

Data = dict[str, Any]
State = dict[str, "Array | None"]


@dataclass(frozen=True)
class LayerConfig:
    """What an adapter's `build` is given; see `bnconform.backends` for the meaning of each."""

    num_features: int = 3
    eps: float = 1e-5
    momentum: float | None = 0.1
    affine: bool = True
    track_running_stats: bool = True
    ndim: int = 4
    dtype: str = "float32"
    param_dtype: str = "float32"


@dataclass
class Execution:
    """A program while it runs on layers of one backend on one device.

    Attributes:
        state: as it was read last; empty where it has not been read. trace: what has been seen so far.
    """

    backend: Any
    device: str
    program: Mapping[str, Any]
    clock: Clock = field(default_factory=Clock)
    state: State = field(default_factory=dict)
    trace: Data = field(default_factory=lambda: {"steps": [], "before": {}, "broken": None, "mutated": [], "facts": []})

    def build(self) -> InstrumentedLayer:
        """A new layer; Raised where the implementation refuses, AdapterError where it is no layer."""
        given, features = self.program["config"], self.program["num_features"]
        what = "build" if given else "build_default"
        try:
            if given:
                config = LayerConfig(**given)
                layer = self.clock.run(lambda: self.backend.build(config, self.device))
            else:
                layer = self.clock.run(lambda: self.backend.build_default(features, self.device))
        except BaseException as error:
            raise observed(what, error) from error
        return InstrumentedLayer(layer, features, self.clock, self.trace["mutated"])

    def read(self, layer: InstrumentedLayer) -> State:
        """The state now, with the kind of its counter kept."""
        self.state = layer.state()
        self.trace["counter"] = layer.counter_kind
        return self.state

    def run(self) -> None:
        """Make every call, going on after one that fails, but not after the layer cannot be built or read."""
        steps: Sequence[Mapping[str, Any]] = self.program["steps"]
        always = self.program["reads"] == "always"
        try:
            layer = self.build()
            if always or any("num_batches_tracked" in step["state"] for step in steps):
                self.trace["before"] = self.read(layer)
            for number, step in enumerate(steps):
                if step["op"] == "build" and number:
                    layer = self.build()
                seen = call(layer, step, self.state)
                self.trace["steps"].append(seen)
                if always or number == len(steps) - 1:
                    seen["after"] = self.read(layer)
        except (Raised, Misfit) as problem:
            self.trace["broken"] = problem.as_data()


def execute(backend: Any, device: str, program: Mapping[str, Any]) -> Data:
    """What a program shows on new layers of a backend."""
    from bnconform.backends.runner import memory

    execution = Execution(backend, device, program)
    trace = execution.trace
    try:
        watched = memory.WATCHES.get(program["watch"])
        if watched is None:
            execution.run()
        else:
            try:
                watched(execution)
            except (Raised, Misfit) as problem:
                trace["broken"] = problem.as_data()
    except (AdapterError, Observation) as problem:
        trace["broken"] = problem.as_data()
    return {**trace, "calls": execution.clock.calls, "seconds": execution.clock.seconds}


def call(layer: InstrumentedLayer, step: Mapping[str, Any], state: State) -> Data:
    """Make one call and note what it gives: {"values", "raised", "misfit", "after": None}.

    Raises:
        Observation: an interrupt, after which nothing is asked.
    """
    seen: Data = {"values": {}, "raised": None, "misfit": "", "after": None}
    try:
        seen["values"] = values(layer, step, state)
    except Raised as problem:
        seen["raised"] = problem.text
    except Misfit as problem:
        seen["misfit"] = problem.text
    return seen


def values(layer: InstrumentedLayer, step: Mapping[str, Any], state: State) -> State:
    """The results of one call by name; Raised or Misfit."""
    training = step["training"]
    if step["op"] == "load":
        # A layer that shows no counter has none to set; everything else that a program loads exists.
        absent = "num_batches_tracked" if state.get("num_batches_tracked") is None else ""
        layer.load({name: value for name, value in step["state"].items() if name != absent})
    elif step["op"] == "forward":
        return {"y": layer.forward(step["x"], training=training, layout=step["x_layout"])}
    elif step["op"] == "backward":
        found = layer.backward(
            step["x"], step["grad_output"], training=training, layout=step["x_layout"], grad_layout=step["grad_layout"]
        )
        return dict(zip(("grad_x", "grad_weight", "grad_bias"), found, strict=True))
    return {}
