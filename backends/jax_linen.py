"""The BatchNorm of flax.linen, a function of its variables.

Flax's momentum weighs the old value, so 1 - momentum is passed. Channels lie last. The mode is `use_running_average`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from bnconform.backends.jax_arrays import (
    Array,
    Compiled,
    Gradients,
    Place,
    assert_traced,
    compile_function,
    example,
    place,
    to_array,
)
from bnconform.backends.jax_flax import AVERAGED, PROMOTED, WIDE, FlaxNNX, arguments
from bnconform.backends.jax_replicas import AXIS, SHAPES, Map, Replicas, ReplicatedJaxLayer, State, over, pad, vmap

LINEN_PAGE = "https://flax.readthedocs.io/en/latest/api_reference/flax.linen/layers.html"

LINEN_NAMES = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}


def linen_pass(module: Any, training: bool) -> Callable[..., tuple[Any, Any]]:
    """The pass of a linen module in a mode, which takes a mask besides x."""

    def apply(parameters: Any, statistics: Any, x: Any, mask: Any = None) -> tuple[Any, Any]:
        variables = {
            "params": {LINEN_NAMES[name]: value for name, value in parameters.items()},
            "batch_stats": {LINEN_NAMES[name]: value for name, value in statistics.items()},
        }
        masked = {} if mask is None else {"mask": mask}  # before 0.7.5 the layer takes none
        y, moved = module.apply(variables, x, use_running_average=not training, mutable=["batch_stats"], **masked)
        return y, {name: moved["batch_stats"][LINEN_NAMES[name]] for name in statistics}

    return apply


def linen_checkpointed(module: Any, training: bool) -> Callable[..., tuple[Any, Any]]:
    """The same pass of a module that linen.remat has made, which is told its mode when it is made."""
    import dataclasses

    from flax import linen

    own = {field.name: getattr(module, field.name) for field in dataclasses.fields(module) if field.init}
    given = {name: value for name, value in own.items() if name not in ("parent", "name", "use_running_average")}
    again = linen.remat(linen.BatchNorm)(**given, use_running_average=not training)

    def apply(parameters: Any, statistics: Any, x: Any) -> tuple[Any, Any]:
        variables = {
            "params": {LINEN_NAMES[name]: value for name, value in parameters.items()},
            "batch_stats": {LINEN_NAMES[name]: value for name, value in statistics.items()},
        }
        y, moved = again.apply(variables, x, mutable=["batch_stats"])
        return y, {name: moved["batch_stats"][LINEN_NAMES[name]] for name in statistics}

    return apply


@cache
def linen_functions(module: Any, training: bool) -> Compiled:
    """The pass of a linen module (which compares by its configuration) in a mode, and its gradients."""
    return compile_function(linen_pass(module, training), linen_checkpointed(module, training))


@cache
def linen_masked_functions(module: Any, training: bool) -> tuple[Any, Any]:
    """The pass with a mask, (parameters, statistics, x, mask) -> (y, statistics), and its gradients."""
    import jax

    apply = linen_pass(module, training)

    def forward(parameters: Any, statistics: Any, x: Any, mask: Any) -> tuple[Any, Any]:
        assert_traced(x)
        return apply(parameters, statistics, x, mask)

    def backward(parameters: Any, statistics: Any, x: Any, mask: Any, grad_output: Any) -> Any:
        y, pull, _ = jax.vjp(lambda given, x: forward(given, statistics, x, mask), parameters, x, has_aux=True)
        return pull(grad_output.astype(y.dtype))

    return jax.jit(forward), jax.jit(backward)


@cache
def linen_replicas(module: Any, training: bool, mapping: Map) -> Replicas:
    """Replicas of a linen module that knows their axis."""
    return over(linen_pass(module, training), mapping)


@cache
def linen_masked_replicas(module: Any, training: bool, mapping: Map) -> Replicas:
    """The same with a mask for each replica."""
    return over(linen_pass(module, training), mapping, more=1)


class LinenLayer(ReplicatedJaxLayer):
    """A linen module with its variables, which takes masks, too."""

    module: Any = None
    replicas_with_masks: Callable[[bool], Replicas]

    def masked(self, x: Array, mask: Array, *, training: bool) -> Array:
        """y; the statistics move."""
        forward, _ = linen_masked_functions(self.module, training)
        with self.where.enter():
            given, selecting = self.where.array(x, True), self.where.mask(mask, x.ndim)
            y, self.statistics = forward(self.parameters, self.statistics, given, selecting)
            return self.where.show(y, True)

    def masked_backward(self, x: Array, mask: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The gradients for x, weight and bias, by jax.vjp; the statistics stay."""
        _, backward = linen_masked_functions(self.module, training)
        with self.where.enter():
            given, upstream = (self.where.array(array, True) for array in (x, grad_output))
            selecting = self.where.mask(mask, x.ndim)
            found, grad_x = backward(self.parameters, self.statistics, given, selecting, upstream)
            weight, bias = (self.where.show(found[name]) if name in found else None for name in ("weight", "bias"))
            return self.where.show(grad_x, True), weight, bias

    def masked_replicated(
        self, xs: Sequence[Array], masks: Sequence[Array], *, training: bool
    ) -> list[tuple[Array, State]]:
        """(y, state) of each replica, which is given its mask; the layer stays as it is."""
        with self.where.enter():
            given, selecting = [self.where.array(x, True) for x in xs], self._place_masks(masks)
            found = self.replicas_with_masks(training).forward(self.parameters, self.statistics, given, selecting)
            return [(to_array(y, True), self._remembering(moved)) for y, moved in found]

    def masked_replicated_vjp(
        self, xs: Sequence[Array], masks: Sequence[Array], grad_outputs: Sequence[Array], *, training: bool
    ) -> list[Gradients]:
        """The gradients that each replica gives, by jax.vjp of the whole map."""
        with self.where.enter():
            given, upstream = ([self.where.array(array, True) for array in arrays] for arrays in (xs, grad_outputs))
            operands = self.parameters, self.statistics, given, upstream, self._place_masks(masks)
            return [self._as_gradients(*one) for one in self.replicas_with_masks(training).backward(*operands)]

    def _place_masks(self, masks: Sequence[Array]) -> list[Any]:
        return [self.where.mask(mask, mask.ndim) for mask in masks]


