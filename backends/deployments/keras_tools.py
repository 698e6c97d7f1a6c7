"""What makes a model for deployment of a Keras model: tf.function, XLA, SavedModel, Keras' export, TensorFlow Lite.

Each saved model lies in a folder of its own, which is removed once it is loaded.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bnconform.backends.deployments.keras_models import KerasDeployment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

QUANTIZED = "https://tensorflow.org/lite/performance/post_training_quantization"
LITE = "https://ai.google.dev/edge/litert/conversion/tensorflow/ops_compatibility"


class KerasCall(KerasDeployment):
    """The model itself, called in inference: the control."""

    name = "keras.call"

    def deploy_tool(self, model: Any, example: Array) -> Callable[[Array], Any]:
        """Its own call."""
        return lambda x: model(x, training=False)


class TfFunction(KerasDeployment):
    """tf.function of the model's call, whose graph grappler rewrites."""

    name = "keras+tf.function"
    compiles = False

    def deploy_tool(self, model: Any, example: Array) -> Callable[[Array], Any]:
        """The function, for any number of samples."""
        import tensorflow as tf

        shape = tf.TensorSpec((None, *example.shape[1:]), example.dtype)
        settings = {"input_signature": [shape], "jit_compile": self.compiles}
        made: Callable[[Array], Any] = tf.function(lambda x: model(x, training=False), **settings)
        return made


class TfXla(TfFunction):
    """The same, compiled by XLA."""

    name = "keras+xla"
    slow_to_start = True
    compiles = True


class SavedModel(KerasDeployment):
    """tf.saved_model.save and tf.saved_model.load."""

    name = "keras+tf.saved_model"
    slow_to_start = True

    def deploy_tool(self, model: Any, example: Array) -> Callable[[Array], Any]:
        """The loaded model's signature."""
        import tensorflow as tf

        shape = tf.TensorSpec((None, *example.shape[1:]), example.dtype)
        with folder() as path:
            call = tf.function(lambda x: model(x, training=False), input_signature=[shape])
            held = tf.Module()
            held.model, held.call = model, call
            tf.saved_model.save(held, str(path), signatures=call.get_concrete_function())
            loaded = tf.saved_model.load(str(path))
        serve = loaded.signatures["serving_default"]
        return lambda x: next(iter(serve(tf.constant(x)).values()))


class KerasExport(KerasDeployment):
    """keras.Model.export, a SavedModel, loaded by TensorFlow."""

    name = "keras.export"
    slow_to_start = True

    def deploy_tool(self, model: Any, example: Array) -> Callable[[Array], Any]:
        """The exported model's `serve`."""
        import tensorflow as tf

        with folder() as path, silence():
            model.export(str(path / "model"), verbose=False)
            loaded = tf.saved_model.load(str(path / "model"))
        return lambda x: loaded.serve(tf.constant(x))


class TfLite(KerasDeployment):
    """tf.lite.TFLiteConverter.from_keras_model, in single precision, and TensorFlow Lite's interpreter."""

    name = "keras+tflite"
    slow_to_start = True
    deviations: ClassVar[Mapping[str, str]] = {"epsilon_value": "single_precision"}
    documented: ClassVar[Mapping[str, str]] = {
        "epsilon_value": f"{LITE}: its operations are in single precision, and BatchNorm is made of them"
    }
    unsupported: ClassVar[Mapping[str, str]] = {
        "float64": "TensorFlow Lite has no convolution or dense layer in double precision",
        "float16": "TensorFlow Lite computes in single precision; half precision is a way to store weights",
        "bfloat16": "TensorFlow Lite computes in single precision",
    }

    def deploy_tool(self, model: Any, example: Array) -> Callable[[Array], Any]:
        """The interpreter, whose input is given the size of each batch."""
        import tensorflow as tf

        if str(example.dtype) != "float32":
            raise NotImplementedError("asked in single precision alone")
        with silence():
            made = self.configure(tf.lite.TFLiteConverter.from_keras_model(model)).convert()
        interpreter = tf.lite.Interpreter(model_content=made, num_threads=1)
        entry = interpreter.get_input_details()[0]["index"]
        exit_ = interpreter.get_output_details()[0]["index"]

        def predict(x: Array) -> Array:
            interpreter.resize_tensor_input(entry, x.shape)
            interpreter.allocate_tensors()
            interpreter.set_tensor(entry, x)
            interpreter.invoke()
            found: Array = interpreter.get_tensor(exit_).copy()
            return found

        return predict

    def configure(self, converter: Any) -> Any:
        """The converter as it comes."""
        return converter


class TfLiteFloat16(TfLite):
    """The same with weights that are stored in half precision, the converter's float16 quantization."""

    name = "keras+tflite+float16"
    lower_precision: ClassVar[Mapping[str, str]] = {"float32": "float16"}
    documented: ClassVar[Mapping[str, str]] = {
        **TfLite.documented,
        "lower_precision": f"{QUANTIZED}: weights are quantized to float16, which halves the model's size",
    }

    def configure(self, converter: Any) -> Any:
        """With the two settings that its documentation names."""
        import tensorflow as tf

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
        return converter


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """An empty folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bnconform-") as path:
        yield Path(path)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Nothing is printed: converters tell a user of their own progress."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
