"""Tools that rewrite an exported ONNX model, and other runtimes for one.

The exporter leaves every BatchNorm to them. What comes out of a rewriting tool is run by ONNX Runtime without any
optimisation, so that what is wrong is the tool's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from bnconform.backends.deployments.onnx_layers import OnnxPredictor
from bnconform.backends.deployments.torch_onnx import Exported, InSingle, OrtUnoptimised
from bnconform.backends.torch_tensors import Array


class Rewritten(OrtUnoptimised):
    """An exported model that a tool has rewritten."""

    keeps_norms = True

    def running(self, made: bytes) -> Callable[[Array], Array]:
        """What it has made, in ONNX Runtime."""
        import onnx

        rewritten = self.rewrite(onnx.load_from_string(made))
        return OnnxPredictor(super().running(rewritten.SerializeToString()), lambda: rewritten)

    def rewrite(self, model: Any) -> Any:
        """What the tool makes of a model."""
        raise NotImplementedError


class OnnxSlim(Rewritten):
    """onnxslim.slim."""

    name = "torch.onnx+onnxslim"

    def rewrite(self, model: Any) -> Any:
        """Its function."""
        import onnxslim

        return onnxslim.slim(model)


class OnnxSim(Rewritten):
    """onnxsim.simplify; the check of its own against random inputs left as it is, which is none."""

    name = "torch.onnx+onnxsim"

    def rewrite(self, model: Any) -> Any:
        """Its function; its second result says whether its check held."""
        import onnxsim

        made, holds = onnxsim.simplify(model)
        if not holds:
            raise RuntimeError("onnxsim's own check of the simplified model does not hold")
        return made


class OnnxOptimizer(Rewritten):
    """onnxoptimizer.optimize with its default passes, of which folding a BatchNorm into a convolution is one."""

    name = "torch.onnx+onnxoptimizer"

    def rewrite(self, model: Any) -> Any:
        """Its function."""
        import onnxoptimizer

        return onnxoptimizer.optimize(model, [*onnxoptimizer.get_fuse_and_elimination_passes(), "fuse_bn_into_conv"])


class OnnxScript(Rewritten):
    """onnxscript.optimizer.optimize, and the rules of onnxscript.rewriter, of which folding BatchNorms is one."""

    name = "torch.onnx+onnxscript"

    def rewrite(self, model: Any) -> Any:
        """Both, in the order of its documentation."""
        from onnxscript import optimizer, rewriter

        return rewriter.rewrite(optimizer.optimize(model))


CPU_PAGE = (
    "https://docs.openvino.ai/2024/openvino-workflow/running-inference/inference-devices-and-modes/cpu-device.html"
)


class OpenVino(Exported):
    """OpenVINO on the CPU, asked to compute in single precision; by default it takes a lower one where it can."""

    name = "torch.onnx+openvino"
    keeps_norms = True
    precision: ClassVar[Mapping[str, str]] = {"INFERENCE_PRECISION_HINT": "f32"}

    def running(self, made: bytes) -> Callable[[Array], Array]:
        """A compiled model."""
        import openvino

        core = openvino.Core()
        settings = {**self.precision, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
        compiled = core.compile_model(core.read_model(made), "CPU", settings)

        def predict(x: Array) -> Array:
            found: Array = compiled(x)[0].copy()
            return found

        return predict


class OpenVinoDefault(InSingle, OpenVino):
    """The same as it comes: in bfloat16 on processors that have it, in single precision on others."""

    name = "torch.onnx+openvino+default"
    precision: ClassVar[Mapping[str, str]] = {}
    lower_precision: ClassVar[Mapping[str, str]] = {"float32": "bfloat16"}
    documented: ClassVar[dict[str, str]] = {
        **Exported.documented,
        "lower_precision": f"{CPU_PAGE}: bf16 is taken by itself in place of f32 where the processor supports it",
    }
