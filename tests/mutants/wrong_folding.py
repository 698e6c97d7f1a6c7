"""Folders that are wrong in one way."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnconform.backends.runner.deployments import NodeData
from bnconform.spec.graph import Array
from bnconform.tests.mutants.folder import LINEAR, Folded, Folder, Predict, wrong_folder

EQUAL = "BN-FOLD-EQUAL"


@wrong_folder(EQUAL)
class FoldsAlongTheFeatures(Folder):
    """A BatchNorm after a linear layer is folded along its features, whether or not these are the channels."""

    def has_channels(self, folded: Folded, layer: NodeData, norm: NodeData) -> bool:
        """Where the sizes are equal."""
        weight, mean = folded.array(layer.layer, "weight"), folded.array(norm.layer, "running_mean")
        return layer.kind != "linear" or (weight is not None and mean is not None and len(weight) == len(mean))


@wrong_folder(EQUAL)
class FoldsGammaTwice(Folder):
    """The factor has the weight twice."""

    def factor(self, weight: Array | None, variance: Array, epsilon: float) -> Array:
        """Once too often."""
        factor = super().factor(weight, variance, epsilon)
        return factor if weight is None else factor * weight


@wrong_folder(EQUAL)
class FoldsEpsilonOutside(Folder):
    """Epsilon is added to the root."""

    def factor(self, weight: Array | None, variance: Array, epsilon: float) -> Array:
        """Outside of it."""
        return super().factor(weight, (np.sqrt(variance) + variance.dtype.type(epsilon)) ** 2, 0.0)


@wrong_folder(EQUAL)
class FoldsWithoutEpsilon(Folder):
    """Epsilon is forgotten."""

    def factor(self, weight: Array | None, variance: Array, epsilon: float) -> Array:
        """With none."""
        return super().factor(weight, variance, 0.0)


@wrong_folder(EQUAL)
class FoldsEpsilonClamped(Folder):
    """Epsilon is never smaller than 1e-5."""

    def factor(self, weight: Array | None, variance: Array, epsilon: float) -> Array:
        """With a larger one."""
        return super().factor(weight, variance, max(epsilon, 1e-5))


@wrong_folder(EQUAL)
class FoldsWithoutTheRoot(Folder):
    """The weight is divided by the variance."""

    def factor(self, weight: Array | None, variance: Array, epsilon: float) -> Array:
        """Without a root."""
        return super().factor(weight, (variance + variance.dtype.type(epsilon)) ** 2, 0.0)


@wrong_folder("BN-FOLD-GAMMA", thread="inplace_abn#92")
class FoldsTheAbsoluteGamma(Folder):
    """The factor has the weight without its sign."""

    def factor(self, weight: Array | None, variance: Array, epsilon: float) -> Array:
        """Of |weight|."""
        return super().factor(None if weight is None else np.abs(weight), variance, epsilon)


@wrong_folder("BN-FOLD-GAMMA", thread="pytorch#85744")
class LeavesOutGammaOfZero(Folder):
    """A weight of zero is taken as one."""

    def factor(self, weight: Array | None, variance: Array, epsilon: float) -> Array:
        """Of ones in its place."""
        one = None if weight is None else np.where(weight == 0, weight.dtype.type(1), weight)
        return super().factor(one, variance, epsilon)


@wrong_folder("BN-FOLD-GAMMA", thread="lc0#779")
class ClampsGammaToPositive(Folder):
    """A weight below zero is taken as zero."""

    def factor(self, weight: Array | None, variance: Array, epsilon: float) -> Array:
        """Of no negative ones."""
        one = None if weight is None else np.maximum(weight, weight.dtype.type(0))
        return super().factor(one, variance, epsilon)


@wrong_folder(EQUAL)
class BiasNotScaled(Folder):
    """The layer's bias is added without the factor."""

    def bias_of_merge(self, bias: Array | None, factor: Array, shift: Array) -> Array | None:
        """As it was."""
        return shift if bias is None else bias + shift


@wrong_folder(EQUAL)
class BiasOfTheLayerLost(Folder):
    """The layer's bias is forgotten."""

    def bias_of_merge(self, bias: Array | None, factor: Array, shift: Array) -> Array | None:
        """Without it."""
        return shift


@wrong_folder(EQUAL)
class ShiftLost(Folder):
    """The shift is forgotten."""

    def bias_of_merge(self, bias: Array | None, factor: Array, shift: Array) -> Array | None:
        """Without it."""
        return np.zeros_like(shift) if bias is None else bias * factor


