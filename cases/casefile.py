"""A program as a JSON file: what a failure writes and `bnconform replay` reads.

Numbers are written as hexadecimal floats, so that every value of every dtype survives exactly.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np

from spec.config import Config
from spec.formats import numpy_dtype

from .program import Array, Program, Step

SCHEMA = "bnconform/case/1"


class CaseError(ValueError):
    """A case file that cannot be used; the message says what to do, in one line."""


@cache
def _schema() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((Path(__file__).parent / "case.schema.json").read_text()))


def _encode(values: Array) -> dict[str, Any]:
    if values.dtype == np.int64:
        return {"dtype": "int64", "shape": list(values.shape), "data": [str(int(v)) for v in values.reshape(-1)]}
    flat = values.astype(np.float64).reshape(-1)
    return {"dtype": str(values.dtype), "shape": list(values.shape), "data": [float(v).hex() for v in flat]}


def _decode(data: dict[str, Any]) -> Array:
    shape = tuple(data["shape"])
    if data["dtype"] == "int64":
        return np.array([int(text) for text in data["data"]], np.int64).reshape(shape)
    values = np.array([float.fromhex(text) for text in data["data"]], np.float64)
    return np.asarray(values.reshape(shape).astype(numpy_dtype(data["dtype"])))


def to_json(requirement: str, name: str, program: Program, quality: str) -> dict[str, Any]:
    """The case as JSON-ready data."""
    steps = []
    for step in program.steps:
        entry: dict[str, Any] = {"op": step.op, "observe": sorted(step.observe)}
        if step.op in ("forward", "backward"):
            entry |= {"training": step.training, "x_layout": step.x_layout, "grad_layout": step.grad_layout}
        if step.x is not None:
            entry["x"] = _encode(step.x)
        if step.grad_output is not None:
            entry["grad_output"] = _encode(step.grad_output)
        if step.state:
            entry["state"] = {key: _encode(value) for key, value in step.state.items()}
        steps.append(entry)
    return {
        "schema": SCHEMA,
        "requirement": requirement,
        "name": name,
        "quality": quality,
        "config": program.config.as_dict(),
        "steps": steps,
    }


def from_json(data: Any) -> tuple[str, str, Program, str]:
    """(requirement, name, program, quality) from JSON data; CaseError where it does not fit the schema."""
    fault = jsonschema.exceptions.best_match(_schema().iter_errors(data))
    if fault is not None:
        place = "/".join(str(part) for part in fault.absolute_path) or "the top"
        raise CaseError(f"at {place}: {fault.message[:160]}")
    try:
        steps = tuple(
            Step(
                op=entry["op"],
                training=entry.get("training", True),
                x=_decode(entry["x"]) if "x" in entry else None,
                grad_output=_decode(entry["grad_output"]) if "grad_output" in entry else None,
                state={key: _decode(value) for key, value in entry.get("state", {}).items()},
                x_layout=entry.get("x_layout", "contiguous"),
                grad_layout=entry.get("grad_layout", "contiguous"),
                observe=frozenset(entry["observe"]),
            )
            for entry in data["steps"]
        )
        program = Program(Config(**data["config"]), steps)
        _fits(program)
        return data["requirement"], data["name"], program, data["quality"]
    except (ValueError, TypeError, OverflowError) as problem:
        raise CaseError(str(problem)) from None


def _fits(program: Program) -> None:
    """Raise ValueError where an array of the program does not fit its configuration."""
    config = program.config
    for number, step in enumerate(program.steps, 1):
        for name, value in (("x", step.x), ("grad_output", step.grad_output)):
            if value is None:
                continue
            if str(value.dtype) != config.dtype:
                raise ValueError(f"{name} of step {number} is {value.dtype}, and the layer's input {config.dtype}")
            if value.ndim != config.ndim:
                raise ValueError(f"{name} of step {number} has rank {value.ndim}, and the layer takes {config.ndim}")
            if value.shape[1] != config.num_features:
                raise ValueError(
                    f"{name} of step {number} has {value.shape[1]} channels, and the layer {config.num_features}"
                )
        for name, value in step.state.items():
            counter = name == "num_batches_tracked"
            shape, dtype = ((), "int64") if counter else ((config.num_features,), config.param_dtype)
            if value.shape != shape or str(value.dtype) != dtype:
                due = f"{dtype} {shape}"
                raise ValueError(f"{name} of step {number} is {value.dtype} {value.shape}; the layer's is {due}")


def load(path: Path) -> Any:
    """The data of a case file; CaseError, naming the file, where it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise CaseError(f"cannot read the case {path}: {problem.strerror or problem}") from None
    except (ValueError, RecursionError) as problem:
        raise CaseError(f"{path} is not JSON ({problem}); give a case file that a failing run wrote") from None


def write(path: Path, requirement: str, name: str, program: Program, quality: str) -> None:
    """Write a case; OSError where the place cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(to_json(requirement, name, program, quality), indent=1) + "\n")


def read(path: Path) -> tuple[str, str, Program, str]:
    """Read a case; CaseError, naming the file, where it is missing, not JSON, or not a case."""
    data = load(path)
    try:
        return from_json(data)
    except CaseError as problem:
        raise CaseError(f"{path} is not a case: {problem}") from None
