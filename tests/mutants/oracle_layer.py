"""An implementation at any point of the behaviour space: the oracle itself, rounded once to the dtypes in question.

It is as right as an implementation at its point can be, so whatever a check says of it, it says of the point.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bnconform.cases.program import STATE, Array
from bnconform.spec import oracle
from bnconform.spec.behaviour import (
    OF_ABILITY,
    SPECIFIED,
    Behaviour,
    FrozenGradients,
    ModeSource,
    OutputDtype,
    StatisticsDtype,
)
from bnconform.spec.config import Config
from bnconform.spec.exact import Exact, arithmetic, exact, floats
from bnconform.spec.formats import numpy_dtype
from bnconform.spec.oracle.record import Forward, State
from bnconform.spec.oracle.replicas import Replica, Replicated, replicated
from bnconform.spec.shards import join, shapes_of, split


class OracleLayer:
    """A layer of the contract in backends/__init__.py."""

    def __init__(self, config: Config, behaviour: Behaviour) -> None:
        self.config, self.behaviour, self.frozen = config, behaviour, False
        own = behaviour.output_dtype is OutputDtype.INPUT
        kept = behaviour.statistics_dtype is StatisticsDtype.PARAMETER
        self.output = numpy_dtype(config.dtype if own else config.param_dtype)
        self.statistics = numpy_dtype(config.param_dtype if kept else config.dtype)
        with arithmetic():
            self.current = self._round(oracle.initial_state(config, behaviour))

    def _round(self, state: State) -> State:
        values: dict[str, Any] = {
            name: None if getattr(state, name) is None else exact(floats(getattr(state, name)).astype(self.statistics))
            for name in ("running_mean", "running_var")
        }
        return replace(state, **values)

    def _move(self, state: State) -> None:
        if not self.frozen:
            self.current = self._round(state)

    def _refuse_other_channels(self, x: Array) -> None:
        # The oracle takes any x: with momentum 1 nothing of the old statistics meets it, and their number would change.
        if x.ndim > 1 and x.shape[1] != self.config.num_features:
            raise ValueError(f"x of shape {x.shape} for {self.config.num_features} channels")

    def _out(self, values: Exact, dtype: np.dtype[Any]) -> Array:
        with np.errstate(all="ignore"):
            return floats(values).astype(dtype)

    def forward(self, x: Array, *, training: bool) -> Array:
        """y, rounded once."""
        self._refuse_other_channels(x)
        parts = oracle.pieces(self.behaviour, len(x)) if training else ()
        if len(parts) > 1:
            return np.concatenate([self.forward(x[part], training=True) for part in parts])
        with arithmetic(), np.errstate(all="ignore"):
            record = oracle.forward(self.config, self.behaviour, self.current, exact(x), training=training)
            if record.refused:
                raise ValueError(record.refused)
            y = self._out(record.y, self.output)
            self._move(record.state)
            return y

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients, each rounded once; the statistics move as the point's forward pass moves them."""
        self._refuse_other_channels(x)
        parts = oracle.pieces(self.behaviour, len(x)) if training else ()
        if len(parts) > 1:
            each = [self.backward(x[part], grad_output[part], training=True) for part in parts]
            by_x, by_weight, by_bias = zip(*each, strict=True)
            sums = [
                None if given[0] is None else np.sum(given, axis=0, dtype=given[0].dtype)
                for given in (by_weight, by_bias)
            ]
            return np.concatenate(by_x), sums[0], sums[1]
        with arithmetic(), np.errstate(all="ignore"):
            record = oracle.backward(
                self.config, self.behaviour, self.current, exact(x), exact(grad_output), training=training
            )
            if record.forward.refused:
                raise ValueError(record.forward.refused)
            self._move(record.forward.state)
            grad_weight, grad_bias = (
                None if value is None else self._out(value, self.statistics)
                for value in (record.grad_weight, record.grad_bias)
            )
            return self._out(record.grad_x, numpy_dtype(self.config.dtype)), grad_weight, grad_bias

    def vjp(self, x: Array, *, training: bool) -> tuple[Array, Callable[[Array], Any]]:
        """(y, pullback), of a layer that stays in the state before the pass."""
        recorded, given = copy.copy(self), x.copy()
        enabled = self.behaviour.mode_source is ModeSource.GRADIENTS_ENABLED
        y = self.forward(x, training=training or enabled)
        before = recorded.current

        def pullback(grad_output: Array) -> tuple[Array, Array | None, Array | None]:
            recorded.current = before
            return recorded.backward(given, grad_output, training=training)

        return y, pullback

    def state(self) -> dict[str, Array | None]:
        """The state in the layer's dtypes."""
        shown: dict[str, Array | None] = {}
        for name in STATE:
            value = getattr(self.current, name)
            if value is None:
                shown[name] = None
            elif name == "num_batches_tracked":
                shown[name] = np.asarray(value, np.int64)
            else:
                kept = name in ("weight", "bias")
                shown[name] = self._out(value, numpy_dtype(self.config.param_dtype) if kept else self.statistics)
        return shown

    def reset(self) -> None:
        """Make statistics and counter as the point has them when new."""
        with arithmetic():
            fresh = oracle.initial_state(self.config, self.behaviour)
            self.current = self._round(replace(fresh, weight=self.current.weight, bias=self.current.bias))

    def set(self, **options: Any) -> None:
        """Change momentum or epsilon, or whether the running statistics move."""
        self.frozen = not options.pop("track_running_stats", not self.frozen)
        self.config = replace(self.config, **options)

    def load(self, state: Mapping[str, Array]) -> None:
        """Set some of the state."""
        with arithmetic():
            values: dict[str, Any] = {
                name: int(value) if name == "num_batches_tracked" else exact(value) for name, value in state.items()
            }
            self.current = self._round(replace(self.current, **values))


