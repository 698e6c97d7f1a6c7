"""PyTorch as it is: the control. Nothing is folded; the module is called in the mode that its layers are in."""

from __future__ import annotations

from typing import Any

from bnconform.backends.deployments.torch_models import TorchDeployment, predictor


class TorchEager(TorchDeployment):
    """The module itself."""

    name = "torch.eager"

    def deploy(self, original: Any, example: Any) -> Any:
        """Its own call, on a copy, as a BatchNorm in training moves its statistics."""
        import copy

        return predictor(copy.deepcopy(original))
