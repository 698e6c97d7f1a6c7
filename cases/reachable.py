"""What a right implementation can show at each call of a program, when nothing of it is seen but what it answers.

The live suite judges each call from the state that the layer itself showed before it. Where nobody looks between the
calls, the state before a call is known only to lie in a box, and what the call may show is the union, over that box,
of what the bounds admit. Every interval here holds that union, so that whatever conforms call by call lies inside:

* After `build` and `load` an entry is what was set (a NaN stays NaN); a running variance errs by `keep_as_inverse`.
  Weight, bias and the counter stay exact.
* An update maps an old value r to U(r) = (1 - a) r + a batch, and its bound B(r) is a sum of absolute values of
  affine functions of r with coefficients >= 0. So U + B is convex and U - B concave: both have their extremes at the
  two ends of the interval of r, and each end is mapped exactly.
* In evaluation y and the gradients for x and weight are products of x - m and f(v), w and g being exact: affine in m,
  monotone in v. They have their extremes at the corners of the box of m and v. The bound before its last rounding is
  convex in m, and a sum of a multiple of f and one of df, the error of f. Both decrease in v from the point `_kink` on,
  where v is as large as its own error and df has its maximum; so the bound of the corner with the smallest v is the
  largest. Below that point twice the largest of the corners and of the kink is a bound. The last rounding counts
  against |y|, of which the largest corner is taken.
* In training what normalises is the batch's, so that only the running statistics depend on the state before.
* Whether a backward pass in training moves the running statistics, as a forward pass does, is left to the
  implementation: both states are followed, and states that have seen as many batches are joined.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bnconform.cases.possible_states import (
    BEYOND,
    FloatInterval,
    Open,
    Part,
    PossibleState,
    both,
    ends_of,
    hull,
    join,
)
from bnconform.cases.program import ABILITIES, Program, Step
from bnconform.spec import oracle
from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.config import Config
from bnconform.spec.error_bounds.error_model import ErrorModel, error_model_of
from bnconform.spec.error_bounds.forward import ForwardErrors, keep_as_inverse, running_errors
from bnconform.spec.error_bounds.gradients import bias_gradient, input_gradient, weight_gradient
from bnconform.spec.exact import Exact, Floats, arithmetic, exact, floats
from bnconform.spec.oracle.formulas import along_channels
from bnconform.spec.oracle.running import move_counter, update

GRADIENTS = {"grad_x": input_gradient, "grad_weight": weight_gradient, "grad_bias": bias_gradient}
"""The bound on each gradient."""


class Refused(Exception):
    """The specified layer refuses a call; the text says why."""


@dataclass
class ReachableResults:
    """What one call shows, by name.

    Attributes:
        expected: the interval of each observation; None where there is none to show.
        open: why nothing can be said beforehand of an observation.
    """

    expected: dict[str, FloatInterval | None] = field(default_factory=dict)
    open: dict[str, str] = field(default_factory=dict)


def reachable_results(program: Program, quality: str = "") -> tuple[ReachableResults, ...]:
    """What each step of a program may show, of what it observes.

    Raises:
        Refused: where the specified layer refuses a call.
    """
    config = program.config
    found: list[ReachableResults] = []
    with arithmetic(), np.errstate(all="ignore"):
        model = error_model_of(config, SPECIFIED, quality=quality)
        possible = [_initial_state(config, model)]
        lost = ""
        for step in program.steps:
            shown = ReachableResults()
            try:
                if lost:
                    raise Open(lost)
                possible = _after(config, model, possible, step, shown)
            except Open as problem:
                lost = str(problem)
                shown = ReachableResults(open=dict.fromkeys(sorted(step.observe), lost))
            found.append(shown)
    return tuple(found)


def _after(
    config: Config, model: ErrorModel, possible: list[PossibleState], step: Step, shown: ReachableResults
) -> list[PossibleState]:
    """The possible states after a step, with what it shows entered in `shown`."""
    if step.op in ABILITIES or step.pass_number:
        raise Open(f"a {step.op} is judged from what the layer shows before it")
    if step.op == "build":
        possible = [_initial_state(config, model)]
    elif step.op == "load":
        possible = [_load(config, model, before, step) for before in possible]
    else:
        assert step.x is not None
        parts: dict[str, list[Part] | None] = {}
        after: list[PossibleState] = []
        for before in possible:
            passed = _pass(config, model, before, step, parts)
            moved = _move(config, model, before, passed) if step.training else before
            after += [moved] if step.op == "forward" else [before, moved] if step.training else [before]
        _results(model, step, parts, shown)
        possible = join(after)
    _state(possible, step, shown)
    return possible


def _initial_state(config: Config, model: ErrorModel) -> PossibleState:
    state = oracle.initial_state(config)
    if state.running_mean is None or state.running_var is None:
        return PossibleState(state, None, None)
    return PossibleState(state, _store([state.running_mean]), _keep(config, model, [state.running_var]))


def _keep(config: Config, model: ErrorModel, variances: Iterable[Exact]) -> FloatInterval:
    """A stored running variance, which may be kept as an inverse deviation."""
    parts = [(value, keep_as_inverse(floats(value), config.eps, model)) for value in variances]
    return hull(parts, stored=True)


def _store(values: Iterable[Exact]) -> FloatInterval:
    """What was set and must be exactly that."""
    return hull([(value, np.zeros(value.shape)) for value in values], stored=True)


def _load(config: Config, model: ErrorModel, before: PossibleState, step: Step) -> PossibleState:
    set_to: dict[str, Any] = {
        name: int(value) if name == "num_batches_tracked" else exact(value)
        for name, value in step.state.items()
        if getattr(before.state, name) is not None
    }
    ends = [replace(state, **set_to) for state in before.ends()]
    means = [state.running_mean for state in ends if state.running_mean is not None]
    variances = [state.running_var for state in ends if state.running_var is not None]
    if not means:
        return PossibleState(ends[0], None, None)
    return PossibleState(ends[0], _store(means), _keep(config, model, variances))


def _pass(
    config: Config, model: ErrorModel, before: PossibleState, step: Step, parts: dict[str, list[Part] | None]
) -> oracle.Forward:
    """Enter what one forward or backward pass may compute, from state to state; a record of its forward pass."""
    assert step.x is not None
    x = exact(step.x)
    kink = _kink(model)
    evaluated = not step.training and config.track_running_stats
    states = before.corners(kink) if evaluated else before.ends()[:1]
    gradients: list[oracle.Backward] = []
    if step.op == "forward":
        records = [oracle.forward(config, SPECIFIED, state, x, training=step.training) for state in states]
    else:
        upstream = exact(step.grad_output)
        gradients = [oracle.backward(config, SPECIFIED, state, x, upstream, training=step.training) for state in states]
        records = [each.forward for each in gradients]
    if records[0].refused:
        raise Refused(records[0].refused)
    factor = np.ones((1,) * x.ndim)
    if evaluated and before.variance is not None and len(states) > 1:
        factor = np.where(floats(along_channels(exact(ends_of(before.variance)[0]), x.ndim)) < kink, 2.0, 1.0)
    for name in sorted(step.observe & {"y", *GRADIENTS}):
        sources: Sequence[oracle.Forward | oracle.Backward] = records if name == "y" else gradients
        values = [getattr(source, name) for source in sources]
        if values[0] is None:
            parts[name] = None
            continue
        # All corners have the last rounding of the largest of them.
        most = exact(np.max([np.abs(floats(value)) for value in values], axis=0))
        rounded: dict[str, Any] = {"output" if name == "y" else name: most}
        bounds = [_bound(name, replace(source, **rounded), model) for source in sources]
        bound = np.max(bounds, axis=0) * (factor if values[0].ndim == x.ndim else factor.reshape(-1))
        entered = parts.setdefault(name, [])
        assert entered is not None
        entered += [(value, bound) for value in values]
    return records[0]


def _bound(name: str, record: Any, model: ErrorModel) -> Floats:
    """The bound on one result of a pass."""
    value: Exact = getattr(record, name)
    if not value.size:
        return np.zeros(value.shape)
    if name == "y":
        return ForwardErrors(record, model).output
    return GRADIENTS[name](record, model)


def _kink(model: ErrorModel) -> float:
    """The remembered variance v that is as large as its error u v + underflow in the arithmetic of a pass."""
    u = model.u if model.u > model.statistics.unit_roundoff else 0.0
    return model.compute.underflow / (1 - u)


def _move(config: Config, model: ErrorModel, before: PossibleState, record: oracle.Forward) -> PossibleState:
    """The state after the batch of a training pass has moved the running statistics."""
    ends = before.ends()
    after = [
        move_counter(SPECIFIED, state, update(config, SPECIFIED, state, record.x, record.moments), True, True)
        for state in ends
    ]
    if before.mean is None or before.variance is None:
        return PossibleState(after[0], None, None)
    means: list[Part] = []
    variances: list[Part] = []
    for start, state in zip(ends, after, strict=True):
        assert state.running_mean is not None and state.running_var is not None
        mean, variance = running_errors(config, SPECIFIED, start, replace(record, before=start, state=state), model)
        means.append((state.running_mean, mean))
        variances.append((state.running_var, variance))
    largest = model.statistics.largest
    return PossibleState(after[0], hull(means, largest), hull(variances, largest))


def _results(model: ErrorModel, step: Step, parts: dict[str, list[Part] | None], shown: ReachableResults) -> None:
    largest = {"y": model.output.largest, "grad_x": model.gradient.largest}
    for name, found in parts.items():
        try:
            limit = largest.get(name, model.statistics.largest)
            shown.expected[name] = None if found is None else hull(found, limit)
        except Open as problem:
            shown.open[name] = str(problem)


def _state(possible: list[PossibleState], step: Step, shown: ReachableResults) -> None:
    """Enter what the state after a step may be."""
    state = possible[0].state
    for name in ("weight", "bias"):
        if name in step.observe:
            value = getattr(state, name)
            shown.expected[name] = None if value is None else _store([value])
    if "num_batches_tracked" in step.observe:
        counts = [c.state.num_batches_tracked for c in possible if c.state.num_batches_tracked is not None]
        ends = (np.asarray(end(counts), np.float64) for end in (min, max)) if counts else None
        shown.expected["num_batches_tracked"] = None if ends is None else FloatInterval(*ends)
    for name, of in (("running_mean", "mean"), ("running_var", "variance"), ("running_var:finite", "variance")):
        if name not in step.observe:
            continue
        found = getattr(possible[0], of)
        for before in possible[1:]:
            found = both(found, getattr(before, of))
        if found is not None and name.endswith(":finite"):
            not_finite = np.isnan(found.low)
            if not (not_finite | np.isfinite(found.high - found.low)).all():
                shown.open[name] = "whether it overflows depends on the roundings"
                continue
            found = FloatInterval(np.where(not_finite, np.nan, -BEYOND), np.where(not_finite, np.inf, BEYOND))
        shown.expected[name] = found
