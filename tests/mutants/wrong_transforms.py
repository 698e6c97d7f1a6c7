"""Wrong under transformations: maps over batches and layers, Jacobians, and shapes without values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Entries
from bnconform.tests.mutants.transforming import Transforming

STATISTICS = ("running_mean", "running_var")
PARAMETERS = ("weight", "bias")

# -- one layer, mapped over batches -----------------------------------------------------------------------------------


@wrong("BN-TRANS-VMAP-BATCHES")
class LanesAreOneBatch(Transforming):
    """A map over batches in training takes its statistics over the mapped axis too."""

    def lane(self, number: int, xs: Array, training: bool) -> Array:
        """A part of what all lanes give as one batch."""
        if not training:
            return super().lane(number, xs, training)
        whole = np.concatenate(list(xs))
        return np.split(super().lane(0, whole[None], training), len(xs))[number]


@wrong("BN-TRANS-VMAP-BATCHES")
class FirstLanesStatisticsForAll(Transforming):
    """A map over batches normalises every lane by the statistics of the first."""

    def lane(self, number: int, xs: Array, training: bool) -> Array:
        """By the moments of the first lane."""
        if not training:
            return super().lane(number, xs, training)
        values = self.channels(xs[number])
        z = self.normalise(values, *self.moments(self.channels(xs[0])), training)
        return self.reshape_like(self.affine(z, training), xs[number])


@wrong("BN-TRANS-VMAP-BATCHES", "BN-TRANS-VMAP-SAMPLES")
class LanesInReverse(Transforming):
    """The lanes of a map come back in reverse order."""

    def lane(self, number: int, xs: Array, training: bool) -> Array:
        """Of the other end."""
        return super().lane(len(xs) - 1 - number, xs, training)


@wrong("BN-TRANS-VMAP-BATCHES", "BN-TRANS-VMAP-SAMPLES", dtypes=("float16",))
class MapWidensHalfPrecision(Transforming):
    """The batching rule computes in single precision and gives that out, where the layer gives half precision."""

    def vmap(self, xs: Array, *, training: bool) -> Array:
        """In single precision."""
        found = super().vmap(xs, training=training)
        return found.astype(np.float32) if found.dtype.itemsize == 2 else found


@wrong("BN-TRANS-VMAP-SAMPLES")
class MappedSampleNormalisesItself(Transforming):
    """Mapped over samples in evaluation, the layer normalises each by its own statistics."""

    def lane(self, number: int, xs: Array, training: bool) -> Array:
        """By the moments of the lane, which of one value are itself and 0."""
        values = self.channels(xs[number])
        z = self.normalise(values, *self.moments(values), training)
        return self.reshape_like(self.affine(z, training), xs[number])


@wrong("BN-TRANS-VMAP-SAMPLES")
class MapMovesInEvaluation(Transforming):
    """A map over samples moves the running statistics in evaluation."""

    def vmap(self, xs: Array, *, training: bool) -> Array:
        """With an update by all of them."""
        found = super().vmap(xs, training=training)
        if self.tracked and not training:
            whole = np.concatenate(list(xs))
            self.remember(self.channels(whole), whole)
        return found


@wrong("BN-TRANS-VMAP-SAMPLES", thread="flax#4760")
class MapLeavesItsModeBehind(Transforming):
    """After a map in evaluation the layer's next training pass still evaluates."""

    evaluates = False

    def vmap(self, xs: Array, *, training: bool) -> Array:
        """The mode stays."""
        self.evaluates = not training
        return super().vmap(xs, training=training)

    def forward(self, x: Array, *, training: bool) -> Array:
        """In the mode of the map before it."""
        late, self.evaluates = self.evaluates and training, False
        return super().forward(x, training=training and not late)


# -- layers, mapped together ------------------------------------------------------------------------------------------


@wrong("BN-TRANS-VMAP-LAYERS", "BN-TRANS-VMAP-STATE")
class EnsembleIsOneBatch(Transforming):
    """Layers mapped together in training take their statistics over the batches of all of them."""

    def member(self, layers: Sequence[Any], number: int, xs: Array, training: bool) -> Array:
        """A part of what the layer gives for all batches as one."""
        if not training:
            return super().member(layers, number, xs, training)
        whole = layers[number].forward(np.concatenate(list(xs)), training=True)
        return np.split(whole, len(xs))[number]


class _FirstOfAll(Transforming):
    """Layers of which some entries are those of the first."""

    shared: tuple[str, ...] = ()
    in_training, in_evaluation = True, True

    def operands(self, states: Sequence[Mapping[str, Array]], training: bool) -> Sequence[Mapping[str, Array]]:
        """With the first one's entries."""
        if not (self.in_training if training else self.in_evaluation):
            return states
        first = {name: states[0][name] for name in self.shared if name in states[0]}
        return [{**state, **first} for state in states]


@wrong("BN-TRANS-VMAP-LAYERS", "BN-TRANS-VMAP-EVAL")
class FirstLayersParametersForAll(_FirstOfAll):
    """Layers mapped together all use the weight and bias of the first."""

    shared = PARAMETERS


