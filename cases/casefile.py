"""A program as a JSON file: what a failure writes and `bnconform replay` reads.

Numbers are written as hexadecimal floats, so that every value of every dtype survives exactly.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bnconform.cases.json_files import JsonForm
from bnconform.cases.program import (
    OBSERVABLES,
    OPERATIONS,
    OPTIONS,
    PASSES,
    RESULTS,
    WITH_UPSTREAM,
    Array,
    Program,
    Step,
)
from bnconform.spec.config import Config
from bnconform.spec.errors import UserError
from bnconform.spec.formats import numpy_dtype

SCHEMA = "bnconform/case/1"

_STATE = frozenset(OBSERVABLES).difference(*RESULTS.values())
_SHOWN: Mapping[str, frozenset[str]] = {name: _STATE.union(RESULTS.get(name, ())) for name in OPERATIONS}
"""What each operation lets one observe."""

GIVEN = ("x", "grad_output", "tangent", "second")
"""The arrays of the input's dtype and rank that a step may be given."""

_NUMBER = re.compile(r"[+-]?(0x[0-9a-f]*\.?[0-9a-f]*(p[+-]?[0-9]+)?|inf|nan)", re.IGNORECASE)
"""What `float.hex` writes; `float.fromhex` would read the decimal 0.1 as 1/16."""


class CaseError(UserError):
    """A case file that cannot be used; the message says what to do, in one line."""


FORM = JsonForm(
    "case", Path(__file__).parent / "case.schema.json", CaseError, "a failing run writes case files", constants=True
)
"""What `from_json` refuses of NaN and the infinities says where they stand."""


def _encode(values: Array) -> dict[str, Any]:
    if values.dtype.kind in "ib":
        return {
            "dtype": str(values.dtype),
            "shape": list(values.shape),
            "data": [str(int(v)) for v in values.reshape(-1)],
        }
    flat = values.astype(np.float64).reshape(-1)
    return {"dtype": str(values.dtype), "shape": list(values.shape), "data": [float(v).hex() for v in flat]}


def _decode(data: dict[str, Any]) -> Array:
    shape = tuple(data["shape"])
    if data["dtype"] in ("int64", "bool"):
        whole = np.array([int(text) for text in data["data"]], np.int64).reshape(shape)
        return whole if data["dtype"] == "int64" else whole.astype(bool)
    values = np.array([_number(text) for text in data["data"]], np.float64)
    return np.asarray(values.reshape(shape).astype(numpy_dtype(data["dtype"])))


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no hexadecimal float such as 0x1.8p+0")
    return float.fromhex(text)


def _array(data: dict[str, Any], name: str, number: int) -> Array:
    """The array `name` of step `number`; ValueError, naming both, where its numbers cannot be read."""
    try:
        return _decode(data)
    except (ValueError, OverflowError) as problem:
        raise ValueError(f"{name} of step {number}: {str(problem)[:160]}") from None


def _step(entry: dict[str, Any], number: int) -> Step:
    """Step `number` of a case; ValueError, naming it, where it is none."""
    x, grad_output, tangent, second = (_array(entry[name], name, number) if name in entry else None for name in GIVEN)
    state = {name: _array(value, name, number) for name, value in entry.get("state", {}).items()}
    try:
        return Step(
            op=entry["op"],
            training=entry.get("training", True),
            x=x,
            grad_output=grad_output,
            tangent=tangent,
            second=second,
            mask=_array(entry["mask"], "mask", number) if "mask" in entry else None,
            state=state,
            x_layout=entry.get("x_layout", "contiguous"),
            grad_layout=entry.get("grad_layout", "contiguous"),
            observe=frozenset(entry["observe"]),
            may_refuse=entry.get("may_refuse", False),
            refills=entry.get("refills", False),
            pass_number=entry.get("pass_number", 0),
            shards=tuple(map(tuple, entry.get("shards", ()))),
            lanes=entry.get("lanes", 0),
            layers={name: _array(value, name, number) for name, value in entry.get("layers", {}).items()},
            options=_options(entry.get("options", {})),
        )
    except ValueError as problem:
        raise ValueError(f"step {number}: {problem}") from None


