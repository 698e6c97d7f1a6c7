"""A user's own model in this process: it is made by its factory, predicts in float64, and is given to tools.

What is asked comes as data: {"what": "open", "framework", "place", "given"}, {"what": "reference", "lower": a dtype to
which a tool rounds besides, or ""}, or {"what": "deploy", "tool", "hidden": the BatchNorms that the tool shall not
recognise}. What goes back has "refused", in words, where it could not be done.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bnconform.backends.runner import loading
from bnconform.backends.runner.instrumented import LONGEST, Array

Data = dict[str, Any]
Given = Mapping[str, Any]
"""{"shape"} of an input to be made, {"array"}, or nothing."""

RUNS = 8
"""Runs in which every intermediate result is moved."""

AGREED, OPERATIONS = 4, 16
"""Of how rounding grows with the number of terms, and roundings of any other operation; see `own_torch`."""

LOWER_OPERATIONS = 2
"""Roundings to a lower dtype that a tool declares: eight times as many, which is what the bound admits of those of the
experiment, are the sixteen that `bnconform.spec.error_bounds.networks` derives."""


class OwnModelError(Exception):
    """A model that cannot be used; the message says what to do, in one line."""


OPENED: dict[str, Any] = {}
"""The model of this process, under "model"."""

FRAMEWORKS = {
    "torch": ("bnconform.backends.deployments.own_torch", "OwnTorch"),
    "keras": ("bnconform.backends.deployments.own_keras", "OwnKeras"),
}


def own_model(request: Mapping[str, Any]) -> Data:
    """The answer to one request."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _answer(request)
    except OwnModelError as problem:
        return {"refused": str(problem)}
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {' '.join(str(error).split())}"[:LONGEST]}


def _answer(request: Mapping[str, Any]) -> Data:
    if request["what"] == "open":
        module, name = FRAMEWORKS[request["framework"]]
        OPENED["model"] = getattr(importlib.import_module(module), name)(request["place"], request["given"])
        return dict(OPENED["model"].facts())
    model = OPENED["model"]
    if request["what"] == "reference":
        y, spread = model.reference(request["lower"])
        return {"y": y, "spread": spread}
    adapter = loading.adapter(request["tool"])
    y = model.deploy(adapter, request["hidden"])
    if not isinstance(y, np.ndarray) or y.dtype == object:
        raise TypeError(f"a {type(y).__name__} where an array is due")
    return {"y": y, "lower": getattr(adapter, "lower_precision", {}).get(model.dtype, "")}


def factory(place: str) -> Callable[[], Any]:
    """What FILE.py:FACTORY or MODULE:FACTORY names.

    Raises:
        OwnModelError: where there is no such thing.
    """
    path, colon, name = place.rpartition(":")
    if not colon or not path or not name:
        raise OwnModelError(f"{place!r} is not FILE.py:FACTORY or MODULE:FACTORY")
    try:
        module = _of_file(Path(path)) if path.endswith(".py") or "/" in path else importlib.import_module(path)
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())[:LONGEST]
        raise OwnModelError(f"{path} does not import: {type(error).__name__}: {text}") from error
    found = getattr(module, name, None)
    if not callable(found):
        raise OwnModelError(f"{path} has no function {name}")
    made: Callable[[], Any] = found
    return made


def _of_file(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location("bnconform_own_model", path.resolve())
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["bnconform_own_model"] = module
    sys.path.append(str(path.resolve().parent))
    spec.loader.exec_module(module)
    return module


def two_inputs(place: str, given: Given, own: Any, dtype: str) -> tuple[Array, Array]:
    """(x, example): what is predicted, and other values of the same shape for tools that trace.

    Args:
        own: what the factory gave beside the model, an array, or None. dtype: of numbers that are made here.

    Raises:
        OwnModelError: where nothing says what the model is given.
    """
    if "shape" in given:
        shape = tuple(given["shape"])
        values = [np.random.default_rng(seed).standard_normal(shape) for seed in (0, 1)]
        import ml_dtypes

        kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
        return values[0].astype(kind), values[1].astype(kind)
    x = given.get("array", own)
    if x is None:
        raise OwnModelError(
            f"{place} does not say what its model is given: --input 4,3,32,32 or FILE.npy, or let the factory return "
            "(model, input)"
        )
    array = np.asarray(x)
    if not array.ndim or not len(array):
        raise OwnModelError("the input has no samples: its first axis is the batch")
    return array, array[::-1].copy()
