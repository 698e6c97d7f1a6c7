"""The BatchNorm of flax.nnx, an object with variables; `bnconform.backends.jax_linen` has that of flax.linen.

Flax's momentum weighs the old value, so 1 - momentum is passed. Channels lie last. The mode is `use_running_average`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from bnconform.backends.jax_arrays import (
    Array,
    Compiled,
    Gradients,
    Place,
    assert_traced,
    devices,
    place,
    pull,
    to_array,
)
from bnconform.backends.jax_replicas import AXIS, SHAPES, Replicas, over, vmap
from bnconform.backends.jax_transforms import backward_thrice, forward_twice, jacobian_first, lanes_first, lanes_last

NNX_PAGE = "https://flax.readthedocs.io/en/latest/api_reference/flax.nnx/nn/normalization.html"
AVERAGED = (
    "momentum: decay rate for the exponential moving average of the batch statistics, which are those that divide"
)
PROMOTED = "dtype: the dtype of the result (default: infer from input and params)"

SHARED = "nnx.vmap refuses a layer that is shared by all lanes, and whose statistics they move"

WIDE = dict.fromkeys(("float32", "float64"), "this row is about half precision; the row without +half has the others")

NNX_NAMES = {"running_mean": "mean", "running_var": "var", "weight": "scale", "bias": "bias"}
AVERAGES = ("running_mean", "running_var")


@cache
def nnx_functions() -> Compiled:
    """The pass and its gradients; nnx.jit itself tells configurations and modes apart, which are part of the layer."""
    import jax
    from flax import nnx

    def forward(layer: Any, x: Any) -> Any:
        assert_traced(x)
        return layer(x)

    def backward(layer: Any, x: Any, grad_output: Any) -> Any:
        graph, parameters, rest = nnx.split(layer, nnx.Param, ...)
        y, pull = jax.vjp(lambda given, x: forward(nnx.merge(graph, given, rest, copy=True), x), parameters, x)
        return pull(grad_output.astype(y.dtype))

    def record(layer: Any, x: Any) -> Any:
        graph, parameters, rest = nnx.split(layer, nnx.Param, ...)
        return jax.vjp(lambda given, x: forward(nnx.merge(graph, given, rest, copy=True), x), parameters, x)

    def tangent(layer: Any, x: Any, direction: Any) -> Any:
        graph, rest = nnx.split(layer)
        return jax.jvp(lambda x: forward(nnx.merge(graph, rest, copy=True), x), (x,), (direction,))

    def second(layer: Any, x: Any, grad_output: Any, vector: Any) -> Any:
        return jax.jvp(lambda x: backward(layer, x, grad_output), (x,), (vector,))[1]

    def recompute(layer: Any, x: Any, grad_output: Any) -> Any:
        graph, parameters, rest = nnx.split(layer, nnx.Param, ...)

        def step(given: Any, x: Any) -> tuple[Any, Any]:
            held = nnx.merge(graph, given, rest, copy=True)
            y = nnx.remat(forward)(held, x)
            return y, nnx.state(held, nnx.BatchStat)

        y, pull, moved = jax.vjp(step, parameters, x, has_aux=True)
        nnx.update(layer, moved)
        return pull(grad_output.astype(y.dtype))

    every = (forward, backward, record, tangent, second, recompute)
    first, back, kept, along, twice, anew = (nnx.jit(function) for function in every)
    return Compiled(first, back, kept, pull(), along, twice, anew)


@cache
def nnx_replicas(graph: Any, masked: bool) -> Replicas:
    """Replicas of a layer with such a graph, which has the axis' name and the mode in it; with masks or without."""
    from flax import nnx

    def apply(parameters: Any, statistics: Any, x: Any, mask: Any = None) -> tuple[Any, Any]:
        layer = nnx.merge(graph, parameters, statistics, copy=True)
        y = layer(x) if mask is None else layer(x, mask=mask)
        return y, nnx.state(layer, nnx.BatchStat)

    return over(apply, vmap, more=int(masked))


