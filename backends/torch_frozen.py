"""PyTorch's BatchNorm, frozen as PyTorch freezes parameters; all else is that of torch.nn.

PyTorch has no attribute that freezes a layer: `requires_grad_(False)` is its way to keep parameters from being trained,
and `eval()`, the layer's mode, is what keeps statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnconform.backends.torch_layers import TorchLayer, TorchNN

NOTES = "https://docs.pytorch.org/docs/stable/notes/autograd.html"
APART = (
    "'To freeze parts of your model, simply apply .requires_grad_(False) to the parameters', of which statistics are "
    "none; 'You are responsible for calling model.eval()' with torch.nn.BatchNorm2d, 'to avoid updating your BatchNorm "
    "running statistics'"
)


class FreezableLayer(TorchLayer):
    """A torch.nn layer whose parameters are frozen by requires_grad_."""

    def freeze(self, frozen: bool) -> None:
        """Of every parameter of the module, by PyTorch's own method."""
        self.module.requires_grad_(not frozen)


class TorchFrozen(TorchNN):
    """The layers of torch.nn, which requires_grad_(False) freezes."""

    name = "torch.nn+frozen"
    deviations: Mapping[str, str] = {"frozen_mode": "training"}
    documented: Mapping[str, str] = {"frozen_mode": f"{NOTES}: {APART}"}

    def build(self, config: Any, device: str) -> FreezableLayer:
        """A layer of this configuration; NotImplementedError for what the row or the device does not have."""
        return FreezableLayer(super().build(config, device).module, device)

    def build_default(self, num_features: int, device: str) -> FreezableLayer:
        """BatchNorm2d with its own defaults."""
        return FreezableLayer(super().build_default(num_features, device).module, device)
