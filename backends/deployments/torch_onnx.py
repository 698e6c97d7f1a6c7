"""torch.onnx.export, and what runs the exported model: ONNX Runtime at each of its optimisation levels, the reference.

The exporter by TorchScript does what its own defaults say: inference mode, constants folded. The number of samples is
left open. Each session has one thread, as the models are small.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from bnconform.backends.deployments.onnx_layers import OnnxPredictor
from bnconform.backends.deployments.torch_models import TorchDeployment, quietly
from bnconform.backends.torch_tensors import Array, to_tensor

PAGE = "https://onnx.ai/onnx/operators/onnx__BatchNormalization.html"


class Exported(TorchDeployment):
    """An exported model.

    Attributes:
        dynamo: which of the exporters makes it. keeps_norms: whether the exporter by TorchScript is asked to preserve
            the model's mode: then it leaves a BatchNorm after a convolution where it is, which it else merges itself.
    """

    dynamo = False
    keeps_norms = False
    deviations: ClassVar[Mapping[str, str]] = {"epsilon_value": "single_precision"}
    documented: ClassVar[dict[str, str]] = {
        "epsilon_value": f"{PAGE}: 'epsilon - FLOAT', single precision, whatever the type of X"
    }

    def deploy(self, original: Any, example: Array) -> Callable[[Array], Array]:
        """The exported model in what runs it."""
        return self.running(quietly(lambda: self.export(original, example)))

    def export(self, original: Any, example: Array) -> bytes:
        """The file of the model."""
        import torch

        file = io.BytesIO()
        names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"]}
        if self.dynamo:
            shapes = ({0: torch.export.Dim("batch")},)
            program = torch.onnx.export(
                original, (to_tensor(example, "cpu"),), dynamo=True, dynamic_shapes=shapes, **names
            )
            program.save(file)
        else:
            axes = {"x": {0: "batch"}, "y": {0: "batch"}}
            if self.keeps_norms:
                names["training"] = torch.onnx.TrainingMode.PRESERVE
            torch.onnx.export(original, (to_tensor(example, "cpu"),), file, dynamo=False, dynamic_axes=axes, **names)
        return file.getvalue()

    def running(self, made: bytes) -> Callable[[Array], Array]:
        """What predicts by the file of a model."""
        raise NotImplementedError


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


class Ort(Exported):
    """ONNX Runtime with all of its optimisations, its default.

    Attributes:
        shows: whether the model that it makes is written and read, so that its layers can be looked at. With all
            optimisations weights lie in blocks, as the processor wants them.
    """

    name = "torch.onnx+onnxruntime"
    level = "ORT_ENABLE_ALL"
    shows = False

    def running(self, made: bytes) -> Callable[[Array], Array]:
        """A session on the CPU."""
        import onnxruntime

        options = session_options(self.level)
        if not self.shows:
            return running(onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"]))
        import onnx

        with tempfile.TemporaryDirectory(prefix="bnconform-") as folder:
            file = Path(folder) / "optimised.onnx"
            options.optimized_model_filepath = str(file)
            session = onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])
            optimised = file.read_bytes()
        return OnnxPredictor(running(session), lambda: onnx.load_from_string(optimised))


def session_options(level: str) -> Any:
    """Options of a session in one thread, which warns of nothing, by the name of its optimisation level."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def running(session: Any) -> Callable[[Array], Array]:
    """What predicts by a session of ONNX Runtime of a model with one input."""
    (entry,) = (one.name for one in session.get_inputs())

    def predict(x: Array) -> Array:
        found: Array = session.run(None, {entry: x})[0]
        return found

    return predict


class OrtExtended(Ort):
    """ONNX Runtime with its basic and extended optimisations."""

    name = "torch.onnx+onnxruntime+extended"
    level = "ORT_ENABLE_EXTENDED"
    shows = True


class OrtBasic(Ort):
    """ONNX Runtime with its basic optimisations, of which folding a BatchNorm into a convolution is one."""

    name = "torch.onnx+onnxruntime+basic"
    level = "ORT_ENABLE_BASIC"
    shows = True


class OrtUnoptimised(Ort):
    """ONNX Runtime with none of its optimisations: a control, but for what the exporter folds."""

    name = "torch.onnx+onnxruntime+unoptimised"
    level = "ORT_DISABLE_ALL"


class DynamoOrt(Ort):
    """The exporter by torch.export, and ONNX Runtime with all of its optimisations."""

    name = "torch.onnx.dynamo+onnxruntime"
    dynamo = True
    slow_to_start = True


class Reference(Exported):
    """ONNX's reference evaluator."""

    name = "torch.onnx+reference"

    def running(self, made: bytes) -> Callable[[Array], Array]:
        """Its run."""
        import onnx
        from onnx.reference import ReferenceEvaluator

        evaluator = ReferenceEvaluator(onnx.load_from_string(made))

        def predict(x: Array) -> Array:
            found: Array = evaluator.run(None, {"x": x})[0]
            return found

        return predict
