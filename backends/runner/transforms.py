"""What a layer shows under transformations of functions: batches are cut into lanes, and each lane's results joined.

A program carries the batches of all lanes one after the other, (L * N, C, *S), and the states of mapped layers as
(L, C); a layer is given (L, N, C, *S), and a list of states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bnconform.backends.runner.instrumented import Array, InstrumentedLayer, Misfit

Shown = dict[str, "Array | None"]

STATE = ("running_mean", "running_var", "num_batches_tracked")
"""What of the state of a mapped layer is looked at; weight and bias are what they were given."""


def values(layer: InstrumentedLayer, step: Mapping[str, Any], state: Mapping[str, Any]) -> Shown:
    """The results of one call by name; Raised or Misfit."""
    training, given = step["training"], step["x"]
    if step["op"] in ("jacrev", "jacfwd"):
        return {"jacobian": layer.jacobian(step["op"], given, training=training)}
    if step["op"] == "eval_shape":
        return {"abstract_y": layer.eval_shape(given, training=training)}
    lanes = step["lanes"]
    xs = given.reshape(lanes, len(given) // lanes, *given.shape[1:])
    if step["op"] == "vmap":
        return {"y": layer.vmap(xs, training=training).reshape(given.shape)}
    # A layer that shows no counter has none to set, as in a load.
    absent = "num_batches_tracked" if state.get("num_batches_tracked") is None else ""
    named = {name: value for name, value in step["layers"].items() if name != absent}
    states = [{name: np.array(value[lane]) for name, value in named.items()} for lane in range(lanes)]
    ys, after = layer.vmap_layers(xs, states, training=training)
    return {"y": ys.reshape(given.shape)} | {f"mapped_{name}": _stack(name, after) for name in STATE}


def _stack(name: str, states: Sequence[Mapping[str, Array | None]]) -> Array | None:
    """What each layer shows under a name, or None where none shows it; Misfit where some do, or in several dtypes."""
    there = [value for value in (state[name] for state in states) if value is not None]
    if there and len(there) < len(states):
        raise Misfit(
            f"vmap_layers returned {name} for {len(there)} of {len(states)} layers; all should show it, or none"
        )
    kinds = sorted({str(value.dtype) for value in there})
    if len(kinds) > 1:
        raise Misfit(f"vmap_layers returned {name} of {' and '.join(kinds)}; all layers should give one dtype")
    return np.stack(there) if there else None
