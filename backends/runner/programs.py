"""Executing a program: a layer is built, each call is made, and everything that it shows is kept.

A program comes as data: {"config": the fields of `LayerConfig`, or None for the implementation's own defaults,
"num_features", "reads": when the state is read ("always" or "end"), "watch": what is watched besides (see `memory`),
"steps": [{"op", "training", "x", "grad_output", "tangent", "second", "mask", "state", "options", "x_layout",
"grad_layout", "pass_number", "shards", "lanes", "layers"}]}. A trace goes back as data: {"steps": [{"values",
"raised", "misfit", "after"}], "before": the state of the new layer, "broken", "mutated", "counter": the dtype and
shape of the counter as it was shown, "facts", "calls", "seconds"}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bnconform.backends.runner import replicas, transforms
from bnconform.backends.runner.instrumented import (
    GRADIENTS,
    HESSIAN,
    AdapterError,
    Array,
    Clock,
    ContractError,
    InstrumentedLayer,
    Misfit,
    NotAnAnswer,
    Raised,
    RecordedPass,
    classify_error,
)

Data = dict[str, Any]
State = dict[str, "Array | None"]

TRANSFORMED = ("vmap", "vmap_layers", "jacrev", "jacfwd", "eval_shape")
"""The passes under a transformation of functions."""

PARAMETERS = ("weight", "bias", "affine")
"""What of a configuration says which parameters there are."""


@dataclass(frozen=True, eq=False, repr=False)
class LayerConfig:
    """What an adapter's `build` is given; see `bnconform.backends` for the meaning of each.

    `affine` is whether there are a weight and a bias, for adapters that know no layers with one of the two. Which of
    the three an adapter has looked at is noted.
    """

    num_features: int = 3
    eps: float = 1e-5
    momentum: float | None = 0.1
    weight: bool = True
    bias: bool = True
    track_running_stats: bool = True
    ndim: int = 4
    dtype: str = "float32"
    param_dtype: str = "float32"

    def __post_init__(self) -> None:
        """Nothing has been looked at yet; what has is no field, as it is nothing that a layer is asked to be."""
        object.__setattr__(self, "_read", set())

    def __getattribute__(self, name: str) -> Any:
        """A field; that one of the three was looked at is noted."""
        found = super().__getattribute__(name)
        if name in PARAMETERS:
            super().__getattribute__("_read").add(name)
        return found

    def _values(self) -> dict[str, Any]:
        """All fields, without noting that they were looked at: an adapter may keep layers by their configuration."""
        return {name: value for name, value in super().__getattribute__("__dict__").items() if name != "_read"}

    def __eq__(self, other: object) -> bool:
        """Whether the other asks for the same layer."""
        return self._values() == other._values() if isinstance(other, LayerConfig) else NotImplemented

    def __hash__(self) -> int:
        """The same for equal ones."""
        return hash(tuple(self._values().items()))

    def __repr__(self) -> str:
        """As it would be written."""
        return f"LayerConfig({', '.join(f'{name}={value!r}' for name, value in self._values().items())})"

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> LayerConfig:
        """The configuration of a program, whose "affine" is True, False, "weight" or "bias"."""
        affine = given["affine"]
        rest = {name: value for name, value in given.items() if name != "affine"}
        return cls(weight=affine in (True, "weight"), bias=affine in (True, "bias"), **rest)

    @property
    def affine(self) -> bool:
        """Whether there are a weight and a bias."""
        there = super().__getattribute__
        return bool(there("weight") or there("bias"))

    def misread(self) -> str:
        """What is wrong where an adapter took a layer with one parameter for one with both; "" where it did not.

        It was written before the contract knew such layers, so that what it does then says nothing of them.
        """
        there = super().__getattribute__
        if there("weight") == there("bias") or there("_read") != {"affine"}:
            return ""
        what, other = ("weight", "bias") if there("weight") else ("bias", "weight")
        return f"this layer has a {what} and no {other}: read config.weight and config.bias, not config.affine alone"


@dataclass
class Execution:
    """A program while it runs on layers of one backend on one device.

    Attributes:
        state: as it was read last; empty where it has not been read. trace: what has been seen so far.
        passes: the recorded passes of all layers. configs: what each layer was built of.
    """

    backend: Any
    device: str
    program: Mapping[str, Any]
    clock: Clock = field(default_factory=Clock)
    state: State = field(default_factory=dict)
    passes: list[RecordedPass | None] = field(default_factory=list)
    configs: list[LayerConfig] = field(default_factory=list)
    trace: Data = field(default_factory=lambda: {"steps": [], "before": {}, "broken": None, "mutated": [], "facts": []})

    def build(self) -> InstrumentedLayer:
        """A new layer; Raised where the implementation refuses, AdapterError where it is no layer."""
        given, features = self.program["config"], self.program["num_features"]
        what = "build" if given else "build_default"
        try:
            if given:
                config = LayerConfig.of(given)
                self.configs.append(config)
                layer = self.clock.run(lambda: self.backend.build(config, self.device))
            else:
                layer = self.clock.run(lambda: self.backend.build_default(features, self.device))
        except BaseException as error:
            raise classify_error(what, error) from error
        return InstrumentedLayer(layer, features, self.clock, self.trace["mutated"], passes=self.passes)

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
            if always or any("num_batches_tracked" in {**step["state"], **step["layers"]} for step in steps):
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
    except (AdapterError, NotAnAnswer) as problem:
        trace["broken"] = problem.as_data()
    misread = next(filter(None, (config.misread() for config in execution.configs)), "")
    if misread:
        trace["broken"] = ContractError(misread).as_data()
    return {**trace, "calls": execution.clock.calls, "seconds": execution.clock.seconds}


def call(layer: InstrumentedLayer, step: Mapping[str, Any], state: State) -> Data:
    """Make one call and note what it gives: {"values", "raised", "misfit", "after": None}.

    Raises:
        NotAnAnswer: an interrupt, an adapter that knows no such layer, or a layer without the method, after which
            nothing is asked.
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
        given = {name: value for name, value in step["state"].items() if name != absent}
        layer.load(given, layout=step["x_layout"])
    elif step["op"] == "forward":
        refills = step.get("refills", False)
        return {"y": layer.forward(step["x"], training=training, layout=step["x_layout"], refills=refills)}
    elif step["op"] == "backward":
        found = layer.backward(
            step["x"],
            step["grad_output"],
            training=training,
            layout=step["x_layout"],
            grad_layout=step["grad_layout"],
            refills=step.get("refills", False),
        )
        return dict(zip(GRADIENTS, found, strict=True))
    elif step["op"] == "jvp":
        layouts = {"layout": step["x_layout"], "tangent_layout": step["grad_layout"]}
        y, tangent_y = layer.jvp(step["x"], step["tangent"], training=training, **layouts)
        return {"y": y, "tangent_y": tangent_y}
    elif step["op"] == "jvp_jvp":
        return {"second_y": layer.jvp_jvp(step["x"], step["tangent"], step["second"], training=training)}
    elif step["op"] == "third":
        operands = step["x"], step["grad_output"], step["tangent"], step["second"]
        return {"third_x": layer.third(*operands, training=training)}
    elif step["op"] == "hvp":
        found = layer.hvp(
            step["x"],
            step["grad_output"],
            step["tangent"],
            training=training,
            layout=step["x_layout"],
            grad_layout=step["grad_layout"],
        )
        return dict(zip(HESSIAN, found, strict=True))
    elif step["op"] in ("replicated", "masked_replicated"):
        return replicas.forward(layer, step)
    elif step["op"] in ("replicated_vjp", "masked_replicated_vjp"):
        return replicas.gradients(layer, step)
    elif step["op"] in TRANSFORMED:
        return transforms.values(layer, step, state)
    elif step["op"] == "masked":
        return {"y": layer.masked(step["x"], step["mask"], training=training, layout=step["x_layout"])}
    elif step["op"] == "masked_backward":
        found = layer.masked_backward(
            step["x"],
            step["mask"],
            step["grad_output"],
            training=training,
            layout=step["x_layout"],
            grad_layout=step["grad_layout"],
        )
        return dict(zip(GRADIENTS, found, strict=True))
    elif step["op"] == "recomputed":
        found = layer.recomputed(step["x"], step["grad_output"], training=training, layout=step["x_layout"])
        return dict(zip(GRADIENTS, found, strict=True))
    elif step["op"] == "saved_statistics":
        return layer.saved_statistics(step["x"], training=training, layout=step["x_layout"])
    elif step["op"] == "vjp":
        return {"y": layer.vjp(step["x"], training=training, layout=step["x_layout"])}
    elif step["op"] == "pullback":
        found = layer.pullback(step["pass_number"], step["grad_output"], layout=step["grad_layout"])
        return dict(zip(GRADIENTS, found, strict=True))
    elif step["op"] == "reset":
        layer.reset()
    elif step["op"] == "set":
        layer.set(step["options"])
    elif step["op"] == "freeze":
        layer.freeze(step["options"]["frozen"])
    elif step["op"] == "refill":
        layer.refill(step["pass_number"])
    return {}
