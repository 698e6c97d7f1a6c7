"""tf2onnx: a Keras model on TensorFlow as an ONNX model, and ONNX Runtime with all of its optimisations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from bnconform.backends.deployments.keras_models import KerasDeployment
from bnconform.backends.deployments.keras_tools import silence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

PAGE = "https://onnx.ai/onnx/operators/onnx__BatchNormalization.html"


class KerasTf2Onnx(KerasDeployment):
    """tf2onnx.convert.from_function of the model's call in inference."""

    name = "keras+tf2onnx"
    slow_to_start = True
    deviations: ClassVar[Mapping[str, str]] = {"epsilon_value": "single_precision"}
    documented: ClassVar[Mapping[str, str]] = {
        "epsilon_value": f"{PAGE}: 'epsilon - FLOAT', single precision, whatever the type of X"
    }

    def deploy_tool(self, model: Any, example: Array) -> Callable[[Array], Any]:
        """A session on the CPU of what it makes."""
        import onnxruntime
        import tensorflow as tf
        import tf2onnx

        shape = tf.TensorSpec((None, *example.shape[1:]), example.dtype, name="x")
        call = tf.function(lambda x: model(x, training=False), input_signature=[shape])
        with silence():
            made, _ = tf2onnx.convert.from_function(call, input_signature=[shape])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
        (entry,) = (one.name for one in session.get_inputs())

        def predict(x: Array) -> Array:
            found: Array = session.run(None, {entry: x})[0]
            return found

        return predict
