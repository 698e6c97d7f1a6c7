"""Right by other means: what a layer keeps, how it moves it, and what it does where the documents leave a choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bnconform.spec.config import Config
from bnconform.tests.mutants.algorithms import Array, decay_given, incremental, interpolate
from bnconform.tests.mutants.assembled import PLAIN, Assembled
from bnconform.tests.mutants.catalogue import right
from bnconform.tests.mutants.deferred import Deferred
from bnconform.tests.mutants.layer import Entries, Layer


class Encoded(Layer):
    """What the layers have in common that keep something else in place of the running variance, which they show."""

    def encode(self, variance: Array) -> Array:
        """What is kept, (C,), for a running variance."""
        raise NotImplementedError

    def decode(self, kept: Array) -> Array:
        """The running variance, (C,), of what is kept."""
        raise NotImplementedError

    def factor(self, kept: Array) -> Array:
        """1 / sqrt(running_var + eps), (C,), of what is kept."""
        raise NotImplementedError

    def initial(self) -> Entries:
        """The state of a new layer, the variance encoded."""
        entries = super().initial()
        if entries["running_var"] is not None:
            entries["running_var"] = self.encode(entries["running_var"])
        return entries

    def inverse_std(self, variance: Array, training: bool) -> Array:
        """1 / sqrt(variance + eps), (C,); in evaluation from what is kept, and never from the variance."""
        return super().inverse_std(variance, training) if self.from_batch(training) else self.factor(variance)

    def remember(self, values: Array, x: Array) -> None:
        """Count the batch, and move the running statistics by it unless it is empty."""
        if not values.shape[1]:
            self.count()
            return
        self.entries["running_var"] = self.decode(self.present("running_var"))
        super().remember(values, x)
        self.entries["running_var"] = self.encode(self.present("running_var"))

    def state(self) -> Entries:
        """Copies of what the layer remembers, the variance as such."""
        entries = super().state()
        if entries["running_var"] is not None:
            entries["running_var"] = self.decode(entries["running_var"])
        return entries

    def load(self, state: Mapping[str, Array]) -> None:
        """Set some entries; ValueError, nothing set, for one that this layer does not have or of another shape."""
        super().load(state)
        if "running_var" in state:
            self.entries["running_var"] = self.encode(self.present("running_var"))

    def set(self, **options: Any) -> None:
        """Change options; what is kept stands for the same variance, whatever epsilon it is kept with."""
        before = self.entries["running_var"]
        variance = None if before is None else self.decode(before)
        super().set(**options)
        if variance is not None and "eps" in options:
            self.entries["running_var"] = self.encode(variance)


@right
class KeptAsInverseDeviation(Encoded):
    """The running variance is kept as 1 / sqrt(running_var + eps), and shown as the variance that it stands for."""

    @property
    def epsilon(self) -> Array:
        """Epsilon in the dtype that is kept."""
        return np.asarray(self.config.eps).astype(self.kept)

    def encode(self, variance: Array) -> Array:
        """The inverse deviation."""
        with np.errstate(all="ignore"):
            return np.asarray(1 / np.sqrt(variance + self.epsilon))

    def decode(self, kept: Array) -> Array:
        """The variance."""
        with np.errstate(all="ignore"):
            return np.asarray(1 / (kept * kept) - self.epsilon)

    def factor(self, kept: Array) -> Array:
        """The inverse deviation, as it is kept."""
        return kept


@right
class KeptAsDeviation(Encoded):
    """The running variance is kept as its root, and shown as the square of that."""

    def encode(self, variance: Array) -> Array:
        """The standard deviation."""
        with np.errstate(all="ignore"):
            return np.asarray(np.sqrt(variance))

    def decode(self, kept: Array) -> Array:
        """The variance."""
        with np.errstate(all="ignore"):
            return np.asarray(kept * kept)

    def factor(self, kept: Array) -> Array:
        """The inverse deviation, of the square of the deviation."""
        return np.asarray(1 / np.sqrt(kept * kept + self.work.type(self.config.eps)))


@right
class KeptInDouble(Layer):
    """The running statistics are kept, moved and shown in double, whatever the parameters' dtype."""

    STATISTICS = ("running_mean", "running_var")

    def initial(self) -> Entries:
        """The state of a new layer."""
        entries = super().initial()
        return entries | {name: self._wide(entries[name]) for name in self.STATISTICS}

    def load(self, state: Mapping[str, Array]) -> None:
        """Set some entries; ValueError, nothing set, for one that this layer does not have or of another shape."""
        super().load(state)
        self.entries |= {name: self._wide(state[name]) for name in self.STATISTICS if name in state}

    def blend(self, old: Array, new: Array, weight: float) -> Array:
        """(1 - weight) old + weight new, (C,), in double."""
        return np.asarray((1 - weight) * old.astype(np.float64) + weight * new.astype(np.float64))

    def remember(self, values: Array, x: Array) -> None:
        """Count the batch, and move the running statistics by it unless it is empty."""
        ordinary, self.work = self.work, np.dtype(np.float64)
        super().remember(values, x)
        self.work = ordinary

    @staticmethod
    def _wide(values: Array | None) -> Array | None:
        return None if values is None else np.array(values, np.float64)


