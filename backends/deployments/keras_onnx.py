"""tf2onnx: a Keras model on TensorFlow as an ONNX model, and ONNX Runtime with all of its optimisations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from bnconform.backends.deployments.keras_models import KerasDeployment
from bnconform.backends.deployments.keras_tools import silence
from bnconform.backends.deployments.torch_onnx import Exported, Ort, running, session_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


class KerasTf2Onnx(KerasDeployment):
    """tf2onnx.convert.from_function of the model's call in inference."""

    name = "keras+tf2onnx"
    slow_to_start = True
    deviations: ClassVar[Mapping[str, str]] = Exported.deviations
    documented: ClassVar[Mapping[str, str]] = Exported.documented

    def deploy_tool(self, model: Any, example: Array) -> Callable[[Array], Any]:
        """A session on the CPU of what it makes."""
        import onnxruntime
        import tensorflow as tf
        import tf2onnx

        shape = tf.TensorSpec((None, *example.shape[1:]), example.dtype, name="x")
        call = tf.function(lambda x: model(x, training=False), input_signature=[shape])
        with silence():
            made, _ = tf2onnx.convert.from_function(call, input_signature=[shape])
        options = session_options(Ort.level)
        return running(
            onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
        )