class DifferentiableOracleLayer(OracleLayer):
    """The same with derivatives, for which the catalogue's neighbours are not asked: it would cost time alone."""

    def jvp(self, x: Array, tangent: Array, *, training: bool) -> tuple[Array, Array]:
        """(y, tangent_y), each rounded once; the statistics move as the point's forward pass moves them."""
        training = training or self.behaviour.mode_source is ModeSource.GRADIENTS_ENABLED
        with arithmetic(), np.errstate(all="ignore"):
            record = oracle.jvp(self.config, self.behaviour, self.current, exact(x), exact(tangent), training=training)
            if record.forward.refused:
                raise ValueError(record.forward.refused)
            self._move(record.forward.state)
            return self._out(record.forward.y, self.output), self._out(record.tangent_y, self.output)

    def hvp(
        self, x: Array, grad_output: Array, vector: Array, *, training: bool
    ) -> tuple[Array, Array | None, Array | None]:
        """The derivatives of the gradients, each rounded once; the state stays as it is."""
        with arithmetic(), np.errstate(all="ignore"):
            operands = exact(x), exact(grad_output), exact(vector)
            record = oracle.hvp(self.config, self.behaviour, self.current, *operands, training=training)
            if record.backward.forward.refused:
                raise ValueError(record.backward.forward.refused)
            by_weight, by_bias = (
                None if value is None else self._out(value, self.statistics)
                for value in (record.hvp_weight, record.hvp_bias)
            )
            return self._out(record.hvp_x, numpy_dtype(self.config.dtype)), by_weight, by_bias

    def third(self, x: Array, grad_output: Array, vector: Array, second: Array, *, training: bool) -> Array:
        """The derivative of that of the gradient along a second vector, rounded once; the state stays as it is."""
        with arithmetic(), np.errstate(all="ignore"):
            operands = exact(x), exact(grad_output), exact(vector), exact(second)
            record = oracle.third(self.config, self.behaviour, self.current, *operands, training=training)
            if record.backward.forward.refused:
                raise ValueError(record.backward.forward.refused)
            return self._out(record.third_x, numpy_dtype(self.config.dtype))


class SavingOracleLayer(OracleLayer):
    """The same with what an operator gives beside y, for points about that, and the specified one."""

    def saved_statistics(self, x: Array, *, training: bool) -> dict[str, Array | None]:
        """Each rounded once; the statistics move as the point's forward pass moves them."""
        self._refuse_other_channels(x)
        with arithmetic(), np.errstate(all="ignore"):
            record = oracle.forward(self.config, self.behaviour, self.current, exact(x), training=training)
            if record.refused:
                raise ValueError(record.refused)
            found = oracle.results_beside(record)
            self._move(record.state)
            names = {"mean": "saved_mean", "invstd": "saved_invstd", "variance": "saved_variance"}
            if found is None:
                return dict.fromkeys(names)
            return {name: self._out(found.value(theirs), self.statistics) for name, theirs in names.items()}


