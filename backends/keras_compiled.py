"""Keras 3's BatchNormalization on TensorFlow, compiled: as a graph by tf.function, and by XLA (`jit_compile=True`).

Compiled code is called as a concrete function, which never returns to eager code, not even where
`tf.config.run_functions_eagerly` is set. Before each call its graph is looked at: it must hold the normalisation and,
for XLA, the attribute by which TensorFlow must compile it or fail; a pass whose graph does not raises `NotCompiled`.

A graph is traced for each configuration, mode and pass, for any batch and any spatial size, as a model whose input
leaves them open is (0.1 to 0.3 s); XLA then compiles it for each shape (0.3 to 0.9 s). Traced graphs belong to their
layer, so layers are kept: one that nobody holds any more is given out again for the same configuration, its variables
set to what they were when it was built. Variables are all that a Keras layer remembers, and a graph reads them anew at
each call.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

from bnconform.backends.keras_backends import KerasLayer, KerasTensorflowLayer
from bnconform.backends.keras_layers import KerasTensorflow
from bnconform.backends.not_compiled import NotCompiled


class Graphs:
    """A Keras layer with its compiled passes, and the state that it was built with."""

    def __init__(self, layer: Any, device: str, xla: bool) -> None:
        import tensorflow as tf

        eager = KerasTensorflowLayer(layer, device)
        self.layer = layer
        self.xla = xla
        self.initial = [variable.numpy() for variable in layer.variables]
        self.forward: Any = tf.function(eager.call, jit_compile=xla)
        self.backward: Any = tf.function(eager.gradients, jit_compile=xla)

    def reset(self) -> None:
        """Make the layer as it was when it was built."""
        for variable, value in zip(self.layer.variables, self.initial, strict=True):
            variable.assign(value)

    def run(self, function: Any, training: bool, *tensors: Any) -> Any:
        """One pass through compiled code; NotCompiled where there is none."""
        import tensorflow as tf

        # All but the channels is left open, so that each shape is not traced anew.
        kinds = [tf.TensorSpec((*(None,) * (t.ndim - 1), t.shape[-1]), t.dtype) for t in tensors]
        graph = function.get_concrete_function(*kinds, training)
        if "Rsqrt" not in {operation.type for operation in graph.graph.get_operations()}:
            raise NotCompiled("the graph does not hold the normalisation")
        if self.xla and not graph.function_def.attr["_XlaMustCompile"].b:
            raise NotCompiled("the graph is not compiled by XLA")
        return graph(*tensors)


FREE: dict[Any, list[Graphs]] = {}
"""The layers that nobody holds, by what they are."""


class GraphLayer(KerasTensorflowLayer):
    """A Keras layer whose passes are compiled."""

    def __init__(self, graphs: Graphs, device: str) -> None:
        super().__init__(graphs.layer, device)
        self.graphs = graphs

    vjp: Any = None
    """The graph of a pass and that of its gradients are two, so that a pass is not recorded."""

    set: Any = None
    freeze: Any = None
    """A graph has the options with which it was made, and whether its layer was trainable."""

    jvp: Any = None
    hvp: Any = None
    jvp_jvp: Any = None
    third: Any = None
    """Nor are derivatives of these graphs among them."""

    masked: Any = None
    masked_backward: Any = None
    """Nor passes with a mask."""

    vmap: Any = None
    jacrev: Any = None
    eval_shape: Any = None
    """Nor transformations."""

    def call(self, x: Any, training: bool) -> Any:
        """One forward pass; NotCompiled if it is not compiled."""
        return self.graphs.run(self.graphs.forward, training, x)

    def gradients(self, x: Any, grad_output: Any, training: bool) -> Any:
        """Forward and backward pass in one graph; NotCompiled if it is not compiled."""
        return self.graphs.run(self.graphs.backward, training, x, grad_output)


class KerasFunction(KerasTensorflow):
    """BatchNormalization on TensorFlow, in a tf.function."""

    name = "keras+tensorflow+function"
    unsupported: Mapping[str, str] = {
        **KerasTensorflow.unsupported,
        "masked": "what is compiled here are passes without a mask",
    }
    xla = False
    slow_to_start = True
    build_lazy: Any = None
    """A layer is built before it is compiled."""

    def make_layer(self, shape: tuple[int | None, ...], device: str, options: dict[str, Any]) -> KerasLayer:
        """A layer of these options, new or reset, that goes back among the free ones when nobody holds it."""
        free = FREE.setdefault((self.name, shape, device, *options.items()), [])
        if not free:
            free.append(Graphs(super().make_layer(shape, device, options).layer, device, self.xla))
        graphs = free.pop()
        graphs.reset()
        layer = GraphLayer(graphs, device)
        weakref.finalize(layer, free.append, graphs)
        return layer


class KerasXla(KerasFunction):
    """BatchNormalization on TensorFlow, compiled by XLA."""

    name = "keras+tensorflow+xla"
    xla = True
