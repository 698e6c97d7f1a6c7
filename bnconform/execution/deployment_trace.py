"""What deploying a model showed, as the side that judges has it; and what is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnconform.execution.printable import printable
from bnconform.execution.trace import LONGEST, UnreadableTrace
from bnconform.spec.formats import DTYPES, numpy_dtype
from bnconform.spec.graph import Array, Graph


@dataclass(frozen=True, eq=False)
class DeploymentRequest:
    """A model, an example for tools that trace, what is to be predicted, and what is asked besides.

    Attributes:
        again: whether it is deployed a second time. merged: whether its layers are to be shown.
    """

    network: Graph
    example: Array
    inputs: tuple[Array, ...]
    again: bool = False
    merged: bool = False

    def message(self) -> dict[str, Any]:
        """As the side that executes is sent it."""
        return {
            "model": self.network.message(), "example": self.example, "inputs": list(self.inputs), "again": self.again,
            "merged": self.merged,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was predicted of one input: `y`, or what was raised, or why it is no array."""

    y: Array | None = None
    raised: str = ""
    misfit: str = ""


@dataclass(frozen=True, eq=False)
class ShownLayers:
    """The layers of a deployed model: (weight, bias) by their names in the model; `misfit` says why there are none."""

    layers: Mapping[str, tuple[Array, Array | None]]
    misfit: str = ""


@dataclass(frozen=True, eq=False)
class DeploymentTrace:
    """What deploying a model showed.

    Attributes:
        predictions: of each input; again: of the first by a second deployment, or None.
        merged: the layers that it holds, or None where it shows none.
        refused: in the tool's words, or "". warnings: all of them.
        changed: what of the original model is not as it was, by name. mutated: whether an input was written to.
        ended: why nothing came back, or "". calls, seconds: the tool's own.
    """

    predictions: tuple[Prediction, ...] = ()
    again: Prediction | None = None
    merged: ShownLayers | None = None
    refused: str = ""
    warnings: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    mutated: bool = False
    ended: str = ""
    calls: int = 0
    seconds: float = 0.0


def deployment_trace(request: DeploymentRequest, data: Any) -> DeploymentTrace:
    """The trace that the other side sent.

    Raises:
        UnreadableTrace: where it is none. The other side is trusted in nothing.
    """
    try:
        return _trace(request, data)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as problem:
        how = str(problem) if isinstance(problem, UnreadableTrace) else f"{type(problem).__name__}: {problem}"
        raise UnreadableTrace(f"what came back is no trace: {printable(how)[:LONGEST]}") from None


def _trace(request: DeploymentRequest, data: Any) -> DeploymentTrace:
    refused = "" if data["refused"] is None else _text(data["refused"])
    predictions = tuple(_prediction(one) for one in _list(data["predictions"]))
    again = None if data["again"] is None else _prediction(data["again"])
    if not refused and (len(predictions) != len(request.inputs) or (again is None) == request.again):
        raise UnreadableTrace("it has not a prediction of each input")
    calls, seconds = data["calls"], float(data["seconds"])
    if type(calls) is not int or calls < 0 or not 0 <= seconds < math.inf:
        raise UnreadableTrace("it counts no calls, or no seconds")
    return DeploymentTrace(
        predictions, again, _parse_layers(data["merged"]), refused, tuple(map(_text, _list(data["warnings"]))),
        tuple(map(_text, _list(data["changed"]))), data["mutated"] is True, "", calls, seconds,
    )  # fmt: skip


def _parse_layers(given: Any) -> ShownLayers | None:
    if given is None:
        return None
    layers = {}
    for name, arrays in given["layers"].items():
        weight, bias = arrays["weight"], arrays["bias"]
        if not _is_array(weight) or not (bias is None or _is_array(bias)):
            raise UnreadableTrace("a layer that is shown is no array")
        layers[_text(name)] = weight, bias
    return ShownLayers(layers, _text(given["misfit"]))


def _is_array(value: Any) -> bool:
    return type(value) is np.ndarray and value.dtype in KINDS


KINDS = frozenset(map(numpy_dtype, DTYPES))


def _prediction(given: Any) -> Prediction:
    y, raised, misfit = given["y"], given["raised"], _text(given["misfit"])
    if y is None:
        if (raised is None) == (not misfit):
            raise UnreadableTrace("a prediction that is none, for no reason")
        return Prediction(None, "" if raised is None else _text(raised), misfit)
    if not _is_array(y) or raised is not None or misfit:
        raise UnreadableTrace("a prediction that is no array")
    return Prediction(y)


def _list(given: Any) -> Sequence[Any]:
    if not isinstance(given, list):
        raise UnreadableTrace(f"a {type(given).__name__} where a list is due")
    return given


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise UnreadableTrace(f"a {type(value).__name__} where a text is due")
    return printable(value)
