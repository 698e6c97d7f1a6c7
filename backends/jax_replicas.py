"""Replicas of JAX layers: a pass with an axis in it, mapped over shards on one device or over several devices.

A pass is (parameters, statistics, x) -> (y, statistics), of a layer that knows the axis by the name AXIS or by none.
Each replica is given the same parameters, as a copy of its own where gradients are taken, so that each gives its own
part of them. JAX maps one function over one array: shards of unequal shapes do not become one, and JAX says so.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from bnconform.backends.jax_arrays import (
    Array,
    Compiled,
    Gradients,
    JaxLayer,
    assert_traced,
    compile_function,
    to_array,
)

AXIS = "replicas"

DEVICES = 4
"""The CPU's devices of rows whose replicas are on several."""

UNEQUAL = "one function is mapped over one array, whose parts are all of one shape"
SHAPES = {f"replicas_{word}": UNEQUAL for word in ("unequal", "empty", "sizes")}
"""What JAX's maps do not have."""

Pass = Callable[[Any, Any, Any], tuple[Any, Any]]
Map = Callable[[Pass, tuple[int | None, ...]], Callable[..., Any]]
State = dict[str, "Array | None"]
Each = list[tuple[Any, Any]]
"""Two values for each replica."""


@dataclass(frozen=True)
class Replicas:
    """A pass of replicas, and their gradients.

    `forward` is (parameters, statistics, xs) -> (y, statistics) of each, `backward` is (parameters, statistics, xs,
    grad_outputs) -> (gradients for the parameters, for x) of each.
    """

    forward: Callable[..., Each]
    backward: Callable[..., Each]


def vmap(function: Pass, in_axes: tuple[int | None, ...]) -> Callable[..., Any]:
    """Over an axis of the array, on one device."""
    import jax

    found: Callable[..., Any] = jax.vmap(function, in_axes=in_axes, axis_name=AXIS)
    return found


def pmap(function: Pass, in_axes: tuple[int | None, ...]) -> Callable[..., Any]:
    """Over devices, by jax.pmap."""
    import jax

    found: Callable[..., Any] = jax.pmap(function, in_axes=in_axes, axis_name=AXIS)
    return found


def shard_map(function: Pass, in_axes: tuple[int | None, ...]) -> Callable[..., Any]:
    """Over devices, by jax.shard_map, whose parts keep the axis that is spread, with length 1."""
    import jax
    from jax.sharding import PartitionSpec

    def call(*given: Any) -> Any:
        def one(*parts: Any) -> Any:
            own = [part if axis is None else _first(part) for part, axis in zip(parts, in_axes, strict=True)]
            return jax.tree_util.tree_map(lambda value: value[None], function(*own))

        specs = tuple(PartitionSpec() if axis is None else PartitionSpec(AXIS) for axis in in_axes)
        mapped = jax.shard_map(one, mesh=mesh(len(given[2])), in_specs=specs, out_specs=PartitionSpec(AXIS))
        return mapped(*given)

    return call


def _first(tree: Any) -> Any:
    import jax

    return jax.tree_util.tree_map(lambda value: value[0], tree)


@cache
def mesh(count: int) -> Any:
    """The first devices of the CPU, along AXIS."""
    import jax
    import numpy as np
    from jax.sharding import Mesh

    return Mesh(np.array(jax.local_devices(backend="cpu")[:count]), (AXIS,))


def over(function: Callable[..., tuple[Any, Any]], mapping: Map, more: int = 0) -> Replicas:
    """Replicas by a map over one array, of which each shard is a part.

    Args:
        more: how many arrays more, besides x, the pass is given of each replica.
    """
    import jax
    import jax.numpy as jnp

    def trace(parameters: Any, statistics: Any, x: Any, *rest: Any) -> tuple[Any, Any]:
        assert_traced(x)
        return function(parameters, statistics, x, *rest)

    parts = (0,) * (1 + more)
    same, own = mapping(trace, (None, None, *parts)), mapping(trace, (0, None, *parts))

    def gradients(parameters: Any, statistics: Any, xs: Any, grad_outputs: Any, *rest: Any) -> Any:
        y, pull, _ = jax.vjp(lambda *given: own(given[0], statistics, given[1], *rest), parameters, xs, has_aux=True)
        return pull(grad_outputs.astype(y.dtype))

    ahead, back = jax.jit(same), jax.jit(gradients)

    def forward(parameters: Any, statistics: Any, xs: Sequence[Any], *rest: Sequence[Any]) -> Each:
        return each(ahead(parameters, statistics, *map(jnp.stack, (xs, *rest))), len(xs))

    def backward(
        parameters: Any, statistics: Any, xs: Sequence[Any], grad_outputs: Sequence[Any], *rest: Sequence[Any]
    ) -> Each:
        copies = jax.tree_util.tree_map(lambda value: jnp.stack([value] * len(xs)), parameters)
        return each(back(copies, statistics, *map(jnp.stack, (xs, grad_outputs, *rest))), len(xs))

    return Replicas(forward, backward)


