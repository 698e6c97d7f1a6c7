"""BatchNorm as kernels in Triton, forward and backward, and the adapter through which their author has them judged.

Without a GPU Triton's interpreter runs them, so that the kernels are judged on the machine that they are written on:

    TRITON_INTERPRET=1 bnconform --backend backends/examples/triton_kernel.py:TritonKernels --dtype float32

With a GPU, and without the variable, they are compiled.

The first half is a project's own code and would be a module with `import triton.language as tl` at its top, and its
kernels decorated; here `kernels` does both, so that importing the file imports no framework. The second half is the
adapter: it calls the first, and computes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import triton.language as tl

Array = NDArray[Any]

# -- the kernels -------------------------------------------------------------------------------------------------------
#
# x is contiguous, (samples, channels, positions). A program has BLOCK_C channels, and BLOCK of their values at a time;
# the statistics of a channel are (C,), in the dtype in which is computed: float64 for float64, float32 for all others.


def tile(start, first, samples, channels, positions, BLOCK_C: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: N803
    """Where the values [start, start + BLOCK) of BLOCK_C channels lie, and which of them there are."""
    channel = first + tl.arange(0, BLOCK_C)[:, None]
    value = start + tl.arange(0, BLOCK)[None, :]
    offset = (value // positions * channels + channel) * positions + value % positions
    return offset, (channel < channels) & (value < samples * positions)


def batch_statistics(  # type: ignore[no-untyped-def]
    x, mean, var, samples, channels, positions, BLOCK_C: tl.constexpr, BLOCK: tl.constexpr  # noqa: N803
):  # fmt: skip
    """The mean and the biased variance of each channel, in two passes: the deviations are from the mean itself."""
    first = tl.program_id(0) * BLOCK_C
    channel = first + tl.arange(0, BLOCK_C)
    count = samples * positions
    wide = mean.dtype.element_ty
    total = tl.zeros((BLOCK_C, BLOCK), wide)
    for start in range(0, count, BLOCK):
        offset, there = tile(start, first, samples, channels, positions, BLOCK_C, BLOCK)
        total += tl.load(x + offset, mask=there, other=0).to(wide)
    center = tl.sum(total, axis=1) / count
    total = tl.zeros((BLOCK_C, BLOCK), wide)
    for start in range(0, count, BLOCK):
        offset, there = tile(start, first, samples, channels, positions, BLOCK_C, BLOCK)
        deviation = tl.where(there, tl.load(x + offset, mask=there, other=0).to(wide) - center[:, None], 0)
        total += deviation * deviation
    tl.store(mean + channel, center, mask=channel < channels)
    tl.store(var + channel, tl.sum(total, axis=1) / count, mask=channel < channels)


def remember(running, batch, options, channels, correction, BLOCK_C: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: N803
    """Move a running statistic to the batch's, times the correction; options[1] is the weight of the batch."""
    channel = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    there = channel < channels
    weight = tl.load(options + 1)
    scale = tl.load(options + 2) if correction else 1
    old = tl.load(running + channel, mask=there, other=0).to(weight.dtype)
    new = tl.load(batch + channel, mask=there, other=0) * scale
    tl.store(running + channel, (1 - weight) * old + weight * new, mask=there)


