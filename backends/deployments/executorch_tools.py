"""ExecuTorch: a program for devices, run here by its own runtime, with its portable kernels and with XNNPACK's.

The program is for one to eight samples, as the runtime plans its memory ahead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from bnconform.backends.deployments.torch_models import TorchDeployment, quietly
from bnconform.backends.torch_tensors import Array, to_array, to_tensor

MOST = 8
"""Samples that a program takes at most."""


class ExecuTorch(TorchDeployment):
    """to_edge_transform_and_lower and to_executorch, with the portable kernels."""

    name = "executorch"
    slow_to_start = True

    def partitioners(self) -> list[Any]:
        """What takes parts of the program for itself."""
        return []

    def deploy(self, original: Any, example: Array) -> Any:
        """The loaded program."""
        from executorch.runtime import Runtime

        buffer = quietly(lambda: self.program(original, example))
        program = Runtime.get().load_program(buffer)
        method = program.load_method("forward")

        def predict(x: Array) -> Array:
            return to_array(method.execute((to_tensor(x, "cpu"),))[0].clone())

        # The method reads the program, and that the file, as long as it is called.
        predict.held = buffer, program  # type: ignore[attr-defined]  # of a function
        return predict

    def program(self, original: Any, example: Array) -> bytes:
        """The file of the program."""
        import torch
        from executorch.exir import to_edge_transform_and_lower

        batch = torch.export.Dim("batch", max=MOST)
        exported = torch.export.export(original, (to_tensor(example, "cpu"),), dynamic_shapes=({0: batch},))
        made = to_edge_transform_and_lower(exported, partitioner=self.partitioners())
        found: bytes = made.to_executorch().buffer
        return found


class ExecuTorchXnnpack(ExecuTorch):
    """The same with XNNPACK, whose preparation folds BatchNorms into convolutions."""

    name = "executorch+xnnpack"
    unsupported: ClassVar[Mapping[str, str]] = {
        "float64": "XNNPACK computes in single precision",
        "bfloat16": "XNNPACK computes in single precision",
    }

    def partitioners(self) -> list[Any]:
        """XNNPACK's."""
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

        return [XnnpackPartitioner()]
