"""ExecuTorch: a model exported and lowered to the program that phones and microcontrollers run, and its own runtime.

The program is made as ExecuTorch's documentation shows, `to_edge_transform_and_lower` and `to_executorch`: its portable
operators alone, or with what XNNPACK takes handed to XNNPACK.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bnconform.backends.deployments.torch_models import TorchDeployment, quietly
from bnconform.backends.torch_tensors import Array, to_array, to_tensor

MOST = 64
"""Samples up to which a program takes a batch: its memory is planned when it is made."""


class ExecuTorch(TorchDeployment):
    """The portable operators."""

    name = "executorch"
    slow_to_start = True

    def partitioners(self) -> list[Any]:
        """What takes parts of the program; nothing."""
        return []

    def deploy(self, original: Any, example: Array) -> Callable[[Array], Array]:
        """The program, loaded by the runtime."""
        program = quietly(lambda: self.lower(original, example))
        return Method(program.buffer)

    def lower(self, original: Any, example: Array) -> Any:
        """The program of a module."""
        import torch
        from executorch.exir import to_edge_transform_and_lower

        batch = torch.export.Dim("batch", min=1, max=MOST)
        exported = torch.export.export(original, (to_tensor(example, "cpu"),), dynamic_shapes=({0: batch},))
        return to_edge_transform_and_lower(exported, partitioner=self.partitioners()).to_executorch()


class ExecuTorchXnnpack(ExecuTorch):
    """XNNPACK for whatever it takes, which is where BatchNorms are merged into what stands before them."""

    name = "executorch+xnnpack"

    def partitioners(self) -> list[Any]:
        """XNNPACK's own."""
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

        return [XnnpackPartitioner()]


class Method:
    """The forward of a program; the program lives as long."""

    def __init__(self, buffer: bytes) -> None:
        from executorch.runtime import Runtime

        self.program = Runtime.get().load_program(buffer)
        self.method = self.program.load_method("forward")

    def __call__(self, x: Array) -> Array:
        """What it predicts."""
        return to_array(self.method.execute([to_tensor(x, "cpu")])[0])
