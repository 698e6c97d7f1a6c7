"""Folders that are right by other means."""

from __future__ import annotations

import numpy as np

from bnconform.backends.runner.deployments import NodeData
from bnconform.spec.graph import Array
from bnconform.spec.oracle.linear_maps import along_channels
from bnconform.tests.mutants.folder import Folded, Folder, right_folder


@right_folder
class FoldsAfter(Folder):
    """Each BatchNorm is merged into the layer that it follows, where that is right."""


@right_folder
class FoldsNothing(Folder):
    """Each BatchNorm is computed as k x + b' in its place."""

    FOLDS_AFTER = False


@right_folder
class FoldsBefore(Folder):
    """Each BatchNorm is merged into the layer that reads it, where that has no padding."""

    FOLDS_AFTER, FOLDS_BEFORE = False, True


@right_folder
class FoldsBothWays(Folder):
    """Each BatchNorm is merged into the layer before it or, where that cannot be, into the one after it."""

    FOLDS_BEFORE = True


@right_folder
class FoldsInDouble(Folder):
    """The folded constants are computed in double precision and rounded once."""

    def constants(self, folded: Folded, norm: NodeData) -> tuple[Array, Array]:
        """Of arrays in float64."""
        wide = Folded(folded.nodes, {name: value.astype(np.float64) for name, value in folded.arrays.items()})
        factor, shift = super().constants(wide, norm)
        kind = next(iter(folded.arrays.values())).dtype
        return factor.astype(kind), shift.astype(kind)


@right_folder
class TextbookFolder(Folder):
    """Nothing is folded: the mean is subtracted, then divided by the root, then scaled, then shifted."""

    FOLDS_AFTER = False

    def normalize(self, folded: Folded, norm: NodeData, x: Array) -> Array:
        """In four steps."""
        if not self.is_constant(folded, norm):
            return self.by_batch(folded, norm, x)
        arrays = [folded.array(norm.layer, name) for name in ("weight", "bias", "running_mean", "running_var")]
        weight, bias, mean, variance = (None if one is None else along_channels(one, x.ndim) for one in arrays)
        assert mean is not None and variance is not None
        y = (x - mean) / np.sqrt(variance + x.dtype.type(norm.options["epsilon"]))
        y = y if weight is None else y * weight
        return np.asarray(y if bias is None else y + bias, x.dtype)


@right_folder
class SubtractsFirst(Folder):
    """The bias is folded as k (b - mean) + bias, with the reciprocal of the root as a factor of its own."""

    def factor(self, weight: Array | None, variance: Array, epsilon: float) -> Array:
        """By the reciprocal."""
        reciprocal = variance.dtype.type(1) / np.sqrt(variance + variance.dtype.type(epsilon))
        return np.asarray(reciprocal if weight is None else weight * reciprocal)

    def into_before(self, folded: Folded, layer: NodeData, norm: NodeData) -> None:
        """The bias by its difference from the mean."""
        bias, mean, shift = (
            folded.array(layer.layer, "bias"),
            folded.array(norm.layer, "running_mean"),
            folded.array(norm.layer, "bias"),
        )
        assert mean is not None
        factor, _ = self.constants(folded, norm)
        super().into_before(folded, layer, norm)
        merged = factor * ((0 if bias is None else bias) - mean)
        folded.arrays[f"{layer.layer}.bias"] = np.asarray(merged if shift is None else merged + shift, mean.dtype)


@right_folder
class OnePassByTheBatch(Folder):
    """Statistics of the batch, where they are asked for, are found in one pass."""

    def by_batch(self, folded: Folded, norm: NodeData, x: Array) -> Array:
        """E[x^2] - E[x]^2."""
        axes = (0, *range(2, x.ndim))
        mean = x.mean(axis=axes, dtype=x.dtype)
        variance = np.maximum((x * x).mean(axis=axes, dtype=x.dtype) - mean * mean, x.dtype.type(0))
        weight, bias = folded.array(norm.layer, "weight"), folded.array(norm.layer, "bias")
        factor = self.factor(weight, variance, norm.options["epsilon"])
        return self.affine(x, factor, self.shift(bias, factor, mean))