@right
class MovedByIncrement(Assembled):
    """The running statistics move by a (batch - old)."""

    how = replace(PLAIN, update=incremental)


@right
class MovedByDecay(Assembled):
    """The layer is given the decay 1 - a, and takes (old - batch)(1 - decay) off."""

    how = replace(PLAIN, update=decay_given)


@right
class MovedFromTheNearerEnd(Assembled):
    """The running statistics are interpolated from the old value for a momentum below a half, else from the batch's."""

    how = replace(PLAIN, update=interpolate)


@right
class MovedWhenNeeded(Deferred):
    """Batches are counted and remembered only when the state is read, loaded, or used in evaluation."""


@right
class CounterAbsent(Layer):
    """The layer shows no counter of batches, and counts them for momentum None all the same."""

    def __init__(self, config: Config) -> None:
        self.seen = 0
        super().__init__(config)

    def initial(self) -> Entries:
        """The state of a new layer, without the counter."""
        return super().initial() | {"num_batches_tracked": None}

    def count(self) -> None:
        """One training batch more."""
        self.seen += 1

    def reset(self) -> None:
        """The count that is not shown, too."""
        super().reset()
        self.seen = 0

    @property
    def batches(self) -> int:
        """How many batches have been counted."""
        return self.seen


@right
class EmptyBatchRefused(Layer):
    """An empty batch is refused in training, before anything is counted."""

    def check(self, x: Array, training: bool) -> None:
        """Refuse an empty batch in training, and what every layer refuses."""
        super().check(x, training)
        if self.from_batch(training) and not x.size:
            raise ValueError("an empty batch has no statistics")


class OneValueTaken(Layer):
    """What the layers have in common that take one value a channel: the answer is the bias."""

    def check(self, x: Array, training: bool) -> None:
        """Refuse another rank and another number of channels only."""
        if x.ndim != self.config.ndim or x.shape[1] != self.config.num_features or x.size != x.shape[1]:
            super().check(x, training)

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """What of a batch is remembered: its mean and its unbiased variance, each (C,), that of one value being 0."""
        mean, variance = self.moments(values)
        return mean, variance * self.work.type(values.shape[1] / max(values.shape[1] - 1, 1))


@right
class OneValueGivesBias(OneValueTaken):
    """One value a channel gives the bias, and its variance is remembered as 0."""


@right
class OneValueKeepsVariance(OneValueTaken):
    """One value a channel gives the bias, and the running variance stays as it is."""

    def remember(self, values: Array, x: Array) -> None:
        """Count the batch, and move the running statistics by it, the variance where the batch has one."""
        kept = self.entries["running_var"]
        super().remember(values, x)
        if values.shape[1] == 1:
            self.entries["running_var"] = kept