class FreezingOracleLayer(SavingOracleLayer):
    """The same that can be frozen, for points about that, and the specified one."""

    is_frozen = False

    def freeze(self, frozen: bool) -> None:
        """From now on passes are those of a frozen layer, or not any more."""
        self.is_frozen = frozen

    def forward(self, x: Array, *, training: bool) -> Array:
        """y, rounded once."""
        if not self.is_frozen:
            return super().forward(x, training=training)
        with arithmetic(), np.errstate(all="ignore"):
            mode = oracle.mode_when_frozen(self.behaviour, training)
            record = oracle.forward(self.config, self.behaviour, self.current, exact(x), training=mode)
            y = self._out(record.y, self.output)
            self._move_frozen(exact(x), record, training)
            return y

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients, each rounded once; none for weight and bias where the point has none."""
        if not self.is_frozen:
            return super().backward(x, grad_output, training=training)
        with arithmetic(), np.errstate(all="ignore"):
            mode, operands = oracle.mode_when_frozen(self.behaviour, training), (exact(x), exact(grad_output))
            record = oracle.backward(self.config, self.behaviour, self.current, *operands, training=mode)
            self._move_frozen(exact(x), record.forward, training)
            without = self.behaviour.frozen_gradients is FrozenGradients.NONE
            grad_weight, grad_bias = (
                None if value is None or without else self._out(value, self.statistics)
                for value in (record.grad_weight, record.grad_bias)
            )
            return self._out(record.grad_x, numpy_dtype(self.config.dtype)), grad_weight, grad_bias

    def _move_frozen(self, x: Exact | oracle.Batch, record: Forward, training: bool) -> None:
        if record.refused:
            raise ValueError(record.refused)
        state, _ = oracle.state_when_frozen(self.config, self.behaviour, self.current, x, record, training=training)
        self._move(state)


class RecomputingOracleLayer(FreezingOracleLayer):
    """The same with steps whose forward pass is run again, for points about those, and the specified one."""

    def recomputed(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients, each rounded once; the statistics move as the point has it."""
        if self.is_frozen:
            return self.backward(x, grad_output, training=training)
        self._refuse_other_channels(x)
        with arithmetic(), np.errstate(all="ignore"):
            found = oracle.recomputed(
                self.config, self.behaviour, self.current, exact(x), exact(grad_output), training=training
            )
            record = found.backward
            if record.forward.refused:
                raise ValueError(record.forward.refused)
            self._move(found.state)
            grad_weight, grad_bias = (
                None if value is None else self._out(value, self.statistics)
                for value in (record.grad_weight, record.grad_bias)
            )
            return self._out(record.grad_x, numpy_dtype(self.config.dtype)), grad_weight, grad_bias


class MaskedOracleLayer(RecomputingOracleLayer):
    """The same with masks, for the points that differ in what those do, and the specified one."""

    def masked(self, x: Array, mask: Array, *, training: bool) -> Array:
        """y, rounded once."""
        self._refuse_other_channels(x)
        with arithmetic(), np.errstate(all="ignore"):
            batch = oracle.Batch(exact(x), np.broadcast_to(mask != 0, x.shape))
            mode = oracle.mode_when_frozen(self.behaviour, training) if self.is_frozen else training
            record = oracle.forward(self.config, self.behaviour, self.current, batch, training=mode)
            if record.refused:
                raise ValueError(record.refused)
            y = self._out(record.y, self.output)
            if self.is_frozen:
                self._move_frozen(batch, record, training)
            else:
                self._move(record.state)
            return y

    def masked_backward(
        self, x: Array, mask: Array, grad_output: Array, *, training: bool
    ) -> tuple[Array, Array | None, Array | None]:
        """The gradients, each rounded once; the state stays as it is."""
        self._refuse_other_channels(x)
        with arithmetic(), np.errstate(all="ignore"):
            batch = oracle.Batch(exact(x), np.broadcast_to(mask != 0, x.shape))
            mode = oracle.mode_when_frozen(self.behaviour, training) if self.is_frozen else training
            record = oracle.backward(
                self.config, self.behaviour, self.current, batch, exact(grad_output), training=mode
            )
            if record.forward.refused:
                raise ValueError(record.forward.refused)
            without = self.is_frozen and self.behaviour.frozen_gradients is FrozenGradients.NONE
            grad_weight, grad_bias = (
                None if value is None or without else self._out(value, self.statistics)
                for value in (record.grad_weight, record.grad_bias)
            )
            return self._out(record.grad_x, numpy_dtype(self.config.dtype)), grad_weight, grad_bias