@wrong_folder(EQUAL)
class ShiftLostWithoutBias(Folder):
    """A layer that had no bias gets none, and the shift is lost."""

    def bias_of_merge(self, bias: Array | None, factor: Array, shift: Array) -> Array | None:
        """None where there was none."""
        return None if bias is None else super().bias_of_merge(bias, factor, shift)


@wrong_folder(EQUAL)
class MeanAdded(Folder):
    """The mean is added instead of subtracted."""

    def shift(self, bias: Array | None, factor: Array, mean: Array) -> Array:
        """With its sign turned."""
        return super().shift(bias, factor, -mean)


@wrong_folder(EQUAL)
class MeanNotScaled(Folder):
    """The mean is subtracted without the factor."""

    def shift(self, bias: Array | None, factor: Array, mean: Array) -> Array:
        """As it is."""
        return super().shift(bias, np.ones_like(factor), mean)


@wrong_folder(EQUAL)
class WeightNotScaled(Folder):
    """The weight stays as it was, and only the bias is folded."""

    def scale(self, layer: NodeData, weight: Array, factor: Array) -> Array:
        """As it was."""
        return weight


@wrong_folder(EQUAL)
class GroupsIgnored(Folder):
    """In a transposed convolution the factors of the first group are taken for every group."""

    def scale(self, layer: NodeData, weight: Array, factor: Array) -> Array:
        """Of the first group."""
        if layer.kind == "transposed_convolution":
            factor = np.tile(factor[: weight.shape[1]], layer.options["groups"])
        return super().scale(layer, weight, factor)


@wrong_folder(EQUAL, thread="TinyNeuralNetwork#364")
class TransposedAxis(Folder):
    """A transposed convolution is scaled along its input, where that is as wide as its output."""

    def scale(self, layer: NodeData, weight: Array, factor: Array) -> Array:
        """Along the first axis."""
        if layer.kind == "transposed_convolution" and len(weight) == len(factor):
            return np.asarray(weight * factor.reshape((-1,) + (1,) * (weight.ndim - 1)))
        return super().scale(layer, weight, factor)


@wrong_folder(EQUAL)
class ReversedChannels(Folder):
    """The factors of depthwise convolutions are taken from the last channel on."""

    def scale(self, layer: NodeData, weight: Array, factor: Array) -> Array:
        """The other way round."""
        depthwise = layer.kind == "convolution" and weight.shape[1] == 1 and layer.options["groups"] > 1
        return super().scale(layer, weight, factor[::-1] if depthwise else factor)


@wrong_folder("BN-FOLD-SHARED", thread="pytorch#197539")
class SharedLayerFoldedForOneCall(Folder):
    """A layer that is called twice is folded for each BatchNorm that follows one of its calls."""

    def is_called_once(self, folded: Folded, layer: NodeData, norm: NodeData) -> bool:
        """Nobody looks."""
        return True


@wrong_folder("BN-FOLD-SHARED")
class SharedNormFoldedOnce(Folder):
    """A BatchNorm that is called twice is dropped everywhere once it was folded."""

    def is_called_once(self, folded: Folded, layer: NodeData, norm: NodeData) -> bool:
        """Of the layer only."""
        return folded.calls(layer.layer) == 1

    def into_before(self, folded: Folded, layer: NodeData, norm: NodeData) -> None:
        """And each other call is dropped."""
        others = [node for node in folded.nodes if node.layer == norm.layer and node is not norm]
        super().into_before(folded, layer, norm)
        for other in others:
            current = next((node for node in folded.nodes if node.name == other.name), None)
            if current is not None:
                folded.drop(current)


@wrong_folder("BN-FOLD-READER")
class SecondReaderForgotten(Folder):
    """A layer that somebody else reads is folded all the same."""

    def is_read_once(self, folded: Folded, node: NodeData) -> bool:
        """Nobody looks."""
        return True


@wrong_folder("BN-FOLD-READER")
class SecondReaderOfTheNormForgotten(Folder):
    """A BatchNorm that somebody else reads is folded into the layer after it, and is there no more."""

    FOLDS_AFTER, FOLDS_BEFORE = False, True

    def is_read_once(self, folded: Folded, node: NodeData) -> bool:
        """Nobody looks."""
        return True


@wrong_folder(EQUAL)
class PaddingIgnored(Folder):
    """A BatchNorm is folded into a padded convolution after it, as if the border had been normalised."""

    FOLDS_AFTER, FOLDS_BEFORE = False, True

    def is_padded(self, layer: NodeData) -> bool:
        """Nobody looks."""
        return False


