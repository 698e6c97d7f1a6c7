"""TorchScript: a model scripted, traced, frozen, and optimised for inference."""

from __future__ import annotations

import copy
from typing import Any

from bnconform.backends.deployments.torch_models import TorchDeployment, predictor, quietly
from bnconform.backends.torch_tensors import to_tensor


class JitScript(TorchDeployment):
    """torch.jit.script."""

    name = "torch.jit.script"

    def deploy(self, original: Any, example: Any) -> Any:
        """The scripted model, of a copy, whose statistics it would share."""
        import torch

        return predictor(quietly(lambda: torch.jit.script(copy.deepcopy(original))))


class JitTrace(TorchDeployment):
    """torch.jit.trace, with its own check of what it traced left as it is."""

    name = "torch.jit.trace"

    def deploy(self, original: Any, example: Any) -> Any:
        """The traced model, of a copy, whose statistics it would share."""
        import torch

        given = to_tensor(example, "cpu")
        return predictor(quietly(lambda: torch.jit.trace(copy.deepcopy(original), given)))


class JitFreeze(TorchDeployment):
    """torch.jit.freeze of a scripted model: parameters become constants, and a BatchNorm is folded into them."""

    name = "torch.jit.freeze"

    def deploy(self, original: Any, example: Any) -> Any:
        """The frozen model."""
        import torch

        return predictor(quietly(lambda: torch.jit.freeze(torch.jit.script(copy.deepcopy(original)))))


class JitOptimized(TorchDeployment):
    """torch.jit.optimize_for_inference of a scripted model."""

    name = "torch.jit.optimize_for_inference"

    def deploy(self, original: Any, example: Any) -> Any:
        """The optimised model."""
        import torch

        scripted = quietly(lambda: torch.jit.script(copy.deepcopy(original)))
        return predictor(quietly(lambda: torch.jit.optimize_for_inference(scripted)))
