"""Equinox' BatchNorm in both of its modes: "batch" normalises by the batch, "ema" by the running statistics.

Equinox' momentum weighs the old value, so 1 - momentum is passed. The layer takes one sample, channels first, and sees
the batch through `jax.vmap` with the axis's name. The state shown is the one that Equinox keeps.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

from bnconform.backends import jax_replicas
from bnconform.backends.jax_arrays import Compiled, Place, compile_function, devices, example, place
from bnconform.backends.jax_replicas import SHAPES, Pass, Replicas, ReplicatedJaxLayer, over, vmap

AXIS = "batch"
PAGE = "https://docs.kidger.site/equinox/api/nn/normalisation/"

ONE_DTYPE = "a training pass in mode ema fails in lax.select where input and statistics differ in dtype"


@cache
def make(where: Place, given: tuple[tuple[str, Any], ...]) -> tuple[Any, Any]:
    """A layer and its state, both immutable, so that layers built alike start from the same."""
    import equinox

    options = dict(given)
    if not has_modes():
        options.pop("mode")
    with where.enter():
        found: tuple[Any, Any] = equinox.nn.make_with_state(equinox.nn.BatchNorm)(axis_name=AXIS, **options)
        return found


def has_modes() -> bool:
    """Whether this Equinox' layer is told a mode; before 0.13 there was one way only, that of mode "ema"."""
    import equinox

    return "mode" in inspect.signature(equinox.nn.BatchNorm.__init__).parameters


def is_averaging_batches(layer: Any) -> bool:
    """Whether a layer is in mode "batch"."""
    return getattr(layer, "mode", "ema") == "batch"


def statistics_index(layer: Any) -> Any:
    """Where a layer keeps its running mean and variance in the state."""
    if is_averaging_batches(layer):
        return layer.batch_state_index
    return layer.ema_state_index if has_modes() else layer.state_index


def usable(state: Any) -> Any:
    """A copy of a state, because Equinox lets each be used up only once."""
    import jax

    leaves, tree = jax.tree_util.tree_flatten(state)
    return jax.tree_util.tree_unflatten(tree, leaves)


def one_pass(where: Place, given: tuple[tuple[str, Any], ...], training: bool, axes: Any = AXIS) -> Pass:
    """The pass of a layer in a mode, whose statistics are over the samples, or over several axes."""
    import equinox
    import jax

    layer = equinox.nn.inference_mode(make(where, given)[0], value=not training)
    layer = equinox.tree_at(lambda found: found.axis_name, layer, axes)

    def apply(parameters: Any, statistics: Any, x: Any) -> tuple[Any, Any]:
        held = layer
        if parameters:
            parts = (parameters["weight"], parameters["bias"])
            held = equinox.tree_at(lambda found: (found.weight, found.bias), layer, parts)
        y, moved = jax.vmap(held, axis_name=AXIS, in_axes=(0, None), out_axes=(0, None))(x, statistics)
        return y, moved

    return apply


@cache
def functions(where: Place, given: tuple[tuple[str, Any], ...], training: bool) -> Compiled:
    """The pass of a layer in a mode and its gradients."""
    import equinox

    apply = one_pass(where, given, training)
    return compile_function(apply, equinox.filter_checkpoint(apply))


@cache
def replicas(where: Place, given: tuple[tuple[str, Any], ...], training: bool) -> Replicas:
    """Replicas of a layer, mapped by jax.vmap: its axis_name is that of the samples, and theirs."""
    return over(one_pass(where, given, training, (jax_replicas.AXIS, AXIS)), vmap)


