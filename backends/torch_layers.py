"""PyTorch's BatchNorm: the layers, eager, lazy and in channels-last memory, and the function beneath them.

Everything runs as a user runs it: gradients recorded, the mode set by `train`, the state moved by `load_state_dict`.
PyTorch's errors pass through as they are. `bnconform.backends.torch_compiled` has the compiled layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bnconform.backends.torch_tensors import Array, devices, to_array, to_tensor, torch_dtype
from bnconform.backends.torch_transforms import REFUSED, TransformedTorchLayer

Gradients = tuple[Array, Array | None, Array | None]

STATE = ("running_mean", "running_var", "num_batches_tracked", "weight", "bias")


def takes_bias() -> bool:
    """Whether this PyTorch's layers can have a weight and no bias; nothing of PyTorch is imported to know it."""
    try:
        major, minor = version("torch").split(".")[:2]
    except PackageNotFoundError:
        return True
    return (int(major), int(minor)) >= (2, 13)


ONE_PARAMETER = {"bias": "PyTorch's layers have no bias without a weight: affine=False leaves out both"}
"""Why a layer cannot have a parameter alone, by the one that it has."""
if not takes_bias():
    ONE_PARAMETER["weight"] = "PyTorch's layers take bias=False from 2.13 on"

UNSUPPORTED = {
    **{f"{name}_alone": reason for name, reason in ONE_PARAMETER.items()},
    "masked": "PyTorch's layers take no mask",
    **REFUSED,
}


class TorchLayer(TransformedTorchLayer):
    """A torch.nn module behind arrays; `arrange` is applied to every tensor that goes in."""

    def __init__(self, module: Any, device: str, arrange: Callable[[Any], Any] | None = None) -> None:
        self.module = module
        self.device = device
        self.arrange = arrange
        # Where x does not go in as it lies, nor do results come out as they lie for it.
        self.keeps_strides = arrange is None

    def forward(self, x: Array, *, training: bool) -> Array:
        """y, of the shape and dtype of x."""
        return to_array(self.call(self._tensor(x), training))

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients for x, weight and bias, by autograd through one more forward pass."""
        return self._record(self._tensor(x), training, keep=False)[1](grad_output)

    def vjp(self, x: Array, *, training: bool) -> tuple[Array, Callable[[Array], Gradients]]:
        """(y, pullback), by autograd, which keeps x: so it is given a copy, as the caller may write to x."""
        y, pullback = self._record(self._tensor(x).clone(), training, keep=True)
        return to_array(y), pullback

    def _record(self, given: Any, training: bool, *, keep: bool) -> tuple[Any, Callable[[Array], Gradients]]:
        """y, and what gives the gradients; `keep`: whether the graph outlives the first of them."""
        import torch

        given.requires_grad_()
        parameters = self.parameters()
        y = self.call(given, training)

        def pullback(grad_output: Array) -> Gradients:
            asked = {name: value for name, value in parameters.items() if value.requires_grad}
            wanted = [given, *asked.values()]
            return self._as_gradients(
                asked, torch.autograd.grad(y, wanted, self._tensor(grad_output), retain_graph=keep)
            )

        return y, pullback

    def jvp(self, x: Array, tangent: Array, *, training: bool) -> tuple[Array, Array]:
        """(y, tangent_y), by forward-mode automatic differentiation."""
        from torch.autograd import forward_ad

        with forward_ad.dual_level():
            given = forward_ad.make_dual(self._tensor(x), self._tensor(tangent))
            y, tangent_y = forward_ad.unpack_dual(self.call(given, training))
            return to_array(y), to_array(tangent_y)

    def hvp(self, x: Array, grad_output: Array, vector: Array, *, training: bool) -> Gradients:
        """The derivatives of the gradients along the vector, by autograd through autograd; 0 where none flows."""
        import torch

        given = self._tensor(x).requires_grad_()
        parameters = self.parameters()
        y = self.call(given, training)
        # It asks for its gradient, so that the one for x always has a graph, if only to zeros.
        upstream = self._tensor(grad_output).requires_grad_()
        (grad_x,) = torch.autograd.grad(y, given, upstream, create_graph=True)
        wanted = [given, *parameters.values()]
        found = torch.autograd.grad(grad_x, wanted, self._tensor(vector), materialize_grads=True)
        return self._as_gradients(parameters, found)

    def third(self, x: Array, grad_output: Array, vector: Array, second: Array, *, training: bool) -> Array:
        """The derivative of that of the gradient along the vector, along a second one, by autograd three times."""
        import torch

        given = self._tensor(x).requires_grad_()
        found = self.call(given, training)
        for upstream in (grad_output, vector, second):
            # Each asks for its gradient, so that what comes next always has a graph, if only to zeros.
            (found,) = torch.autograd.grad(
                found, given, self._tensor(upstream).requires_grad_(), create_graph=True, materialize_grads=True
            )
        return to_array(found.detach())

    def parameters(self) -> dict[str, Any]:
        """The weight and the bias, as far as they are there and ask for a gradient."""
        tensors = self.tensors()
        there = {name: tensors[name] for name in ("weight", "bias") if tensors.get(name) is not None}
        return {name: value for name, value in there.items() if value.requires_grad}

    def _as_gradients(self, parameters: Iterable[str], found: Iterable[Any]) -> Gradients:
        """What there is for x and each of the parameters, as arrays, each in its place."""
        by_x, *rest = map(to_array, found)
        by_name = dict(zip(parameters, rest, strict=True))
        return by_x, by_name.get("weight"), by_name.get("bias")

    def state(self) -> dict[str, Array | None]:
        """Copies of what the layer remembers."""
        tensors = self.tensors()
        return {name: to_array(tensors[name]) if name in tensors else None for name in STATE}

    def load(self, state: Mapping[str, Array | None]) -> None:
        """Set the given entries; RuntimeError, from PyTorch, for one that the layer does not have."""
        given = {name: to_tensor(value, self.device) for name, value in state.items() if value is not None}
        self.module.load_state_dict({**self.module.state_dict(), **given})

    def reset(self) -> None:
        """Make statistics and counter as they are when new, by PyTorch's own method."""
        self.module.reset_running_stats()

    def gradient_history(self) -> list[str]:
        """The statistics that ask for a gradient, or were computed from what does."""
        tensors = self.tensors()
        return [name for name in ("running_mean", "running_var") if name in tensors and tensors[name].requires_grad]

    def set(self, **options: Any) -> None:
        """Assign to the module's attributes, which are called as the options are."""
        for name, value in options.items():
            setattr(self.module, name, value)

    def call(self, x: Any, training: bool) -> Any:
        """One forward pass, tensor to tensor."""
        return self.module.train(training)(x)

    def tensors(self) -> dict[str, Any]:
        """What the layer remembers, by name, weight before bias; only what there is."""
        found: dict[str, Any] = self.module.state_dict(keep_vars=True)
        return found

    def _tensor(self, array: Array) -> Any:
        tensor = to_tensor(array, self.device)
        return tensor if self.arrange is None else self.arrange(tensor)


