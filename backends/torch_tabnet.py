"""Ghost batch normalization of pytorch-tabnet: its GBN, which gives pieces of a batch to PyTorch's BatchNorm1d.

GBN makes its own layer, with a momentum and nothing besides: that layer is replaced by one of torch.nn with every
option of the configuration, and for its rank, as `bn` is an attribute like any other. How a batch is divided, and that
every piece goes through the one layer, is GBN's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnconform.backends.torch_layers import TorchLayer, TorchNN
from bnconform.backends.torch_layers import module as torch_module

PAGE = "https://github.com/dreamquark-ai/tabnet"
WORDS = "virtual_batch_size (default=128): 'Size of the mini batches used for \"Ghost Batch Normalization\"'"


class GhostLayer(TorchLayer):
    """A GBN behind arrays; what it remembers is what its layer does."""

    def call(self, x: Any, training: bool) -> Any:
        """One forward pass, tensor to tensor."""
        return self.ghost.train(training)(x)

    @property
    def ghost(self) -> Any:
        """The GBN around the layer of this adapter."""
        from pytorch_tabnet.tab_network import GBN

        found = GBN(self.module.num_features)
        found.bn = self.module
        return found


class TabnetGhost(TorchNN):
    """GBN with its default of 128 samples a piece."""

    name = "tabnet.gbn"
    deviations: Mapping[str, str] = {"virtual_batch": "even_pieces_of_128"}
    documented: Mapping[str, str] = {"virtual_batch": f"{PAGE}: {WORDS}"}

    def build(self, config: Any, device: str) -> GhostLayer:
        """A layer of this configuration; NotImplementedError for what the row or the device does not have."""
        return GhostLayer(torch_module(config, device, num_features=config.num_features), device)

    def build_default(self, num_features: int, device: str) -> GhostLayer:
        """NotImplementedError: GBN's own layer is a BatchNorm1d, and defaults are asked for at rank 4."""
        raise NotImplementedError("GBN's own layer is a BatchNorm1d, which takes ranks 2 and 3")
