"""Arrays into JAX and back, devices, precision and compilation; shared by the adapters of the JAX libraries.

Layers run in JAX's default mode, in which there is no float64; what has float64 in its configuration runs under
`jax.enable_x64`, which is how a user gets it.

Everything runs compiled, by one jitted function for each configuration and mode, which layers of that configuration
share. A new shape or dtype is compiled anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnconform.backends.jax_transforms import TransformedJaxLayer
from bnconform.backends.not_compiled import NotCompiled
from bnconform.backends.wrong_device import WrongDevice

Array = NDArray[Any]
Gradients = tuple[Array, Array | None, Array | None]

STATE = ("running_mean", "running_var", "num_batches_tracked", "weight", "bias")


def assert_traced(x: Any) -> None:
    """NotCompiled unless x stands for an array while a function is compiled; compiled code does not come here again."""
    import jax

    if not isinstance(x, jax.core.Tracer):
        raise NotCompiled("the pass ran eagerly; is JAX_DISABLE_JIT set?")


def devices() -> list[str]:
    """The devices that JAX offers here, in PyTorch's words: the CPU, then every GPU and TPU.

    Where JAX has made several devices of the CPU (JAX_NUM_CPU_DEVICES=4), the others are cpu:1 to cpu:3.
    """
    import jax

    found = ["cpu", *(f"cpu:{index}" for index in range(1, jax.local_device_count("cpu")))]
    for platform in ("cuda", "rocm", "tpu"):
        try:
            found += [f"{platform}:{index}" for index, _ in enumerate(jax.local_devices(backend=platform))]
        except RuntimeError:  # JAX does not know the platform or finds none of its devices
            continue
    return found


def jax_device(name: str) -> Any:
    """JAX's device of this name."""
    import jax

    platform, _, index = name.partition(":")
    return jax.local_devices(backend=platform)[int(index or 0)]


def precision(wide: bool) -> AbstractContextManager[Any]:
    """In which float64 exists, or does not; JAX before 0.8 has it among its experiments."""
    import jax

    try:
        found: AbstractContextManager[Any] = jax.enable_x64(wide)
    except AttributeError:
        from jax.experimental import enable_x64

        found = enable_x64(wide)
    return found


@dataclass(frozen=True)
class Place:
    """Where and in which mode a layer runs: the device, and whether float64 exists."""

    device: str = "cpu"
    wide: bool = False

    @contextmanager
    def enter(self) -> Iterator[None]:
        """New arrays lie on the device, and are of double precision only if `wide`."""
        import jax

        with precision(self.wide), jax.default_device(jax_device(self.device)):
            yield

    def array(self, array: Array, channels_last: bool = False) -> Any:
        """A copy of the array on the device; inside `enter`."""
        import jax.numpy as jnp

        return jnp.array(np.moveaxis(array, 1, -1) if channels_last else array)

    def mask(self, mask: Array, ndim: int) -> Any:
        """A copy of a mask for inputs of this rank, of truth values or integers, its channels, if any, last."""
        import jax.numpy as jnp

        return jnp.array(mask_channels_last(mask, ndim))

    def show(self, array: Any, channels_last: bool = False) -> Array:
        """What `to_array` gives, of an array that lies on the device; WrongDevice, where it lies elsewhere."""
        if array.devices() != {jax_device(self.device)}:
            raise WrongDevice(self.device, ", ".join(sorted(map(str, array.devices()))))
        return to_array(array, channels_last)


def mask_channels_last(mask: Array, ndim: int) -> Array:
    """A mask that broadcasts to (N, C, *S), of that rank or lower, as one that broadcasts to (N, *S, C)."""
    channels = 1 - (ndim - mask.ndim)
    if channels >= 0:
        return np.moveaxis(mask, channels, -1)
    return mask[..., None] if mask.ndim else mask


def place(config: Any, device: str) -> Place:
    """The place of a layer of this configuration."""
    return Place(device, "float64" in (config.dtype, config.param_dtype))


def to_array(array: Any, channels_last: bool = False) -> Array:
    """A contiguous copy as a NumPy array of the same dtype."""
    found = np.asarray(array)
    return np.array(np.moveaxis(found, -1, 1) if channels_last else found, order="C")


