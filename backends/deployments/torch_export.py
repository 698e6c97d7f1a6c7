"""torch.export: the program of a model, as it is and with the operators taken apart."""

from __future__ import annotations

from typing import Any

from bnconform.backends.deployments.torch_models import TorchDeployment, predictor
from bnconform.backends.torch_tensors import to_tensor


def export(original: Any, example: Any) -> Any:
    """The program, for any number of samples."""
    import torch

    batch = torch.export.Dim("batch")
    return torch.export.export(original, (to_tensor(example, "cpu"),), dynamic_shapes=({0: batch},))


class TorchExport(TorchDeployment):
    """torch.export.export."""

    name = "torch.export"

    def deploy(self, original: Any, example: Any) -> Any:
        """The program's module."""
        return predictor(export(original, example).module())


class TorchDecomposed(TorchDeployment):
    """torch.export.export and run_decompositions."""

    name = "torch.export+decompositions"

    def deploy(self, original: Any, example: Any) -> Any:
        """The module of the decomposed program."""
        return predictor(export(original, example).run_decompositions().module())
