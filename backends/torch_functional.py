"""torch.nn.functional.batch_norm and torch.native_batch_norm, given tensors that the adapter keeps for them.

The function has no state and so no initial state, no counter and no cumulative average: the buffers start at 0 and 1
and the parameters at 1 and 0 because the adapter says so, `num_batches_tracked` is absent, and `momentum=None` is
unsupported. Its `training` flag says whether the batch's statistics normalise; without buffers it has to be set in
evaluation too, since the function refuses to evaluate without statistics. torch.native_batch_norm, into which export
takes the function apart, is asked likewise; it checks nothing that the function checks, and has no defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnconform.backends.torch_layers import TorchLayer, TorchNN
from bnconform.backends.torch_tensors import Array, devices, to_array, to_tensor, torch_dtype
from bnconform.backends.torch_transforms import REFUSED


class FunctionalLayer(TorchLayer):
    """The function with its tensors; `options` are eps and momentum, or nothing for the function's own defaults."""

    def __init__(self, tensors: dict[str, Any], device: str, **options: float) -> None:
        super().__init__(None, device)
        self.kept = tensors
        self.options = options

    def call(self, x: Any, training: bool) -> Any:
        """One forward pass, tensor to tensor."""
        from torch.nn.functional import batch_norm

        given: dict[str, Any] = {
            name: self.kept.get(name) for name in ("running_mean", "running_var", "weight", "bias")
        }
        return batch_norm(x, **given, training=training or given["running_mean"] is None, **self.options)

    reset: Any = None
    set: Any = None
    """The function keeps nothing that it could reset, and no options."""

    vmap_layers: Any = None
    eval_shape: Any = None
    """Nor is there a layer that could be stacked, or be copied to the meta device."""

    def tensors(self) -> dict[str, Any]:
        """What there is of buffers and parameters."""
        return self.kept

    def load(self, state: Mapping[str, Array | None]) -> None:
        """Set the given entries; ValueError, nothing set, for one that does not exist here or has another shape."""
        import torch

        given = {name: to_tensor(value, self.device) for name, value in state.items() if value is not None}
        for name, value in given.items():
            if name not in self.kept or self.kept[name].shape != value.shape:
                raise ValueError(f"there is no {name} of shape {tuple(value.shape)} here")
        with torch.no_grad():
            for name, value in given.items():
                self.kept[name].copy_(value)


class NativeLayer(FunctionalLayer):
    """The operator with its tensors."""

    def call(self, x: Any, training: bool) -> Any:
        """The first of the operator's three outputs; the other two are what its backward pass wants to know."""
        return self.outputs(x, training)[0]

    def outputs(self, x: Any, training: bool) -> Any:
        """The operator's three outputs."""
        import torch

        names = ("weight", "bias", "running_mean", "running_var")
        weight, bias, *statistics = (self.kept.get(name) for name in names)
        momentum, eps = self.options["momentum"], self.options["eps"]
        training = training or "running_mean" not in self.kept
        return torch.native_batch_norm(x, weight, bias, *statistics, training, momentum, eps)

    def saved_statistics(self, x: Array, *, training: bool) -> dict[str, Array]:
        """The second and the third output, save_mean and save_invstd; the statistics move."""
        _, save_mean, save_invstd = self.outputs(self._tensor(x), training)
        return {"mean": to_array(save_mean), "invstd": to_array(save_invstd)}


class TorchFunctional:
    """torch.nn.functional.batch_norm."""

    name = "torch.functional"
    layer: type[FunctionalLayer] = FunctionalLayer
    deviations: Mapping[str, str] = {}
    unsupported_on = TorchNN.unsupported_on
    unsupported: Mapping[str, str] = {
        "momentum_none": "the function takes a number; the cumulative average is the layer's own doing",
        "masked": "PyTorch's batch normalization takes no mask",
        "vmap_tracked": REFUSED["vmap_tracked"],
    }

    def devices(self) -> list[str]:
        """See `torch_tensors.devices`."""
        return devices()

    def build(self, config: Any, device: str) -> FunctionalLayer:
        """A layer of this configuration; NotImplementedError for momentum=None."""
        if config.momentum is None:
            raise NotImplementedError(self.unsupported["momentum_none"])
        torch_dtype(config.dtype, device)  # the device may lack the input's dtype
        tensors = _tensors(config.num_features, device, torch_dtype(config.param_dtype, device))
        dropped = {name for name in ("weight", "bias") if not getattr(config, name)}
        dropped |= set() if config.track_running_stats else {"running_mean", "running_var"}
        kept = {name: value for name, value in tensors.items() if name not in dropped}
        return self.layer(kept, device, eps=config.eps, momentum=config.momentum)

    def build_default(self, num_features: int, device: str) -> FunctionalLayer:
        """All four tensors, and the function's own eps and momentum."""
        return FunctionalLayer(_tensors(num_features, device, torch_dtype("float32", device)), device)


class TorchNative(TorchFunctional):
    """torch.native_batch_norm, the operator."""

    name = "torch.native_batch_norm"
    layer = NativeLayer

    def build_default(self, num_features: int, device: str) -> FunctionalLayer:
        """NotImplementedError: the operator has no default for anything."""
        raise NotImplementedError("torch.native_batch_norm has no default for momentum and eps")


def _tensors(num_features: int, device: str, dtype: Any) -> dict[str, Any]:
    import torch

    def full(value: float, *, learnt: bool = False) -> Any:
        return torch.full((num_features,), value, device=device, dtype=dtype, requires_grad=learnt)

    return {
        "running_mean": full(0.0),
        "running_var": full(1.0),
        "weight": full(1.0, learnt=True),
        "bias": full(0.0, learnt=True),
    }