@wrong_folder(EQUAL)
class FoldsPastAnActivation(Folder):
    """A BatchNorm is folded into the layer before the activation that it follows."""

    def fold(self, folded: Folded) -> None:
        """The activation is taken for nothing."""
        for node in [one for one in folded.nodes if one.kind == "relu"]:
            before, readers = folded.source(node), folded.readers(node.name)
            if before is None or before.kind not in LINEAR or not readers or readers[0].kind != "batch_normalization":
                continue
            norm = readers[0]
            fits = self.has_channels(folded, before, norm) and self.is_read_once(folded, node)
            if fits and self.is_constant(folded, norm) and self.is_called_once(folded, before, norm):
                self.into_before(folded, before, norm)
        super().fold(folded)


@wrong_folder(EQUAL)
class SecondNormDropped(Folder):
    """Of two BatchNorms in a row only the first is there afterwards."""

    def into_before(self, folded: Folded, layer: NodeData, norm: NodeData) -> None:
        """The next one goes, too."""
        readers = folded.readers(norm.name)
        super().into_before(folded, layer, norm)
        if len(readers) == 1 and readers[0].kind == "batch_normalization":
            current = next(node for node in folded.nodes if node.name == readers[0].name)
            folded.drop(current)


@wrong_folder("BN-FOLD-AFFINE-OFF")
class NoAffineIsZero(Folder):
    """A weight that is not there is taken as zero."""

    def factor(self, weight: Array | None, variance: Array, epsilon: float) -> Array:
        """Of nothing, nothing."""
        return super().factor(np.zeros_like(variance) if weight is None else weight, variance, epsilon)


@wrong_folder("BN-FOLD-UNTRACKED")
class NoStatisticsAreDefaults(Folder):
    """Statistics that are not there are taken as 0 and 1."""

    def by_batch(self, folded: Folded, norm: NodeData, x: Array) -> Array:
        """By these."""
        width = x.shape[1]
        weight, bias = folded.array(norm.layer, "weight"), folded.array(norm.layer, "bias")
        factor = self.factor(weight, np.ones(width, x.dtype), norm.options["epsilon"])
        return self.affine(x, factor, self.shift(bias, factor, np.zeros(width, x.dtype)))


@wrong_folder("BN-FOLD-UNTRACKED")
class StatisticsOfTheExample(Folder):
    """Statistics that are not there are those of the example, as constants."""

    def deploy(self, example: Array) -> Predict:
        """What the example shows stays."""
        self.kept: dict[str, tuple[Array, Array]] = {}
        predict = super().deploy(example)
        predict(example)
        return predict

    def by_batch(self, folded: Folded, norm: NodeData, x: Array) -> Array:
        """By what was seen first."""
        axes = (0, *range(2, x.ndim))
        mean, variance = self.kept.setdefault(norm.name, (x.mean(axis=axes), x.var(axis=axes)))
        weight, bias = folded.array(norm.layer, "weight"), folded.array(norm.layer, "bias")
        factor = self.factor(weight, variance.astype(x.dtype), norm.options["epsilon"])
        return self.affine(x, factor, self.shift(bias, factor, mean.astype(x.dtype)))


@wrong_folder("BN-FOLD-BATCH", EQUAL, thread="tvm#19574")
class StatisticsOfTheBatch(Folder):
    """Every BatchNorm normalises by the batch."""

    def is_constant(self, folded: Folded, norm: NodeData) -> bool:
        """None is."""
        return False


@wrong_folder("BN-FOLD-BATCH")
class BatchOfTheExample(Folder):
    """Samples past the number that the example had are predicted as zeros."""

    def deploy(self, example: Array) -> Predict:
        """For so many."""
        predict = super().deploy(example)

        def limit(x: Array) -> Array:
            y = predict(x)
            y[len(example) :] = 0
            return y

        return limit


@wrong_folder("BN-FOLD-BATCH")
class ScaledByTheLargest(Folder):
    """The input is scaled by its largest value, as for integers of 8 bits, so that other samples matter."""

    def evaluate(self, folded: Folded, x: Array) -> Array:
        """In 255 steps."""
        step = np.abs(x).max(initial=0) / 127
        return super().evaluate(folded, np.asarray(np.rint(x / step) * step, x.dtype))


@wrong_folder(EQUAL)
class HalfPrecisionConstants(Folder):
    """The folded constants are kept in half precision."""

    def constants(self, folded: Folded, norm: NodeData) -> tuple[Array, Array]:
        """Rounded to it."""
        factor, shift = super().constants(folded, norm)
        return factor.astype(np.float16).astype(factor.dtype), shift.astype(np.float16).astype(shift.dtype)


@wrong_folder(EQUAL, dtypes=("float64",))
class SinglePrecisionConstants(Folder):
    """The folded constants of a model in double precision are kept in single precision."""

    def constants(self, folded: Folded, norm: NodeData) -> tuple[Array, Array]:
        """Rounded to it."""
        factor, shift = super().constants(folded, norm)
        return factor.astype(np.float32).astype(factor.dtype), shift.astype(np.float32).astype(shift.dtype)