def _options(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a set step changes; ValueError for an option that is unknown or outside of its range."""
    Config(**{name: value for name, value in given.items() if name in OPTIONS})
    _finite(given.get("eps", 0.0))
    return given


def digest(program: Program) -> str:
    """What is the same for the same calls on the same configuration, whatever they are called: SHA-256, hexadecimal."""
    data = to_json("", "", program, "")
    if program.reads != "always" or program.watch or program.default:
        data |= {"reads": program.reads, "watch": program.watch, "default": program.default}
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def to_json(requirement: str, name: str, program: Program, quality: str) -> dict[str, Any]:
    """The case as JSON-ready data."""
    steps = []
    for step in program.steps:
        entry: dict[str, Any] = {"op": step.op, "observe": sorted(step.observe)}
        if step.op in PASSES:
            entry |= {"training": step.training, "x_layout": step.x_layout, "grad_layout": step.grad_layout}
        entry |= {name: True for name in ("may_refuse", "refills") if getattr(step, name)}
        entry |= {name: _encode(value) for name in GIVEN if (value := getattr(step, name)) is not None}
        if step.mask is not None:
            entry["mask"] = _encode(step.mask)
        if step.pass_number:
            entry |= {"pass_number": step.pass_number, "grad_layout": step.grad_layout, "may_refuse": step.may_refuse}
        if step.shards:
            entry["shards"] = [list(shape) for shape in step.shards]
        if step.lanes:
            entry["lanes"] = step.lanes
        if step.layers:
            entry["layers"] = {key: _encode(value) for key, value in step.layers.items()}
        if step.options:
            entry["options"] = dict(step.options)
        if step.op == "load" and step.x_layout != "contiguous":
            entry["x_layout"] = step.x_layout
        if step.state:
            entry["state"] = {key: _encode(value) for key, value in step.state.items()}
        steps.append(entry)
    reads = {"reads": program.reads} if program.reads != "always" else {}
    return {
        "schema": SCHEMA,
        "requirement": requirement,
        "name": name,
        "quality": quality,
        "config": program.config.as_dict(),
        "steps": steps,
        **reads,
    }


def from_json(data: Any) -> tuple[str, str, Program, str]:
    """(requirement, name, program, quality) from JSON data; CaseError where it does not fit the schema."""
    FORM.check(data)
    try:
        if not data["name"].isprintable():
            raise ValueError(f"name is {data['name'][:80]!r}; a name has no control characters")
        _finite(data["config"]["eps"])
        steps = tuple(_step(entry, number) for number, entry in enumerate(data["steps"], 1))
        program = Program(Config(**data["config"]), steps, reads=data.get("reads", "always"))
        _fits(program)
        return data["requirement"], data["name"], program, data["quality"]
    except (ValueError, TypeError, OverflowError) as problem:
        raise CaseError(str(problem)) from None


def _finite(eps: float) -> None:
    """Raise ValueError where no float holds eps; JSON as Python reads it has NaN and Infinity, and long integers."""
    try:
        finite = math.isfinite(eps)
    except OverflowError:
        finite = False
    if not finite:
        raise ValueError(f"eps is {str(eps)[:20]}; it must be finite")


def _fits(program: Program) -> None:
    """Raise ValueError where a step asks for what its call does not show, or an array does not fit the layer."""
    config = program.config
    for number, step in enumerate(program.steps, 1):
        beyond = step.observe - _SHOWN[step.op]
        if beyond:
            raise ValueError(
                f"step {number}, a {step.op}, cannot observe {', '.join(sorted(beyond))}; "
                f"choose from {', '.join(name for name in OBSERVABLES if name in _SHOWN[step.op])}"
            )
        x, given = step.x, step.grad_output
        if step.op in WITH_UPSTREAM and x is not None and given is not None and x.shape != given.shape:
            raise ValueError(f"step {number}: a {step.op} step needs a grad_output of the shape of x")
        if step.op == "load" and not step.state:
            raise ValueError(f"step {number}, a load, has no state; give what it loads")
        for name in GIVEN:
            value = getattr(step, name)
            if value is None or step.may_refuse:
                continue
            if str(value.dtype) != config.dtype:
                raise ValueError(f"{name} of step {number} is {value.dtype}, and the layer's input {config.dtype}")
            if value.ndim != config.ndim:
                raise ValueError(f"{name} of step {number} has rank {value.ndim}, and the layer takes {config.ndim}")
            if value.shape[1] != config.num_features:
                raise ValueError(
                    f"{name} of step {number} has {value.shape[1]} channels, and the layer {config.num_features}"
                )
        entries: list[tuple[str, Array, tuple[int, ...]]]
        entries = [(name, value, ()) for name, value in step.state.items()]
        entries += [(name, value, (step.lanes,)) for name, value in step.layers.items()]
        for name, value, lanes in entries:
            counter = name == "num_batches_tracked"
            shape, dtype = (lanes, "int64") if counter else ((*lanes, config.num_features), config.param_dtype)
            if value.shape != shape or (str(value.dtype) != dtype and not (not counter and _is_held(value, dtype))):
                due = f"{dtype} {shape}"
                raise ValueError(f"{name} of step {number} is {value.dtype} {value.shape}; the layer's is {due}")
            if counter and np.any(value < 0):
                raise ValueError(f"{name} of step {number} is {value}; it must not be negative")


def _is_held(value: Array, dtype: str) -> bool:
    """Whether the format holds every number of an array of another dtype."""
    with np.errstate(all="ignore"):
        kept = value.astype(numpy_dtype(dtype)).astype(np.float64)
    return bool(np.array_equal(kept, value.astype(np.float64), equal_nan=True))


def write(path: Path, requirement: str, name: str, program: Program, quality: str) -> None:
    """Write a case, each step in a line of its own; OSError where the place cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = to_json(requirement, name, program, quality)
    steps = ",\n  ".join(map(json.dumps, data["steps"]))
    entries = (
        f'"{key}": [\n  {steps}\n ]' if key == "steps" else f'"{key}": {json.dumps(value)}'
        for key, value in data.items()
    )
    path.write_text("{\n " + ",\n ".join(entries) + "\n}\n")


def read(path: Path) -> tuple[str, str, Program, str]:
    """Read a case; CaseError, naming the file, where it is missing, not JSON, or not a case."""
    data = FORM.load(path)
    try:
        return from_json(data)
    except CaseError as problem:
        raise FORM.refusal(path, problem) from None
