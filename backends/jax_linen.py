"""The BatchNorm of flax.linen, a function of its variables.

Flax's momentum weighs the old value, so 1 - momentum is passed. Channels lie last. The mode is `use_running_average`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from bnconform.backends.jax_arrays import Compiled, JaxLayer, Place, compiled, example, place
from bnconform.backends.jax_flax import AVERAGED, PROMOTED, WIDE, FlaxNNX, arguments

LINEN_PAGE = "https://flax.readthedocs.io/en/latest/api_reference/flax.linen/layers.html"

LINEN_NAMES = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}


@cache
def linen_functions(module: Any, training: bool) -> Compiled:
    """The pass of a linen module (which compares by its configuration) in a mode, and its gradients."""

    def apply(parameters: Any, statistics: Any, x: Any) -> tuple[Any, Any]:
        variables = {
            "params": {LINEN_NAMES[name]: value for name, value in parameters.items()},
            "batch_stats": {LINEN_NAMES[name]: value for name, value in statistics.items()},
        }
        y, moved = module.apply(variables, x, use_running_average=not training, mutable=["batch_stats"])
        return y, {name: moved["batch_stats"][LINEN_NAMES[name]] for name in statistics}

    return compiled(apply)


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
        **FlaxNNX.unsupported,
        "set": "a Linen module is a frozen dataclass: another option is another module",
    }

    def build(self, config: Any, device: str) -> Any:
        """A layer of this configuration; NotImplementedError for what Flax does not have."""
        self.refuse(config)
        return self._linen(place(config, device), example(config), arguments(config, self.told_dtype))

    def build_default(self, num_features: int, device: str) -> Any:
        """A layer with its own defaults."""
        return self._linen(Place(device), (1, num_features, 1, 1), {})

    def _linen(self, where: Place, shape: tuple[int, ...], given: Mapping[str, Any]) -> JaxLayer:
        import jax
        from flax import linen

        module = linen.BatchNorm(**given, **self.more)
        with where.entered():
            x = where.array(np.zeros(shape, np.float32), True)
            variables = linen_initial(module)(jax.random.key(0), x)
        values = {**variables.get("params", {}), **variables["batch_stats"]}
        found = {name: values[theirs] for name, theirs in LINEN_NAMES.items() if theirs in values}
        statistics = {name: found.pop(name) for name in ("running_mean", "running_var")}
        return JaxLayer(lambda training: linen_functions(module, training), found, statistics, where, shape)


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
