"""Conformance: what is made of options that a layer has no use for; policies, which are recorded."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bnconform.cases.program import Array, Program, Step, backward, forward
from bnconform.execution.trace import Trace
from bnconform.judge.check import Check
from bnconform.judge.marks import checks

VALUES = (1.0, 3.0, 3.0, 9.0)
"""Of every channel, exact in every dtype: their mean is MEAN, the squares of what is left add up to 4 * VARIANCE."""

MEAN, VARIANCE = 4.0, 9.0
EPSILON = 2.0**-10
"""Where another option is asked about."""

NEAR = 0.02
"""How far, relatively, from what a policy gives an answer counts as that: three units in the last place of bfloat16 are
0.012, and what two policies give here is at least 0.05 apart. Only which of them it is is told."""

REFUSED_WHEN_BUILT, REFUSED_WHEN_CALLED = "refused when built", "refused when called"


def _x(check: Check) -> Array:
    """One channel's numbers for each of three channels, at a rank that the implementation has."""
    rank = 4 if "rank_4" not in check.subject.unsupported else 2
    return np.repeat(np.array(VALUES).reshape(4, 1), 3, axis=1).reshape(4, 3, *(1,) * (rank - 2))


def _call_with_option(check: Check, step: Step, option: str, value: float) -> Trace:
    """One call on a layer with an option outside of its range; the check ends where that cannot be asked."""
    __tracebackhide__ = True
    assert step.x is not None
    config = check.config(ndim=step.x.ndim, eps=EPSILON)
    program = Program(config, (step,), outside=((option, value),))
    return check.execute(check.fit(program.cast(config.dtype, config.param_dtype)))


def _refusal(trace: Trace) -> str:
    """Where it was refused, or why there is no answer; "" where there is one."""
    if not trace.steps:
        return REFUSED_WHEN_BUILT
    if trace.broken is not None:
        return "the state cannot be read"
    seen = trace.steps[-1]
    return REFUSED_WHEN_CALLED if seen.raised else "an answer of another kind or shape" if seen.misfit else ""


def _nearest(value: float, policies: Mapping[str, float]) -> str:
    """The policy that gives this value, the first where several do."""
    for words, due in policies.items():
        if (np.isnan(value) and np.isnan(due)) or abs(value - due) <= NEAR * abs(due):
            return words
    return f"{value:.3g}"


def _note(check: Check, found: Mapping[str, str]) -> None:
    """Record what was seen, by what was asked; in a word where it is all the same."""
    kinds = list(dict.fromkeys(found.values()))
    check.note(kinds[0] if len(kinds) == 1 else ", ".join(f"{asked}: {seen}" for asked, seen in found.items()))


@checks("BN-ERR-MOMENTUM", once=True)
def test_momentum_outside_its_range(check: Check) -> None:
    """What a new running mean of 0 becomes by a batch whose mean is 4 tells by which momentum it moves."""
    found = {}
    for momentum in (1.5, -0.5):
        trace = _call_with_option(check, forward(_x(check), "running_mean"), "momentum", momentum)
        seen = _refusal(trace)
        if not seen:
            mean = trace.steps[-1].after["running_mean"]
            policies = {
                "the formula": momentum * MEAN,
                "as momentum 1": MEAN,
                "as momentum 0": 0.0,
                "the formula, weighing the old value": (1 - momentum) * MEAN,
            }
            seen = "no running mean" if mean is None else _nearest(float(mean[0]), policies)
        found[f"momentum {momentum:g}"] = seen
    _note(check, found)


@checks("BN-ERR-EPSILON", once=True)
def test_epsilon_outside_its_range(check: Check) -> None:
    """What becomes of the largest of the numbers, 5 more than their mean, tells by which epsilon it is divided."""
    found = {}
    for eps in (-5.0, -20.0, np.nan):
        trace = _call_with_option(check, forward(_x(check), "y"), "eps", eps)
        seen = _refusal(trace)
        if not seen:
            y = trace.steps[-1].values["y"]
            assert y is not None
            top = max(VALUES) - MEAN
            with np.errstate(invalid="ignore"):
                policies = {
                    "the formula": top / float(np.sqrt(VARIANCE + eps)),
                    "as epsilon 0": top / float(np.sqrt(VARIANCE)),
                    "as its absolute value": top / float(np.sqrt(VARIANCE + abs(eps))),
                    "added to the deviation": top / (float(np.sqrt(VARIANCE)) + eps),
                }
            seen = _nearest(float(y.astype(np.float64).max()), policies)
        found[f"epsilon {eps:g}"] = seen
    _note(check, found)


@checks("BN-ERR-NO-CHANNELS", once=True)
def test_no_channels(check: Check) -> None:
    """A layer of no channels is asked for each of the passes that there are."""
    x = _x(check)[:, :0]
    steps = {"training": forward(x, "y"), "evaluation": forward(x, "y", training=False)}
    steps["backward"] = backward(x, x, "grad_x")
    asked = {name: step for name, step in steps.items() if name not in check.subject.unsupported}
    _note(
        check,
        {
            name: _refusal(_call_with_option(check, step, "num_features", 0)) or "answered"
            for name, step in asked.items()
        },
    )
