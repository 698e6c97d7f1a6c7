"""torch.nn's layers under settings that a process has: each a row of its own, for comparison with `torch.nn`.

    bnconform --backend backends/examples/torch_settings.py:Deterministic --device cuda:0

A backend that is given as a file has a process of its own, so a setting is made once, when the first layer is, and
reaches the backward passes, which run in threads of autograd's. On the CPU, where cuDNN and TF32 have nothing to say,
`NoCudnn` and `Tf32` must give the bits of `torch.nn`.
"""

from __future__ import annotations

from typing import Any

from bnconform.backends.torch_layers import TorchLayer, TorchNN


class Settled(TorchNN):
    """`torch.nn` in a process in which `settle` was called."""

    def settle(self) -> None:
        """Make the setting; nothing where it is made already."""
        raise NotImplementedError

    def build(self, config: Any, device: str) -> TorchLayer:
        """See `TorchNN.build`."""
        self.settle()
        return super().build(config, device)

    def build_default(self, num_features: int, device: str) -> TorchLayer:
        """See `TorchNN.build_default`."""
        self.settle()
        return super().build_default(num_features, device)


class NoCudnn(Settled):
    """Without cuDNN: PyTorch's own kernels alone."""

    name = "torch.nn+no_cudnn"

    def settle(self) -> None:
        """Switch cuDNN off."""
        import torch

        torch.backends.cudnn.enabled = False


class Tf32(Settled):
    """With TF32 wherever PyTorch has a switch for it; a BatchNorm multiplies no matrices, and should not mind."""

    name = "torch.nn+tf32"

    def settle(self) -> None:
        """Allow TF32 in matrix products and in cuDNN."""
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True


class Deterministic(Settled):
    """With deterministic algorithms; an operator that has none raises."""

    name = "torch.nn+deterministic"

    def settle(self) -> None:
        """Ask PyTorch and cuDNN for deterministic algorithms."""
        import torch

        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


class AutocastLayer(TorchLayer):
    """A module whose forward passes run under autocast; its backward passes run outside, as PyTorch recommends."""

    def call(self, x: Any, training: bool) -> Any:
        """One forward pass, tensor to tensor."""
        import torch

        with torch.autocast(torch.device(self.device).type):
            return super().call(x, training)


class Autocast(TorchNN):
    """Under torch.autocast, with the device's own lower precision; no list of autocast's names the normalisation."""

    name = "torch.nn+autocast"

    def build(self, config: Any, device: str) -> TorchLayer:
        """See `TorchNN.build`."""
        return AutocastLayer(super().build(config, device).module, device)

    def build_default(self, num_features: int, device: str) -> TorchLayer:
        """See `TorchNN.build_default`."""
        return AutocastLayer(super().build_default(num_features, device).module, device)
