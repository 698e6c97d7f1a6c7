"""Regression cases: programs that once broke an implementation, kept so that every later run makes them again.

`cases/frozen/` has one case file each (schema: cases/case.schema.json), which `bnconform replay` takes as it takes any
other. Its part `frozen` says why it is kept, in which dtypes it runs, and what the specified layer answers: for each
exact result the two numbers of float64 that it lies between. Subjects are judged by the oracle and its bounds as
everywhere; the stored results guard the oracle and the file, and serve readers in other languages.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bnconform.cases import casefile
from bnconform.cases.casefile import CaseError
from bnconform.cases.program import ABILITIES, Program, Step
from bnconform.spec import oracle
from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.catalogue import requirement
from bnconform.spec.errors import UserError
from bnconform.spec.exact import Exact, arithmetic, exact, floats
from bnconform.spec.formats import DTYPES, parameter_dtype

FOLDER = Path(__file__).parent / "frozen"

UNCERTAIN = 2.0**-200
"""The relative uncertainty that stored results allow the oracle; see `_interval`."""

Results = tuple[Mapping[str, Exact | None], ...]
"""For each step, what it observes by name; None where there is nothing to show."""


class RegressionError(UserError):
    """A regression case that cannot be used or made; the message says what is wrong, in one line."""


FORM = replace(casefile.FORM, error=RegressionError)


@dataclass(frozen=True)
class RegressionCase:
    """One regression case.

    Attributes:
        program: in float64, which holds the values of every dtype.
        dtypes: those that hold every value of the program exactly, so that it is the same program in each.
        expected: the data of the file, for each step the low and high end of each result.
    """

    requirement: str
    name: str
    quality: str
    reason: str
    program: Program
    dtypes: tuple[str, ...]
    expected: tuple[Mapping[str, Any], ...]

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.requirement}-{self.name}.json"

    @property
    def digest(self) -> str:
        """What is the same for the same calls on the same configuration, whatever they are called."""
        return casefile.digest(self.program)


def freeze(identifier: str, name: str, program: Program, quality: str, reason: str) -> RegressionCase:
    """A regression case made of a case; `name` "" for one made from the digest.

    Raises:
        RegressionError: where the specified layer has no answer, nothing is observed, or no subject is asked it.
    """
    config = program.config
    if config.param_dtype != parameter_dtype(config.dtype):
        raise RegressionError(f"the parameters are {config.param_dtype}; with {config.dtype} only "
                          f"{parameter_dtype(config.dtype)} is judged")  # fmt: skip
    double = program.cast("float64", "float64")
    dtypes = (config.dtype,) if quality else holding(program)
    made = RegressionCase(identifier, name, quality, reason, double, dtypes, _intervals(results(double)))
    return made if name else replace(made, name=f"case-{made.digest[:6]}")


def holding(program: Program) -> tuple[str, ...]:
    """The dtypes that hold every value of a program exactly."""
    return tuple(dtype for dtype in DTYPES if _same(program, program.cast(dtype, parameter_dtype(dtype))))


def _same(one: Program, other: Program) -> bool:
    pairs = [
        pair
        for a, b in zip(one.steps, other.steps, strict=True)
        for pair in (
            (a.x, b.x),
            (a.grad_output, b.grad_output),
            (a.tangent, b.tangent),
            (a.second, b.second),
            (a.mask, b.mask),
            *((a.state[key], b.state[key]) for key in a.state),
        )
    ]
    return all(a is None or b is None or np.array_equal(a.astype(float), b.astype(float), equal_nan=True)
               for a, b in pairs)  # fmt: skip


def results(program: Program) -> Results:
    """What the specified layer shows where a program observes it; a backward pass leaves its statistics alone.

    Raises:
        RegressionError: where it refuses a call, or where nothing is observed.
    """
    config = program.config
    if not any(":" not in name for name in program.observes):
        raise RegressionError("no step observes a result; there is nothing to compare")
    found: list[Mapping[str, Exact | None]] = []
    with arithmetic(), np.errstate(all="ignore"):
        state = oracle.initial_state(config)
        for number, step in enumerate(program.steps, 1):
            state, shown = _answer(program, state, step, number)
            found.append({name: shown[name] for name in sorted(step.observe) if ":" not in name})
    return tuple(found)


def _answer(
    program: Program, state: oracle.State, step: Step, number: int
) -> tuple[oracle.State, dict[str, Exact | None]]:
    """The state after a step, and everything that can be observed of it."""
    config, passed = program.config, {}
    if step.op == "build":
        state = oracle.initial_state(config)
    elif step.op == "load":
        for name in step.state:
            if getattr(state, name) is None:
                raise RegressionError(f"step {number} loads {name}, which a layer of this configuration does not have")
        state = replace(state, **{name: _entry(name, value) for name, value in step.state.items()})
    elif step.op in ABILITIES or step.pass_number:
        raise RegressionError(f"step {number} is a {step.op}, which is judged by the probes alone")
    else:
        assert step.x is not None
        x = exact(step.x)
        if step.op == "backward":
            assert step.grad_output is not None
            gradients = oracle.backward(config, SPECIFIED, state, x, exact(step.grad_output), training=step.training)
            record = gradients.forward
            passed = {name: getattr(gradients, name) for name in ("grad_x", "grad_weight", "grad_bias")}
        else:
            record = oracle.forward(config, SPECIFIED, state, x, training=step.training)
            passed = {"y": record.y}
        if record.refused:
            raise RegressionError(f"the specified layer refuses step {number}: {record.refused}")
        state = record.state if step.op == "forward" else state
    count = state.num_batches_tracked
    entries = {name: getattr(state, name) for name in ("running_mean", "running_var", "weight", "bias")}
    return state, entries | passed | {"num_batches_tracked": None if count is None else exact(count)}


def _entry(name: str, value: Any) -> Any:
    return int(value) if name == "num_batches_tracked" else exact(value)


def _intervals(found: Results) -> tuple[Mapping[str, Any], ...]:
    return tuple({name: _interval(values) for name, values in shown.items()} for shown in found)


def _interval(values: Exact | None) -> dict[str, Any] | None:
    """The float64 next below v - r and next above v + r, r = 2**-200 max(1, |v|), of each result v.

    r is what the oracle's 320 bits may leave uncertain of v, with room for intermediates 2**100 times as large: another
    order of its operations gives a result inside.
    """
    if values is None:
        return None
    with arithmetic(), np.errstate(all="ignore"):
        reach = exact(UNCERTAIN) * np.maximum(abs(values), exact(1.0))
        low, high = floats(values - reach), floats(values + reach)
        # The conversion is to the nearest: step out where that is inside.
        low = np.where(np.asarray(exact(low) > values - reach, bool), np.nextafter(low, -np.inf), low)
        high = np.where(np.asarray(exact(high) < values + reach, bool), np.nextafter(high, np.inf), high)
    return {"shape": list(low.shape), "low": _hex(low), "high": _hex(high)}


def _hex(values: Any) -> list[str]:
    return [float(value).hex() for value in values.reshape(-1)]


def _inside(values: Exact | None, interval: Mapping[str, Any] | None) -> bool:
    if values is None or interval is None:
        return values is None and interval is None
    if list(values.shape) != interval["shape"]:
        return False
    low, high = (
        exact([float.fromhex(text) for text in interval[end]]).reshape(values.shape) for end in ("low", "high")
    )
    with arithmetic():
        nan = np.asarray((values != values) & (low != low) & (high != high), bool)
        return bool((nan | np.asarray((low <= values) & (values <= high), bool)).all())


def stale(case: RegressionCase) -> list[str]:
    """What of a file ("step 2: running_var") the specified layer does not answer, or which dtypes do not hold it."""
    wrong = [
        f"step {number}: {name}"
        for number, (due, kept) in enumerate(zip(results(case.program), case.expected, strict=True), 1)
        for name in sorted({*due, *kept})
        if name not in due or name not in kept or not _inside(due[name], kept[name])
    ]
    return wrong + [f"dtype {dtype}" for dtype in case.dtypes if dtype not in holding(case.program)]


def write(case: RegressionCase, folder: Path = FOLDER) -> Path:
    """Write a case, whole or not at all, and return its path.

    Raises:
        RegressionError: where the program or the name is taken, or the folder cannot be written.
    """
    path = folder / case.file
    frozen = {"reason": case.reason, "dtypes": list(case.dtypes), "expected": list(case.expected)}
    data = casefile.to_json(case.requirement, case.name, case.program, case.quality) | {"frozen": frozen}
    text = json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    # One line for each list of numbers.
    text = re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found[0].split()), text)
    try:
        for other in read_all(folder):
            if other.digest == case.digest:
                raise RegressionError(f"this program is frozen already: {folder / other.file}")
        if path.exists():
            raise RegressionError(f"there is a regression case of this name already, {path}; give another with --name")
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            # A temporary file is its owner's alone; a case is to be read by all.
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as problem:
        raise RegressionError(f"cannot write {path}: {problem.strerror or problem}") from None
    return path


def read(path: Path) -> RegressionCase:
    """One regression case; RegressionError, naming the file, where it is missing, none, not frozen, or inconsistent."""
    data = FORM.load(path)
    try:
        identifier, name, program, quality = casefile.from_json(data)
    except CaseError as problem:
        raise FORM.refusal(path, problem) from None
    try:
        requirement(identifier)
    except UserError as problem:
        raise RegressionError(f"{path}: {problem}") from None
    if "frozen" not in data:
        raise RegressionError(f"{path} is not frozen; use bnconform freeze {path}")
    part = data["frozen"]
    expected, dtypes = tuple(part["expected"]), tuple(part["dtypes"])
    case = RegressionCase(identifier, name, quality, part["reason"], program, dtypes, expected)
    if path.name != case.file:
        raise RegressionError(f"{path}: the name of the file should be {case.file}")
    if len(expected) != len(program.steps):
        raise RegressionError(f"{path}: at frozen/expected: results of {len(expected)} steps, of which there are "
                          f"{len(program.steps)}")  # fmt: skip
    for number, (step, shown) in enumerate(zip(program.steps, expected, strict=True)):
        _consistent(f"{path}: at frozen/expected/{number}", {n for n in step.observe if ":" not in n}, shown)
    return case


def _consistent(place: str, observed: Iterable[str], shown: Mapping[str, Any]) -> None:
    if shown.keys() != set(observed):
        raise RegressionError(f"{place}: results of {', '.join(sorted(shown)) or 'nothing'}, but the step observes "
                          f"{', '.join(sorted(observed)) or 'nothing'}")  # fmt: skip
    for name, interval in shown.items():
        if interval is None:
            continue
        size = int(np.prod(interval["shape"]))
        for end in ("low", "high"):
            if len(interval[end]) != size:
                raise RegressionError(
                    f"{place}/{name}/{end}: {len(interval[end])} numbers where the shape asks for {size}"
                )
            for text in interval[end]:
                try:
                    float.fromhex(text)
                except (ValueError, OverflowError):
                    raise RegressionError(f"{place}/{name}/{end}: {text!r} is no hexadecimal float") from None


def read_all(folder: Path) -> tuple[RegressionCase, ...]:
    """Every regression case of a folder, in the order of the file names, which say requirement and name."""
    found = tuple(read(path) for path in sorted(folder.glob("*.json")))
    programs: dict[str, str] = {}
    for case in found:
        other = programs.setdefault(case.digest, case.file)
        if other != case.file:
            raise RegressionError(f"{folder / case.file}: this program is frozen already: {other}")
    return found


@cache
def cases() -> tuple[RegressionCase, ...]:
    """Every regression case of the suite."""
    return read_all(FOLDER)
