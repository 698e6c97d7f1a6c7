"""The BatchNorm of jax.example_libraries.stax, which has no running statistics and one mode.

Channels lie last; `axis` names all others, as its default (0, 1, 2) does at rank 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from bnconform.backends.jax_arrays import Compiled, JaxLayer, Place, compile_function, devices, example, place


@cache
def functions(given: tuple[tuple[str, Any], ...]) -> Compiled:
    """The pass of a layer and its gradients."""
    from jax.example_libraries import stax

    _, apply = stax.BatchNorm(**dict(given))

    def name_fault(parameters: Any, statistics: Any, x: Any) -> Any:
        return apply((parameters.get("bias", ()), parameters.get("weight", ())), x), statistics

    return compile_function(name_fault)


class Stax:
    """jax.example_libraries.stax.BatchNorm under jax.jit."""

    name = "jax.stax"
    deviations: Mapping[str, str] = {}
    documented: Mapping[str, str] = {}
    unsupported: Mapping[str, str] = {
        "track_running_stats": "stax's BatchNorm has no running statistics",
        "masked": "stax's BatchNorm takes no mask",
        "set": "stax's BatchNorm is a function made of its options",
    }
    slow_to_start = True

    def devices(self) -> list[str]:
        """See `jax_arrays.devices`."""
        return devices()

    def build(self, config: Any, device: str) -> JaxLayer:
        """A layer of this configuration; NotImplementedError with running statistics."""
        if config.track_running_stats:
            raise NotImplementedError(self.unsupported["track_running_stats"])
        given = {
            "axis": tuple(range(config.ndim - 1)),
            "epsilon": config.eps,
            "center": config.bias,
            "scale": config.weight,
        }
        return self._layer(place(config, device), example(config), given, config.param_dtype)

    def build_default(self, num_features: int, device: str) -> JaxLayer:
        """A layer with its own defaults."""
        return self._layer(Place(device), (1, num_features, 1, 1), {}, "float32")

    def _layer(self, where: Place, shape: tuple[int, ...], given: Mapping[str, Any], dtype: str) -> JaxLayer:
        import jax
        from jax.example_libraries import stax

        with where.enter():
            init, _ = stax.BatchNorm(**given)
            _, (bias, weight) = init(jax.random.PRNGKey(0), (*shape[:1], *shape[2:], shape[1]))
            # An empty tuple stands for one that is not there.
            values = {"weight": weight, "bias": bias}
            parameters = {name: value.astype(dtype) for name, value in values.items() if len(value)}
        return JaxLayer(lambda training: functions(tuple(given.items())), parameters, {}, where, shape)