@wrong_folder("BN-FOLD-DTYPE", dtypes=("float32", "float16"))
class PromotesToDouble(Folder):
    """The prediction is in double precision."""

    def evaluate(self, folded: Folded, x: Array) -> Array:
        """Whatever x is."""
        return super().evaluate(folded, x).astype(np.float64)


@wrong_folder("BN-FOLD-ORIGINAL")
class FoldsInPlace(Folder):
    """The original's weights are scaled where they are."""

    def deploy(self, example: Array) -> Predict:
        """Those of what was folded are the original's."""
        folded = Folded(list(self.model.nodes), {name: value.copy() for name, value in self.arrays.items()})
        self.fold(folded)
        self.arrays.update(folded.arrays)
        return lambda x: self.evaluate(folded, x)


@wrong_folder("BN-FOLD-ORIGINAL")
class WritesToItsInput(Folder):
    """The input is cleared once it was used."""

    def evaluate(self, folded: Folded, x: Array) -> Array:
        """And zeros are left."""
        y = super().evaluate(folded, x).copy()
        x[...] = 0
        return y


@wrong_folder("BN-FOLD-TWICE")
class FoldsOnceMore(Folder):
    """A second deployment folds what the first one folded, which is found in a cache."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.cache: dict[str, Array] = {}

    def fold(self, folded: Folded) -> None:
        """Into the weights of the last time."""
        folded.arrays.update(self.cache)
        super().fold(folded)
        self.cache = {name: value for name, value in folded.arrays.items() if name.split(".")[0].startswith("layer")}


@wrong_folder("BN-FOLD-MODE")
class FoldsWhatTrains(Folder):
    """A BatchNorm that was left in training is folded all the same, and another normalises by the batch."""

    def fold(self, folded: Folded) -> None:
        """Of the mode nothing is known yet."""
        modes, self.training = self.training, dict.fromkeys(self.training, False)
        super().fold(folded)
        self.training = modes


CONSTANTS = "BN-FOLD-CONSTANTS"


@wrong_folder(CONSTANTS)
class StoresHalfOfTheDigits(Folder):
    """It predicts by the constants that it computed, and what it ships holds them in half precision."""

    def layers(self, folded: Folded) -> dict[str, tuple[Array, Array | None]]:
        """In float16."""
        found = super().layers(folded)
        return {
            name: (weight.astype(np.float16), None if bias is None else bias.astype(np.float16))
            for name, (weight, bias) in found.items()
        }


@wrong_folder(CONSTANTS)
class StoresHalfAsSingle(Folder):
    """The same, widened again, so that the dtype tells nothing."""

    def layers(self, folded: Folded) -> dict[str, tuple[Array, Array | None]]:
        """Through float16."""

        def cut(values: Array) -> Array:
            return np.asarray(values.astype(np.float16).astype(values.dtype))

        found = super().layers(folded)
        return {name: (cut(weight), None if bias is None else cut(bias)) for name, (weight, bias) in found.items()}


@wrong_folder(CONSTANTS)
class WritesFiveDigitsOfTheBias(Folder):
    """What it ships holds the biases as text of five digits; the weights are whole."""

    def layers(self, folded: Folded) -> dict[str, tuple[Array, Array | None]]:
        """Through text."""
        found = super().layers(folded)
        return {
            name: (weight, None if bias is None else np.array([f"{one:.4e}" for one in bias]).astype(bias.dtype))
            for name, (weight, bias) in found.items()
        }


@wrong_folder(CONSTANTS)
class HandsTheSignOn(Folder):
    """A folded layer has the sign turned, and so has the layer that reads it: no prediction shows it."""

    def fold(self, folded: Folded) -> None:
        """Turn the layer, and the one behind it, where nothing but a change of shape lies between."""
        super().fold(folded)
        for node in folded.nodes:
            behind = self.behind(folded, node) if node.kind in LINEAR else None
            if behind is None or folded.calls(node.layer) > 1:
                continue
            for name in (f"{node.layer}.weight", f"{node.layer}.bias", f"{behind.layer}.weight"):
                if name in folded.arrays:
                    folded.arrays[name] = -folded.arrays[name]

    def behind(self, folded: Folded, node: NodeData) -> NodeData | None:
        """The linear layer that alone reads a result, perhaps flattened."""
        readers = folded.readers(node.name)
        if len(readers) == 1 and readers[0].kind == "flatten":
            readers = folded.readers(readers[0].name)
        return readers[0] if len(readers) == 1 and readers[0].kind == "linear" else None
