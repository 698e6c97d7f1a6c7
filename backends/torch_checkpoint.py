"""PyTorch's BatchNorm under torch.utils.checkpoint, in both of its implementations; all else is that of torch.nn.

A step is made as a training loop makes it: the forward pass under checkpoint, then `backward` from the output, which is
all that the reentrant implementation supports.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnconform.backends.torch_layers import Gradients, TorchLayer, TorchNN
from bnconform.backends.torch_tensors import Array

PAGE = "https://docs.pytorch.org/docs/stable/checkpoint.html"
ADVANCED = (
    "'This can cause persistent states like the RNG state to be more advanced than they would without checkpointing'"
)


class CheckpointedLayer(TorchLayer):
    """A torch.nn layer whose steps with recomputation are under torch.utils.checkpoint."""

    reentrant = False

    def recomputed(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The gradients that `backward` leaves in x, weight and bias."""
        from torch.utils.checkpoint import checkpoint

        given = self._tensor(x).requires_grad_()
        self.module.zero_grad()
        checkpoint(self.call, given, training, use_reentrant=self.reentrant).backward(self._tensor(grad_output))
        return self._collect(given)

    def _collect(self, given: Any) -> Gradients:
        """What a backward pass has left in x, weight and bias."""
        tensors = self.tensors()
        parameters = {name: tensors[name] for name in ("weight", "bias") if tensors.get(name) is not None}
        return self._as_gradients(parameters, [given.grad, *(value.grad for value in parameters.values())])


class ReentrantLayer(CheckpointedLayer):
    """The same by the reentrant implementation."""

    reentrant = True


class CompiledStepLayer(CheckpointedLayer):
    """The same, the forward pass under checkpoint compiled as a whole by TorchInductor."""

    def recomputed(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The gradients of one step, which is compiled anew; what cannot be compiled as a whole raises."""
        import torch
        from torch.utils.checkpoint import checkpoint

        torch._dynamo.reset()
        self.module.train(training)
        step = torch.compile(
            lambda given: checkpoint(self.module, given, use_reentrant=False), fullgraph=True, dynamic=False
        )
        given = self._tensor(x).requires_grad_()
        self.module.zero_grad()
        step(given).backward(self._tensor(grad_output))
        return self._collect(given)


class TorchCheckpoint(TorchNN):
    """The layers of torch.nn under checkpoint(use_reentrant=False), which PyTorch recommends."""

    name = "torch.nn+checkpoint"
    deviations: Mapping[str, str] = {"recomputation_update": "twice"}
    documented: Mapping[str, str] = {"recomputation_update": f"{PAGE}: {ADVANCED}"}
    layer: type[CheckpointedLayer] = CheckpointedLayer

    def build(self, config: Any, device: str) -> CheckpointedLayer:
        """A layer of this configuration; NotImplementedError for what the row or the device does not have."""
        return self.layer(super().build(config, device).module, device)

    def build_default(self, num_features: int, device: str) -> CheckpointedLayer:
        """BatchNorm2d with its own defaults."""
        return self.layer(super().build_default(num_features, device).module, device)


class TorchReentrant(TorchCheckpoint):
    """The same under checkpoint(use_reentrant=True)."""

    name = "torch.nn+checkpoint_reentrant"
    layer = ReentrantLayer


class TorchCompiledCheckpoint(TorchCheckpoint):
    """The layers of torch.nn, a step's forward pass under checkpoint(use_reentrant=False) compiled as a whole."""

    name = "torch.nn+checkpoint+compile"
    deviations: Mapping[str, str] = {}
    documented: Mapping[str, str] = {}
    layer = CompiledStepLayer
    slow_to_start = True
