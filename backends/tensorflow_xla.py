"""TensorFlow's FusedBatchNormV3 compiled by XLA (`jit_compile=True`), which has an expansion of its own for it.

A pass is compiled for each shape, dtype and set of options (0.2 to 0.5 s); the variables are arguments of it. Before
each call its graph is looked at: it must hold the operation, and the attribute by which TensorFlow must compile it or
fail; a pass whose graph does not raises `NotCompiled`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from bnconform.backends.not_compiled import NotCompiled
from bnconform.backends.tensorflow_ops import FusedLayer, TfFused
from bnconform.backends.tensorflow_tensors import Array, on, to_tensor


@cache
def passes(options: tuple[tuple[str, Any], ...], names: tuple[str, ...]) -> tuple[Any, Any]:
    """Forward and backward pass of layers with these options and variables, each a tf.function of tensors."""
    import tensorflow as tf

    def call(x: Any, kept: dict[str, Any], training: bool) -> tuple[Any, dict[str, Any]]:
        return FusedLayer(kept, "cpu", **dict(options)).call(x, training)

    def gradients(x: Any, kept: dict[str, Any], training: bool, grad_output: Any) -> Any:
        parameters = [kept["weight"], kept["bias"]]
        with tf.GradientTape() as tape:
            tape.watch([x, *parameters])
            y, _ = call(x, kept, training)
        return tape.gradient(y, [x, *parameters], output_gradients=grad_output)

    return tf.function(call, jit_compile=True), tf.function(gradients, jit_compile=True)


def run(function: Any, x: Any, kept: dict[str, Any], training: bool, *more: Any) -> Any:
    """One pass through compiled code; NotCompiled where there is none."""
    import tensorflow as tf

    tensors = {name: tf.convert_to_tensor(variable) for name, variable in kept.items()}
    graph = function.get_concrete_function(x, tensors, training, *more)
    if "FusedBatchNormV3" not in {operation.type for operation in graph.graph.get_operations()}:
        raise NotCompiled("the graph does not hold the operation")
    if not graph.function_def.attr["_XlaMustCompile"].b:
        raise NotCompiled("the graph is not compiled by XLA")
    return function(x, tensors, training, *more)


class XlaLayer(FusedLayer):
    """Variables, and the compiled passes that they are given to."""

    vmap: Any = None
    vmap_layers: Any = None
    jacrev: Any = None
    eval_shape: Any = None
    """Each pass is compiled by itself, and no transformation of it is."""
    saved_statistics: Any = None
    """What is compiled gives y and the running statistics alone."""

    def passes(self) -> tuple[Any, Any]:
        """See the function of this name."""
        return passes(tuple(self.options.items()), tuple(self.kept))

    def call(self, x: Any, training: bool) -> tuple[Any, dict[str, Any]]:
        """y, and the running statistics moved."""
        found: tuple[Any, dict[str, Any]] = run(self.passes()[0], x, self.kept, training)
        return found

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients for x, weight and bias, by a GradientTape inside the compiled pass; nothing is moved."""
        with on(self.device):
            given, upstream = to_tensor(x, self.axis), to_tensor(grad_output, self.axis)
            found = run(self.passes()[1], given, self.kept, training, upstream)
            grad_x, grad_weight, grad_bias = (self.array(gradient) for gradient in found)
        return grad_x, grad_weight, grad_bias


class TfFusedXla(TfFused):
    """FusedBatchNormV3, channels last, compiled by XLA."""

    name = "tf.fused+xla"
    layer = XlaLayer
    slow_to_start = True
