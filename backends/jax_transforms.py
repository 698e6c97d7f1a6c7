"""Layers under JAX's transformations: vmap, jacrev, jacfwd and eval_shape of a pass that is a pure function.

The pass is (parameters, statistics, x) -> (y, statistics), jitted; the transformation of it is jitted again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from bnconform.backends.jax_arrays import Place

Array = NDArray[Any]
Function = Callable[..., Any]


@cache
def map_pass(forward: Function, own: bool) -> Function:
    """The pass mapped over batches, and over parameters and statistics where each lane has its `own`."""
    import jax

    found: Function = jax.jit(jax.vmap(forward, in_axes=(0, 0, 0) if own else (None, None, 0)))
    return found


@cache
def jacobian(forward: Function, ability: str) -> Function:
    """(parameters, statistics, x) -> dy/dx, by jax.jacrev or jax.jacfwd."""
    import jax

    def differentiate(parameters: Any, statistics: Any, x: Any) -> Any:
        return getattr(jax, ability)(lambda x: forward(parameters, statistics, x)[0])(x)

    found: Function = jax.jit(differentiate)
    return found


@cache
def differentiate_more(forward: Function, derivative: Function) -> Function:
    """(parameters, statistics, *operands) -> a higher derivative for x, by forward_twice or backward_thrice."""
    import jax

    def differentiate(parameters: Any, statistics: Any, *operands: Any) -> Any:
        return derivative(lambda x: forward(parameters, statistics, x)[0], *operands)

    found: Function = jax.jit(differentiate)
    return found


def forward_twice(call: Callable[[Any], Any], x: Any, tangent: Any, second: Any) -> Any:
    """The derivative of the tangent of y = call(x) along a second one, by jax.jvp of jax.jvp."""
    import jax

    return jax.jvp(lambda x: jax.jvp(call, (x,), (tangent,))[1], (x,), (second,))[1]


def backward_thrice(call: Callable[[Any], Any], x: Any, grad_output: Any, *vectors: Any) -> Any:
    """The gradient for x of sum(y * grad_output), y = call(x), and that of its product with each vector in turn."""
    import jax

    def differentiate(call: Callable[[Any], Any], upstream: Any) -> Callable[[Any], Any]:
        def gradient(x: Any) -> Any:
            y, pull = jax.vjp(call, x)
            return pull(upstream.astype(y.dtype))[0]

        return gradient

    for upstream in (grad_output, *vectors):
        call = differentiate(call, upstream)
    return call(x)


def lanes_last(xs: Array, channels_last: bool) -> Array:
    """Batches (L, N, C, *S) as (L, N, *S, C) where the layer has its channels last."""
    return np.moveaxis(xs, 2, -1) if channels_last else xs


def lanes_first(ys: Array, channels_last: bool) -> Array:
    """A contiguous copy with the channels of (L, N, *S, C) at axis 2 again."""
    return np.array(np.moveaxis(ys, -1, 2) if channels_last else ys, order="C")


def jacobian_first(found: Array, channels_last: bool) -> Array:
    """A contiguous copy of (N, *S, C, N, *S, C) with both axes of channels where they are in (N, C, *S, N, C, *S)."""
    rank = found.ndim // 2
    moved = np.moveaxis(found, (rank - 1, 2 * rank - 1), (1, rank + 1)) if channels_last else found
    return np.array(moved, order="C")


class TransformedJaxLayer:
    """What a `JaxLayer` does under transformations; the statistics are those that each lane's pass gives out."""

    channels_last: bool
    functions: Callable[[bool], Any]
    parameters: dict[str, Any]
    statistics: Any
    where: Place

    def vmap(self, xs: Array, *, training: bool) -> Array:
        """ys, by jax.vmap over the batches; the statistics stay."""
        with self.where.enter():
            given = self.where.array(lanes_last(xs, self.channels_last))
            ys, _ = map_pass(self.functions(training).forward, False)(self.parameters, self.statistics, given)
            return lanes_first(self.where.show(ys), self.channels_last)

    def vmap_layers(
        self, xs: Array, states: Sequence[Mapping[str, Array]], *, training: bool
    ) -> tuple[Array, list[dict[str, Array | None]]]:
        """(ys, states), by jax.vmap over batches, parameters and statistics; the layer itself stays."""
        import jax

        with self.where.enter():
            each = [self.load_values(state) for state in states]
            parameters, statistics = jax.tree.map(lambda *found: jax.numpy.stack(found), *each)
            given = self.where.array(lanes_last(xs, self.channels_last))
            ys, moved = map_pass(self.functions(training).forward, True)(parameters, statistics, given)
            shown = lanes_first(self.where.show(ys), self.channels_last)
        after = []
        for lane, (own, _) in enumerate(each):
            layer = copy.copy(self)
            layer.parameters, layer.statistics = own, jax.tree.map(lambda found, lane=lane: found[lane], moved)
            after.append(layer.state())
        return shown, after

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

    def _higher(self, derivative: Function, operands: Sequence[Array], training: bool) -> Array:
        with self.where.enter():
            given = [self.where.array(array, self.channels_last) for array in operands]
            call = differentiate_more(self.functions(training).forward, derivative)
            return self.where.show(call(self.parameters, self.statistics, *given), self.channels_last)

    def _jacobian(self, ability: str, x: Array, training: bool) -> Array:
        with self.where.enter():
            given = self.where.array(x, self.channels_last)
            found = jacobian(self.functions(training).forward, ability)(self.parameters, self.statistics, given)
            return jacobian_first(self.where.show(found), self.channels_last)

    def eval_shape(self, x: Array, *, training: bool) -> tuple[tuple[int, ...], str]:
        """(shape, dtype) of y, by jax.eval_shape."""
        import jax

        with self.where.enter():
            given = self.where.array(x, self.channels_last)
            y, _ = jax.eval_shape(self.functions(training).forward, self.parameters, self.statistics, given)
        shape = (y.shape[0], y.shape[-1], *y.shape[1:-1]) if self.channels_last else y.shape
        return tuple(shape), str(y.dtype)

    def load_values(self, state: Mapping[str, Array | None]) -> tuple[dict[str, Any], Any]:
        """Parameters and statistics with the given entries."""
        raise NotImplementedError

    def state(self) -> dict[str, Array | None]:
        """Copies of what the layer remembers."""
        raise NotImplementedError
