"""A batch that is spread over replicas, at any point of the behaviour space: one pass over all of it, or one a replica.

Nothing is computed here that `passes` does not compute of some batch; the decisions about replicas say of which:

* Statistics of all, by count: of the one batch, all shards joined (`bnconform.spec.shards`).
* Statistics of all, equally: a value of replica i weighs 1/(R n_i) instead of 1/n. With L the least common multiple of
  all n_i that is the statistic of a batch in which each sample of replica i stands L/n_i times. The output is that of
  the first of its copies. A gradient reaches the output of the first copy alone, and every copy's part in the
  statistics: what reaches x is the sum over the copies. Where a replica is empty its mean is 0/0, and so is that of
  all.
* A replica's own: of its shard.
* With masks the n_i above are the numbers of values that are selected, the same for all channels, and a shard, or the
  batch of all, is one with a mask: a copy of a value that is hidden is hidden. Of a replica that selects nothing its
  values stand once, so that they have an output, and its mean is 0/0 as that of an empty one.

Which of these passes' statistics a replica remembers, and of which n Bessel's factor is, are decisions of their own.
The gradients are linear in grad_output, so that the part of one replica in what they are is the gradient for its own
grad_output, with zeros for all others.

Where spatial sizes differ the shards have no common shape but that of rows. For statistics of channels that changes
nothing; at a point that tells samples from positions, nothing is fixed of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnconform.spec import behaviour as b
from bnconform.spec.behaviour import Behaviour
from bnconform.spec.config import Config
from bnconform.spec.exact import Exact, exact, require_precision
from bnconform.spec.oracle.passes import backward, forward
from bnconform.spec.oracle.record import Backward, Batch, Forward, Mask, State
from bnconform.spec.shards import Shards, counts, slices_of, split

Places = NDArray[np.int64]
"""(n_i, k): for each value of a replica the rows of a batch in which it stands, the first of which gives its output."""

OTHERS = b.MaskedStatistics.OTHERS
COUNTING_ALL = (b.MaskedStatistics.ALL, b.MaskedStatistics.ZEROS_COUNTED)
"""Where the statistics count every value, whatever a mask selects."""

EVERYTHING = frozenset({"y", "grad_x", "replica_running_mean", "replica_running_var"}) | {
    "replica_grad_weight", "replica_grad_bias"
}  # fmt: skip
"""The names of what replicas show and a batch decides."""


@dataclass(frozen=True)
class Replica:
    """What one replica computes.

    Attributes:
        forward: the pass whose statistics normalise. places: where its own values stand there.
        remembered: the passes of whose states afterwards it remembers the mean; one, unless it is a mean.
        backward: that of `forward` for the upstream gradients that reach x; None where no gradients are asked for.
        parts: the backward passes whose gradients for the parameters add up to what it gives, times `divisor`.
    """

    forward: Forward
    places: Places
    remembered: tuple[Forward, ...]
    backward: Backward | None = None
    parts: tuple[Backward, ...] = ()
    divisor: int = 1

    @cached_property
    def y(self) -> Exact:
        """(n_i, C)."""
        return np.asarray(rows(self.forward.y)[self.places[:, 0]], dtype=object)

    @cached_property
    def grad_x(self) -> Exact:
        """(n_i, C)."""
        assert self.backward is not None
        return np.asarray(np.add.reduce(rows(self.backward.grad_x)[self.places], axis=1), dtype=object)

    def statistic(self, name: str) -> Exact:
        """The running_mean or running_var afterwards, (C,)."""
        found = [getattr(one.state, name) for one in self.remembered]
        return np.asarray(sum(found[1:], found[0]) / len(found), dtype=object)

    def parameter_gradient(self, name: str) -> Exact | None:
        """The grad_weight or grad_bias, (C,), that it gives; None where there is no such parameter."""
        found = [getattr(part, name) for part in self.parts]
        return None if found[0] is None else np.asarray(sum(found[1:], found[0]) / self.divisor, dtype=object)


@dataclass(frozen=True)
class Replicated:
    """What all replicas compute.

    Attributes:
        refused: why the point refuses the call, or "". unspecified: the names of what nothing fixes.
    """

    refused: str
    unspecified: frozenset[str]
    replicas: tuple[Replica, ...]


def rows(values: Any) -> Any:
    """(N, C, *S) as (n, C)."""
    return np.moveaxis(values, 1, -1).reshape(-1, values.shape[1])


def replicated(
    config: Config,
    behaviour: Behaviour,
    state: State,
    x: Exact,
    shapes: Shards,
    *,
    training: bool,
    grad_output: Exact | None = None,
    mask: Mask | None = None,
) -> Replicated:
    """One pass of replicas that are all in `state`.

    Args:
        x, grad_output: rows (n, C, 1, ...), see `bnconform.spec.shards`; with grad_output, the gradients of the sum
            over all replicas.
        mask: the values that are selected, (n, 1, 1, ...); None where there are no masks.

    Raises:
        PrecisionError: outside of `exact.arithmetic()`.
    """
    require_precision()
    found = _Passes(config, behaviour, state, x, shapes, training, grad_output, mask)
    number = range(len(shapes))
    replicas = tuple(found.replica(i) for i in number)
    passes = [one for replica in replicas for one in (replica.forward, *replica.remembered)]
    refused = next((one.refused for one in passes if one.refused), "")
    unspecified = EVERYTHING if found.is_unspecified else _names_unspecified(replicas) | found.left_open
    return Replicated(refused, unspecified, replicas)


def _names_unspecified(replicas: Sequence[Replica]) -> frozenset[str]:
    """What nothing fixes of some pass, by the names that replicas show it by; of what is remembered the statistics."""
    names = {name for replica in replicas for name in replica.forward.unspecified}
    remembered = {name for replica in replicas for one in replica.remembered for name in one.unspecified}
    names |= remembered & {"running_mean", "running_var"}
    return frozenset(name if name in ("y", "grad_x") else f"replica_{name}" for name in names)


class _Passes:
    """The passes that replicas are made of, each computed once."""

    def __init__(
        self,
        config: Config,
        behaviour: Behaviour,
        state: State,
        x: Exact,
        shapes: Shards,
        training: bool,
        grad_output: Exact | None,
        mask: Mask | None,
    ) -> None:
        self.config, self.behaviour, self.state, self.training = config, behaviour, state, training
        self.shapes, self.counts = shapes, counts(shapes)
        self.shards, self.rows = split(x, shapes), x
        self.upstream, self.mask = grad_output, mask
        self._forward: dict[int, Forward] = {}
        self._backward: dict[tuple[int, tuple[int, ...]], Backward] = {}

    @cached_property
    def selected(self) -> tuple[int, ...]:
        """The values a channel of each shard that its statistics are of."""
        if self.mask is None or self.behaviour.masked_statistics in COUNTING_ALL:
            return self.counts
        others = self.behaviour.masked_statistics is b.MaskedStatistics.OTHERS
        seen = ~self.mask if others else self.mask
        return tuple(int(seen[own].sum()) for own in slices_of(self.shapes))

    @cached_property
    def masks(self) -> list[Mask]:
        """That of each shard, of its shape."""
        assert self.mask is not None
        return split(np.broadcast_to(self.mask, self.rows.shape), self.shapes)

    @property
    def of_all(self) -> bool:
        """Whether the statistics of all replicas normalise."""
        return self.behaviour.replica_statistics is b.ReplicaStatistics.ALL

    @property
    def same_sizes(self) -> bool:
        """Whether all shards have the same positions."""
        return len({shape[1:] for shape in self.shapes}) == 1

    @property
    def is_unspecified(self) -> bool:
        """Whether nothing is fixed, as samples are told from positions, or counted, and are not those of one batch."""
        point = self.behaviour
        if not self.same_sizes:
            axes = point.statistics_axes is not b.StatisticsAxes.PER_CHANNEL
            samples = point.running_variance is b.RunningVariance.SAMPLES
            if axes or samples or point.evaluation_broadcast is b.EvaluationBroadcast.LAST_AXIS:
                return True
        if len(set(self.selected)) == 1 or not self.of_all or point.replica_weights is b.ReplicaWeights.BY_COUNT:
            return False
        counted = point.running_variance is b.RunningVariance.SAMPLES
        return counted or point.normalizing_variance is b.NormalizingVariance.UNBIASED

    @property
    def left_open(self) -> frozenset[str]:
        """What rests on a replica's own statistics of one value, or of none, which are policies, whatever the point."""
        if not self.training or min(self.selected) > 1:
            return frozenset()
        if not self.of_all:
            return EVERYTHING
        own = self.behaviour.replica_memory is not b.ReplicaMemory.NORMALIZING
        return frozenset({"replica_running_mean", "replica_running_var"}) if own else frozenset()

    # -- the batch of all ------------------------------------------------------------------------------------------

    @cached_property
    def copies(self) -> tuple[int, ...]:
        """How often each replica's values stand in the batch of all."""
        if self.behaviour.replica_weights is b.ReplicaWeights.BY_COUNT:
            return (1,) * len(self.counts)
        common = math.lcm(*(count for count in self.selected if count))
        return tuple(common // count if count else 1 for count in self.selected)

    @cached_property
    def together(self) -> Exact:
        """The batch of all, (N, C, *S), or rows where sizes differ."""
        given = self._copy(self.shards if self.same_sizes else [self.rows[own] for own in slices_of(self.shapes)])
        if self.lacks_a_mean:
            given.append(exact(np.full((1, *given[0].shape[1:]), np.nan)))
        return np.concatenate(given)

    @cached_property
    def together_selected(self) -> Mask | None:
        """Which values of the batch of all are selected, of its shape; None where there are no masks."""
        if self.mask is None:
            return None
        whole = np.broadcast_to(self.mask, self.rows.shape)
        given = self._copy(self.masks if self.same_sizes else [whole[own] for own in slices_of(self.shapes)])
        if self.lacks_a_mean:
            given.append(np.full((1, *given[0].shape[1:]), self.behaviour.masked_statistics is not OTHERS))
        return np.concatenate(given)

    def _copy(self, parts: Sequence[Any]) -> list[Any]:
        """What stands in the batch of all, each part as often as it has copies."""
        return [part for part, often in zip(parts, self.copies, strict=True) for _ in range(often)]

    @property
    def lacks_a_mean(self) -> bool:
        """Whether a replica without a value has a mean, NaN, that weighs as the others' do."""
        return 0 in self.selected and self.behaviour.replica_weights is b.ReplicaWeights.EQUALLY

    def places(self, i: int) -> Places:
        """Where the values of replica i stand in the batch of all."""
        before = sum(often * count for often, count in zip(self.copies[:i], self.counts[:i], strict=True))
        own, often = np.arange(self.counts[i]), np.arange(self.copies[i])
        return np.asarray(before + own[:, None] + often[None, :] * self.counts[i], np.int64)

    def bessel(self, i: int) -> int:
        """The number of values that Bessel's factor is taken of by replica i."""
        own = self.behaviour.replica_unbiased_count is b.ReplicaUnbiasedCount.OWN
        return max(self.selected[i] if own else sum(self.selected), 1)

    # -- passes ----------------------------------------------------------------------------------------------------

    def shard(self, i: int) -> Batch:
        """That of replica i."""
        return Batch(self.shards[i], None if self.mask is None else self.masks[i])

    def batch(self, i: int) -> Batch:
        """The batch of all, as replica i sees it."""
        return Batch(self.together, self.together_selected, self.bessel(i))

    def of_one(self, i: int) -> Forward:
        """The pass of replica i over its own shard."""
        if i not in self._forward:
            batch = self.shard(i)
            self._forward[i] = forward(self.config, self.behaviour, self.state, batch, training=self.training)
        return self._forward[i]

    def over_all(self, i: int) -> Forward:
        """The pass over the batch of all, as replica i sees it."""
        known = self.bessel(i)
        if -known not in self._forward:
            self._forward[-known] = forward(
                self.config, self.behaviour, self.state, self.batch(i), training=self.training
            )
        return self._forward[-known]

    def gradients(self, i: int, reaching: tuple[int, ...]) -> Backward:
        """The backward pass of what normalises replica i, for the upstream gradients of some replicas."""
        assert self.upstream is not None
        key = (-self.bessel(i) if self.of_all else i), reaching
        if key not in self._backward:
            given = split(self.upstream, self.shapes)[i]
            batch = self.shard(i)
            if self.of_all:
                batch, given = self.batch(i), self._reaching(reaching)
            self._backward[key] = backward(
                self.config, self.behaviour, self.state, batch, given, training=self.training
            )
        return self._backward[key]

    def _reaching(self, reaching: tuple[int, ...]) -> Exact:
        """The upstream gradients of some replicas in the batch of all, each at the first copy of its value."""
        assert self.upstream is not None
        shape = self.together.shape
        found = exact(np.zeros((math.prod((shape[0], *shape[2:])), shape[1])))
        for i in reaching:
            found[self.places(i)[:, 0]] = rows(self.upstream[slices_of(self.shapes)[i]])
        return np.moveaxis(found.reshape(shape[0], *shape[2:], shape[1]), -1, 1)

    def replica(self, i: int) -> Replica:
        """What replica i computes."""
        point, everyone = self.behaviour, tuple(range(len(self.shapes)))
        if self.of_all:
            record, places = self.over_all(i), self.places(i)
        else:
            record, places = self.of_one(i), np.arange(self.counts[i])[:, None]
        memory = point.replica_memory
        if memory is b.ReplicaMemory.NORMALIZING:
            remembered: tuple[Forward, ...] = (record,)
        elif memory is b.ReplicaMemory.MEAN:
            remembered = tuple(self.of_one(j) for j in everyone)
        else:
            remembered = (self.of_one(0 if memory is b.ReplicaMemory.FIRST else i),)
        if self.upstream is None:
            return Replica(record, places, remembered)
        alone = point.replica_gradient is b.ReplicaGradient.OWN or not self.of_all
        own_part = point.replica_parameter_gradients is b.ReplicaParameterGradients.PARTS
        parts = tuple(self.gradients(j, (j,)) for j in ((i,) if own_part else everyone))
        mean = point.replica_parameter_gradients is b.ReplicaParameterGradients.MEAN
        gradient = self.gradients(i, (i,) if alone else everyone)
        return Replica(record, places, remembered, gradient, parts, len(everyone) if mean else 1)
