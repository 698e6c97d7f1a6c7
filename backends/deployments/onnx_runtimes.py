"""A further runtime for an exported ONNX model, to which the exporter leaves every BatchNorm: tract."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from bnconform.backends.deployments.torch_onnx import Exported
from bnconform.backends.torch_tensors import Array

SINGLE: Mapping[str, str] = {
    "float64": "asked in single precision, for which such runtimes are made",
    "float16": "asked in single precision, for which such runtimes are made",
    "bfloat16": "asked in single precision, for which such runtimes are made",
}


class InSingle(Exported):
    """A runtime that is asked in single precision alone."""

    keeps_norms = True
    unsupported: ClassVar[Mapping[str, str]] = SINGLE

    def deploy(self, original: Any, example: Array) -> Callable[[Array], Array]:
        """The exported model in what runs it."""
        if str(example.dtype) in self.unsupported:
            raise NotImplementedError("asked in single precision alone")
        return super().deploy(original, example)


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