class EquinoxLayer(ReplicatedJaxLayer):
    """An equinox.nn.BatchNorm and its state."""

    channels_last = False

    def __init__(self, where: Place, given: tuple[tuple[str, Any], ...], shape: tuple[int, ...]) -> None:
        self.layer, state = make(where, given)
        names = ("weight", "bias") if self.layer.channelwise_affine else ()
        parameters = {name: getattr(self.layer, name) for name in names}
        super().__init__(lambda training: functions(where, given, training), parameters, usable(state), where, shape)
        self.replicas = lambda training: replicas(where, given, training)

    def show(self) -> Mapping[str, Any]:
        """The statistics by the suite's names; mode "ema" has no counter."""
        pair = self.statistics.get(statistics_index(self.layer))
        found = dict(zip(("running_mean", "running_var"), pair, strict=True))
        if is_averaging_batches(self.layer):
            found["num_batches_tracked"] = self.statistics.get(self.layer.batch_counter)
        return found

    def replace_statistics(self, given: Mapping[str, Any]) -> Any:
        """A state with the given statistics; ValueError, from Equinox, for a shape or dtype that is not the state's."""
        import jax.numpy as jnp

        values = {**self.show(), **given}
        pair = (values["running_mean"], values["running_var"])
        state = usable(self.statistics).set(statistics_index(self.layer), pair)
        if "num_batches_tracked" in given:
            # From an int, because Equinox' own counter is an array of weak type.
            state = state.set(self.layer.batch_counter, jnp.asarray(int(given["num_batches_tracked"])))
        return state


class Equinox:
    """equinox.nn.BatchNorm with mode="batch", under jax.jit."""

    name = "equinox"
    deviations: Mapping[str, str] = {}
    documented: Mapping[str, str] = {}
    unsupported: Mapping[str, str] = {
        "momentum_none": "Equinox has no cumulative average: it takes None and fails in the first training pass",
        "track_running_stats_off": "Equinox' layer always has running statistics",
        "set": "an Equinox layer is a frozen dataclass: another option is another layer",
        "masked": "Equinox' layer takes no mask",
        "weight_alone": "channelwise_affine is about weight and bias together",
        "bias_alone": "channelwise_affine is about weight and bias together",
        **SHAPES,
    }
    slow_to_start = True
    mode = "batch"

    def devices(self) -> list[str]:
        """See `jax_arrays.devices`."""
        return devices()

    def build(self, config: Any, device: str) -> EquinoxLayer:
        """A layer of this configuration; NotImplementedError for what Equinox does not have."""
        if config.momentum is None:
            raise NotImplementedError(self.unsupported["momentum_none"])
        if config.dtype in self.unsupported and config.dtype != config.param_dtype:
            raise NotImplementedError(self.unsupported[config.dtype])
        if not config.track_running_stats:
            raise NotImplementedError(self.unsupported["track_running_stats_off"])
        if config.weight != config.bias:
            raise NotImplementedError(self.unsupported["weight_alone" if config.weight else "bias_alone"])
        given = {
            "input_size": config.num_features,
            "eps": config.eps,
            "channelwise_affine": config.weight,
            "momentum": 1 - config.momentum,
            "dtype": config.param_dtype,
            "mode": self.mode,
        }
        return EquinoxLayer(place(config, device), tuple(given.items()), example(config))

    def build_default(self, num_features: int, device: str) -> EquinoxLayer:
        """A layer with its own defaults but for the mode, which has to be said."""
        given = {"input_size": num_features, "mode": self.mode}
        return EquinoxLayer(Place(device), tuple(given.items()), (1, num_features, 1, 1))


class EquinoxEma(Equinox):
    """equinox.nn.BatchNorm with mode="ema", which is also its default."""

    name = "equinox+ema"
    deviations: Mapping[str, str] = {
        "averaging": "first_batch_copied",
        "initial_running_variance": "zero",
        "running_variance": "biased",
        "training_statistics": "running_updated",
    }
    documented: Mapping[str, str] = {
        "averaging": f"{PAGE}: batch statistics are used to fill in the running statistics until they are populated",
        "initial_running_variance": f"{PAGE}: nothing is used of them until they are populated",
        "running_variance": f"{PAGE}: expectations over all spatial dimensions and the batch, updated by momentum",
        "training_statistics": f"{PAGE}: in training the batch statistics only fill in the running ones until they "
        "are populated; with mode 'batch', unlike this, the batch mean and variance are used for normalization",
    }
    unsupported: Mapping[str, str] = {**Equinox.unsupported, "bfloat16": ONE_DTYPE, "float16": ONE_DTYPE}
    mode = "ema"