class ReplicatedOracleLayer(OracleLayer):
    """The same with replicas, for points that differ in a decision about them: it would cost time alone of others."""

    def replicated(self, xs: Sequence[Array], *, training: bool) -> list[tuple[Array, dict[str, Array | None]]]:
        """Y and the state of each replica, rounded once; the layer's own state stays as it is."""
        return self._outputs(xs, training)

    def _outputs(
        self, xs: Sequence[Array], training: bool, masks: Sequence[Array] | None = None
    ) -> list[tuple[Array, dict[str, Array | None]]]:
        with arithmetic(), np.errstate(all="ignore"):
            found = self._replicate(xs, training, masks=masks)
            return [
                (self._out(y, self.output), self._state_of(one))
                for one, y in zip(found.replicas, self._shards(xs, found, "y"), strict=True)
            ]

    def replicated_vjp(
        self, xs: Sequence[Array], grad_outputs: Sequence[Array], *, training: bool
    ) -> list[tuple[Array, Array | None, Array | None]]:
        """The gradients that each replica gives, rounded once."""
        return self._gradients_of_each(xs, grad_outputs, training)

    def _gradients_of_each(
        self,
        xs: Sequence[Array],
        grad_outputs: Sequence[Array],
        training: bool,
        masks: Sequence[Array] | None = None,
    ) -> list[tuple[Array, Array | None, Array | None]]:
        with arithmetic(), np.errstate(all="ignore"):
            found = self._replicate(xs, training, grad_outputs, masks)
            gradients = []
            for one, by_x in zip(found.replicas, self._shards(xs, found, "grad_x"), strict=True):
                by_weight, by_bias = (self._maybe(one.parameter_gradient(name)) for name in NAMES)
                gradients.append((self._out(by_x, numpy_dtype(self.config.dtype)), by_weight, by_bias))
            return gradients

    def _replicate(
        self,
        xs: Sequence[Array],
        training: bool,
        grad_outputs: Sequence[Array] | None = None,
        masks: Sequence[Array] | None = None,
    ) -> Replicated:
        upstream = None if grad_outputs is None else exact(join(grad_outputs))
        mask = None if masks is None else join(masks)
        found = replicated(
            self.config, self.behaviour, self.current, exact(join(xs)), shapes_of(xs), training=training,
            grad_output=upstream, mask=mask,
        )  # fmt: skip
        if found.refused:
            raise ValueError(found.refused)
        return found

    def _shards(self, xs: Sequence[Array], found: Replicated, name: str) -> list[Exact]:
        values = np.concatenate([getattr(one, name) for one in found.replicas])
        return split(values.reshape(join(xs).shape), shapes_of(xs))

    def _maybe(self, value: Exact | None) -> Array | None:
        return None if value is None else self._out(value, self.statistics)

    def _state_of(self, one: Replica) -> dict[str, Array | None]:
        after = one.remembered[0].state
        shown = {**self.state(), "num_batches_tracked": None}
        if after.num_batches_tracked is not None:
            shown["num_batches_tracked"] = np.asarray(after.num_batches_tracked, np.int64)
        for name in ("running_mean", "running_var"):
            if getattr(after, name) is not None:
                shown[name] = self._out(one.statistic(name), self.statistics)
        return shown


NAMES = ("grad_weight", "grad_bias")


class EveryOracleLayer(MaskedOracleLayer, ReplicatedOracleLayer):
    """The same with both, and with masks of replicas."""

    def masked_replicated(
        self, xs: Sequence[Array], masks: Sequence[Array], *, training: bool
    ) -> list[tuple[Array, dict[str, Array | None]]]:
        """Y and the state of each replica, rounded once; the layer's own state stays as it is."""
        return self._outputs(xs, training, masks)

    def masked_replicated_vjp(
        self, xs: Sequence[Array], masks: Sequence[Array], grad_outputs: Sequence[Array], *, training: bool
    ) -> list[tuple[Array, Array | None, Array | None]]:
        """The gradients that each replica gives, rounded once."""
        return self._gradients_of_each(xs, grad_outputs, training, masks)


def layer_at(config: Config, behaviour: Behaviour, replicas: bool = False) -> OracleLayer:
    """A layer at a point: with replicas where they are wanted, or it is about them; with masks where it is about them.

    The specified point has masks, steps with recomputation, what is saved and freezing where no replicas are wanted.
    """
    differences = behaviour.differences()
    spread = replicas or any(name.startswith("replica_") for name in differences)
    masks = any(OF_ABILITY.get(name) == "masked" for name in differences) if differences else not replicas
    if masks:
        return (EveryOracleLayer if spread else MaskedOracleLayer)(config, behaviour)
    if any(OF_ABILITY.get(name) == "recomputed" for name in differences) and not spread:
        return RecomputingOracleLayer(config, behaviour)
    besides = {"saved_statistics", "freeze"} & {OF_ABILITY.get(name) for name in differences}
    if besides and not spread:
        return FreezingOracleLayer(config, behaviour)
    return (ReplicatedOracleLayer if spread else OracleLayer)(config, behaviour)


class OracleBackend:
    """The backend at one point."""

    def __init__(self, behaviour: Behaviour = SPECIFIED, declares: bool = False, replicas: bool = False) -> None:
        self.behaviour, self.replicas = behaviour, replicas
        differences = behaviour.differences()
        self.name = "oracle" + "".join(f".{name}.{value}" for name, value in differences.items())
        self.deviations = differences if declares else {}
        self.unsupported: dict[str, str] = {}

    def devices(self) -> list[str]:
        """The CPU."""
        return ["cpu"]

    def build(self, config: Config, device: str) -> OracleLayer:
        """A layer at the point."""
        return layer_at(config, self.behaviour, self.replicas)

    def build_default(self, num_features: int, device: str) -> OracleLayer:
        """A layer with the specified defaults."""
        return layer_at(Config(num_features), self.behaviour)
