"""Folders that declare a lower precision than the model's, and keep to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from bnconform.backends.runner.deployments import NodeData
from bnconform.spec.formats import numpy_dtype
from bnconform.spec.graph import Array
from bnconform.tests.mutants.folder import LINEAR, Folded, Folder, right_folder


class Rounding(Folder):
    """What these share."""

    LOWER: ClassVar[Mapping[str, str]] = {"float32": "float16"}

    def round_lower(self, values: Array) -> Array:
        """Through the lower format and back."""
        lower = self.LOWER.get(str(values.dtype))
        return values if lower is None else np.asarray(values.astype(numpy_dtype(lower)).astype(values.dtype))

    def round_layers(self, folded: Folded) -> None:
        """Round the weights and biases of the layers that are left."""
        layers = {node.layer for node in folded.nodes if node.kind in LINEAR}
        for name, value in folded.arrays.items():
            if name.rpartition(".")[0] in layers:
                folded.arrays[name] = self.round_lower(value)


@right_folder
class StoresHalfWeights(Rounding):
    """Whatever is folded is stored in float16 and widened again; it computes in single precision."""

    def fold(self, folded: Folded) -> None:
        """Round the layers that are left."""
        super().fold(folded)
        self.round_layers(folded)

    def constants(self, folded: Folded, norm: NodeData) -> tuple[Array, Array]:
        """Rounded, too."""
        factor, shift = super().constants(folded, norm)
        return self.round_lower(factor), self.round_lower(shift)


@right_folder
class FoldsHalfWeights(Rounding):
    """Every array of the model is stored in float16, and folded once it is widened again."""

    def fold(self, folded: Folded) -> None:
        """Of rounded arrays."""
        folded.arrays = {name: self.round_lower(value) for name, value in folded.arrays.items()}
        super().fold(folded)


@right_folder
class ComputesInBfloat16(Rounding):
    """Operands and results are bfloat16, sums are single; BatchNorms are merged in single precision."""

    LOWER: ClassVar[Mapping[str, str]] = {"float32": "bfloat16"}

    def fold(self, folded: Folded) -> None:
        """Round what the operations read."""
        super().fold(folded)
        self.round_layers(folded)

    def operation(self, folded: Folded, node: NodeData, inputs: list[Array]) -> Array:
        """Between two roundings."""
        return self.round_lower(super().operation(folded, node, [self.round_lower(one) for one in inputs]))


@right_folder
class TextbookInBfloat16(ComputesInBfloat16):
    """The same with nothing merged, and each step of a BatchNorm rounded."""

    FOLDS_AFTER = False

    def affine(self, x: Array, factor: Array, shift: Array) -> Array:
        """The product and the sum."""
        scaled = super().affine(x, self.round_lower(factor), np.zeros_like(shift))
        return super().affine(self.round_lower(scaled), np.ones_like(factor), self.round_lower(shift))
