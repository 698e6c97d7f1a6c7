"""The cases as test vectors: plain data for a reader in any language, with the interval of every result.

cases/VECTORS.md describes the format for users, cases/vectors.schema.json fixes it, and `cases.reachable` derives the
intervals. Three choices:

* Numbers are decimal JSON numbers. Every value of the four dtypes is a float64, and the shortest decimal that reads
  back as a float64 is exact wherever reading is correctly rounded, as IEEE 754 asks and as the standard parsers of
  C, Java, JavaScript, Go, Rust, Julia and Python do; hexadecimal floats cannot be read in JavaScript, bytes in base64
  not by a person. What JSON lacks is text that the same parsers read: "NaN", "Infinity", "-Infinity".
* An interval says what is right in the implementation's own dtype and in a wider one: its ends are rounded outward,
  never to the dtype. Outward too, by less than 1/1000 of the width, they are cut to the digits that matter, which
  halves the files.
* A vector of more than LARGEST numbers is left out unless asked for; what is left out is always named.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

import numpy as np

from bnconform.cases.flags import FLAGS, flags_of
from bnconform.cases.possible_states import BEYOND, FloatInterval
from bnconform.cases.probes import probes
from bnconform.cases.program import ABILITIES, PASSES, Array, Probe, Program
from bnconform.cases.reachable import ReachableResults, Refused, reachable_results
from bnconform.spec.catalogue import Requirement
from bnconform.spec.formats import parameter_dtype

SCHEMA = "bnconform/vectors/1"
LARGEST = 100_000
"""Numbers that go in, and twice those that come out, up to which a vector is written."""

LAWS: Mapping[str, str] = {
    "BN-GRAD-SUM": "the sum of a channel's gradients is judged, which no interval of one element says",
}
"""Requirements whose cases are judged by a law, which only the live suite has."""

FINITE = "BN-NUM-FINITE"
"""The requirement of whose results only that they are finite is judged, and that no running variance is negative."""


@dataclass
class VectorSet:
    """The vectors of one requirement in one dtype.

    Attributes:
        data: the content of the file; None where there is no vector.
        left_out: what is judged by the live suite only, each {requirement, dtype, vector, observation, reason}.
        vectors, expected, numbers: how many, and how many arrays and numbers are expected.
    """

    data: dict[str, Any] | None = None
    left_out: list[dict[str, str]] = field(default_factory=list)
    vectors: int = 0
    expected: int = 0
    numbers: int = 0


def make_vectors(rule: Requirement, dtype: str, *, large: bool = False) -> VectorSet:
    """The vectors of a requirement in a dtype.

    Args:
        large: also those of more than LARGEST numbers.
    """
    found = VectorSet()
    vectors = []
    for probe in () if rule.id in LAWS else probes().get(rule.id, ()):
        if dtype not in probe.dtypes:
            continue
        vector = _vector(probe, rule, dtype, found, large)
        if vector is not None:
            vectors.append(vector)
    if not vectors:
        return found
    used = {flag for vector in vectors for flag in vector["flags"]}
    found.vectors = len(vectors)
    found.data = {
        "schema": SCHEMA,
        "requirement": rule.id,
        "level": rule.level,
        "chapter": rule.chapter,
        "title": rule.title,
        "statement": rule.statement,
        "formula": rule.formula,
        "sources": [{"document": s.document, "title": s.title, "place": s.place, "link": s.link} for s in rule.sources],
        "dtype": dtype,
        "param_dtype": parameter_dtype(dtype),
        "flags": {name: says for name, (says, _) in FLAGS.items() if name in used},
        "vectors": vectors,
    }
    return found


def _vector(probe: Probe, rule: Requirement, dtype: str, found: VectorSet, large: bool) -> dict[str, Any] | None:
    """One vector, counted in `found`; None, entered there with the reason, where it is left out."""

    def leave_out(reason: str, observation: str = "") -> None:
        found.left_out.append(
            {"requirement": rule.id, "dtype": dtype, "vector": probe.name, "observation": observation, "reason": reason}
        )

    program = probe.at(dtype, parameter_dtype(dtype))
    asked = sorted({step.op for step in program.steps} & set(ABILITIES))
    if asked:
        leave_out(f"{' and '.join(asked)}: what a layer may do besides is asked by the live suite alone")
        return None
    if not large and _size(program) > LARGEST:
        leave_out(f"{_size(program)} numbers, more than {LARGEST}; --large takes it in")
        return None
    if rule.id == FINITE:
        program = _observing_all(program)
    try:
        shown = reachable_results(program, probe.quality)
    except Refused as problem:
        leave_out(f"the specified layer refuses a call ({problem}); whether others must is a policy")
        return None
    if rule.id == FINITE:
        shown = tuple(_finite(each) for each in shown)
    steps = []
    for number, (step, each) in enumerate(zip(program.steps, shown, strict=True), 1):
        entry: dict[str, Any] = {"op": step.op}
        if step.op in PASSES:
            entry |= {"mode": step.mode}
        for name, values, layout in (("x", step.x, step.x_layout), ("grad_output", step.grad_output, step.grad_layout)):
            if values is not None:
                entry[name] = _array(values) | {"layout": layout}
        if step.state:
            entry["state"] = {name: _array(value) for name, value in step.state.items()}
        entry["expect"] = {name: _interval(interval) for name, interval in sorted(each.expected.items())}
        for name, reason in sorted(each.open.items()):
            leave_out(reason, f"{name} of step {number}")
        steps.append(entry)
    intervals = [interval for each in shown for interval in each.expected.values()]
    if not intervals:
        leave_out("nothing is left to expect")
        return None
    found.expected += len(intervals)
    found.numbers += sum(interval.low.size for interval in intervals if interval is not None)
    config = {k: v for k, v in program.config.as_dict().items() if k not in ("dtype", "param_dtype")}
    return {"name": probe.name, "flags": flags_of(probe, program), "config": config, "steps": steps}


def _size(program: Program) -> int:
    """How many numbers a vector would have, those of intervals twice."""
    size = 0
    for step in program.steps:
        x = 0 if step.x is None else step.x.size
        size += x * ((step.op == "backward") + 1 + 2 * len(step.observe & {"y", "grad_x"}))
    return size


def _observing_all(program: Program) -> Program:
    """The program with everything observed that can fail to be finite."""
    shown = {"forward": {"y", "running_var"}, "backward": {"grad_x", "grad_weight", "grad_bias", "running_var"}}
    steps = (replace(s, observe=frozenset(shown.get(s.op, {"running_var"}))) for s in program.steps)
    return replace(program, steps=tuple(steps))


def _finite(shown: ReachableResults) -> ReachableResults:
    """Of each result only that it is finite, and not negative if it is a variance."""
    return ReachableResults(
        {
            name: interval
            and FloatInterval(
                np.full(interval.low.shape, 0.0 if name == "running_var" else -BEYOND),
                np.full(interval.low.shape, BEYOND),
            )
            for name, interval in shown.expected.items()
        }
    )


def _array(values: Array) -> dict[str, Any]:
    if values.dtype == np.int64:
        return {"shape": list(values.shape), "data": [int(value) for value in values.reshape(-1)]}
    return {"shape": list(values.shape), "data": [_number(v) for v in values.astype(np.float64).reshape(-1).tolist()]}


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _interval(interval: FloatInterval | None) -> dict[str, Any] | None:
    if interval is None:
        return None
    low, high = [], []
    for one, other in zip(interval.low.reshape(-1).tolist(), interval.high.reshape(-1).tolist(), strict=True):
        ends = ("NaN", "NaN") if math.isnan(one) else tuple(_number(end) for end in shorten(one, other))
        low.append(ends[0])
        high.append(ends[1])
    return {"shape": list(interval.low.shape), "low": low, "high": high}


def shorten(low: float, high: float) -> tuple[float, float]:
    """An interval around another that is wider by less than 1/1000 at each end, its ends of few digits."""
    width = high - low
    if not width > 1e-290 or max(abs(low), abs(high)) > 1e300:
        return low, high
    unit = Decimal(1).scaleb(math.floor(math.log10(width / 1000)))
    # A float64 is a bound of whatever the decimal beyond it rounds to.
    return (
        float(Decimal(low).quantize(unit, ROUND_FLOOR)),
        float(Decimal(high).quantize(unit, ROUND_CEILING)),
    )


def text(data: Mapping[str, Any]) -> str:
    """The file: JSON with one line, and no blanks, for each list of numbers or words."""
    lines = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)
    # A line break tells a list from brackets in a text.
    return re.sub(r"\[\n[^\[\]{}]*\]", lambda found: "".join(found[0].split()), lines) + "\n"
