"""Haiku's BatchNorm, as hk.transform_with_state makes a function of it.

Haiku's decay_rate weighs the old value, so 1 - momentum is passed. Channels lie last. A layer without running
statistics is one that is never called with is_training=True: Haiku normalises by the batch and keeps no state when
called with is_training=False, test_local_stats=True.

Haiku has no argument for a dtype: parameters and statistics take that of the input that they are made for, which here
is one of the configuration's param_dtype. Until the first training pass the averages are those of that input, zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from bnconform.backends.jax_arrays import Compiled, Place, compile_function, devices, example, place
from bnconform.backends.jax_replicas import AXIS, SHAPES, Pass, Replicas, ReplicatedJaxLayer, over, vmap

PAGE = "https://dm-haiku.readthedocs.io/en/latest/api.html"
PARAMETERS = {"weight": "scale", "bias": "offset"}
AVERAGES = {"running_mean": "batch_norm/~/mean_ema", "running_var": "batch_norm/~/var_ema"}


def transform(given: tuple[tuple[str, Any], ...], *, checkpointed: bool = False, **mode: bool) -> Any:
    """The pair of functions (init, apply) of a layer in a mode, under hk.remat if it is `checkpointed`."""
    import haiku

    def call(x: Any) -> Any:
        layer = haiku.BatchNorm(**dict(given))
        return haiku.remat(lambda x: layer(x, **mode))(x) if checkpointed else layer(x, **mode)

    return haiku.without_apply_rng(haiku.transform_with_state(call))


def one_pass(given: tuple[tuple[str, Any], ...], tracked: bool, training: bool, checkpointed: bool = False) -> Pass:
    """The pass of a layer in a mode."""
    mode = {"is_training": training and tracked, "test_local_stats": not tracked}
    apply = transform(given, checkpointed=checkpointed, **mode).apply

    def name_fault(parameters: Any, statistics: Any, x: Any) -> Any:
        shaped = {PARAMETERS[name]: value.reshape((1,) * (x.ndim - 1) + (-1,)) for name, value in parameters.items()}
        found: tuple[Any, Any] = apply({"batch_norm": shaped}, statistics, x)
        return found

    return name_fault


@cache
def functions(given: tuple[tuple[str, Any], ...], tracked: bool, training: bool) -> Compiled:
    """The pass of a layer in a mode and its gradients."""
    return compile_function(one_pass(given, tracked, training), one_pass(given, tracked, training, checkpointed=True))


@cache
def replicas(given: tuple[tuple[str, Any], ...], tracked: bool, training: bool) -> Replicas:
    """Replicas of a layer whose cross_replica_axis is theirs, mapped by jax.vmap."""
    return over(one_pass((*given, ("cross_replica_axis", AXIS)), tracked, training), vmap)


@cache
def initial(given: tuple[tuple[str, Any], ...], tracked: bool) -> Any:
    """The jitted function that makes a layer's parameters and state."""
    import jax

    return jax.jit(transform(given, is_training=tracked, test_local_stats=not tracked).init)


class HaikuLayer(ReplicatedJaxLayer):
    """A haiku.BatchNorm's functions, parameters and state."""

    def __init__(
        self,
        where: Place,
        given: tuple[tuple[str, Any], ...],
        shape: tuple[int, ...],
        dtype: str = "float32",
        tracked: bool = True,
    ) -> None:
        import jax

        self.decay = dict(given)["decay_rate"]
        with where.enter():
            x = where.array(np.zeros(shape), True).astype(dtype)
            parameters, state = initial(given, tracked)(jax.random.PRNGKey(0), x)
            found = parameters.get("batch_norm", {})
            named = {name: found[theirs].reshape(-1) for name, theirs in PARAMETERS.items() if theirs in found}
        super().__init__(lambda training: functions(given, tracked, training), named, state, where, shape)
        self.replicas = lambda training: replicas(given, tracked, training)

    def show(self) -> Mapping[str, Any]:
        """The debiased averages and the counter, by the suite's names."""
        if not self.statistics:
            return {}
        found = {name: self.statistics[theirs]["average"].reshape(-1) for name, theirs in AVERAGES.items()}
        return {**found, "num_batches_tracked": self.statistics[AVERAGES["running_mean"]]["counter"]}

    def replace_statistics(self, given: Mapping[str, Any]) -> Any:
        """A state with the given statistics.

        Haiku keeps each average twice, as shown and before its division by 1 - decay_rate**counter; both are set.
        """
        state = {key: dict(value) for key, value in self.statistics.items()}
        for name, theirs in AVERAGES.items() if state else ():
            average = state[theirs]
            if "num_batches_tracked" in given:
                average["counter"] = given["num_batches_tracked"].astype(average["counter"].dtype)
            if name in given:
                average["average"] = given[name].reshape((1,) * (len(self.shape) - 1) + (-1,))
            if not given:
                continue
            part = 1 - self.decay ** int(average["counter"])
            average["hidden"] = (average["average"] * part).astype(average["average"].dtype)
        return state


class Haiku:
    """haiku.BatchNorm under jax.jit."""

    name = "haiku"
    deviations: Mapping[str, str] = {
        "averaging": "zero_debiased",
        "initial_running_variance": "zero",
        "running_variance": "biased",
    }
    documented: Mapping[str, str] = {
        "averaging": f"{PAGE}#haiku.ExponentialMovingAverage: uses the Adam debiasing procedure",
        "initial_running_variance": f"{PAGE}#haiku.ExponentialMovingAverage: initialize sets the average to zeros",
        "running_variance": f"{PAGE}#haiku.BatchNorm: decay_rate is that of an average of the variance that divides",
    }
    unsupported: Mapping[str, str] = {
        "set": "a Haiku module is made anew in each call, so that another option is another function",
        "momentum_none": "Haiku has no cumulative average: it takes None and fails in the first training pass",
        "masked": "Haiku's BatchNorm takes no mask",
        **SHAPES,
    }
    slow_to_start = True

    def devices(self) -> list[str]:
        """See `jax_arrays.devices`."""
        return devices()

    def build(self, config: Any, device: str) -> HaikuLayer:
        """A layer of this configuration; NotImplementedError for momentum=None."""
        if config.momentum is None:
            raise NotImplementedError(self.unsupported["momentum_none"])
        given = {
            "create_scale": config.weight,
            "create_offset": config.bias,
            "decay_rate": 1 - config.momentum,
            "eps": config.eps,
        }
        where, tracked = place(config, device), config.track_running_stats
        return HaikuLayer(where, tuple(given.items()), example(config), config.param_dtype, tracked)

    def build_default(self, num_features: int, device: str) -> HaikuLayer:
        """A layer with its own default, eps, and a decay_rate of 0.9, because everything else has to be said."""
        given = {"create_scale": True, "create_offset": True, "decay_rate": 0.9}
        return HaikuLayer(Place(device), tuple(given.items()), (1, num_features, 1, 1))
