"""Carrying a trained layer to another implementation: what it learnt is loaded there, evaluated, and trained on."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.program import Array, Program, Step, forward, load
from bnconform.judge.judgement import judge
from bnconform.judge.subject import Ended, Subject
from bnconform.spec.behaviour import Behaviour
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


def train(subject: Subject) -> dict[str, Any]:
    """What a layer remembers after training, and whether that is what it evaluates by.

    Returns:
        {"state": name -> C numbers, "share": worst error of its own evaluation beside the exact one of that state},
        or {"reason": why there is none}.
    """
    lacking = [f"{word}: {subject.unsupported[word]}" for word in _NEEDED if word in subject.unsupported]
    if lacking:
        return {"reason": "; ".join(lacking)}
    config = _config(subject)
    parameters = {name: value for name, value in inputs.everything(3).items() if name in ("weight", "bias")}
    passes: tuple[Step, ...] = tuple(forward(_batch(config, seed)) for seed in range(STEPS))
    program = Program(config, (load(**parameters), *passes, forward(_other(config), "y", training=False)))
    try:
        trace = subject.run(program.cast(DTYPE, DTYPE))
    except Ended as how:
        return {"reason": str(how)}
    problems = [trace.broken, *(seen.raised or seen.misfit for seen in trace.steps)]
    if any(problems):
        return {"reason": str(next(filter(None, problems)))}
    after = trace.steps[-1].after
    shown = {name: after[name] for name in CARRIED}
    missing = [name for name, value in shown.items() if value is None]
    if missing:
        return {"reason": f"the layer has no {', '.join(missing)}"}
    # Only the evaluation is observed, and judged from the state that was shown before it.
    share = float(judge(trace, _continuing(subject)).error_ratio)
    return {
        "state": {name: [float(number) for number in value] for name, value in shown.items() if value is not None},
        "share": share,
    }


def _batch(config: Config, seed: int) -> Array:
    return inputs.values(_shape(config.ndim), seed) * (seed + 1) + seed


def _other(config: Config) -> Array:
    """Input that no layer was trained on."""
    return inputs.values(_shape(config.ndim), 9) * 3 + 1


def _continuing(subject: Subject) -> Behaviour:
    """What is declared, but that a running average goes on from what was loaded: nothing of the past is made up for."""
    return subject.declared.but(averaging="exponential")


_NEEDED = ("training", "affine", "track_running_stats", DTYPE)


def carry_on(subject: Subject, state: dict[str, list[float]]) -> dict[str, Any]:
    """Load a state, evaluate, train on and evaluate again.

    The truth is what an average that goes on from the state would do, at this implementation's declared behaviour.

    Returns:
        {"share": worst error of y over its bound, "continued": worst error of the statistics after one more training
        pass and of y after it, None where it does not train, or why it refused}, or {"reason": why it cannot be done}.
    """
    lacking = [word for word in ("evaluation", *_NEEDED[1:]) if word in subject.unsupported]
    if lacking:
        return {"reason": "; ".join(f"{word}: {subject.unsupported[word]}" for word in lacking)}
    config = _config(subject)
    x = _other(config)
    given = {name: np.array(numbers) for name, numbers in state.items()}
    steps: tuple[Step, ...] = (load(CARRIED, **given), forward(x, "y", *STATISTICS, training=False))
    if "training" not in subject.unsupported:
        steps += (forward(_batch(config, STEPS), *STATISTICS), forward(x, "y", *STATISTICS, training=False))
    try:
        trace = subject.run(Program(config, steps).cast(DTYPE, DTYPE))
    except Ended as how:
        return {"reason": str(how)}
    found = judge(trace, _continuing(subject))
    first = [text for number, text in found.problems if number < EVALUATED]
    if first or not found.checks:
        return {"reason": first[0] if first else "nothing was compared"}
    later = [text for number, text in found.problems if number >= EVALUATED]
    worst = {
        late: max((one.worst for one in found.comparisons if (one.step >= EVALUATED) == late), default=None)
        for late in (False, True)
    }
    return {"share": worst[False], "continued": later[0] if later else worst[True]}


EVALUATED = 2
"""The number of calls with which a carried layer has been loaded and evaluated."""

STATISTICS = ("running_mean", "running_var")
