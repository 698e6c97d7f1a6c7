"""A reader of exported vectors that does what VECTORS.md says, and knows nothing of how they were made."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from bnconform.backends.runner.layouts import LAYOUTS
from bnconform.spec.config import Config
from bnconform.spec.formats import numpy_dtype

Array = np.ndarray[Any, Any]


def strict(path: Path) -> dict[str, Any]:
    """A JSON file, read as strictly as other languages read it."""

    def refuse(text: str) -> NoReturn:
        raise ValueError(f"{text} is not JSON")

    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    return data


def failures(data: Mapping[str, Any], build: Callable[[Config], Any]) -> tuple[dict[str, str], int]:
    """The vectors of a file that an implementation fails, by name with the first reason, and how many were judged."""
    found: dict[str, str] = {}
    judged = 0
    for vector in data["vectors"]:
        config = Config(**vector["config"], dtype=data["dtype"], param_dtype=data["param_dtype"])
        if "CounterLoaded" in vector["flags"] and build(config).state()["num_batches_tracked"] is None:
            continue
        judged += 1
        try:
            reason = _fault(vector, config, build)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        if reason:
            found[vector["name"]] = reason
    return found, judged


def _fault(vector: Mapping[str, Any], config: Config, build: Callable[[Config], Any]) -> str:
    layer = build(config)
    for number, step in enumerate(vector["steps"], 1):
        if step["op"] == "build":
            layer = build(config)
        elif step["op"] == "load":
            layer.load({name: _array(value, _dtype(name, config)) for name, value in step["state"].items()})
        results: dict[str, Array | None] = {}
        if "x" in step:
            x, training = _lay_out(step["x"], config.dtype), step["mode"] == "training"
            if step["op"] == "forward":
                results["y"] = layer.forward(x, training=training)
            else:
                names = ("grad_x", "grad_weight", "grad_bias")
                upstream = _lay_out(step["grad_output"], config.dtype)
                results |= zip(names, layer.backward(x, upstream, training=training), strict=True)
        shown = layer.state() | results
        for name, interval in step["expect"].items():
            got = shown[name.partition(":")[0]]
            if name == "num_batches_tracked" and got is None:
                continue
            reason = outside(got, interval)
            if reason:
                return f"step {number}, {name}: {reason}"
    return ""


def _dtype(name: str, config: Config) -> str:
    return "int64" if name == "num_batches_tracked" else config.param_dtype


def _array(entry: Mapping[str, Any], dtype: str) -> Array:
    numbers = np.array([float(number) for number in entry["data"]], np.float64).reshape(entry["shape"])
    made = numbers.astype(np.int64 if dtype == "int64" else numpy_dtype(dtype))
    assert np.array_equal(made.astype(np.float64), numbers, equal_nan=True), "a number that its dtype does not hold"
    return np.asarray(made)


def _lay_out(entry: Mapping[str, Any], dtype: str) -> Array:
    return LAYOUTS[entry["layout"]](_array(entry, dtype))


def outside(got: Array | None, interval: Mapping[str, Any] | None) -> str:
    """Why an array is not in its interval; "" where it is."""
    if got is None or interval is None:
        return "" if got is None and interval is None else f"{'no' if got is None else 'an'} array"
    if list(got.shape) != interval["shape"]:
        return f"shape {got.shape}, not {interval['shape']}"
    numbers = got.astype(np.float64).reshape(-1)
    low, high = (np.array([float(end) for end in interval[name]], np.float64) for name in ("low", "high"))
    right = np.where(np.isnan(low), ~np.isfinite(numbers), (low <= numbers) & (numbers <= high))
    if right.all():
        return ""
    at = int(np.argmin(right))
    return f"number {at} is {numbers[at]!r}, not in [{low[at]!r}, {high[at]!r}]"