def normalise(  # type: ignore[no-untyped-def]
    x, y, mean, var, weight, bias, options, samples, channels, positions, has_weight: tl.constexpr,
    has_bias: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """Store (x - mean) / sqrt(var + eps) * weight + bias as y; options[0] is eps."""
    first = tl.program_id(0) * BLOCK_C
    start = tl.program_id(1) * BLOCK
    channel = first + tl.arange(0, BLOCK_C)
    known = channel < channels
    center = tl.load(mean + channel, mask=known, other=0)
    inverse = 1 / tl.sqrt(tl.load(var + channel, mask=known, other=1) + tl.load(options))
    offset, there = tile(start, first, samples, channels, positions, BLOCK_C, BLOCK)
    found = (tl.load(x + offset, mask=there, other=0).to(center.dtype) - center[:, None]) * inverse[:, None]
    if has_weight:
        found *= tl.load(weight + channel, mask=known, other=0).to(center.dtype)[:, None]
    if has_bias:
        found += tl.load(bias + channel, mask=known, other=0).to(center.dtype)[:, None]
    tl.store(y + offset, found, mask=there)


def parameter_gradients(  # type: ignore[no-untyped-def]
    x, grad_y, mean, var, options, by_weight, by_bias, samples, channels, positions,
    BLOCK_C: tl.constexpr, BLOCK: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """The sums of grad_y * (x - mean) / sqrt(var + eps), and of grad_y, of each channel."""
    first = tl.program_id(0) * BLOCK_C
    channel = first + tl.arange(0, BLOCK_C)
    known = channel < channels
    center = tl.load(mean + channel, mask=known, other=0)
    inverse = 1 / tl.sqrt(tl.load(var + channel, mask=known, other=1) + tl.load(options))
    first_sum = tl.zeros((BLOCK_C, BLOCK), center.dtype)
    second_sum = tl.zeros((BLOCK_C, BLOCK), center.dtype)
    for start in range(0, samples * positions, BLOCK):
        offset, there = tile(start, first, samples, channels, positions, BLOCK_C, BLOCK)
        upstream = tl.load(grad_y + offset, mask=there, other=0).to(center.dtype)
        values = tl.load(x + offset, mask=there, other=0).to(center.dtype)
        first_sum += tl.where(there, upstream * ((values - center[:, None]) * inverse[:, None]), 0)
        second_sum += upstream
    tl.store(by_weight + channel, tl.sum(first_sum, axis=1), mask=known)
    tl.store(by_bias + channel, tl.sum(second_sum, axis=1), mask=known)


def input_gradient(  # type: ignore[no-untyped-def]
    x, grad_y, grad_x, mean, var, weight, options, by_weight, by_bias, samples, channels, positions,
    has_weight: tl.constexpr, of_batch: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """grad_x; `of_batch`: whether mean and var are the batch's own, so that gradients flow through them."""
    first = tl.program_id(0) * BLOCK_C
    start = tl.program_id(1) * BLOCK
    channel = first + tl.arange(0, BLOCK_C)
    known = channel < channels
    center = tl.load(mean + channel, mask=known, other=0)
    inverse = 1 / tl.sqrt(tl.load(var + channel, mask=known, other=1) + tl.load(options))
    offset, there = tile(start, first, samples, channels, positions, BLOCK_C, BLOCK)
    found = tl.load(grad_y + offset, mask=there, other=0).to(center.dtype)
    if of_batch:
        count = samples * positions
        values = tl.load(x + offset, mask=there, other=0).to(center.dtype)
        along_bias = tl.load(by_bias + channel, mask=known, other=0) / count
        along_weight = tl.load(by_weight + channel, mask=known, other=0) / count
        found -= along_bias[:, None]
        found -= (values - center[:, None]) * inverse[:, None] * along_weight[:, None]
    if has_weight:
        inverse *= tl.load(weight + channel, mask=known, other=0).to(center.dtype)
    tl.store(grad_x + offset, found * inverse[:, None], mask=there)


KERNELS = (batch_statistics, remember, normalise, parameter_gradients, input_gradient)


@cache
def kernels() -> SimpleNamespace:
    """The kernels, as Triton makes them: compiled, or for its interpreter."""
    import triton
    import triton.language

    globals().update(tl=triton.language, tile=triton.jit(tile))  # a kernel finds its names in its module
    return SimpleNamespace(**{kernel.__name__: triton.jit(kernel) for kernel in KERNELS})


# -- the layer ---------------------------------------------------------------------------------------------------------

BLOCK_C, TILE = 16, 4096
"""Channels of a program, and values of all its channels that it takes at a time; fewer where there are fewer."""


class TritonBatchNorm:
    """The layer: it keeps the state, and starts the kernels."""

    def __init__(self, config: Any, device: str) -> None:
        import torch

        self.config, self.device = config, device
        self.dtype = getattr(torch, config.dtype)
        options: dict[str, Any] = {"device": device, "dtype": getattr(torch, config.param_dtype)}
        self.wide = torch.promote_types(torch.promote_types(self.dtype, options["dtype"]), torch.float32)
        made = {
            "running_mean": torch.zeros(config.num_features, **options) if config.track_running_stats else None,
            "running_var": torch.ones(config.num_features, **options) if config.track_running_stats else None,
            "num_batches_tracked": torch.tensor(0) if config.track_running_stats else None,
            "weight": torch.ones(config.num_features, **options) if config.weight else None,
            "bias": torch.zeros(config.num_features, **options) if config.bias else None,
        }
        self.kept: dict[str, Any] = made

    def sizes(self, x: Any) -> tuple[int, int, int]:
        """(samples, channels, positions); ValueError for another rank or number of channels."""
        if x.ndim != self.config.ndim or x.shape[1] != self.config.num_features:
            raise ValueError(f"a layer of {self.config.num_features} channels and rank {self.config.ndim} was given "
                             f"x of shape {tuple(x.shape)}")  # fmt: skip
        return x.shape[0], x.shape[1], x.shape[2:].numel()

    def blocks(self, x: Any) -> tuple[int, int, dict[str, int]]:
        """The programs along the channels, and along the values, and the sizes of a block."""
        import triton

        samples, channels, positions = self.sizes(x)
        count = samples * positions
        block_c = min(BLOCK_C, triton.next_power_of_2(channels))
        block = min(TILE // block_c, max(triton.next_power_of_2(count), 1))
        return triton.cdiv(channels, block_c), triton.cdiv(count, block), {"BLOCK_C": block_c, "BLOCK": block}

    def options(self, count: int) -> Any:
        """Epsilon, the weight of the batch, n / (n - 1): a tensor, as a kernel's own numbers are single precision."""
        import torch

        momentum = self.config.momentum
        if momentum is None:
            momentum = 1 / max(int(self.kept["num_batches_tracked"] or 0), 1)
        return torch.tensor([self.config.eps, momentum, count / max(count - 1, 1)], dtype=self.wide, device=self.device)

    def statistics(self, x: Any, training: bool, *, moves: bool) -> tuple[Any, Any, bool]:
        """Mean and variance that normalise x, and whether they are the batch's own; ValueError for one value."""
        import torch

        samples, channels, positions = self.sizes(x)
        if not training and self.kept["running_mean"] is not None:
            return self.kept["running_mean"].to(self.wide), self.kept["running_var"].to(self.wide), False
        if samples * positions < 2:
            raise ValueError(f"a batch of {samples * positions} values a channel has no variance")
        mean, var = torch.empty((2, channels), dtype=self.wide, device=self.device)
        along, _, size = self.blocks(x)
        kernels().batch_statistics[(along,)](x, mean, var, samples, channels, positions, **size)
        if moves and self.kept["running_mean"] is not None:
            self.kept["num_batches_tracked"] += 1
            options = self.options(samples * positions)
            for name, batch in (("running_mean", mean), ("running_var", var)):
                arguments = (self.kept[name], batch, options, channels, int(name == "running_var"))
                kernels().remember[(along,)](*arguments, BLOCK_C=size["BLOCK_C"])
        return mean, var, True

    def forward(self, x: Any, training: bool) -> Any:
        """y, of the shape and dtype of x."""
        import torch

        x = x.contiguous()
        mean, var, _ = self.statistics(x, training, moves=True)
        y = torch.empty_like(x)
        weight, bias = self.kept["weight"], self.kept["bias"]
        along, across, size = self.blocks(x)
        has = {"has_weight": weight is not None, "has_bias": bias is not None}
        if across:
            kernels().normalise[(along, across)](
                x, y, mean, var, weight, bias, self.options(2), *self.sizes(x), **has, **size
            )
        return y

    def backward(self, x: Any, grad_y: Any, training: bool) -> tuple[Any, Any, Any]:
        """The gradients for x, weight and bias, through the statistics where they are the batch's; moves nothing."""
        import torch

        x, grad_y = x.contiguous(), grad_y.contiguous()
        mean, var, of_batch = self.statistics(x, training, moves=False)
        sums = torch.zeros((2, x.shape[1]), dtype=self.wide, device=self.device)
        grad_x, options, weight = torch.empty_like(x), self.options(2), self.kept["weight"]
        along, across, size = self.blocks(x)
        if across:
            kernels().parameter_gradients[(along,)](x, grad_y, mean, var, options, *sums, *self.sizes(x), **size)
            kernels().input_gradient[(along, across)](
                x, grad_y, grad_x, mean, var, weight, options, *sums, *self.sizes(x),
                has_weight=weight is not None, of_batch=of_batch, **size,
            )  # fmt: skip
        by_weight, by_bias = (
            total.to(self.kept[name].dtype) if self.kept[name] is not None else None
            for name, total in zip(("weight", "bias"), sums, strict=True)
        )
        return grad_x, by_weight, by_bias


# -- the adapter -------------------------------------------------------------------------------------------------------


def to_tensor(array: Array, device: str) -> Any:
    """The array as a tensor with the same strides; PyTorch has no negative ones, so those are copied."""
    import torch

    if any(stride < 0 for stride in array.strides):
        array = array.copy(order="K")
    if array.dtype.name == "bfloat16":  # PyTorch does not know NumPy's
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).to(device)
    return torch.from_numpy(array).to(device)


def to_array(tensor: Any) -> Array | None:
    """A copy of the tensor as an array; None of none."""
    import torch

    if tensor is None:
        return None
    tensor = tensor.detach().cpu()
    if tensor.dtype is torch.bfloat16:
        import ml_dtypes

        return np.array(tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16))
    return np.array(tensor.numpy())


class Layer:
    """The layer behind arrays."""

    def __init__(self, module: TritonBatchNorm) -> None:
        self.module = module

    def forward(self, x: Array, *, training: bool) -> Array | None:
        """The output, as the layer gives it."""
        return to_array(self.module.forward(to_tensor(x, self.module.device), training))

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array | None, ...]:
        """The gradients for x, weight and bias."""
        given, upstream = (to_tensor(array, self.module.device) for array in (x, grad_output))
        by_x, by_weight, by_bias = self.module.backward(given, upstream, training)
        return to_array(by_x), to_array(by_weight), to_array(by_bias)

    def state(self) -> dict[str, Array | None]:
        """Copies of what the layer remembers."""
        return {name: to_array(value) for name, value in self.module.kept.items()}

    def load(self, state: Mapping[str, Array | None]) -> None:
        """Set the given entries; ValueError for one that the layer does not have."""
        kept = self.module.kept
        given = {name: to_tensor(value, "cpu") for name, value in state.items() if value is not None}
        for name, value in given.items():
            if kept.get(name) is None or kept[name].shape != value.shape:
                raise ValueError(f"there is no {name} of shape {tuple(value.shape)} here")
        for name, value in given.items():
            kept[name].copy_(value)


class TritonKernels:
    """The layer."""

    name = "triton_kernel"
    deviations: Mapping[str, str] = {}
    unsupported: Mapping[str, str] = {}

    @property
    def packages(self) -> dict[str, str]:
        """What a result names."""
        return {"triton": version("triton")}

    def devices(self) -> list[str]:
        """The CPU where Triton's interpreter is asked for, else CUDA's devices; RuntimeError where there is neither."""
        import torch

        found = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        if os.environ.get("TRITON_INTERPRET") == "1":
            return ["cpu"]
        if not found:
            raise RuntimeError("there is no CUDA device; TRITON_INTERPRET=1 takes Triton's interpreter")
        return found

    def build(self, config: Any, device: str) -> Layer:
        """A layer of this configuration."""
        return Layer(TritonBatchNorm(config, device))

    def build_default(self, num_features: int, device: str) -> Layer:
        """A layer with the defaults of `Options`."""
        return Layer(TritonBatchNorm(Options(num_features), device))


class Options:
    """What a layer is made of where nothing but the channels is given: affine, tracked, of rank 4, in float32."""

    eps, momentum, weight, bias, track_running_stats = 1e-5, 0.1, True, True, True
    ndim, dtype, param_dtype = 4, "float32", "float32"

    def __init__(self, num_features: int) -> None:
        self.num_features = num_features
