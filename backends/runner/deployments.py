"""Deploying a model: it is loaded, taken through a tool, and asked; everything that this shows is kept.

A model comes as data: {"nodes": [{"kind", "name", "inputs", "layer", "options"}], "arrays", "shape", "dtype"}, as
`bnconform.spec.graph` has them. What is seen goes back as data: {"refused": in words or None, "predictions": [{"y",
"raised", "misfit"}], "again": the same of a second deployment, or None, "merged": {"layers": {name: {"weight",
"bias"}}, "misfit": what is wrong with them} or None, "warnings", "changed": the names of the original's arrays that are
not what they were, "mutated": whether an input was written to, "calls", "seconds"}.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bnconform.backends.runner.instrumented import KNOWN, LONGEST, Array, Clock, NotAnAnswer, Raised, classify_error

Data = dict[str, Any]

MOST = 20
"""Warnings that are told."""


@dataclass(frozen=True)
class NodeData:
    """One operation, as `bnconform.spec.graph` describes it."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    layer: str
    options: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class ModelData:
    """A model, as an adapter's `load` is given it.

    Attributes:
        nodes: in the order of their evaluation; the last one's result is the prediction, "x" is the input.
        arrays: "layer.weight" and so on. shape: of an input, (N, ...). dtype: of everything.
    """

    nodes: tuple[NodeData, ...]
    arrays: Mapping[str, Array] = field(repr=False)
    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> ModelData:
        """From a message."""
        nodes = tuple(
            NodeData(one["kind"], one["name"], tuple(one["inputs"]), one["layer"], one["options"])
            for one in given["nodes"]
        )
        return cls(nodes, given["arrays"], tuple(given["shape"]), given["dtype"])

    def array(self, layer: str, name: str) -> Array | None:
        """A copy of an array of a layer; None where it has no such one."""
        found = self.arrays.get(f"{layer}.{name}")
        return None if found is None else found.copy()

    def layers(self) -> dict[str, NodeData]:
        """The first node of each layer that has weights, by the layer's name."""
        found: dict[str, NodeData] = {}
        for node in self.nodes:
            if node.layer:
                found.setdefault(node.layer, node)
        return found

    def readers(self, name: str) -> list[NodeData]:
        """The nodes that read a result."""
        return [node for node in self.nodes if name in node.inputs]

    def calls(self, layer: str) -> int:
        """How often a layer is called."""
        return sum(node.layer == layer for node in self.nodes)


def deploy(backend: Any, device: str, request: Mapping[str, Any]) -> Data:
    """What a tool makes of a model, and what that predicts of each input."""
    clock = Clock()
    seen: Data = {
        "refused": None, "predictions": [], "again": None, "merged": None, "warnings": [], "changed": [],
        "mutated": False,
    }  # fmt: skip
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            _deploy(backend, device, request, clock, seen)
        except NotAnAnswer as problem:
            if not isinstance(problem, Raised):
                raise
            seen["refused"] = problem.text
    texts = [" ".join(f"{one.category.__name__}: {one.message}".split())[:LONGEST] for one in told]
    seen["warnings"] = list(dict.fromkeys(texts))[:MOST]
    return {**seen, "calls": clock.calls, "seconds": clock.seconds}


def _deploy(backend: Any, device: str, request: Mapping[str, Any], clock: Clock, seen: Data) -> None:
    inputs: Sequence[Array] = request["inputs"]
    model = ModelData.of(request["model"])
    original = _ask("load", lambda: clock.run(lambda: backend.load(model, device)))
    before = _ask("parameters", lambda: backend.parameters(original))
    for number in range(1 + bool(request["again"])):
        predict = _ask("deploy", lambda: clock.run(lambda: backend.deploy(original, request["example"].copy())))
        found = [_prediction(predict, x, clock, seen) for x in (inputs if not number else inputs[:1])]
        if number:
            seen["again"] = found[0]
        else:
            seen["predictions"] = found
            if request["merged"]:
                seen["merged"] = _read_layers(predict, clock)
    after = _ask("parameters", lambda: backend.parameters(original))
    seen["changed"] = sorted(name for name in {*before, *after} if not _same(before.get(name), after.get(name)))


def _ask(what: str, function: Any) -> Any:
    try:
        return function()
    except BaseException as error:
        raise classify_error(what, error) from error


def _prediction(predict: Any, x: Array, clock: Clock, seen: Data) -> Data:
    given = x.copy()
    found: Data = {"y": None, "raised": None, "misfit": ""}
    try:
        y = _ask("predict", lambda: clock.run(lambda: predict(given)))
    except Raised as problem:
        return {**found, "raised": problem.text}
    seen["mutated"] = seen["mutated"] or given.tobytes() != x.tobytes()
    if not isinstance(y, np.ndarray):
        return {**found, "misfit": f"a {type(y).__name__} where an array is due"}
    if y.dtype not in KNOWN:
        return {**found, "misfit": f"an array of dtype {y.dtype}"}
    return {**found, "y": np.array(y)}


def _read_layers(predict: Any, clock: Clock) -> Data | None:
    """The weights and biases of the layers as the deployed model holds them; None where it shows none."""
    show = getattr(predict, "layers", None)
    if show is None:
        return None
    try:
        shown = _ask("layers", lambda: clock.run(show))
    except Raised as problem:
        return {"layers": {}, "misfit": problem.text}
    if not isinstance(shown, Mapping):
        return {"layers": {}, "misfit": f"a {type(shown).__name__} where a mapping of layers is due"}
    layers: Data = {}
    for name, arrays in shown.items():
        weight, bias = arrays if isinstance(arrays, tuple) and len(arrays) == 2 else (None, None)
        known = isinstance(weight, np.ndarray) and weight.dtype in KNOWN
        if not known or not (bias is None or (isinstance(bias, np.ndarray) and bias.dtype in KNOWN)):
            return {"layers": {}, "misfit": f"the layer {name} is not shown as (weight, bias), arrays that are known"}
        layers[str(name)] = {"weight": np.array(weight), "bias": None if bias is None else np.array(bias)}
    return {"layers": layers, "misfit": ""}


def _same(one: Array | None, other: Array | None) -> bool:
    if one is None or other is None:
        return False
    return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()
