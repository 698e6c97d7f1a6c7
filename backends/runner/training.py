"""Training the documents' network in this process: around an adapter's BatchNorms, or as a framework's own network.

What is asked comes as data: {"what": "check", "key", "device"}, whether that is there; {"what": "open", "key",
"device", "dtype", "experiment": {"weights", "images", "labels", "batches", "held_out", "rate", "eps", "momentum"}};
then {"what": "steps", "count"} until all are made. A step goes back as {"loss", "evaluation_loss", "statistics":
[[mean, var]]}; "refused" has, in words, why nothing could be done, with "lacks" where the backend says that it lacks
something, and "unusable" where it cannot be loaded.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from bnconform.backends import training
from bnconform.backends.registry import BackendError
from bnconform.backends.runner import loading
from bnconform.backends.runner.instrumented import LONGEST, Array
from bnconform.backends.runner.lenet import CHANNELS, NORMS, LeNet, convert
from bnconform.backends.runner.programs import LayerConfig

Data = dict[str, Any]

NEEDED = ("training", "evaluation", "backward", "affine", "track_running_stats", "rank_2", "rank_4")
"""The features of an adapter that the network asks for, besides the dtype."""

STATISTICS = ("running_mean", "running_var")

OPENED: dict[str, Any] = {}
"""The training of this process, under "training"."""


class WrongShape(ValueError):
    """What a layer gave is of the wrong shape."""


@dataclass
class AdapterNorm:
    """An adapter's layer as a BatchNorm of the network in NumPy (`bnconform.backends.runner.lenet.NormLayer`)."""

    layer: Any
    _x: Any = None
    _after: dict[str, Any] = field(default_factory=dict)

    def forward(self, x: Array) -> Array:
        """y, of a training pass, and what the layer remembers after it."""
        self._x = np.ascontiguousarray(x)
        y = self.layer.forward(self._x.copy(), training=True)
        self._after = dict(self.layer.state())
        return _fitting(y, x, "forward")

    def backward(self, grad_output: Array) -> tuple[Array, Array, Array]:
        """The gradients, of a pass of the layer's own; if that has moved the statistics, they are set back."""
        x, upstream = self._x, np.ascontiguousarray(grad_output)
        grad_x, grad_weight, grad_bias = self.layer.backward(x.copy(), upstream.copy(), training=True)
        moved = self.layer.state()
        names = [name for name in (*STATISTICS, "num_batches_tracked") if self._after.get(name) is not None]
        if any(not np.array_equal(moved[name], self._after[name]) for name in names):
            self.layer.load({name: self._after[name] for name in names})
        like = np.zeros(x.shape[1], x.dtype)
        return (
            _fitting(grad_x, x, "grad_x"), _fitting(grad_weight, like, "grad_weight"),
            _fitting(grad_bias, like, "grad_bias"),
        )  # fmt: skip

    def evaluate(self, x: Array) -> Array:
        """y, of an evaluation pass."""
        return _fitting(self.layer.forward(np.ascontiguousarray(x), training=False), x, "forward")

    def update(self, weight: Array, bias: Array) -> None:
        """Load the parameters."""
        self.layer.load({"weight": weight.copy(), "bias": bias.copy()})

    def statistics(self) -> tuple[Array, Array]:
        """The running mean and variance that the layer shows."""
        state = self.layer.state()
        mean, var = (np.asarray(state[name]) for name in STATISTICS)
        return mean, var


def _fitting(value: Any, like: Array, what: str) -> Array:
    """What a layer gave, in the dtype of the network; WrongShape where it has another shape."""
    found = np.asarray(value)
    if found.shape != like.shape:
        raise WrongShape(f"{what} gave the shape {found.shape} where {like.shape} is due")
    return found.astype(like.dtype, copy=False)


class Training:
    """A network that is trained step by step."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        given, dtype = request["experiment"], request["dtype"]
        self.images = given["images"].astype(dtype)
        self.labels, self.batches, self.held_out = given["labels"], given["batches"], given["held_out"]
        self.done = 0
        options = SimpleNamespace(
            rate=given["rate"], eps=given["eps"], momentum=given["momentum"], dtype=dtype, device=request["device"],
            example=self.images[:1],
        )  # fmt: skip
        weights = convert(given["weights"], dtype)
        key = request["key"]
        if key in training.NETWORKS and options.device != training.DEVICE:
            raise NotImplementedError(
                f"a framework's own network is trained on the CPU; give the layer {key.partition('+lenet')[0]} instead"
            )
        self.network = training.load(key).build(weights, options) if key in training.NETWORKS else _around(key, options)
        if key not in training.NETWORKS:
            self.network.weights = weights
            for name, norm in zip(NORMS, self.network.norms, strict=True):
                norm.update(weights[f"{name}.weight"], weights[f"{name}.bias"])

    def steps(self, count: int) -> list[Data]:
        """What each of the next steps shows."""
        seen = []
        held_out = self.images[self.held_out], self.labels[self.held_out]
        for batch in self.batches[self.done : self.done + count]:
            loss = self.network.step(self.images[batch], self.labels[batch])
            statistics = [[np.array(part, np.float64) for part in pair] for pair in self.network.statistics()]
            evaluation = float(self.network.evaluate(*held_out))
            seen.append({"loss": float(loss), "statistics": statistics, "evaluation_loss": evaluation})
            self.done += 1
        return seen


def _around(key: str, options: Any) -> LeNet:
    """The network in NumPy around an adapter's layers; NotImplementedError for what the adapter lacks."""
    backend = _load_adapter(key, options.device)
    here = getattr(backend, "unsupported_on", {}).get(options.device.partition(":")[0], {})
    lacking = {**getattr(backend, "unsupported", {}), **here}
    for feature in (options.dtype, *NEEDED):
        if feature in lacking:
            raise NotImplementedError(lacking[feature])
    norms = []
    for place, channels in enumerate(CHANNELS):
        config = LayerConfig(
            num_features=channels, eps=options.eps, momentum=options.momentum, ndim=4 if place < 2 else 2,
            dtype=options.dtype, param_dtype=options.dtype,
        )  # fmt: skip
        norms.append(AdapterNorm(backend.build(config, options.device)))
    return LeNet({}, norms, options.rate)


def _load_adapter(key: str, device: str) -> Any:
    """The adapter; BackendError where it has no layers, or no such device."""
    backend = loading.adapter(key)
    if loading.is_deployment(backend):
        raise BackendError(f"{key} deploys models and has no layer that trains; `bnconform list` shows layers")
    known = loading.devices_of(backend, key)
    if device not in known:
        raise BackendError(f"{key} has no device {device!r}; it has {', '.join(known)}")
    return backend


def train(request: Mapping[str, Any]) -> Data:
    """The answer to one request."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if request["what"] == "steps":
                return {"steps": OPENED["training"].steps(int(request["count"]))}
            key = request["key"]
            if request["what"] == "check":
                _load_adapter(key, request["device"])
                return {}
            OPENED["training"] = Training(request)
            declared = dict(training.load(key).deviations if key in training.NETWORKS else
                            getattr(loading.adapter(key), "deviations", {}))  # fmt: skip
            return {"deviations": declared, "packages": loading.find_installed()}
    except BackendError as problem:
        return {"refused": str(problem), "unusable": True}
    except NotImplementedError as reason:
        return {"refused": str(reason)[:LONGEST], "lacks": True}
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {' '.join(str(error).split())}"[:LONGEST]}
