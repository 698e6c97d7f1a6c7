"""TVM: a model exported by torch.export, imported into Relax and compiled for the processor by LLVM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bnconform.backends.deployments.torch_export import export
from bnconform.backends.deployments.torch_models import TorchDeployment, quietly
from bnconform.backends.torch_tensors import Array


class Tvm(TorchDeployment):
    """tvm.relax.frontend.torch.from_exported_program and tvm.compile."""

    name = "tvm"

    def deploy(self, original: Any, example: Array) -> Callable[[Array], Array]:
        """The virtual machine of the compiled module."""
        program = export(original, example)
        predict: Callable[[Array], Array] = quietly(lambda: self.compile(program))
        return predict

    def compile(self, program: Any) -> Callable[[Array], Array]:
        """What predicts by an exported program."""
        import tvm
        from tvm import relax
        from tvm.relax.frontend.torch import from_exported_program

        machine = relax.VirtualMachine(tvm.compile(from_exported_program(program), target="llvm"), tvm.cpu())

        def predict(x: Array) -> Array:
            found: Array = machine["main"](tvm.runtime.tensor(x))[0].numpy()
            return found

        return predict
