"""MindSpore's BatchNorm: the layers BatchNorm1d, 2d and 3d, run as they are called (PyNative mode).

MindSpore's momentum weighs the old value, so the adapter passes 1 - momentum. A layer always has running statistics;
`use_batch_statistics` chooses which statistics normalise, not whether any are kept. Weight and bias are always there
too; affine=False fixes them at 1 and 0, and the adapter then shows none.

The wheels of MindSpore 2.10 were built for NumPy 1. With NumPy 2 the first operation of a process fails with a
SystemError and the rest run, so one is spent when the device is set.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

NAMES = {"running_mean": "moving_mean", "running_var": "moving_variance", "weight": "gamma", "bias": "beta"}
"""What the layer calls its entries."""


@functools.cache
def import_package() -> Any:
    """The package, told to run each operation as it is called."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy's version, and of what it deprecates
        import mindspore

        mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
    return mindspore


@functools.cache
def on(device: str) -> Any:
    """The package, set to a device, for which there is time until the first operation."""
    mindspore = import_package()
    mindspore.set_device({"cpu": "CPU", "cuda": "GPU"}[device.partition(":")[0]])
    with contextlib.suppress(SystemError):
        mindspore.ops.reshape(mindspore.Tensor([0.0]), (1, 1))
    return mindspore


def to_tensor(array: Array) -> Any:
    """The array as a tensor; bfloat16, which MindSpore does not read from NumPy, by way of float32."""
    mindspore = import_package()
    if array.dtype.name == "bfloat16":
        return mindspore.Tensor(np.array(array, np.float32, order="C")).astype(mindspore.bfloat16)
    return mindspore.Tensor(np.array(array, order="C"))


def to_array(tensor: Any) -> Array:
    """A copy as a contiguous array of the same dtype."""
    mindspore = import_package()
    if tensor.dtype == mindspore.bfloat16:
        import ml_dtypes

        return np.array(tensor.astype(mindspore.float32).asnumpy().astype(ml_dtypes.bfloat16), order="C")
    return np.array(tensor.asnumpy(), order="C")


class MindSporeLayer:
    """A mindspore.nn layer behind arrays."""

    def __init__(self, module: Any, affine: bool) -> None:
        self.module = module
        inner = getattr(module, "bn2d", module)  # BatchNorm3d is a 2d layer in a wrapper
        kept = [name for name in NAMES if affine or name.startswith("running")]
        self.tensors = {name: getattr(inner, NAMES[name]) for name in kept}

    def forward(self, x: Array, *, training: bool) -> Array:
        """y, of the shape and dtype of x."""
        return to_array(self.module.set_train(training)(to_tensor(x)))

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients for x, weight and bias, by mindspore.grad through one more forward pass."""
        mindspore = import_package()
        self.module.set_train(training)
        upstream = to_tensor(grad_output)
        parameters = [self.tensors[name] for name in ("weight", "bias") if name in self.tensors]
        gradient = mindspore.grad(lambda given: (self.module(given) * upstream).sum(), 0, parameters or None)
        found = gradient(to_tensor(x))
        if not parameters:
            return to_array(found), None, None
        grad_x, (weight, bias) = found
        return to_array(grad_x), to_array(weight), to_array(bias)

    def state(self) -> dict[str, Array | None]:
        """Copies of what the layer remembers; MindSpore counts no batches."""
        names = ("running_mean", "running_var", "num_batches_tracked", "weight", "bias")
        return {name: to_array(self.tensors[name]) if name in self.tensors else None for name in names}

    def load(self, state: Mapping[str, Array | None]) -> None:
        """Set the given entries; KeyError for one that the layer does not have."""
        mindspore = import_package()
        given = {name: value for name, value in state.items() if value is not None}
        parameters = {self.tensors[name].name: mindspore.Parameter(to_tensor(given[name])) for name in given}
        mindspore.load_param_into_net(self.module, parameters)


class MindSpore:
    """mindspore.nn.BatchNorm1d, BatchNorm2d and BatchNorm3d."""

    name = "mindspore"
    deviations: Mapping[str, str] = {}
    documented: Mapping[str, str] = {}
    unsupported: Mapping[str, str] = {
        "float64": "MindSpore's layers are documented for float16 and float32",
        "bfloat16": "MindSpore's layers are documented for float16 and float32",
        "momentum_none": "MindSpore's momentum is a number: there is no cumulative average",
        "track_running_stats_off": "a MindSpore layer always has running statistics, and moves them in training",
        "masked": "MindSpore's layers take no mask",
        "weight_alone": "affine is about gamma and beta together",
        "bias_alone": "affine is about gamma and beta together",
    }

    def devices(self) -> list[str]:
        """The CPU, and the CUDA device of a build for one."""
        mindspore = import_package()
        found = "GPU" in mindspore.hal.get_all_devices() if hasattr(mindspore.hal, "get_all_devices") else False
        return ["cpu", "cuda:0"] if found else ["cpu"]

    def build(self, config: Any, device: str) -> MindSporeLayer:
        """A layer of this configuration; NotImplementedError without tracking, for which MindSpore has no word."""
        if not config.track_running_stats:
            raise NotImplementedError(self.unsupported["track_running_stats_off"])
        if config.weight != config.bias:
            raise NotImplementedError(self.unsupported["weight_alone" if config.weight else "bias_alone"])
        mindspore = on(device)
        module = getattr(mindspore.nn, f"BatchNorm{max(config.ndim - 2, 1)}d")(
            config.num_features,
            eps=config.eps,
            momentum=None if config.momentum is None else 1 - config.momentum,
            affine=config.weight,
            dtype=getattr(mindspore, config.param_dtype),
        )
        return MindSporeLayer(module, config.weight)

    def build_default(self, num_features: int, device: str) -> MindSporeLayer:
        """BatchNorm2d with its own defaults."""
        return MindSporeLayer(on(device).nn.BatchNorm2d(num_features), True)