@wrong("BN-TRANS-VMAP-EVAL", thread="functorch#958")
class FirstLayersStatisticsForAll(_FirstOfAll):
    """Layers mapped together in evaluation all use the running statistics of the first."""

    shared = STATISTICS
    in_training = False


@wrong("BN-TRANS-VMAP-STATE")
class FirstLayersHistoryForAll(_FirstOfAll):
    """Layers mapped together in training all move on from the running statistics of the first."""

    shared = STATISTICS
    in_evaluation = False


@wrong("BN-TRANS-VMAP-STATE")
class LayersForgetWhatTheyWere(Transforming):
    """Layers mapped together move on from what this layer remembers, and not from what each of them does."""

    def operands(self, states: Sequence[Mapping[str, Array]], training: bool) -> Sequence[Mapping[str, Array]]:
        """Without their statistics in training."""
        if not training:
            return states
        return [{name: value for name, value in state.items() if name not in STATISTICS} for state in states]


@wrong("BN-TRANS-VMAP-STATE")
class StatisticsAveragedOverLayers(Transforming):
    """After layers have trained together each remembers the average of what all of them do."""

    def afterwards(self, states: list[Entries], training: bool) -> list[Entries]:
        """The averages."""
        if not training or not self.tracked:
            return states
        means: Entries = {}
        for name in STATISTICS:
            every = [value for state in states if (value := state[name]) is not None]
            means[name] = np.mean(every, axis=0).astype(self.kept)
        return [{**state, **means} for state in states]


@wrong("BN-TRANS-VMAP-STATE")
class OnlyTheFirstLayerRemembers(Transforming):
    """Of layers that train together the first alone keeps what it has learnt; the others stay as they were."""

    def member(self, layers: Sequence[Any], number: int, xs: Array, training: bool) -> Array:
        """Put back."""
        before = dict(layers[number].entries)
        found = super().member(layers, number, xs, training)
        if number:
            layers[number].entries = before
        return found