@cache
def nnx_masked_functions() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The pass with a mask, and its gradients."""
    import jax
    from flax import nnx

    def forward(layer: Any, x: Any, mask: Any) -> Any:
        assert_traced(x)
        return layer(x, mask=mask)

    def backward(layer: Any, x: Any, mask: Any, grad_output: Any) -> Any:
        graph, parameters, rest = nnx.split(layer, nnx.Param, ...)
        y, pull = jax.vjp(lambda given, x: forward(nnx.merge(graph, given, rest, copy=True), x, mask), parameters, x)
        return pull(grad_output.astype(y.dtype))

    return nnx.jit(forward), nnx.jit(backward)


@cache
def nnx_mapped() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The pass of one layer mapped over batches, and that of stacked layers, each over its own."""
    from flax import nnx

    def forward(layer: Any, x: Any) -> Any:
        assert_traced(x)
        return layer(x)

    shared, own = (nnx.vmap(forward, in_axes=axes) for axes in ((None, 0), (0, 0)))
    return nnx.jit(shared), nnx.jit(own)


@cache
def nnx_jacobian(ability: str) -> Callable[..., Any]:
    """dy/dx, by jax.jacrev or jax.jacfwd."""
    import jax
    from flax import nnx

    def differentiate(layer: Any, x: Any) -> Any:
        graph, rest = nnx.split(layer)
        return getattr(jax, ability)(lambda x: nnx.merge(graph, rest, copy=True)(x))(x)

    found: Callable[..., Any] = nnx.jit(differentiate)
    return found


@cache
def nnx_higher(derivative: Callable[..., Any]) -> Callable[..., Any]:
    """A higher derivative for x: forward_twice or backward_thrice, of a pass."""
    from flax import nnx

    def differentiate(layer: Any, *operands: Any) -> Any:
        graph, rest = nnx.split(layer)
        return derivative(lambda x: nnx.merge(graph, rest, copy=True)(x), *operands)

    found: Callable[..., Any] = nnx.jit(differentiate)
    return found


