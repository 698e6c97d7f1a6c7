"""Carrying a trained layer from one implementation to another: what it learnt there is loaded here, and evaluated."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.program import Program, Step, forward, load
from bnconform.judge.judgement import judge
from bnconform.judge.subject import Ended, Subject
from bnconform.spec.config import Config

DTYPE = "float32"
STEPS = 3
"""Training passes before the state is carried."""

EPSILON, MOMENTUM = 1e-3, 0.25
"""Neither is a default of any framework, and both are exact or nearly so in single precision."""

CARRIED = ("weight", "bias", "running_mean", "running_var")
"""What evaluation depends on, besides eps."""


def _config(subject: Subject) -> Config:
    rank = next(rank for rank in (4, 2, 3, 5) if f"rank_{rank}" not in subject.unsupported)
    return Config(num_features=3, eps=EPSILON, momentum=MOMENTUM, ndim=rank)


def _shape(rank: int) -> tuple[int, ...]:
    return (4, 3, 2, 5, 2)[:rank]


def trained(subject: Subject) -> dict[str, Any]:
    """What a layer remembers after training: {"state": name -> C numbers}, or {"reason": why there is none}."""
    lacking = [f"{word}: {subject.unsupported[word]}" for word in _NEEDED if word in subject.unsupported]
    if lacking:
        return {"reason": "; ".join(lacking)}
    config = _config(subject)
    parameters = {name: value for name, value in inputs.everything(3).items() if name in ("weight", "bias")}
    passes: tuple[Step, ...] = tuple(
        forward(inputs.values(_shape(config.ndim), seed) * (seed + 1) + seed) for seed in range(STEPS)
    )
    try:
        trace = subject.run(Program(config, (load(**parameters), *passes)).cast(DTYPE, DTYPE))
    except Ended as how:
        return {"reason": str(how)}
    problems = [trace.broken, *(seen.raised or seen.misfit for seen in trace.seen)]
    if any(problems):
        return {"reason": str(next(filter(None, problems)))}
    after = trace.seen[-1].after
    shown = {name: after[name] for name in CARRIED}
    missing = [name for name, value in shown.items() if value is None]
    if missing:
        return {"reason": f"the layer has no {', '.join(missing)}"}
    return {"state": {name: [float(number) for number in value] for name, value in shown.items() if value is not None}}


_NEEDED = ("training", "affine", "track_running_stats", DTYPE)


def carried(subject: Subject, state: dict[str, list[float]]) -> dict[str, Any]:
    """Load a state and evaluate: {"share": worst error of y over its bound}, or {"reason": why it cannot be done}.

    The truth is the exact evaluation of the state that was carried, at this implementation's declared behaviour.
    """
    lacking = [word for word in ("evaluation", *_NEEDED[1:]) if word in subject.unsupported]
    if lacking:
        return {"reason": "; ".join(f"{word}: {subject.unsupported[word]}" for word in lacking)}
    config = _config(subject)
    x = inputs.values(_shape(config.ndim), 9) * 3 + 1
    given = {name: np.array(numbers) for name, numbers in state.items()}
    program = Program(config, (load(CARRIED, **given), forward(x, "y", *STATISTICS, training=False)))
    try:
        trace = subject.run(program.cast(DTYPE, DTYPE))
    except Ended as how:
        return {"reason": str(how)}
    found = judge(trace, subject.declared)
    if found.problems or not found.checks:
        return {"reason": found.problems[0][1] if found.problems else "nothing was compared"}
    return {"share": float(found.error_ratio)}


STATISTICS = ("running_mean", "running_var")
