"""What replicas of a layer show: shards are made of rows, and what each replica gives is one array for all.

The rows are those of `bnconform.spec.shards`, which a program carries: (n, C, 1, ...), a row for each sample and
position.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bnconform.backends.runner.instrumented import Array, InstrumentedLayer, Misfit

Shown = dict[str, "Array | None"]

STATE = ("running_mean", "running_var", "num_batches_tracked")
"""What of a replica's state is looked at; weight and bias are what they were given."""


def split(rows: Array, shapes: Sequence[Sequence[int]]) -> list[Array]:
    """The shards (N_i, C, *S_i) of rows, by their shapes without the channels."""
    start, found = 0, []
    for shape in shapes:
        end = start + math.prod(shape)
        found.append(np.array(np.moveaxis(rows[start:end].reshape(*shape, rows.shape[1]), -1, 1), order="C"))
        start = end
    return found


def join(shards: Sequence[Array], like: Array) -> Array:
    """The rows of shards, in the shape of those that they came from."""
    return np.concatenate([np.moveaxis(one, 1, -1).reshape(-1, like.shape[1]) for one in shards]).reshape(like.shape)


def forward(layer: InstrumentedLayer, step: Mapping[str, Any]) -> Shown:
    """One forward pass: y as rows, and (R, C) or (R,) of what each replica remembers; Raised or Misfit."""
    call = step["op"]
    outputs, states = layer.replicated(split(step["x"], step["shards"]), masks(step), training=step["training"])
    shown: Shown = {"y": join(_alike(call, "y", outputs), step["x"])}
    return shown | {f"replica_{name}": _stack(call, name, [one[name] for one in states]) for name in STATE}


def gradients(layer: InstrumentedLayer, step: Mapping[str, Any]) -> Shown:
    """The gradients: grad_x as rows, and (R, C) of those for weight and bias that each replica gives."""
    shards, upstream = (split(step[name], step["shards"]) for name in ("x", "grad_output"))
    each, call = layer.replicated_vjp(shards, upstream, masks(step), training=step["training"]), step["op"]
    by_x, by_weight, by_bias = zip(*each, strict=True)
    return {
        "grad_x": join(_alike(call, "grad_x", by_x), step["x"]),
        "replica_grad_weight": _stack(call, "grad_weight", by_weight),
        "replica_grad_bias": _stack(call, "grad_bias", by_bias),
    }


def masks(step: Mapping[str, Any]) -> list[Array] | None:
    """The masks (N_i, 1, *S_i) of a step with masks; None for one without."""
    return None if step["mask"] is None else split(step["mask"], step["shards"])


def _alike(call: str, name: str, arrays: Iterable[Array]) -> list[Array]:
    """The arrays, which are of one dtype; Misfit."""
    found = list(arrays)
    kinds = sorted({str(array.dtype) for array in found})
    if len(kinds) > 1:
        raise Misfit(f"{call} returned {name} of {' and '.join(kinds)}; all replicas should give one dtype")
    return found


def _stack(call: str, name: str, values: Iterable[Array | None]) -> Array | None:
    """What each replica shows under a name, or None where none shows it; Misfit where some do."""
    given = list(values)
    there = [value for value in given if value is not None]
    if there and len(there) < len(given):
        raise Misfit(f"{call} returned {name} for {len(there)} of {len(given)} replicas; all should show it, or none")
    return np.stack(_alike(call, name, there)) if there else None
