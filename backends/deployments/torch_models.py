"""Small models as PyTorch modules: the layers of torch.nn, called in the order of the nodes; shared by the adapters.

The module is a torch.fx.GraphModule, whose `forward` is plain Python code made from the nodes: it can be traced,
scripted and exported as one that is written by hand can.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bnconform.backends.torch_tensors import Array, devices, to_array, to_tensor, torch_dtype

if TYPE_CHECKING:
    from bnconform.backends.runner.deployments import ModelData, NodeData

SHAPED = {"convolution": "Conv", "transposed_convolution": "ConvTranspose"}
POOLINGS = {"average_pooling": "AvgPool", "max_pooling": "MaxPool"}
ACTIVATIONS = {"relu": "ReLU", "sigmoid": "Sigmoid"}


class TorchDeployment:
    """What the deployments of PyTorch share: the module, and its parameters, statistics and modes."""

    unsupported: ClassVar[Mapping[str, str]] = {}
    deviations: ClassVar[Mapping[str, str]] = {}

    def devices(self) -> list[str]:
        """The CPU: what is deployed for other devices is bounded otherwise."""
        return devices()[:1]

    def load(self, model: ModelData, device: str) -> Any:
        """The module, each layer in its own mode."""
        return module(model)

    def own(self, model: Any) -> Any:
        """A user's own module, as `deploy` takes it."""
        return model

    def parameters(self, original: Any) -> dict[str, Array]:
        """Everything in its state, and the mode of each of its modules."""
        found = {name: to_array(value) for name, value in original.state_dict().items()}
        modes = {f"{name}.training": np.array(float(part.training)) for name, part in original.named_modules()}
        return {**found, **modes}


def predictor(deployed: Any) -> Any:
    """A function of arrays that calls a module, with no gradients recorded."""
    return Predictor(deployed)


class Predictor:
    """What a module predicts."""

    def __init__(self, deployed: Any) -> None:
        self.deployed = deployed

    def __call__(self, x: Array) -> Array:
        """Of an array, with no gradients recorded."""
        import torch

        with torch.no_grad():
            return to_array(self.deployed(to_tensor(x, "cpu")))


class LayersPredictor(Predictor):
    """The same of a module that was rewritten as a graph of modules: its layers can be looked at."""

    def layers(self) -> dict[str, tuple[Array, Array | None]]:
        """(weight, bias) of each linear layer and convolution that the graph calls, by its name."""
        import torch

        kinds = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)
        found = {}
        for node in self.deployed.graph.nodes:
            if node.op != "call_module":
                continue
            part = self.deployed.get_submodule(node.target)
            # A layer with an activation is a sequence of both.
            part = part[0] if isinstance(part, torch.nn.Sequential) else part
            if isinstance(part, kinds):
                found[node.target] = (to_array(part.weight), None if part.bias is None else to_array(part.bias))
        return found


def module(model: ModelData) -> Any:
    """A model as a module."""
    import torch

    spatial = positions(model)
    parts: dict[str, Any] = {layer: _layer(model, node, spatial[node.name]) for layer, node in model.layers().items()}
    graph = torch.fx.Graph()
    results = {"x": graph.placeholder("x")}
    for node in model.nodes:
        inputs = [results[name] for name in node.inputs]
        if node.layer:
            results[node.name] = graph.call_module(node.layer, (inputs[0],))
        elif node.kind in ACTIVATIONS or node.kind in POOLINGS:
            parts[node.name] = _plain(node, spatial[node.name])
            results[node.name] = graph.call_module(node.name, (inputs[0],))
        elif node.kind == "add":
            results[node.name] = graph.call_function(operator.add, tuple(inputs))
        elif node.kind == "concatenate":
            results[node.name] = graph.call_function(torch.cat, (inputs,), {"dim": 1})
        elif node.kind == "flatten":
            results[node.name] = graph.call_function(torch.flatten, (inputs[0], 1))
        else:
            results[node.name] = graph.call_method("reshape", (inputs[0], -1, *node.options["to"]))
    graph.output(results[model.nodes[-1].name])
    root = torch.nn.Module()
    for name, part in parts.items():
        root.add_module(name, part)
    made = torch.fx.GraphModule(root, graph)
    # A module of its own class is in training when new: the whole is in evaluation if none of its layers trains.
    made.training = any(node.options.get("training") for node in model.layers().values())
    return made


def positions(model: ModelData) -> dict[str, int]:
    """How many position axes the input of each node has, by its name."""
    ranks = {"x": len(model.shape)}
    found = {}
    for node in model.nodes:
        rank = ranks[node.inputs[0]]
        found[node.name] = rank - 2
        if node.kind == "flatten":
            rank = 2
        elif node.kind == "reshape":
            rank = 1 + len(node.options["to"])
        ranks[node.name] = rank
    return found


