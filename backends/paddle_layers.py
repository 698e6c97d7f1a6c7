"""Paddle's BatchNorm: the layers BatchNorm1D, 2D and 3D, with channels at axis 1 and last.

Paddle's momentum weighs the old value, so the adapter passes 1 - momentum. A layer always has running statistics;
`use_global_stats` chooses which statistics normalise, not whether any are kept. Strides are handed over as they are,
through DLPack, except negative ones, which Paddle does not have.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

NAMES = {"running_mean": "_mean", "running_var": "_variance", "weight": "weight", "bias": "bias"}
"""What the layer calls its entries."""


def import_package() -> Any:
    """The package; importing it may warn that a cache for C++ compilers is missing."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No ccache found")
        import paddle

    return paddle


def place(device: str) -> str:
    """Paddle's word for a device in PyTorch's words."""
    return device.replace("cuda", "gpu")


def to_paddle(array: Array, device: str) -> Any:
    """The array as a tensor on the device with the same strides, by DLPack; bfloat16 by its bits.

    Paddle reads other memory where a stride is negative; then, and only then, the array is copied.
    """
    paddle = import_package()
    if any(stride < 0 for stride in array.strides):
        array = array.copy(order="K")
    native = array.view(np.int16) if array.dtype.name == "bfloat16" else array
    if hasattr(paddle, "from_dlpack"):
        tensor = paddle.from_dlpack(native)
    else:  # before 3.0, which takes capsules alone, and these as if they had no strides
        tensor = paddle.to_tensor(native)
    if native is not array:
        tensor = tensor.view("bfloat16")
    return tensor if device == "cpu" else tensor.to(place(device))


def to_array(tensor: Any) -> Array:
    """A copy as a contiguous array of the same dtype."""
    paddle = import_package()
    found = tensor.detach().cpu()
    if found.dtype == paddle.bfloat16:
        import ml_dtypes

        return np.array(found.view("int16").numpy().view(ml_dtypes.bfloat16), order="C")
    return np.array(found.numpy(), order="C")


REPLICAS = ("replicated", "replicated_vjp")
NO_PROCESSES = "Paddle's replicas are processes of paddle.distributed, and this adapter starts none"