@dataclass(frozen=True)
class Compiled:
    """A pass and its gradients, jitted; the function is (parameters, statistics, x) -> (y, statistics).

    `record` gives a pass and its pullback, which JAX lets a jitted function return, and `pull` calls that. `tangent`
    gives a pass with a tangent of x, `second` the derivatives of the gradients along a vector of x. `recompute`
    gives the gradients of a pass that is run again for them, and the statistics.
    """

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    record: Callable[..., Any]
    pull: Callable[..., Any]
    tangent: Callable[..., Any]
    second: Callable[..., Any]
    recompute: Callable[..., Any]


def compile_function(
    function: Callable[[Any, Any, Any], tuple[Any, Any]],
    checkpointed: Callable[[Any, Any, Any], tuple[Any, Any]] | None = None,
) -> Compiled:
    """The function and its gradients for parameters and x, each jitted.

    Args:
        checkpointed: the function by the library's own recomputation, where it has any; by jax.checkpoint elsewhere.
    """
    import jax

    again = jax.checkpoint(function) if checkpointed is None else checkpointed

    def trace(parameters: Any, statistics: Any, x: Any) -> tuple[Any, Any]:
        assert_traced(x)
        return function(parameters, statistics, x)

    def gradients(parameters: Any, statistics: Any, x: Any, grad_output: Any) -> Any:
        y, pull, _ = jax.vjp(lambda *given: trace(given[0], statistics, given[1]), parameters, x, has_aux=True)
        return pull(grad_output.astype(y.dtype))

    def record(parameters: Any, statistics: Any, x: Any) -> Any:
        return jax.vjp(lambda *given: trace(given[0], statistics, given[1]), parameters, x, has_aux=True)

    def tangent(parameters: Any, statistics: Any, x: Any, direction: Any) -> Any:
        return jax.jvp(lambda x: trace(parameters, statistics, x), (x,), (direction,), has_aux=True)

    def second(parameters: Any, statistics: Any, x: Any, grad_output: Any, vector: Any) -> Any:
        return jax.jvp(lambda x: gradients(parameters, statistics, x, grad_output), (x,), (vector,))[1]

    def recompute(parameters: Any, statistics: Any, x: Any, grad_output: Any) -> Any:
        assert_traced(x)
        y, pull, moved = jax.vjp(lambda *given: again(given[0], statistics, given[1]), parameters, x, has_aux=True)
        return pull(grad_output.astype(y.dtype)), moved

    first, back, kept, along, twice, anew = map(jax.jit, (trace, gradients, record, tangent, second, recompute))
    return Compiled(first, back, kept, pull(), along, twice, anew)


@cache
def pull() -> Callable[..., Any]:
    """The jitted call of a pullback."""
    import jax

    found: Callable[..., Any] = jax.jit(lambda pullback, grad_output: pullback(grad_output))
    return found


