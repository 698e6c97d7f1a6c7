"""What an implementation does at each rank and in each dtype, seen in one small pass each: the cells of the table.

Nothing is searched for and nothing declared is used but what is said to be lacking. Every batch has two channels, one
twice the other, of numbers that are exact in every dtype.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bnconform.cases.program import Array, Program, Step, build, forward, load
from bnconform.execution.trace import Trace
from bnconform.judge.judgement import judge
from bnconform.judge.subject import Ended, Subject
from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.config import Config
from bnconform.spec.formats import DTYPES

RANKS = (2, 3, 4, 5)
VALUES = (1.0, 3.0, 3.0, 9.0)
"""The mean is 4, the squares add up to 36: the biased variance is 9, the unbiased 12."""

BIASED, UNBIASED = 9.0, 12.0
EPSILON = 2.0**-10
NEAR = 0.1
"""How far from a variance, relatively, is near: half of what bfloat16 makes of a quotient, many times over."""

WEIGHT, BIAS = (2.0, 2.0), (0.5, -1.5)
BIAS_OUTPUT = SPECIFIED.but(single_value="bias_output")
"""Where one value a channel is answered by the bias; within the bound of that point it counts as so answered."""

KINDS = ("training estimator", "remembered estimator", "initial mean", "initial variance", "one value", "empty batch",
         "output dtype", "statistics dtype")  # fmt: skip

Cells = dict[str, dict[str, str]]
"""By dtype and rank, as "float32 4", what is seen of each of KINDS."""


def cells(of: Callable[[str], Subject]) -> Cells:
    """Those of every rank and dtype that the implementation has.

    Args:
        of: the subject in a dtype.
    """
    found: Cells = {}
    for dtype in DTYPES:
        subject = of(dtype)
        if {dtype, "training"} & set(subject.unsupported):
            continue
        for rank in RANKS:
            if f"rank_{rank}" not in subject.unsupported:
                seen = cell(subject, rank)
                if seen:
                    found[f"{dtype} {rank}"] = seen
    return found


def cell(subject: Subject, rank: int) -> dict[str, str]:
    """What is seen at one rank; {} where it answers nothing there."""
    column = np.array(VALUES)
    batch = np.stack([column, 2 * column], axis=1)
    passes = build("running_mean", "running_var"), forward(_at(batch, rank), "y")
    trained = _run(subject, rank, *passes)
    if trained is None or not _has_answered(trained):
        return {}
    if _still(trained):  # where the momentum weighs the old value
        trained = _run(subject, rank, *passes, momentum=0.0) or trained
    new, after = trained.steps[0].after, trained.steps[1].after
    y = trained.steps[1].values["y"]
    assert y is not None
    off = float(VALUES[3] - np.mean(VALUES)) / float(y[3, 0].ravel()[0])
    return {
        "training estimator": _estimator(off**2 - EPSILON),
        "remembered estimator": _memory_text(new["running_var"], after["running_var"]),
        "initial mean": _initial(new["running_mean"]),
        "initial variance": _initial(new["running_var"]),
        "one value": _one_value(subject, rank),
        "empty batch": _empty(subject, rank),
        "output dtype": str(y.dtype),
        "statistics dtype": _dtypes(new["running_var"], after["running_var"]),
    }


def _still(trace: Trace) -> bool:
    """Whether the running variance is what it was."""
    before, after = (trace.steps[number].after["running_var"] for number in (0, 1))
    return before is not None and after is not None and np.array_equal(before, after)


def _run(subject: Subject, rank: int, *steps: Step, momentum: float = 1.0) -> Trace | None:
    """The trace on a layer in which the new batch weighs all; None where the process ended."""
    config = Config(num_features=2, eps=EPSILON, momentum=momentum, ndim=rank)
    program = Program(config, steps).without(set(subject.unsupported))
    try:
        return subject.run(program.cast(subject.dtype, subject.param_dtype))
    except Ended:
        return None


def _has_answered(trace: Trace) -> bool:
    return trace.broken is None and not any(seen.raised or seen.misfit for seen in trace.steps)


def _at(values: Array, rank: int) -> Array:
    return values.reshape(values.shape + (1,) * (rank - 2))


def _estimator(variance: float) -> str:
    for word, value in (("biased", BIASED), ("unbiased", UNBIASED)):
        if abs(variance / value - 1) < NEAR:
            return word
    return f"other: {variance:.3g} where the biased is {BIASED:g}"


def _memory_text(new: Array | None, after: Array | None) -> str:
    if new is None or after is None:
        return "not offered"
    return "none: nothing moves" if np.array_equal(new, after) else _estimator(float(after[0]))


def _initial(new: Array | None) -> str:
    return "not offered" if new is None else f"{float(new[0]):g}"


def _dtypes(new: Array | None, after: Array | None) -> str:
    if new is None or after is None:
        return "not offered"
    return str(new.dtype) if new.dtype == after.dtype else f"{new.dtype}, {after.dtype} after training"


def _one_value(subject: Subject, rank: int) -> str:
    """What becomes of y and of the running variance, of which a refusal speaks for both."""
    x = _at(np.array([[5.0, -2.0]]), rank)
    start = load(weight=np.array(WEIGHT), bias=np.array(BIAS))
    trace = _run(subject, rank, build("running_var"), start, forward(x, "y"))
    if trace is None:
        return "the process ends"
    if not _has_answered(trace):
        return "refused"
    last = trace.steps[-1]
    y = last.values["y"]
    assert y is not None
    due = [one for one in judge(trace, BIAS_OUTPUT).comparisons if one.name == "y"]
    is_bias = bool(due) and all(one.worst <= 1 for one in due)
    output = "bias" if is_bias else "input" if np.array_equal(y.ravel().astype(np.float64), x.ravel()) else "other"
    return (
        output if last.after["running_var"] is None else f"{output}, variance {_statistic_after(trace, 'running_var')}"
    )


def _empty(subject: Subject, rank: int) -> str:
    """What becomes of the running statistics."""
    trace = _run(subject, rank, build("running_var"), forward(np.zeros((0, 2, *(1,) * (rank - 2))), "y"))
    if trace is None:
        return "the process ends"
    if not _has_answered(trace):
        return "refused"
    names = [name for name in ("running_mean", "running_var") if trace.steps[-1].after[name] is not None]
    if not names:
        return "answered"
    pairs = [(trace.steps[0].after[name], trace.steps[-1].after[name]) for name in names]
    if all(before is not None and after is not None and np.array_equal(before, after) for before, after in pairs):
        return "statistics kept"
    return f"mean {_statistic_after(trace, names[0])}, variance {_statistic_after(trace, names[-1])}"


def _statistic_after(trace: Trace, name: str) -> str:
    """What a pass made of a statistic: "kept", "NaN" or its value; 0 is told as what it is."""
    before, after = trace.steps[0].after[name], trace.steps[-1].after[name]
    assert before is not None and after is not None
    if np.array_equal(before, after) and (before != 0).any():
        return "kept"
    return "NaN" if np.isnan(after.astype(np.float64)).any() else f"{float(after[0]):g}"
