"""A BatchNorm written as a custom torch.autograd.Function, and the adapter through which it is judged.

The first half stands for a project's own code, and knows nothing of the suite; it would be a module of its own, with
`import torch` at its top. The second half is the adapter: it calls the first, and computes nothing. backends/README.md
walks through it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# -- the implementation ------------------------------------------------------------------------------------------------


@cache
def batch_norm_function() -> Any:
    """The autograd function; a class, made when it is first needed because its base is PyTorch's."""
    import torch

    class BatchNormFunction(torch.autograd.Function):
        """(x - mean) / sqrt(var + eps) * weight + bias, with the gradients of Ioffe and Szegedy 2015, section 3."""

        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any, bias: Any, mean: Any, var: Any, eps: float, batch: bool) -> Any:
            """`batch`: whether mean and var, each (C,), are the batch's own, so that gradients flow through them."""
            along = (1, -1) + (1,) * (x.ndim - 2)
            inverse_std = torch.rsqrt(var + eps)
            normalized = (x.to(mean.dtype) - mean.view(along)) * inverse_std.view(along)
            ctx.save_for_backward(normalized, inverse_std, weight)
            ctx.batch, ctx.input_dtype = batch, x.dtype
            y = normalized if weight is None else normalized * weight.view(along) + bias.view(along)
            return y.to(x.dtype)

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            """The gradients for x, weight and bias, and none for the rest."""
            normalized, inverse_std, weight = ctx.saved_tensors
            axes, along = (0, *range(2, normalized.ndim)), (1, -1) + (1,) * (normalized.ndim - 2)
            grad_output = grad_output.to(normalized.dtype)
            by_weight, by_bias = (grad_output * normalized).sum(axes), grad_output.sum(axes)
            grad_x = grad_output
            if ctx.batch:
                count = normalized.numel() // normalized.shape[1]
                grad_x = grad_x - (by_bias / count).view(along) - normalized * (by_weight / count).view(along)
            scale = inverse_std if weight is None else inverse_std * weight
            grad_x = (grad_x * scale.view(along)).to(ctx.input_dtype)
            if weight is None:
                return grad_x, *(None,) * 6
            return grad_x, by_weight.to(weight.dtype), by_bias.to(weight.dtype), *(None,) * 4

    return BatchNormFunction


class BatchNorm:
    """A layer around the function. The running variance remembers the biased variance, as this docstring says.

    It takes a number as momentum, the weight of the new batch.
    """

    def __init__(
        self, channels: int, eps: float = 1e-5, momentum: float = 0.1, *,
        affine: bool = True, track: bool = True, device: str = "cpu", dtype: Any = None,
    ) -> None:  # fmt: skip
        import torch

        options: dict[str, Any] = {"device": device, "dtype": dtype or torch.float32}
        self.channels, self.eps, self.momentum = channels, eps, momentum
        self.weight: Any = torch.ones(channels, **options, requires_grad=True) if affine else None
        self.bias: Any = torch.zeros(channels, **options, requires_grad=True) if affine else None
        self.moving_mean: Any = torch.zeros(channels, **options) if track else None
        self.moving_var: Any = torch.ones(channels, **options) if track else None

    def __call__(self, x: Any, training: bool) -> Any:
        """y; moves the statistics in training."""
        import torch

        if x.shape[1] != self.channels or (training and x.numel() == x.shape[1]):
            raise ValueError(f"cannot normalise a batch of shape {tuple(x.shape)} over {self.channels} channels")
        wide = torch.promote_types(x.dtype, torch.float32 if self.weight is None else self.weight.dtype)
        wide = torch.promote_types(wide, torch.float32)
        batch = training or self.moving_mean is None
        if batch:
            var, mean = torch.var_mean(x.detach().to(wide), (0, *range(2, x.ndim)), correction=0)
        else:
            var, mean = self.moving_var.to(wide), self.moving_mean.to(wide)
        if training and self.moving_mean is not None and x.numel():
            self.moving_mean.lerp_(mean.to(self.moving_mean.dtype), self.momentum)
            self.moving_var.lerp_(var.to(self.moving_var.dtype), self.momentum)
        return batch_norm_function().apply(x, self.weight, self.bias, mean, var, self.eps, batch)


# -- the adapter -------------------------------------------------------------------------------------------------------


def to_tensor(array: Array, device: str) -> Any:
    """The array as a tensor with the same strides; PyTorch has no negative ones, so those are copied."""
    import torch

    if any(stride < 0 for stride in array.strides):
        array = array.copy(order="K")
    if array.dtype.name == "bfloat16":  # PyTorch does not know NumPy's
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).to(device)
    return torch.from_numpy(array).to(device)