class NNXLayer:
    """An nnx.BatchNorm, called as an object; nnx.jit writes its statistics back.

    `like` makes one like it with the name of an axis, along which its replicas are mapped.
    """

    def __init__(self, layer: Any, where: Place, like: Callable[[str], Any]) -> None:
        self.layer = layer
        self.where = where
        self.like = like

    def forward(self, x: Array, *, training: bool) -> Array:
        """y; the statistics move."""
        with self.where.enter():
            self._mode(training)
            return self.where.show(nnx_functions().forward(self.layer, self.where.array(x, True)), True)

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients for x, weight and bias, by jax.vjp; the statistics stay."""
        with self.where.enter():
            self._mode(training)
            given, upstream = (self.where.array(array, True) for array in (x, grad_output))
            found, grad_x = nnx_functions().backward(self.layer, given, upstream)
            weight, bias = (self.where.show(found[name][...]) if name in found else None for name in ("scale", "bias"))
            return self.where.show(grad_x, True), weight, bias

    def vjp(self, x: Array, *, training: bool) -> tuple[Array, Callable[[Array], Gradients]]:
        """(y, pullback), by jax.vjp; the statistics stay."""
        functions = nnx_functions()
        with self.where.enter():
            self._mode(training)
            y, pulled = functions.record(self.layer, self.where.array(x, True))
            shown = self.where.show(y, True)

        def pullback(grad_output: Array) -> Gradients:
            with self.where.enter():
                found, grad_x = functions.pull(pulled, self.where.array(grad_output, True).astype(y.dtype))
                weight, bias = (
                    self.where.show(found[name][...]) if name in found else None for name in ("scale", "bias")
                )
                return self.where.show(grad_x, True), weight, bias

        return shown, pullback

    def recomputed(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The gradients of a pass under nnx.remat; the statistics are those that it leaves."""
        with self.where.enter():
            self._mode(training)
            given, upstream = (self.where.array(array, True) for array in (x, grad_output))
            found, grad_x = nnx_functions().recompute(self.layer, given, upstream)
            weight, bias = (self.where.show(found[name][...]) if name in found else None for name in ("scale", "bias"))
            return self.where.show(grad_x, True), weight, bias

    def jvp(self, x: Array, tangent: Array, *, training: bool) -> tuple[Array, Array]:
        """(y, tangent_y), by jax.jvp; the statistics stay."""
        with self.where.enter():
            self._mode(training)
            given, direction = (self.where.array(array, True) for array in (x, tangent))
            y, tangent_y = nnx_functions().tangent(self.layer, given, direction)
            return self.where.show(y, True), self.where.show(tangent_y, True)

    def hvp(self, x: Array, grad_output: Array, vector: Array, *, training: bool) -> Gradients:
        """The derivatives of the gradients along the vector, by jax.jvp of jax.vjp; the statistics stay."""
        with self.where.enter():
            self._mode(training)
            operands = (self.where.array(array, True) for array in (x, grad_output, vector))
            found, by_x = nnx_functions().second(self.layer, *operands)
            weight, bias = (self.where.show(found[name][...]) if name in found else None for name in ("scale", "bias"))
            return self.where.show(by_x, True), weight, bias

    def replicated(self, xs: Sequence[Array], *, training: bool) -> list[tuple[Array, dict[str, Array | None]]]:
        """(y, state) of each replica, mapped by jax.vmap; the layer stays as it is."""
        return self._run_replicas(xs, training)

    def masked_replicated(
        self, xs: Sequence[Array], masks: Sequence[Array], *, training: bool
    ) -> list[tuple[Array, dict[str, Array | None]]]:
        """The same of replicas that are given a mask each."""
        return self._run_replicas(xs, training, masks)

    def _run_replicas(
        self, xs: Sequence[Array], training: bool, *masks: Sequence[Array]
    ) -> list[tuple[Array, dict[str, Array | None]]]:
        with self.where.enter():
            given = [self.where.array(x, True) for x in xs]
            found = self._replicas(training, bool(masks)).forward(*self._split(), given, *self._place_masks(masks))
            shown = self.state()
            return [
                (
                    self.where.show(y, True),
                    {**shown, **{name: self.where.show(moved[NNX_NAMES[name]][...]) for name in AVERAGES}},
                )
                for y, moved in found
            ]

    def replicated_vjp(self, xs: Sequence[Array], grad_outputs: Sequence[Array], *, training: bool) -> list[Gradients]:
        """The gradients that each replica gives, by jax.vjp of the whole map."""
        return self._differentiate_replicas(xs, grad_outputs, training)

    def masked_replicated_vjp(
        self, xs: Sequence[Array], masks: Sequence[Array], grad_outputs: Sequence[Array], *, training: bool
    ) -> list[Gradients]:
        """The same of replicas that are given a mask each."""
        return self._differentiate_replicas(xs, grad_outputs, training, masks)

    def _differentiate_replicas(
        self, xs: Sequence[Array], grad_outputs: Sequence[Array], training: bool, *masks: Sequence[Array]
    ) -> list[Gradients]:
        with self.where.enter():
            given, upstream = ([self.where.array(array, True) for array in arrays] for arrays in (xs, grad_outputs))
            operands = (*self._split(), given, upstream, *self._place_masks(masks))
            found = self._replicas(training, bool(masks)).backward(*operands)
            return [(self.where.show(grad_x, True), *_parameters(by_name)) for by_name, grad_x in found]

    def _place_masks(self, masks: Sequence[Sequence[Array]]) -> list[list[Any]]:
        return [[self.where.mask(mask, mask.ndim) for mask in each] for each in masks]

    def vmap(self, xs: Array, *, training: bool) -> Array:
        """ys, by nnx.vmap over the batches, in which the layer has no axis; ValueError, from Flax, in training."""
        with self.where.enter():
            self._mode(training)
            ys = nnx_mapped()[0](self.layer, self.where.array(lanes_last(xs, True)))
            return lanes_first(self.where.show(ys), True)

    def vmap_layers(
        self, xs: Array, states: Sequence[Mapping[str, Array]], *, training: bool
    ) -> tuple[Array, list[dict[str, Array | None]]]:
        """(ys, states), by nnx.vmap over batches and a layer whose variables are those of all; this one stays."""
        import jax
        from flax import nnx

        each = [NNXLayer(nnx.clone(self.layer), self.where, self.like) for _ in states]
        for layer, state in zip(each, states, strict=True):
            layer.load(state)
            layer._mode(training)
        with self.where.enter():
            graph = nnx.graphdef(each[0].layer)
            values = [nnx.state(layer.layer) for layer in each]
            stacked = nnx.merge(graph, jax.tree.map(lambda *found: jax.numpy.stack(found), *values))
            ys = nnx_mapped()[1](stacked, self.where.array(lanes_last(xs, True)))
            moved = nnx.state(stacked)
            for lane, layer in enumerate(each):
                nnx.update(layer.layer, jax.tree.map(lambda found, lane=lane: found[lane], moved))
            return lanes_first(self.where.show(ys), True), [layer.state() for layer in each]

    def jacrev(self, x: Array, *, training: bool) -> Array:
        """dy/dx, by jax.jacrev; the statistics stay."""
        return self._jacobian("jacrev", x, training)

    def jacfwd(self, x: Array, *, training: bool) -> Array:
        """dy/dx, by jax.jacfwd; the statistics stay."""
        return self._jacobian("jacfwd", x, training)

    def jvp_jvp(self, x: Array, tangent: Array, second: Array, *, training: bool) -> Array:
        """The derivative of the tangent along a second one, by jax.jvp of jax.jvp; the statistics stay."""
        return self._higher(forward_twice, (x, tangent, second), training)

    def third(self, x: Array, grad_output: Array, vector: Array, second: Array, *, training: bool) -> Array:
        """The derivative of that of the gradient along the vector, along a second one; the statistics stay."""
        return self._higher(backward_thrice, (x, grad_output, vector, second), training)

    def _higher(self, derivative: Callable[..., Any], operands: Sequence[Array], training: bool) -> Array:
        with self.where.enter():
            self._mode(training)
            given = [self.where.array(array, True) for array in operands]
            return self.where.show(nnx_higher(derivative)(self.layer, *given), True)

    def _jacobian(self, ability: str, x: Array, training: bool) -> Array:
        with self.where.enter():
            self._mode(training)
            found = nnx_jacobian(ability)(self.layer, self.where.array(x, True))
            return jacobian_first(self.where.show(found), True)

    def eval_shape(self, x: Array, *, training: bool) -> tuple[tuple[int, ...], str]:
        """(shape, dtype) of y, by nnx.eval_shape."""
        from flax import nnx

        with self.where.enter():
            self._mode(training)
            y = nnx.eval_shape(lambda layer, x: layer(x), self.layer, self.where.array(x, True))
        return (y.shape[0], y.shape[-1], *y.shape[1:-1]), str(y.dtype)

    def _split(self) -> tuple[Any, Any]:
        """Parameters and statistics."""
        from flax import nnx

        _, parameters, statistics = nnx.split(self.layer, nnx.Param, nnx.BatchStat)
        return parameters, statistics

    def _replicas(self, training: bool, masked: bool) -> Replicas:
        from flax import nnx

        named = self.like(AXIS)
        (named.train if training else named.eval)()
        graph, *_ = nnx.split(named, nnx.Param, nnx.BatchStat)
        return nnx_replicas(graph, masked)

    def masked(self, x: Array, mask: Array, *, training: bool) -> Array:
        """y; the statistics move."""
        forward, _ = nnx_masked_functions()
        with self.where.enter():
            self._mode(training)
            given, selecting = self.where.array(x, True), self.where.mask(mask, x.ndim)
            return self.where.show(forward(self.layer, given, selecting), True)

    def masked_backward(self, x: Array, mask: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The gradients for x, weight and bias, by jax.vjp; the statistics stay."""
        _, backward = nnx_masked_functions()
        with self.where.enter():
            self._mode(training)
            given, upstream = (self.where.array(array, True) for array in (x, grad_output))
            found, grad_x = backward(self.layer, given, self.where.mask(mask, x.ndim), upstream)
            weight, bias = (self.where.show(found[name][...]) if name in found else None for name in ("scale", "bias"))
            return self.where.show(grad_x, True), weight, bias

    def state(self) -> dict[str, Array | None]:
        """Copies of what the layer remembers."""
        found = {name: getattr(self.layer, theirs) for name, theirs in NNX_NAMES.items()}
        with self.where.enter():
            shown = {name: None if kept is None else self.where.show(kept[...]) for name, kept in found.items()}
        return {**shown, "num_batches_tracked": None}

    def load(self, state: Mapping[str, Array | None]) -> None:
        """Set the given entries by nnx.update; KeyError or ValueError for one that the layer does not have."""
        from flax import nnx

        with self.where.enter():
            given = {name: self.where.array(value) for name, value in state.items() if value is not None}
            nnx.update(self.layer, {NNX_NAMES[name]: value for name, value in given.items()})

    def set(self, **options: Any) -> None:
        """Assign to the layer's attributes; nnx.jit compiles anew, as they are part of the layer."""
        if options.get("momentum", 0) is None:
            raise NotImplementedError("Flax has no cumulative average")
        if "track_running_stats" in options:
            raise NotImplementedError("Flax' layer always has running statistics")
        if "momentum" in options:
            self.layer.momentum = 1 - options["momentum"]
        if "eps" in options:
            self.layer.epsilon = options["eps"]

    def _mode(self, training: bool) -> None:
        if training:
            self.layer.train()
        else:
            self.layer.eval()


def _parameters(found: Any) -> tuple[Array | None, Array | None]:
    """Those for weight and bias, where there are such parameters."""
    weight, bias = (to_array(found[name][...]) if name in found else None for name in ("scale", "bias"))
    return weight, bias


def arguments(config: Any, told_dtype: bool) -> dict[str, Any]:
    """What both of Flax's layers are given for a configuration."""
    return {
        "momentum": 1 - config.momentum,
        "dtype": config.dtype if told_dtype else None,
        "epsilon": config.eps,
        "param_dtype": config.param_dtype,
        "use_bias": config.bias,
        "use_scale": config.weight,
    }


class FlaxNNX:
    """flax.nnx.BatchNorm under nnx.jit."""

    name = "flax.nnx"
    deviations: Mapping[str, str] = {"output_dtype": "parameter", "running_variance": "biased"}
    documented: Mapping[str, str] = {
        "output_dtype": f"{NNX_PAGE}: {PROMOTED}",
        "running_variance": f"{NNX_PAGE}: {AVERAGED}",
    }
    unsupported: Mapping[str, str] = {
        "momentum_none": "Flax has no cumulative average: it takes None and fails in the first training pass",
        "track_running_stats_off": "Flax's layer always has running statistics",
        "vmap_tracked": SHARED,
        **SHAPES,
    }
    slow_to_start = True
    told_dtype = False
    more: Mapping[str, Any] = {}

    def devices(self) -> list[str]:
        """See `jax_arrays.devices`."""
        return devices()

    def build(self, config: Any, device: str) -> NNXLayer:
        """A layer of this configuration; NotImplementedError for what Flax does not have."""
        self.refuse(config)
        return self._layer(place(config, device), config.num_features, **arguments(config, self.told_dtype))

    def refuse(self, config: Any) -> None:
        """NotImplementedError for what Flax does not have."""
        lacking = [config.dtype] if config.dtype in self.unsupported else []
        lacking += ["momentum_none"] if config.momentum is None else []
        lacking += [] if config.track_running_stats else ["track_running_stats_off"]
        if lacking:
            raise NotImplementedError(self.unsupported[lacking[0]])

    def build_default(self, num_features: int, device: str) -> NNXLayer:
        """A layer with its own defaults."""
        return self._layer(Place(device), num_features)

    def _layer(self, where: Place, num_features: int, **given: Any) -> NNXLayer:
        from flax import nnx

        def like(axis_name: str | None) -> Any:
            return nnx.BatchNorm(num_features, rngs=nnx.Rngs(0), axis_name=axis_name, **given, **self.more)

        with where.enter():
            return NNXLayer(like(None), where, like)


class FlaxNNXHalf(FlaxNNX):
    """The same, told to compute in half precision, as models in mixed precision do: dtype is that of the input."""

    name = "flax.nnx+half"
    deviations: Mapping[str, str] = {"running_variance": "biased"}
    documented: Mapping[str, str] = {"running_variance": FlaxNNX.documented["running_variance"]}
    unsupported: Mapping[str, str] = {**FlaxNNX.unsupported, **WIDE}
    told_dtype = True


class FlaxNNXTwoPass(FlaxNNX):
    """The same with use_fast_variance=False."""

    name = "flax.nnx+two_pass"
    more: Mapping[str, Any] = {"use_fast_variance": False}