def pad(function: Callable[..., tuple[Any, Any]], mapping: Map) -> Replicas:
    """Replicas with shards of any shapes, made into one by padding, which a mask hides: the pass takes it last."""
    import jax.numpy as jnp

    mapped = over(function, mapping, more=1)

    def choose(xs: Sequence[Any], masks: Sequence[Any] | None) -> list[Any]:
        chosen = [jnp.broadcast_to(mask, x.shape) for x, mask in zip(xs, masks or [True] * len(xs), strict=True)]
        return fill(chosen)

    def forward(parameters: Any, statistics: Any, xs: Sequence[Any], selecting: Sequence[Any] | None = None) -> Each:
        whole, masks = fill(xs), choose(xs, selecting)
        found = mapped.forward(parameters, statistics, whole, masks)
        return [(y[_within(x)], moved) for (y, moved), x in zip(found, xs, strict=True)]

    def backward(
        parameters: Any,
        statistics: Any,
        xs: Sequence[Any],
        grad_outputs: Sequence[Any],
        selecting: Sequence[Any] | None = None,
    ) -> Each:
        whole, masks = fill(xs), choose(xs, selecting)
        found = mapped.backward(parameters, statistics, whole, fill(grad_outputs), masks)
        return [(by_name, by_x[_within(x)]) for (by_name, by_x), x in zip(found, xs, strict=True)]

    return Replicas(forward, backward)


def fill(arrays: Sequence[Any]) -> list[Any]:
    """Arrays of one rank, each with zeros after its own values up to the largest size of all along every axis."""
    import jax.numpy as jnp

    shape = [max(sizes) for sizes in zip(*(array.shape for array in arrays), strict=True)]
    return [jnp.pad(array, [(0, size - own) for size, own in zip(shape, array.shape, strict=True)]) for array in arrays]


def _within(array: Any) -> tuple[slice, ...]:
    return tuple(slice(0, size) for size in array.shape)


def each(found: tuple[Any, Any], count: int) -> Each:
    """What a map gave, taken apart."""
    import jax

    def part(number: int) -> Any:
        return jax.tree_util.tree_map(lambda value: value[number], found)

    return [part(number) for number in range(count)]


def together(function: Pass, masked: tuple[Callable[..., Any], Callable[..., Any]]) -> Replicas:
    """Replicas by one jitted function over one array, whose samples lie on several devices.

    `masked` has the pass that takes a mask last, and its gradients, (parameters, statistics, x, mask, grad_output).
    The parameters and their gradients are on all of them: those of the whole function, the same on each.
    """
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    whole: Compiled = compile_function(function)

    def place(tree: Any, count: int) -> Any:
        return jax.device_put(tree, NamedSharding(mesh(count), PartitionSpec()))

    def spread(shards: Sequence[Any]) -> Any:
        devices = mesh(len(shards)).devices
        parts = [jax.device_put(shard, device) for shard, device in zip(shards, devices, strict=True)]
        shape = (len(shards) * len(shards[0]), *shards[0].shape[1:])
        sharding = NamedSharding(mesh(len(shards)), PartitionSpec(AXIS))
        return jax.make_array_from_single_device_arrays(shape, sharding, parts)

    def local(tree: Any, count: int) -> Iterator[Any]:
        for number in range(count):
            yield jax.tree_util.tree_map(lambda value, number=number: value.addressable_shards[number].data, tree)

    def forward(parameters: Any, statistics: Any, xs: Sequence[Any], *masks: Sequence[Any]) -> Each:
        count, call = len(xs), masked[0] if masks else whole.forward
        given = place(parameters, count), place(statistics, count)
        return list(local(call(*given, *map(spread, (xs, *masks))), count))

    def backward(
        parameters: Any, statistics: Any, xs: Sequence[Any], grad_outputs: Sequence[Any], *masks: Sequence[Any]
    ) -> Each:
        count, call = len(xs), masked[1] if masks else whole.backward
        given = place(parameters, count), place(statistics, count)
        return list(local(call(*given, *map(spread, (xs, *masks, grad_outputs))), count))

    return Replicas(forward, backward)


class ReplicatedJaxLayer(JaxLayer):
    """A layer with replicas, which `replicas` gives for a mode."""

    replicas: Callable[[bool], Replicas]

    def replicated(self, xs: Sequence[Array], *, training: bool) -> list[tuple[Array, State]]:
        """(y, state) of each replica; the layer stays as it is."""
        with self.where.enter():
            given = [self.where.array(x, self.channels_last) for x in xs]
            found = self.replicas(training).forward(self.parameters, self.statistics, given)
            return [(to_array(y, self.channels_last), self._remembering(moved)) for y, moved in found]

    def _remembering(self, statistics: Any) -> State:
        replica = copy.copy(self)
        replica.statistics = statistics
        return replica.entries(to_array)

    def replicated_vjp(self, xs: Sequence[Array], grad_outputs: Sequence[Array], *, training: bool) -> list[Gradients]:
        """The gradients that each replica gives, by jax.vjp of the whole map."""
        with self.where.enter():
            given, upstream = (
                [self.where.array(array, self.channels_last) for array in arrays] for arrays in (xs, grad_outputs)
            )
            found = self.replicas(training).backward(self.parameters, self.statistics, given, upstream)
            return [self._as_gradients(by_name, grad_x) for by_name, grad_x in found]

    def _as_gradients(self, by_name: Any, grad_x: Any) -> Gradients:
        weight, bias = (to_array(by_name[name]) if name in by_name else None for name in ("weight", "bias"))
        return to_array(grad_x, self.channels_last), weight, bias