def to_array(tensor: Any) -> Array:
    """A copy of the tensor as an array."""
    import torch

    tensor = tensor.detach().cpu()
    if tensor.dtype is torch.bfloat16:
        import ml_dtypes

        return np.array(tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16))
    return np.array(tensor.numpy())


NAMES = {"running_mean": "moving_mean", "running_var": "moving_var", "weight": "weight", "bias": "bias"}
"""What the layer calls the entries of its state. It counts no batches, so there is no num_batches_tracked."""


class Layer:
    """The layer behind arrays."""

    def __init__(self, module: BatchNorm, device: str) -> None:
        self.module = module
        self.device = device

    def arrange(self, array: Array) -> Any:
        """The tensor that the layer is given."""
        return to_tensor(array, self.device)

    def forward(self, x: Array, *, training: bool) -> Array:
        """The output, as the layer gives it."""
        return to_array(self.module(self.arrange(x), training))

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array | None, ...]:
        """The gradients for x, weight and bias, by autograd through one more forward pass."""
        import torch

        given = self.arrange(x).requires_grad_()
        parameters = [value for value in (self.module.weight, self.module.bias) if value is not None]
        y = self.module(given, training)
        found = torch.autograd.grad(y, [given, *parameters], self.arrange(grad_output))
        return (*map(to_array, found), *(None,) * (3 - len(found)))

    def state(self) -> dict[str, Array | None]:
        """Copies of what the layer remembers."""
        values = {name: getattr(self.module, own) for name, own in NAMES.items()}
        return {name: None if value is None else to_array(value) for name, value in values.items()}

    def load(self, state: Mapping[str, Array | None]) -> None:
        """Set the given entries; an error for one that the layer does not have."""
        import torch

        given = {name: to_tensor(value, self.device) for name, value in state.items() if value is not None}
        for name, value in given.items():
            current = getattr(self.module, NAMES[name]) if name in NAMES else None
            if current is None or current.shape != value.shape:
                raise ValueError(f"there is no {name} of shape {tuple(value.shape)} here")
        with torch.no_grad():
            for name, value in given.items():
                getattr(self.module, NAMES[name]).copy_(value)


class CustomFunction:
    """The layer, eager."""

    name = "custom_function"
    deviations: Mapping[str, str] = {"running_variance": "biased"}
    documented: Mapping[str, str] = {
        "running_variance": "backends/examples/custom_function.py: 'The running variance remembers the biased variance'"
    }
    unsupported: Mapping[str, str] = {
        "momentum_none": "the layer takes a number; it counts no batches to average",
        "weight_alone": "affine is about weight and bias together",
        "bias_alone": "affine is about weight and bias together",
    }
    unsupported_on: Mapping[str, Mapping[str, str]] = {"mps": {"float64": "Apple's GPU has no float64"}}

    kind: type[Layer] = Layer

    def devices(self) -> list[str]:
        """The CPU, and every CUDA device."""
        import torch

        return ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]

    def build(self, config: Any, device: str) -> Layer:
        """A layer of this configuration; NotImplementedError for momentum=None."""
        import torch

        if config.momentum is None:
            raise NotImplementedError(self.unsupported["momentum_none"])
        if config.weight != config.bias:
            raise NotImplementedError(self.unsupported["weight_alone" if config.weight else "bias_alone"])
        module = BatchNorm(
            config.num_features, config.eps, config.momentum, affine=config.weight,
            track=config.track_running_stats, device=device, dtype=getattr(torch, config.param_dtype),
        )  # fmt: skip
        return self.kind(module, device)

    def build_default(self, num_features: int, device: str) -> Layer:
        """A layer with its own defaults."""
        return self.kind(BatchNorm(num_features, device=device), device)


class ChannelsLast(Layer):
    """The layer given tensors in channels-last memory."""

    def arrange(self, array: Array) -> Any:
        """The same values, otherwise laid out."""
        import torch

        return super().arrange(array).to(memory_format=torch.channels_last)


class CustomFunctionChannelsLast(CustomFunction):
    """The same layer on channels-last memory: a variant, and a row of its own."""

    name = "custom_function+channels_last"
    unsupported: Mapping[str, str] = {
        **CustomFunction.unsupported,
        **{f"rank_{rank}": "channels-last memory is a format of rank 4 here" for rank in (2, 3, 5)},
    }
    kind = ChannelsLast

    def build(self, config: Any, device: str) -> Layer:
        """A layer of this configuration; NotImplementedError but at rank 4."""
        if config.ndim != 4:
            raise NotImplementedError(self.unsupported[f"rank_{config.ndim}"])
        return super().build(config, device)