class PaddleLayer:
    """A paddle.nn layer behind arrays."""

    def __init__(self, module: Any, device: str, channels_last: bool = False) -> None:
        self.module = module
        self.device = device
        self.channels_last = channels_last

    def forward(self, x: Array, *, training: bool) -> Array:
        """y, of the shape and dtype of x."""
        return self._out(self._call(self._in(x), training))

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients for x, weight and bias, by paddle.grad through one more forward pass."""
        paddle = import_package()
        given = self._in(x)
        given.stop_gradient = False
        both = {"weight": self.module.weight, "bias": self.module.bias}
        parameters = {name: value for name, value in both.items() if value is not None}
        y = self._call(given, training)
        grad_x, *rest = paddle.grad([y], [given, *parameters.values()], [self._in(grad_output)])
        found = zip(parameters, rest, strict=True)
        by_name = {name: None if gradient is None else to_array(gradient) for name, gradient in found}
        return self._out(grad_x), by_name.get("weight"), by_name.get("bias")

    def hvp(
        self, x: Array, grad_output: Array, vector: Array, *, training: bool
    ) -> tuple[Array, Array | None, Array | None]:
        """The derivatives of the gradients along the vector, by paddle.grad through paddle.grad with create_graph.

        Paddle gives None for what no derivative flows to, which stands for zeros.
        """
        paddle = import_package()
        given, upstream = self._in(x), self._in(grad_output)
        given.stop_gradient = upstream.stop_gradient = False
        both = {"weight": self.module.weight, "bias": self.module.bias}
        parameters = {name: value for name, value in both.items() if value is not None}
        wanted = [given, *parameters.values()]
        y = self._call(given, training)
        (grad_x,) = paddle.grad([y], [given], [upstream], create_graph=True)
        found = paddle.grad([grad_x], wanted, [self._in(vector)], allow_unused=True)
        by_x, *rest = (paddle.zeros_like(of) if one is None else one for one, of in zip(found, wanted, strict=True))
        by_name = dict(zip(parameters, map(to_array, rest), strict=True))
        return self._out(by_x), by_name.get("weight"), by_name.get("bias")

    def replicated(self, xs: Sequence[Array], *, training: bool) -> list[tuple[Array, dict[str, Array | None]]]:
        """What Paddle makes of SyncBatchNorm on this device: RuntimeError, from Paddle, where it has no kernel for it.

        NotImplementedError where it has one: its replicas are processes, of which none are started here.
        """
        self._synchronise(xs[0], training)
        raise NotImplementedError(NO_PROCESSES)

    def replicated_vjp(
        self, xs: Sequence[Array], grad_outputs: Sequence[Array], *, training: bool
    ) -> list[tuple[Array, Array | None, Array | None]]:
        """As `replicated`."""
        self._synchronise(xs[0], training)
        raise NotImplementedError(NO_PROCESSES)

    def _synchronise(self, x: Array, training: bool) -> None:
        layer = import_package().nn.SyncBatchNorm.convert_sync_batchnorm(self.module)
        layer.train() if training else layer.eval()
        layer(self._in(x))

    def state(self) -> dict[str, Array | None]:
        """Copies of what the layer remembers; Paddle counts no batches."""
        tensors = self.module.state_dict()
        found = {name: to_array(tensors[own]) if own in tensors else None for name, own in NAMES.items()}
        return {**found, "num_batches_tracked": None}

    def load(self, state: Mapping[str, Array | None]) -> None:
        """Hand the given entries to Paddle, which warns of those that the layer does not have in that shape."""
        given = {NAMES.get(name, name): value for name, value in state.items() if value is not None}
        tensors = {name: to_paddle(value, self.device) for name, value in given.items()}
        self.module.set_state_dict(tensors)

    def _call(self, x: Any, training: bool) -> Any:
        self.module.train() if training else self.module.eval()
        return self.module(x)

    def _in(self, array: Array) -> Any:
        return to_paddle(np.moveaxis(array, 1, -1) if self.channels_last else array, self.device)

    def _out(self, tensor: Any) -> Array:
        array = to_array(tensor)
        return np.ascontiguousarray(np.moveaxis(array, -1, 1)) if self.channels_last else array


class Paddle:
    """paddle.nn.BatchNorm1D, BatchNorm2D and BatchNorm3D, channels at axis 1."""

    name = "paddle"
    # The documentation defines the variance as 1/m times the sum of squares and remembers that one.
    deviations: Mapping[str, str] = {"running_variance": "biased"}
    unsupported_on: Mapping[str, Mapping[str, str]] = {
        "cpu": {
            **dict.fromkeys(("float16", "bfloat16"), "Paddle has no kernel of half precision for the CPU"),
            **dict.fromkeys(REPLICAS, "Paddle's SyncBatchNorm has no kernel for the CPU"),
        },
        "cuda": dict.fromkeys(REPLICAS, NO_PROCESSES),
    }
    documented: Mapping[str, str] = {
        "running_variance": "https://www.paddlepaddle.org.cn/documentation/docs/en/api/paddle/nn/BatchNorm2D_en.html: "
        "'moving_variance = moving_variance * momentum + sigma^2 * (1 - momentum)', sigma^2 being the mini-batch "
        "variance, '1/m' times the sum of squares"
    }
    unsupported: Mapping[str, str] = {
        "hvp": "the double gradient raises: 'Required tensor shall not be nullptr' in training, '`is_test = True` "
        "CANNOT be used in train program' in evaluation (Paddle 3.3)",
        "momentum_none": "Paddle's momentum is a number: there is no cumulative average",
        "track_running_stats_off": "a Paddle layer always has running statistics, and moves them in training",
        "masked": "Paddle's layers take no mask",
    }
    formats: Mapping[int, str] = {2: "NC", 3: "NCL", 4: "NCHW", 5: "NCDHW"}
    channels_last = False

    def devices(self) -> list[str]:
        """The CPU, and every CUDA (or ROCm) device of a build that has them."""
        paddle = import_package()
        return ["cpu", *(f"cuda:{index}" for index in range(paddle.device.cuda.device_count()))]

    def build(self, config: Any, device: str) -> PaddleLayer:
        """A layer of this configuration; NotImplementedError without tracking, for which Paddle has no word."""
        paddle = import_package()
        if not config.track_running_stats:
            raise NotImplementedError(self.unsupported["track_running_stats_off"])
        lacking = self.unsupported_on.get(device.partition(":")[0], {})
        if config.dtype in lacking:
            raise NotImplementedError(lacking[config.dtype])
        paddle.set_device(place(device))
        module = getattr(paddle.nn, f"BatchNorm{max(config.ndim - 2, 1)}D")(
            config.num_features,
            momentum=None if config.momentum is None else 1 - config.momentum,
            epsilon=config.eps,
            weight_attr=None if config.weight else False,
            bias_attr=None if config.bias else False,
            data_format=self.formats[config.ndim],
        )
        module.to(dtype=config.param_dtype)
        return PaddleLayer(module, device, self.channels_last)

    def build_default(self, num_features: int, device: str) -> PaddleLayer:
        """BatchNorm2D with its own defaults, but for the place of the channels."""
        paddle = import_package()
        paddle.set_device(place(device))
        module = paddle.nn.BatchNorm2D(num_features, data_format=self.formats[4])
        return PaddleLayer(module, device, self.channels_last)


class PaddleChannelsLast(Paddle):
    """The same layers with their channels last (NLC, NHWC, NDHWC), moved there and back by the adapter."""

    name = "paddle+channels_last"
    formats: Mapping[int, str] = {2: "NLC", 3: "NLC", 4: "NHWC", 5: "NDHWC"}
    channels_last = True
