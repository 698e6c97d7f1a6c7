"""The layers that an ONNX model holds: what a tool that rewrites it has made of their weights and biases.

The exporter names a node after the layer that it was called in, "/layer/Conv"; a node whose name a tool has dropped is
not found again, and neither is a weight that is no constant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bnconform.backends.torch_tensors import Array

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "FusedConv", "FusedGemm")
"""The operators that have a weight and a bias, as they are called after ONNX Runtime's fusions, too."""


class OnnxPredictor:
    """What predicts by a model, and the layers of the model that it runs.

    Attributes:
        run: of an array. made: gives the onnx.ModelProto.
    """

    def __init__(self, run: Callable[[Array], Array], made: Callable[[], Any]) -> None:
        self.run, self.made = run, made

    def __call__(self, x: Array) -> Array:
        """The prediction."""
        return self.run(x)

    def layers(self) -> dict[str, tuple[Array, Array | None]]:
        """(weight, bias) by the layer's name."""
        return layers(self.made())


def layers(model: Any) -> dict[str, tuple[Array, Array | None]]:
    """The layers of an onnx.ModelProto."""
    from onnx import helper, numpy_helper

    held = {one.name: one for one in model.graph.initializer}
    held |= {
        node.output[0]: node.attribute[0].t
        for node in model.graph.node
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value"
    }
    found: dict[str, tuple[Array, Array | None]] = {}
    for node in model.graph.node:
        parts = node.name.split("/")
        if node.op_type not in WEIGHTED or len(parts) < 3 or node.input[1] not in held:
            continue
        weight = numpy_helper.to_array(held[node.input[1]])
        options = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        if node.op_type.endswith("Gemm") and not options.get("transB", 0):
            weight = weight.T
        name = node.input[2] if len(node.input) > 2 else ""
        if name and name not in held:
            continue
        found[parts[1]] = (weight, numpy_helper.to_array(held[name]) if name else None)
    return found