def _layer(model: ModelData, node: NodeData, spatial: int) -> Any:
    """A layer of torch.nn with the model's arrays, in its mode."""
    import torch

    weight, bias = model.array(node.layer, "weight"), model.array(node.layer, "bias")
    options = node.options
    if node.kind == "batch_normalization":
        made = _norm(model, node, spatial)
    elif node.kind == "linear":
        assert weight is not None
        made = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    else:
        assert weight is not None
        groups = options["groups"]
        ends = (weight.shape[1] * groups, weight.shape[0]) if node.kind == "convolution" else (
            weight.shape[0], weight.shape[1] * groups
        )  # fmt: skip
        shape = {name: tuple(options[name]) for name in ("stride", "padding", "dilation")}
        kind = getattr(torch.nn, f"{SHAPED[node.kind]}{spatial}d")
        made = kind(*ends, tuple(weight.shape[2:]), groups=groups, bias=bias is not None, **shape)
    made = made.to(torch_dtype(model.dtype, "cpu"))
    arrays = {name: model.array(node.layer, name) for name in ("weight", "bias", "running_mean", "running_var")}
    state = {name: to_tensor(value, "cpu") for name, value in arrays.items() if value is not None}
    counted = {name: value for name, value in made.state_dict().items() if name == "num_batches_tracked"}
    made.load_state_dict({**counted, **state})
    return made.train(bool(options["training"]))


def _norm(model: ModelData, node: NodeData, spatial: int) -> Any:
    import torch

    arrays = {name: model.array(node.layer, name) for name in ("weight", "running_mean")}
    kind = getattr(torch.nn, f"BatchNorm{max(spatial, 1)}d")
    width = next((len(value) for value in arrays.values() if value is not None), None)
    return kind(
        width if width is not None else widths(model)[node.inputs[0]], eps=node.options["epsilon"],
        affine=arrays["weight"] is not None, track_running_stats=arrays["running_mean"] is not None,
    )  # fmt: skip


def widths(model: ModelData) -> dict[str, int]:
    """The channels, at axis 1, of each result that a BatchNorm may read, by its name."""
    found = {"x": model.shape[1]}
    for node in model.nodes:
        width = found[node.inputs[0]]
        weight = model.array(node.layer, "weight") if node.layer else None
        if node.kind == "convolution" and weight is not None:
            width = weight.shape[0]
        elif node.kind == "transposed_convolution" and weight is not None:
            width = weight.shape[1] * node.options["groups"]
        elif node.kind == "linear" and weight is not None and len(model.shape) == 2:
            width = weight.shape[0]
        found[node.name] = width
    return found


def _plain(node: NodeData, spatial: int) -> Any:
    """A module without parameters, in evaluation."""
    import torch

    if node.kind in ACTIVATIONS:
        return getattr(torch.nn, ACTIVATIONS[node.kind])().eval()
    options = node.options
    kind = getattr(torch.nn, f"{POOLINGS[node.kind]}{spatial}d")
    shape = {name: tuple(options[name]) for name in ("stride", "padding")}
    more = {"count_include_pad": options["counts_padding"]} if node.kind == "average_pooling" else {}
    return kind(tuple(options["kernel"]), **shape, **more).eval()


def pairs(model: ModelData) -> list[tuple[str, str, str]]:
    """(layer, BatchNorm, ReLU or "") that follow one another and have no other reader, each called once.

    What a user lists who reads "sequence of modules" in the documentation of a tool that fuses what it is told to.
    """
    found = []
    for node in model.nodes:
        if node.kind not in ("linear", *SHAPED) or model.calls(node.layer) > 1:
            continue
        readers = model.readers(node.name)
        if len(readers) != 1 or readers[0].kind != "batch_normalization" or model.calls(readers[0].layer) > 1:
            continue
        after = model.readers(readers[0].name)
        relu = after[0].name if len(after) == 1 and after[0].kind == "relu" else ""
        found.append((node.layer, readers[0].layer, relu))
    return found


def trace_pairs(module: Any) -> list[tuple[str, str, str]]:
    """The same of any module, by its graph; none where it cannot be traced."""
    import torch

    try:
        traced = torch.fx.symbolic_trace(module)
    except Exception:  # whatever its own code raises
        return []
    nodes = list(traced.graph.nodes)

    def part(node: Any) -> Any:
        calls = [other for other in nodes if other.op == "call_module" and other.target == node.target]
        return traced.get_submodule(node.target) if node.op == "call_module" and len(calls) == 1 else None

    layers = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)
    found = []
    for node in nodes:
        readers = list(node.users)
        if not isinstance(part(node), layers) or len(readers) != 1:
            continue
        if not isinstance(part(readers[0]), torch.nn.modules.batchnorm._BatchNorm):
            continue
        after = list(readers[0].users)
        relu = after[0].target if len(after) == 1 and isinstance(part(after[0]), torch.nn.ReLU) else ""
        found.append((str(node.target), str(readers[0].target), str(relu)))
    return found


def quietly(function: Any) -> Any:
    """What a function gives, without the warnings that a tool is deprecated: they tell nothing of the model."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        return function()