def module(config: Any, device: str, prefix: str = "", **arguments: Any) -> Any:
    """A torch.nn layer of this configuration: BatchNorm1d at ranks 2 and 3, 2d at 4, 3d at 5."""
    from torch import nn

    for name, lacking in ONE_PARAMETER.items():
        if getattr(config, name) and config.weight != config.bias:
            raise NotImplementedError(lacking)
    if config.weight != config.bias:
        arguments["bias"] = config.bias
    torch_dtype(config.dtype, device)  # the device may lack the input's dtype
    return getattr(nn, f"{prefix}BatchNorm{max(config.ndim - 2, 1)}d")(
        **arguments,
        eps=config.eps,
        momentum=config.momentum,
        affine=config.weight,
        track_running_stats=config.track_running_stats,
        device=device,
        dtype=torch_dtype(config.param_dtype, device),
    )


class TorchNN:
    """BatchNorm1d, BatchNorm2d and BatchNorm3d, eager."""

    name = "torch.nn"
    deviations: Mapping[str, str] = {}
    unsupported: Mapping[str, str] = UNSUPPORTED
    unsupported_on: Mapping[str, Mapping[str, str]] = {"mps": {"float64": "Apple's GPU has no float64"}}

    def devices(self) -> list[str]:
        """See `torch_tensors.devices`."""
        return devices()

    def build(self, config: Any, device: str) -> TorchLayer:
        """A layer of this configuration; NotImplementedError for what the row or the device does not have."""
        return TorchLayer(module(config, device, num_features=config.num_features), device)

    def build_default(self, num_features: int, device: str) -> TorchLayer:
        """BatchNorm2d with its own defaults."""
        from torch import nn

        return TorchLayer(nn.BatchNorm2d(num_features, device=device), device)


class TorchLazy(TorchNN):
    """The lazy layers, which take the number of channels from the first input they see.

    Before that input they have no state to show, so `build` shows them one of zeros, in evaluation mode (which moves
    nothing) and of two values a channel (because without tracking evaluation, too, needs a variance).
    """

    name = "torch.nn+lazy"

    def build(self, config: Any, device: str) -> TorchLayer:
        """A layer of this configuration that has seen its first input."""
        shape = (2, config.num_features, *(1,) * (config.ndim - 2))
        return self._materialise(module(config, device, "Lazy"), shape, device, torch_dtype(config.dtype, device))

    def build_lazy(self, config: Any, device: str) -> TorchLayer:
        """A layer that has seen no input."""
        return TorchLayer(module(config, device, "Lazy"), device)

    def build_default(self, num_features: int, device: str) -> TorchLayer:
        """LazyBatchNorm2d with its own defaults, having seen its first input."""
        import torch

        layer = torch.nn.LazyBatchNorm2d(device=device)
        return self._materialise(layer, (2, num_features, 1, 1), device, torch.float32)

    def _materialise(self, layer: Any, shape: tuple[int, ...], device: str, dtype: Any) -> TorchLayer:
        import torch

        layer.eval()(torch.zeros(shape, device=device, dtype=dtype))
        return TorchLayer(layer, device)


class TorchChannelsLast(TorchNN):
    """BatchNorm2d and BatchNorm3d given channels-last x and grad_output, for which PyTorch has kernels of their own."""

    name = "torch.nn+channels_last"
    unsupported: Mapping[str, str] = {
        **UNSUPPORTED,
        "rank_2": "channels-last memory is a format of ranks 4 and 5",
        "rank_3": "channels-last memory is a format of ranks 4 and 5",
    }

    def build(self, config: Any, device: str) -> TorchLayer:
        """A layer of this configuration; NotImplementedError at ranks 2 and 3."""
        if config.ndim < 4:
            raise NotImplementedError(self.unsupported[f"rank_{config.ndim}"])
        return TorchLayer(module(config, device, num_features=config.num_features), device, channels_last)

    def build_default(self, num_features: int, device: str) -> TorchLayer:
        """BatchNorm2d with its own defaults."""
        return TorchLayer(super().build_default(num_features, device).module, device, channels_last)


def channels_last(tensor: Any) -> Any:
    """The same values in channels-last memory, where the rank has such a format."""
    import torch

    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return tensor.to(memory_format=formats[tensor.ndim]) if tensor.ndim in formats else tensor