@cache
def linen_initial(module: Any) -> Any:
    """The jitted function that makes a linen module's variables."""
    import jax

    return jax.jit(lambda key, x: module.init(key, x, use_running_average=False))


class FlaxLinen(FlaxNNX):
    """flax.linen.BatchNorm under jax.jit."""

    name = "flax.linen"
    documented: Mapping[str, str] = {
        "output_dtype": f"{LINEN_PAGE}: {PROMOTED}",
        "running_variance": f"{LINEN_PAGE}: {AVERAGED}",
    }

    unsupported: Mapping[str, str] = {
        **{feature: reason for feature, reason in FlaxNNX.unsupported.items() if feature != "vmap_tracked"},
        "set": "a Linen module is a frozen dataclass: another option is another module",
    }

    def build(self, config: Any, device: str) -> Any:
        """A layer of this configuration; NotImplementedError for what Flax does not have."""
        self.refuse(config)
        return self._linen(place(config, device), example(config), arguments(config, self.told_dtype))

    def build_default(self, num_features: int, device: str) -> Any:
        """A layer with its own defaults."""
        return self._linen(Place(device), (1, num_features, 1, 1), {})

    def _linen(self, where: Place, shape: tuple[int, ...], given: Mapping[str, Any]) -> LinenLayer:
        import jax
        from flax import linen

        module = linen.BatchNorm(**given, **self.more)
        with where.enter():
            x = where.array(np.zeros(shape, np.float32), True)
            variables = linen_initial(module)(jax.random.PRNGKey(0), x)
        values = {**variables.get("params", {}), **variables["batch_stats"]}
        found = {name: values[theirs] for name, theirs in LINEN_NAMES.items() if theirs in values}
        statistics = {name: found.pop(name) for name in ("running_mean", "running_var")}
        layer = LinenLayer(lambda training: linen_functions(module, training), found, statistics, where, shape)
        layer.module, layer.replicas = module, self.replicas(module)
        layer.replicas_with_masks = self.replicas_with_masks(module)
        if "mask" not in inspect.signature(linen.BatchNorm.__call__).parameters:  # as before 0.7.5
            unmasked: Any = layer
            unmasked.masked = unmasked.masked_backward = None
            unmasked.masked_replicated = unmasked.masked_replicated_vjp = None
        return layer

    def replicas(self, module: Any) -> Callable[[bool], Replicas]:
        """Those of a module, by mode: mapped by jax.vmap, their axis being the module's axis_name."""
        named = module.clone(axis_name=AXIS)
        return lambda training: linen_replicas(named, training, vmap)

    def replicas_with_masks(self, module: Any) -> Callable[[bool], Replicas]:
        """The same with masks."""
        named = module.clone(axis_name=AXIS)
        return lambda training: linen_masked_replicas(named, training, vmap)


class FlaxLinenTwoPass(FlaxLinen):
    """The same with use_fast_variance=False."""

    name = "flax.linen+two_pass"
    more: Mapping[str, Any] = {"use_fast_variance": False}


class FlaxLinenHalf(FlaxLinen):
    """The same, told to compute in half precision, as models in mixed precision do: dtype is that of the input."""

    name = "flax.linen+half"
    deviations: Mapping[str, str] = {"running_variance": "biased"}
    documented: Mapping[str, str] = {"running_variance": FlaxLinen.documented["running_variance"]}
    unsupported: Mapping[str, str] = {**FlaxLinen.unsupported, **WIDE}
    told_dtype = True


@cache
def linen_padded(module: Any, training: bool) -> Replicas:
    """Replicas of a linen module with shards that are padded."""
    return pad(linen_pass(module, training), vmap)


class FlaxLinenPadded(FlaxLinen):
    """The same with shards of any shapes, which are padded to one: the mask of the call hides the padding."""

    name = "flax.linen+padded"
    unsupported: Mapping[str, str] = {
        feature: reason for feature, reason in FlaxLinen.unsupported.items() if feature not in SHAPES
    }

    def replicas(self, module: Any) -> Callable[[bool], Replicas]:
        """Padded and mapped by jax.vmap, their axis being the module's axis_name."""
        named = module.clone(axis_name=AXIS)
        return lambda training: linen_padded(named, training)

    def replicas_with_masks(self, module: Any) -> Callable[[bool], Replicas]:
        """The same: what is padded is not selected besides."""
        return self.replicas(module)


class FlaxLinenUnsynchronised(FlaxLinen):
    """The same in data parallel without axis_name, as a layer is unless it is told one."""

    name = "flax.linen+unsynchronised"
    deviations: Mapping[str, str] = {**FlaxLinen.deviations, "replica_statistics": "own"}
    documented: Mapping[str, str] = {
        **FlaxLinen.documented,
        "replica_statistics": f"{LINEN_PAGE}: axis_name, used to combine batch statistics from multiple "
        "devices, is None",
    }

    def replicas(self, module: Any) -> Callable[[bool], Replicas]:
        """Mapped by jax.vmap, the module knowing of no axis."""
        return lambda training: linen_replicas(module, training, vmap)

    def replicas_with_masks(self, module: Any) -> Callable[[bool], Replicas]:
        """The same with masks."""
        return lambda training: linen_masked_replicas(module, training, vmap)
