"""tinygrad's BatchNorm: the layer tinygrad.nn.BatchNorm.

Its momentum weighs the new batch; the mode is tinygrad's context variable TRAINING. tinygrad is lazy: every pass here
is realised before its result is handed out, the running statistics with it. Parameters of another dtype than float32
are made by casting them, as tinygrad's layers take no dtype.

tinygrad compiles a kernel for each new expression and shape (0.1 to 1 s; the machine code is kept in a cache on disk).
Its CPU device needs a clang: where `clang` is not on the path, the environment variable CC names one (CC=clang-19).
Its device `cl` is OpenCL, which a GPU's driver brings, and pocl on a machine without one. Where a result lies is seen
before it is handed out: tinygrad's kernels run where their result lies, and its default is another device where one
is installed.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnconform.backends.wrong_device import WrongDevice

Array = NDArray[Any]

STATE = ("running_mean", "running_var", "num_batches_tracked", "weight", "bias")


def name_a_clang() -> None:
    """Where tinygrad would not find the compiler of its CPU device, the newest clang that has a version in its name."""
    if "CC" not in os.environ and not shutil.which("clang"):
        versioned = [f"clang-{version}" for version in range(30, 14, -1)]
        found = next((name for name in versioned if shutil.which(name)), None)
        if found:
            os.environ["CC"] = found


def to_tensor(array: Array, device: str) -> Any:
    """The array as a tensor on the device; bfloat16, which NumPy does not have, by its bits."""
    from tinygrad import Tensor, dtypes

    native = array.view(np.uint16) if array.dtype.name == "bfloat16" else array
    tensor = Tensor(np.ascontiguousarray(native).reshape(native.shape), device=place(device))
    return (tensor if native is array else tensor.bitcast(dtypes.bfloat16)).realize()


def to_array(tensor: Any, device: str) -> Array:
    """A copy as a contiguous array of the same dtype; WrongDevice unless it lies on the device.

    A tensor's buffer says where the kernel ran that filled it. One without elements has none, and a constant, such as
    a counter that was loaded, lies on no device.
    """
    from tinygrad import dtypes

    graph = getattr(tensor.realize(), "uop", None)  # older versions have another, and tell the device alone
    buffer = None if graph is None else graph.base.realized
    found = tensor.device if buffer is None else buffer.device
    if found not in (place(device), None):
        raise WrongDevice(place(device), found)
    if tensor.dtype == dtypes.bfloat16:
        import ml_dtypes

        return np.array(tensor.contiguous().bitcast(dtypes.uint16).numpy().view(ml_dtypes.bfloat16), order="C")
    return np.array(tensor.numpy(), order="C")


def place(device: str) -> str:
    """The device, named in PyTorch's words, as tinygrad names it."""
    kind, _, index = device.partition(":")
    cpu = "CPU" if importlib.util.find_spec("tinygrad.runtime.ops_cpu") else "CLANG"  # as it was called before 0.10.2
    name = {"cpu": cpu, "cuda": "CUDA", "mps": "METAL", "cl": "CL"}[kind]
    return f"{name}:{index}" if int(index or 0) else name


def mode(training: bool) -> AbstractContextManager[Any]:
    """What holds around a pass; before 0.14 the mode was an attribute of Tensor and not a context variable."""
    from tinygrad import Tensor, helpers

    of_variable = hasattr(helpers, "TRAINING")
    found: AbstractContextManager[Any] = (
        helpers.Context(TRAINING=int(training)) if of_variable else Tensor.train(training)
    )
    return found


def gradients(total: Callable[[], Any], wanted: Sequence[Any]) -> list[Any]:
    """The gradients of a number for tensors, by Tensor.gradient; before 0.10.1, which has none, by Tensor.backward."""
    if all(hasattr(tensor, "gradient") for tensor in wanted):
        found: list[Any] = total().gradient(*wanted)
        return found
    for tensor in wanted:
        tensor.requires_grad, tensor.grad = True, None
    total().backward()
    for tensor in wanted:
        tensor.grad.realize()  # before the running statistics, with which it finds a cycle
    return [tensor.grad for tensor in wanted]


