"""Further runtimes for an exported ONNX model, to which the exporter leaves every BatchNorm: tract and IREE."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bnconform.backends.deployments.torch_onnx import InSingle
from bnconform.backends.torch_tensors import Array


class Tract(InSingle):
    """tract, which declutters and optimises the model before it runs."""

    name = "torch.onnx+tract"

    def running(self, made: bytes) -> Callable[[Array], Array]:
        """A runnable."""
        import tract

        with tempfile.TemporaryDirectory(prefix="bnconform-") as folder:
            file = Path(folder) / "model.onnx"
            file.write_bytes(made)
            runnable = tract.onnx().load(str(file)).into_model().into_runnable()

        def predict(x: Array) -> Array:
            found: Array = runnable.run([x])[0].to_numpy().copy()
            return found

        return predict


class Iree(InSingle):
    """IREE: the model imported by its own tool, compiled for the host's processor, and run by its runtime."""

    name = "torch.onnx+iree"
    slow_to_start = True

    def running(self, made: bytes) -> Callable[[Array], Array]:
        """The function of the compiled module."""
        import iree.compiler.tools as compiler
        import iree.runtime as runtime

        with tempfile.TemporaryDirectory(prefix="bnconform-") as folder:
            file, imported = Path(folder) / "model.onnx", Path(folder) / "model.mlir"
            file.write_bytes(made)
            command = [sys.executable, "-m", "iree.compiler.tools.import_onnx", str(file), "--opset-version", "17"]
            done = subprocess.run([*command, "-o", str(imported)], capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"iree.compiler.tools.import_onnx: {done.stderr.strip()[-600:]}")
            compiled = compiler.compile_file(
                str(imported), input_type="onnx", target_backends=["llvm-cpu"],
                extra_args=["--iree-llvmcpu-target-cpu=host"],
            )  # fmt: skip
        module = runtime.load_vm_flatbuffer(compiled, driver="local-sync")
        (name,) = (name for name in module.vm_module.function_names if not name.startswith("_") and "$" not in name)

        def predict(x: Array) -> Array:
            found: Array = module[name](x).to_host()
            return found

        return predict
