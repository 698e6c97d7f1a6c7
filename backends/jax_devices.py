"""The BatchNorm of flax.linen with replicas on several devices: by jax.pmap, jax.shard_map, and jit over sharded
arrays.

The CPU is made into DEVICES devices, which JAX takes before it is first used: these rows have a process of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from bnconform.backends.jax_linen import (
    LINEN_PAGE,
    FlaxLinen,
    linen_masked_functions,
    linen_masked_replicas,
    linen_pass,
    linen_replicas,
)
from bnconform.backends.jax_replicas import AXIS, DEVICES, Map, Replicas, pmap, shard_map, together


class TooFewDevices(RuntimeError):
    """JAX was used before, with fewer devices."""

    is_refusal = False


@cache
def prepare() -> None:
    """Make several devices of the CPU; TooFewDevices where JAX has been used without them."""
    import jax

    with suppress(RuntimeError):  # it has been used: then it has as many, or not
        jax.config.update("jax_num_cpu_devices", DEVICES)
    if jax.local_device_count("cpu") < DEVICES:
        raise TooFewDevices(
            "JAX already runs on one CPU device in this process; judge this row in a process of its own"
        )


class FlaxLinenShardMap(FlaxLinen):
    """flax.linen.BatchNorm whose replicas jax.shard_map maps over devices."""

    name = "flax.linen+shard_map"
    mapping: Map = staticmethod(shard_map)

    def devices(self) -> list[str]:
        """The CPU, which is several devices to JAX."""
        prepare()
        return ["cpu"]

    def replicas(self, module: Any) -> Callable[[bool], Replicas]:
        """Over devices, their axis being the module's axis_name."""
        prepare()
        named = module.clone(axis_name=AXIS)
        return lambda training: linen_replicas(named, training, self.mapping)

    def replicas_with_masks(self, module: Any) -> Callable[[bool], Replicas]:
        """The same with masks."""
        named = module.clone(axis_name=AXIS)
        return lambda training: linen_masked_replicas(named, training, self.mapping)


class FlaxLinenPmap(FlaxLinenShardMap):
    """flax.linen.BatchNorm whose replicas jax.pmap maps over devices."""

    name = "flax.linen+pmap"
    mapping: Map = staticmethod(pmap)


@cache
def shard(module: Any, training: bool) -> Replicas:
    """Replicas of a module that knows no axis: one array whose samples are on several devices."""
    return together(linen_pass(module, training), linen_masked_functions(module, training))


class FlaxLinenSpmd(FlaxLinenShardMap):
    """flax.linen.BatchNorm under jit, given an array whose samples are on several devices: XLA adds the collectives."""

    name = "flax.linen+spmd"
    deviations: Mapping[str, str] = {**FlaxLinen.deviations, "replica_parameter_gradients": "total"}
    documented: Mapping[str, str] = {
        **FlaxLinen.documented,
        "replica_parameter_gradients": f"{LINEN_PAGE}: axis_name: for SPMD jit, you do not need to manually "
        "synchronize: the function, and its gradient, are of the whole array",
    }

    def replicas(self, module: Any) -> Callable[[bool], Replicas]:
        """Of one sharded array."""
        prepare()
        return lambda training: shard(module, training)

    def replicas_with_masks(self, module: Any) -> Callable[[bool], Replicas]:
        """The same: the masks are one sharded array, too."""
        return self.replicas(module)