@wrong("BN-TRANS-VMAP-STATE")
class VarianceOverAllLayers(Transforming):
    """The variance that is remembered is taken over the batches of all layers that are mapped together."""

    everything: Array | None = None

    def member(self, layers: Sequence[Any], number: int, xs: Array, training: bool) -> Array:
        """What is remembered is of all."""
        layers[number].everything = np.concatenate(list(xs))
        return super().member(layers, number, xs, training)

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean of the batch, and the variance of all."""
        mean, variance = super().memory_of(values)
        if self.everything is not None:
            variance = super().memory_of(self.channels(self.everything))[1]
        return mean, variance


@wrong("BN-TRANS-VMAP-STATE")
class CounterCountsLayers(Transforming):
    """The counter of layers that train together counts one more for each of them."""

    def afterwards(self, states: list[Entries], training: bool) -> list[Entries]:
        """One for each layer but the one that was counted."""
        if not training or not self.tracked:
            return states
        more = len(states) - 1
        return [{**state, "num_batches_tracked": np.asarray(state["num_batches_tracked"]) + more} for state in states]


@wrong("BN-TRANS-VMAP-EVAL")
class EnsembleMovesInEvaluation(Transforming):
    """Layers mapped together move their statistics in evaluation."""

    def member(self, layers: Sequence[Any], number: int, xs: Array, training: bool) -> Array:
        """With an update."""
        found = super().member(layers, number, xs, training)
        if not training and self.tracked:
            layers[number].remember(self.channels(xs[number]), xs[number])
        return found


# -- Jacobians --------------------------------------------------------------------------------------------------------


@wrong("BN-TRANS-JACREV", thread="functorch#867")
class JacobianTakesStatisticsForConstant(Transforming):
    """The Jacobian in reverse mode is diagonal in training as in evaluation: its rows see no statistics."""

    def row(self, x: Array, unit: Array, training: bool) -> Array:
        """Weight / std where the unit is."""
        values = self.channels(x)
        _, variance = self.normalizing(values, x, training)
        return self.reshape_like(self.gradient_scale(variance, training)[:, None] * self.channels(unit), x)


@wrong("BN-TRANS-JACREV")
class JacobianHasSamplesApart(Transforming):
    """The Jacobian in reverse mode is taken of each sample by itself: the blocks between samples are zeros."""

    def row(self, x: Array, unit: Array, training: bool) -> Array:
        """The row, but where another sample is."""
        found = super().row(x, unit, training)
        own = unit.reshape(len(unit), -1).any(axis=1)
        return np.where(own.reshape((-1,) + (1,) * (x.ndim - 1)), found, found.dtype.type(0))


@wrong("BN-TRANS-JACREV")
class JacobianMixesChannels(Transforming):
    """The rows of a Jacobian are batched along the channels, whose sums then run over all of them."""

    mixing = False

    def row(self, x: Array, unit: Array, training: bool) -> Array:
        """With the sums of all channels."""
        self.mixing = True
        found = super().row(x, unit, training)
        self.mixing = False
        return found

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """The means of a row are those of all channels together."""
        if not self.mixing:
            return super().through_statistics(z, upstream)
        n = upstream.dtype.type(upstream.shape[1])
        return np.asarray(upstream - upstream.sum() / n - z * (upstream * z).sum() / n)


@wrong("BN-TRANS-JACFWD")
class ColumnsTakeVarianceForConstant(Transforming):
    """The Jacobian in forward mode flows through the mean and not through the variance."""

    def flowing(self, z: Array, moving: Array) -> Array:
        """The term with z is missing."""
        return np.asarray(moving - moving.mean(axis=1, keepdims=True))


@wrong("BN-TRANS-JACFWD")
class ColumnsTakeMeanForConstant(Transforming):
    """The Jacobian in forward mode flows through the variance and not through the mean."""

    def flowing(self, z: Array, moving: Array) -> Array:
        """The mean is missing."""
        return np.asarray(moving - z * (z * moving).mean(axis=1, keepdims=True))


@wrong("BN-TRANS-JACFWD", "BN-TRANS-JAC-EVAL")
class ColumnsWithoutWeight(Transforming):
    """The Jacobian in forward mode forgets the weight."""

    def column(self, x: Array, unit: Array, training: bool) -> Array:
        """Over the weight."""
        found = super().column(x, unit, training)
        if not self.config.weight:
            return found
        weight = self.entry("weight").reshape((1, -1) + (1,) * (x.ndim - 2))
        return np.asarray(found / weight).astype(found.dtype)


@wrong("BN-TRANS-JAC-EVAL")
class JacobianOfEvaluationHasBatchTerms(Transforming):
    """The Jacobian of an evaluation, in either mode, has the terms of training."""

    def row(self, x: Array, unit: Array, training: bool) -> Array:
        """With them, by the statistics of evaluation."""
        if training:
            return super().row(x, unit, training)
        return self.column(x, unit, training)

    def column(self, x: Array, unit: Array, training: bool) -> Array:
        """With them."""
        if training:
            return super().column(x, unit, training)
        values = self.channels(x)
        mean, variance = self.normalizing(values, x, training)
        z = self.normalise(values, mean, variance, training)
        moving = self.flowing(z, self.channels(unit))
        return self.reshape_like(self.gradient_scale(variance, training)[:, None] * moving, x)


@wrong("BN-TRANS-JAC-STATE")
class EachRowIsAnUpdate(Transforming):
    """A Jacobian in reverse mode makes a forward pass for each of its rows, and each moves the statistics."""

    def row(self, x: Array, unit: Array, training: bool) -> Array:
        """With one."""
        self.forward(x, training=training)
        return super().row(x, unit, training)


@wrong("BN-TRANS-JAC-STATE")
class JacobianMovesInEvaluation(Transforming):
    """A Jacobian in forward mode moves the statistics in evaluation, too."""

    def jacfwd(self, x: Array, *, training: bool) -> Array:
        """With an update."""
        if not training and self.tracked:
            self.remember(self.channels(x), x)
        return super().jacfwd(x, training=training)


# -- shapes without values --------------------------------------------------------------------------------------------


@wrong("BN-TRANS-SHAPE-STATE")
class ShapeIsFoundByAPass(Transforming):
    """To tell the shape of y the layer is called with zeros, which moves its statistics in training."""

    def eval_shape(self, x: Array, *, training: bool) -> tuple[tuple[int, ...], str]:
        """By a pass."""
        y = self.forward(np.zeros_like(x), training=training)
        return y.shape, str(y.dtype)


@wrong("BN-TRANS-SHAPE-STATE")
class ShapeCountsABatch(Transforming):
    """To tell the shape of y counts a batch."""

    def eval_shape(self, x: Array, *, training: bool) -> tuple[tuple[int, ...], str]:
        """One more."""
        if training and self.tracked:
            self.count()
        return super().eval_shape(x, training=training)


@wrong("BN-TRANS-SHAPE", dtypes=("float64", "float16"))
class ShapeSaysSinglePrecision(Transforming):
    """The dtype of y is said to be float32, whatever that of x."""

    def eval_shape(self, x: Array, *, training: bool) -> tuple[tuple[int, ...], str]:
        """Always the same."""
        return x.shape, "float32"


@wrong("BN-TRANS-SHAPE", dtypes=("float16",))
class ShapeOfEvaluationSaysParametersDtype(Transforming):
    """In evaluation the dtype of y is said to be that of the parameters."""

    def eval_shape(self, x: Array, *, training: bool) -> tuple[tuple[int, ...], str]:
        """As they are kept."""
        return x.shape, str(x.dtype if training else self.kept)


@wrong("BN-TRANS-SHAPE")
class ShapeHasChannelsLast(Transforming):
    """The shape of y is said to have the channels as its last axis."""

    def eval_shape(self, x: Array, *, training: bool) -> tuple[tuple[int, ...], str]:
        """With axis 1 at the end."""
        return (x.shape[0], *x.shape[2:], x.shape[1]), str(x.dtype)
