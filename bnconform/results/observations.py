"""What an implementation answered in the probes whose results are kept, as data, and how far that is from the truth.

The probes are `cases.probes.observed`. A file keeps the bytes of each answer and the digest of the program; the truth
is computed again from the program when files are compared, at the point that the backend declares, so that it is that
of one suite whatever version wrote the files.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from bnconform.cases import casefile
from bnconform.cases.probes import probes
from bnconform.cases.program import STATE, Array, Probe, Program
from bnconform.execution.trace import StepResult, Trace
from bnconform.judge.judgement import Comparison, Judgement, initial_state, judge_step
from bnconform.results.result import Declaration, Observation
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.error_bounds.error_model import error_model_of
from bnconform.spec.exact import arithmetic
from bnconform.spec.formats import numpy_dtype, parameter_dtype

NOTHING: Mapping[str, Array | None] = dict.fromkeys(STATE)
"""The state of which nothing is shown."""


class UnreadableObservation(ValueError):
    """An observation whose bytes are not the array that it says; the message says so in one line."""


def read_observations(requirement: str, case: str, trace: Trace) -> list[dict[str, Any]]:
    """Every array that a trace's program observes and that was answered, JSON-ready; see `Observation`."""
    digest = casefile.digest(trace.program)
    found = []
    for number, seen in enumerate(trace.steps):
        for name in sorted(seen.step.observe):
            value = seen.values.get(name) if name in seen.values else seen.after.get(name)
            if isinstance(value, np.ndarray) and not (seen.raised or seen.misfit):
                head = {"requirement": requirement, "case": case, "program": digest, "step": number, "name": name}
                found.append({**head, "array": encode(value)})
    return found


def encode(values: Array) -> dict[str, Any]:
    """An array as its dtype, its shape and base64 of its bytes, little-endian, in C order."""
    data = np.ascontiguousarray(values)
    if sys.byteorder == "big":
        data = data.byteswap()
    return {
        "dtype": str(values.dtype),
        "shape": list(values.shape),
        "data": base64.b64encode(data.tobytes()).decode("ascii"),
    }


def decode(array: Mapping[str, Any]) -> Array:
    """The array; UnreadableObservation where its bytes are not of its shape."""
    dtype = numpy_dtype(array["dtype"])
    try:
        data = base64.b64decode(array["data"], validate=True)
        values = np.frombuffer(data, dtype).reshape(array["shape"])
    except ValueError as problem:
        raise UnreadableObservation(
            f"its bytes are no {array['dtype']} array of shape {array['shape']}: {problem}"
        ) from None
    return np.array(values.byteswap() if sys.byteorder == "big" else values)


def point(declaration: Declaration | None) -> Behaviour:
    """The point that a backend declares; ValueError where a decision or value does not exist in this version."""
    return SPECIFIED.but(**(declaration.deviations if declaration else {}))


def place_observation(observation: Observation, declaration: Declaration | None) -> Comparison | None:
    """An observation against the truth at the declared point, as the judge compares.

    None where this version of the suite has no such program, so that nothing is known of what it should be.

    Raises:
        UnreadableObservation: where the observation is no array, or not of the shape that the program asks for.
    """
    got = decode(observation.array)
    probe = _probe(observation.requirement, observation.case)
    if probe is None or observation.dtype not in probe.dtypes:
        return None
    lacking = frozenset(declaration.unsupported if declaration else ())
    program, digest = _fit_program(observation.requirement, observation.case, observation.dtype, lacking)
    if digest != observation.program or observation.step >= len(program.steps):
        return None
    step = replace(program.steps[observation.step], observe=frozenset({observation.name}))
    shape = (program.config.num_features,)
    if observation.name in ("y", "grad_x"):
        assert step.x is not None
        shape = step.x.shape
    if got.shape != shape:
        raise UnreadableObservation(f"its shape is {got.shape}; the program's is {shape}")
    behaviour = point(declaration)
    verdict = Judgement(behaviour)
    with arithmetic():
        model = error_model_of(program.config, behaviour, quality=probe.quality)
        carried = initial_state(program.config, behaviour)
        for number, earlier in enumerate(program.steps[: observation.step]):
            loaded = {**NOTHING, **{name: np.asarray(value) for name, value in earlier.state.items()}}
            seen = StepResult(replace(earlier, observe=frozenset()), before=dict(NOTHING), after=loaded)
            carried = judge_step(verdict, number, seen, program, carried, model)
        seen = StepResult(step, before=dict(NOTHING), after={**NOTHING, observation.name: got})
        seen.values[observation.name] = got
        judge_step(verdict, observation.step, seen, program, carried, model)
    return verdict.comparisons[0] if verdict.comparisons else None


def _probe(requirement: str, case: str) -> Probe | None:
    return next((probe for probe in probes().get(requirement, ()) if probe.name == case), None)


@lru_cache(maxsize=512)
def _fit_program(requirement: str, case: str, dtype: str, lacking: frozenset[str]) -> tuple[Program, str]:
    """The program as it runs where some features are lacking, and its digest."""
    probe = _probe(requirement, case)
    assert probe is not None
    program = probe.at(dtype, parameter_dtype(dtype))
    program = program.without(lacking) if lacking else program
    return program, casefile.digest(program)
