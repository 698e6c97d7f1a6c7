"""ONNX's reference evaluator, which is written in NumPy, at the opsets where the operator's definition changed.

See `onnx_models` for the conventions.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from bnconform.backends.onnx_models import (
    BEFORE_14,
    DOCUMENTED,
    TRAINING,
    UNSUPPORTED,
    Array,
    ModelKey,
    OnnxLayer,
    Run,
    model,
    node_of,
)


def prepare(node: ModelKey, constants: Mapping[str, Array]) -> Run:
    """A node ready to run."""
    return share(node) if not constants else _evaluator(node, constants)


@cache
def share(node: ModelKey) -> Run:
    """A node without constants, ready to run; one evaluator serves every layer."""
    return _evaluator(node, {})


def _evaluator(node: ModelKey, constants: Mapping[str, Array]) -> Run:
    import onnx
    from onnx.reference import ReferenceEvaluator

    return partial(ReferenceEvaluator(onnx.load_from_string(model(node, constants))).run, None)


class OnnxReference:
    """The operator's present definition."""

    name = "onnx.reference"
    opset = 15
    deviations: Mapping[str, str] = TRAINING
    documented: Mapping[str, str] = DOCUMENTED
    unsupported: Mapping[str, str] = UNSUPPORTED

    def devices(self) -> list[str]:
        """The CPU: it is NumPy."""
        return ["cpu"]

    def build(self, config: Any, device: str) -> OnnxLayer:
        """A layer of this configuration; NotImplementedError for what the operator cannot be asked."""
        return OnnxLayer(node_of(config, self.opset), config.num_features, prepare)

    def build_default(self, num_features: int, device: str) -> OnnxLayer:
        """A layer whose node has no attributes."""
        return OnnxLayer(ModelKey(self.opset), num_features, prepare)


class OnnxReference14(OnnxReference):
    """The definition of opset 14."""

    name = "onnx.reference+opset14"
    opset = 14


class OnnxReference9(OnnxReference):
    """The definition of opset 9."""

    name = "onnx.reference+opset9"
    opset = 9
    deviations: Mapping[str, str] = {}
    documented: Mapping[str, str] = {}
    unsupported: Mapping[str, str] = {**UNSUPPORTED, **BEFORE_14}


class OnnxReference7(OnnxReference9):
    """The definition of opset 7."""

    name = "onnx.reference+opset7"
    opset = 7


class OnnxReference6(OnnxReference9):
    """The definition of opset 6."""

    name = "onnx.reference+opset6"
    opset = 6
    # It can be seen in evaluation only, which has no momentum.
    deviations: Mapping[str, str] = {"epsilon_value": "single_precision"}
    documented: Mapping[str, str] = {"epsilon_value": DOCUMENTED["epsilon_value"]}