class TinygradLayer:
    """A tinygrad layer behind arrays."""

    def __init__(self, module: Any, device: str) -> None:
        self.module = module
        self.device = device

    def forward(self, x: Array, *, training: bool) -> Array:
        """y, of the shape of x."""
        y = self._call(to_tensor(x, self.device), training)
        y.realize(*self._tensors().values())
        return to_array(y, self.device)

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients for x, weight and bias, by Tensor.gradient through one more forward pass."""
        given = to_tensor(x, self.device)
        parameters = [value for value in (self.module.weight, self.module.bias) if value is not None]
        upstream = to_tensor(grad_output, self.device)
        grad_x, *rest = gradients(lambda: (self._call(given, training) * upstream).sum(), [given, *parameters])
        grad_x.realize(*rest, *self._tensors().values())
        weight, bias = (to_array(gradient, self.device) for gradient in rest) if rest else (None, None)
        return to_array(grad_x, self.device), weight, bias

    def hvp(
        self, x: Array, grad_output: Array, vector: Array, *, training: bool
    ) -> tuple[Array, Array | None, Array | None]:
        """The derivatives of the gradients along the vector, by Tensor.gradient of Tensor.gradient.

        tinygrad refuses a tensor that no derivative flows to: so each takes part, times 0.
        """
        given, upstream, direction = (to_tensor(array, self.device) for array in (x, grad_output, vector))
        parameters = [value for value in (self.module.weight, self.module.bias) if value is not None]
        (grad_x,) = (self._call(given, training) * upstream).sum().gradient(given)
        total = (grad_x * direction).sum()
        for tensor in (given, *parameters):
            total = total + (tensor * 0).sum()
        by_x, *rest = total.gradient(given, *parameters)
        by_x.realize(*rest, *self._tensors().values())
        weight, bias = (to_array(gradient, self.device) for gradient in rest) if rest else (None, None)
        return to_array(by_x, self.device), weight, bias

    def third(self, x: Array, grad_output: Array, vector: Array, second: Array, *, training: bool) -> Array:
        """The derivative of that of the gradient along the vector, along a second one, by Tensor.gradient thrice.

        tinygrad refuses a tensor that no derivative flows to: so it takes part each time, times zeros. They lie in
        memory, in single precision, as of a 0 in half precision tinygrad makes code that clang 14 does not compile.
        """
        given, *upstream = (to_tensor(array, self.device) for array in (x, grad_output, vector, second))
        nothing = to_tensor(np.zeros(x.shape, np.float32), self.device)
        found = self._call(given, training)
        for each in upstream:
            (found,) = ((found * each).sum() + (given * nothing).sum()).gradient(given)
        found.realize(*self._tensors().values())
        return to_array(found, self.device)

    def state(self) -> dict[str, Array | None]:
        """Copies of what the layer remembers."""
        tensors = self._tensors()
        return {name: to_array(tensors[name], self.device) if name in tensors else None for name in STATE}

    def load(self, state: Mapping[str, Array | None]) -> None:
        """Hand the given entries to tinygrad, with its own beside them, of which it wants none to be missing."""
        from tinygrad.nn.state import load_state_dict

        tensors = self._tensors()
        given = {name: to_tensor(value, self.device) for name, value in state.items() if value is not None}
        load_state_dict(self.module, {**tensors, **given}, verbose=False)

    def _tensors(self) -> dict[str, Any]:
        from tinygrad.nn.state import get_state_dict

        found: dict[str, Any] = get_state_dict(self.module)
        return found

    def _call(self, x: Any, training: bool) -> Any:
        with mode(training):
            return self.module(x)


class Tinygrad:
    """tinygrad.nn.BatchNorm."""

    name = "tinygrad"
    deviations: Mapping[str, str] = {}
    unsupported: Mapping[str, str] = {
        "momentum_none": "tinygrad has no cumulative average: it takes None and fails in the first training pass",
        "weight_alone": "affine is about weight and bias together",
        "bias_alone": "affine is about weight and bias together",
        "masked": "tinygrad's layer takes no mask",
    }
    slow_to_start = True

    def devices(self) -> list[str]:
        """The CPU, the GPUs of the kinds that PyTorch has words for, and OpenCL, where tinygrad can open them."""
        name_a_clang()
        from tinygrad import Device

        words = {"CUDA": "cuda:0", "METAL": "mps", "CL": "cl"}
        listed = getattr(Device, "get_available_devices", tuple)  # before 0.10 there is none
        return ["cpu", *(words[name] for name in listed() if name in words)]

    def describe_device(self, device: str) -> str:
        """The processor, or what OpenCL calls its device, with the driver's version."""
        if device != "cl":
            return platform.processor() or platform.machine() if device == "cpu" else device
        from tinygrad import Device

        opened = Device["CL"]
        return f"{opened.device_name}, OpenCL driver {opened.driver_version}"

    def build(self, config: Any, device: str) -> TinygradLayer:
        """A layer of this configuration; NotImplementedError for momentum=None."""
        if config.momentum is None:
            raise NotImplementedError(self.unsupported["momentum_none"])
        if config.weight != config.bias:
            raise NotImplementedError(self.unsupported["weight_alone" if config.weight else "bias_alone"])
        return self._layer(
            device,
            config.param_dtype,
            config.num_features,
            eps=config.eps,
            affine=config.weight,
            track_running_stats=config.track_running_stats,
            momentum=config.momentum,
        )

    def build_default(self, num_features: int, device: str) -> TinygradLayer:
        """The layer with its own defaults."""
        return self._layer(device, "float32", num_features)

    def _layer(self, device: str, dtype: str, *arguments: Any, **keywords: Any) -> TinygradLayer:
        name_a_clang()
        from tinygrad import dtypes, nn
        from tinygrad.nn.state import get_state_dict

        layer = getattr(nn, "BatchNorm", None) or nn.BatchNorm2d  # the only name before 0.9.1
        module = layer(*arguments, **keywords)
        for name, tensor in get_state_dict(module).items():
            moved = tensor if name == "num_batches_tracked" else tensor.cast(getattr(dtypes, dtype))
            tensor.replace(moved.to(place(device)).contiguous()).realize()
        return TinygradLayer(module, device)