class JaxLayer(TransformedJaxLayer):
    """A layer as a pure function with its values beside it: `parameters` (weight, bias) and `statistics`.

    `functions` gives the compiled pass of a mode, `shape` (N, C, *S) is one that it takes. Statistics that are not a
    mapping of the suite's names to arrays override `show` and `replace_statistics`.
    """

    channels_last = True

    def __init__(
        self,
        functions: Callable[[bool], Compiled],
        parameters: Mapping[str, Any],
        statistics: Any,
        where: Place,
        shape: tuple[int, ...],
    ) -> None:
        self.functions = functions
        self.parameters = dict(parameters)
        self.statistics = statistics
        self.where = where
        self.shape = shape

    def forward(self, x: Array, *, training: bool) -> Array:
        """y; the statistics move."""
        with self.where.enter():
            given = self.where.array(x, self.channels_last)
            y, self.statistics = self.functions(training).forward(self.parameters, self.statistics, given)
            return self.where.show(y, self.channels_last)

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients for x, weight and bias, by jax.vjp; the statistics stay."""
        with self.where.enter():
            given, upstream = (self.where.array(array, self.channels_last) for array in (x, grad_output))
            found, grad_x = self.functions(training).backward(self.parameters, self.statistics, given, upstream)
            weight, bias = (self.where.show(found[name]) if name in found else None for name in ("weight", "bias"))
            return self.where.show(grad_x, self.channels_last), weight, bias

    def vjp(self, x: Array, *, training: bool) -> tuple[Array, Callable[[Array], Gradients]]:
        """(y, pullback), by jax.vjp; the statistics move."""
        functions = self.functions(training)
        with self.where.enter():
            given = self.where.array(x, self.channels_last)
            y, pulled, self.statistics = functions.record(self.parameters, self.statistics, given)
            shown = self.where.show(y, self.channels_last)

        def pullback(grad_output: Array) -> Gradients:
            with self.where.enter():
                upstream = self.where.array(grad_output, self.channels_last).astype(y.dtype)
                found, grad_x = functions.pull(pulled, upstream)
                weight, bias = (self.where.show(found[name]) if name in found else None for name in ("weight", "bias"))
                return self.where.show(grad_x, self.channels_last), weight, bias

        return shown, pullback

    def recomputed(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The gradients of a pass that is run again for them; the statistics are those that it gives out."""
        with self.where.enter():
            given, upstream = (self.where.array(array, self.channels_last) for array in (x, grad_output))
            (found, grad_x), self.statistics = self.functions(training).recompute(
                self.parameters, self.statistics, given, upstream
            )
            weight, bias = (self.where.show(found[name]) if name in found else None for name in ("weight", "bias"))
            return self.where.show(grad_x, self.channels_last), weight, bias

    def jvp(self, x: Array, tangent: Array, *, training: bool) -> tuple[Array, Array]:
        """(y, tangent_y), by jax.jvp; the statistics move."""
        with self.where.enter():
            given, direction = (self.where.array(array, self.channels_last) for array in (x, tangent))
            y, tangent_y, self.statistics = self.functions(training).tangent(
                self.parameters, self.statistics, given, direction
            )
            return self.where.show(y, self.channels_last), self.where.show(tangent_y, self.channels_last)

    def hvp(self, x: Array, grad_output: Array, vector: Array, *, training: bool) -> Gradients:
        """The derivatives of the gradients along the vector, by jax.jvp of jax.vjp; the statistics stay."""
        with self.where.enter():
            operands = (self.where.array(array, self.channels_last) for array in (x, grad_output, vector))
            found, by_x = self.functions(training).second(self.parameters, self.statistics, *operands)
            weight, bias = (self.where.show(found[name]) if name in found else None for name in ("weight", "bias"))
            return self.where.show(by_x, self.channels_last), weight, bias

    def state(self) -> dict[str, Array | None]:
        """Copies of what the layer remembers."""
        with self.where.enter():
            return self.entries(self.where.show)

    def entries(self, copied: Callable[[Any], Array]) -> dict[str, Array | None]:
        """What the layer remembers, each copied by a function."""
        values = {**self.show(), **self.parameters}
        return {name: copied(values[name]) if name in values else None for name in STATE}

    def load(self, state: Mapping[str, Array | None]) -> None:
        """Set the given entries; KeyError for one that the layer does not have.

        These libraries load nothing themselves: the values are arguments of the next call. So that what the library
        refuses is seen here, it is asked for the shape of an evaluation with them, which computes nothing.
        """
        import jax

        with self.where.enter():
            parameters, statistics = self.load_values(state)
            x = self.where.array(np.zeros(self.shape, np.float32), self.channels_last)
            jax.eval_shape(self.functions(False).forward, parameters, statistics, x)
            self.parameters, self.statistics = parameters, statistics

    def load_values(self, state: Mapping[str, Array | None]) -> tuple[dict[str, Any], Any]:
        """Parameters and statistics with the given entries in place of the layer's own; KeyError."""
        given = {name: self.where.array(value) for name, value in state.items() if value is not None}
        for name in given:
            {**self.show(), **self.parameters}[name]
        parameters = {name: given.pop(name, value) for name, value in self.parameters.items()}
        return parameters, self.replace_statistics(given)

    def show(self) -> Mapping[str, Any]:
        """The statistics by the suite's names."""
        found: Mapping[str, Any] = self.statistics
        return found

    def replace_statistics(self, given: Mapping[str, Any]) -> Any:
        """The statistics with the given ones, by the suite's names, in place of their own."""
        return {**self.statistics, **given}


def example(config: Any) -> tuple[int, ...]:
    """A shape (N, C, *S) of this configuration."""
    return (1, config.num_features, *(1,) * (config.ndim - 2))
