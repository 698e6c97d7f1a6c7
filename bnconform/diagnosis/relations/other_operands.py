"""What a failing call would be right with: the oracle's answer to the same call with another epsilon, weight, state.

Each is judged as any call is, with the bounds that are derived for its own operands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bnconform.cases.program import Array, Program
from bnconform.diagnosis.experiments.numeric_laws import shortest
from bnconform.diagnosis.relations.call_view import CallView
from bnconform.diagnosis.relations.relation import RESULTS, Prediction, Relation
from bnconform.execution.trace import State, StepResult
from bnconform.judge.judgement import Judgement, initial_state, judge_step
from bnconform.spec.behaviour import Behaviour
from bnconform.spec.error_bounds.error_model import error_model_of
from bnconform.spec.exact import arithmetic


@dataclass(frozen=True)
class Operands:
    """What a call is judged with instead of what it was given."""

    program: Program
    seen: StepResult


Change = Callable[[CallView], Operands | None]
"""The call with other operands; None where there are none to change."""


def with_operands(words: str, change: Change, point: Behaviour) -> Relation:
    """The relation that a call answers as if it had been given other operands."""

    def predict(view: CallView) -> Prediction | None:
        found = change(view)
        return None if found is None else _due(view, found, point)

    return Relation(words, predict)


def _due(view: CallView, operands: Operands, point: Behaviour) -> Prediction | None:
    seen, program = operands.seen, operands.program
    seen = replace(seen, step=replace(seen.step, observe=frozenset({view.name})))
    verdict = Judgement(point)
    with arithmetic():
        carried = initial_state(program.config, point)
        judge_step(verdict, 0, seen, program, carried, error_model_of(program.config, point))
    compared = [one for one in verdict.comparisons if one.name == view.name and not one.unspecified]
    if verdict.problems or not compared:
        return None
    return np.array(compared[0].exact.nearest), np.broadcast_to(compared[0].bound, view.expected.shape)


def _vary_config(**changes: Callable[[CallView], Any]) -> Change:
    def change(view: CallView) -> Operands | None:
        values = {name: value(view) for name, value in changes.items()}
        if values.get("eps", 0.0) < 0:
            return None
        program = view.call.trace.program
        return Operands(replace(program, config=replace(program.config, **values)), view.seen)

    return change


def of_entries(value: Callable[[CallView], State | None]) -> Change:
    """Other entries of the state before the call, by name; None, or one that is not there, where there are none."""

    def change(view: CallView) -> Operands | None:
        other = value(view)
        if not other or any(view.before.get(name) is None or entry is None for name, entry in other.items()):
            return None
        return Operands(view.call.trace.program, replace(view.seen, before={**view.before, **other}))

    return change


def of_step(value: Callable[[CallView], dict[str, Any] | None]) -> Change:
    """Other attributes of the call, by name; None where there are none."""

    def change(view: CallView) -> Operands | None:
        other = value(view)
        if other is None:
            return None
        return Operands(view.call.trace.program, replace(view.seen, step=replace(view.step, **other)))

    return change


def relations(views: Sequence[CallView], point: Behaviour) -> Iterator[Relation]:
    """The family, the simplest first."""
    first = views[0]
    if first.name not in RESULTS:
        return
    yield from _epsilons(views, point)
    if first.name == "y":
        yield from _divisors(point)
    yield from _states(point)
    if first.step.op == "backward":
        yield from _upstreams(point)


# -- epsilon ----------------------------------------------------------------------------------------------------------

TIMES = (10.0, 0.1, 2.0, 0.5, 100.0, 0.01, 1000.0, 0.001)
"""Multiples of epsilon that are tried."""

FIXED = (1e-5, 1e-3, 1e-6, 1e-7, 1e-8, 1e-12, 1e-4, 0.0)
"""Epsilons that are tried whatever the one given."""


def _epsilons(views: Sequence[CallView], point: Behaviour) -> Iterator[Relation]:
    for times in TIMES:
        words = f"epsilon is {times:g} times the one given"
        yield with_operands(
            words if times >= 1 else f"epsilon is the one given over {1 / times:g}", _times(times), point
        )
    yield with_operands("epsilon is the root of the one given", _vary_config(eps=lambda v: v.config.eps**0.5), point)
    for value in FIXED:
        words = f"epsilon is {value:g}, whatever is given"
        yield with_operands(words, _always(value), point)
    if views[0].name == "y":
        yield from _solve_epsilon(views, point)


def _times(times: float) -> Change:
    return _vary_config(eps=lambda view: view.config.eps * times)


def _always(value: float) -> Change:
    return _vary_config(eps=lambda _: value)


def _solve_epsilon(views: Sequence[CallView], point: Behaviour) -> Iterator[Relation]:
    """The epsilon that the outputs show: a multiple of the one given, or one value whatever is given."""
    found = [effective_epsilon(view) for view in views]
    if any(one is None for one in found):
        return
    known = [one for one in found if one is not None]
    low, high = max(one[0] for one in known), min(one[1] for one in known)
    if 0 < low <= high:
        text = shortest(low, high)
        words = f"epsilon is {text}, whatever is given"
        yield with_operands(words, _always(float(text)), point)
    given = [view.config.eps for view in views]
    ratios = [(low / eps, high / eps) for eps, (low, high) in zip(given, known, strict=True) if eps]
    if len(ratios) == len(views):
        low, high = max(one[0] for one in ratios), min(one[1] for one in ratios)
        if 0 < low <= high:
            text = shortest(low, high)
            words = f"epsilon is {text} times the one given"
            yield with_operands(words, _times(float(text)), point)


def effective_epsilon(view: CallView) -> tuple[float, float] | None:
    """The epsilons that an output may have been made with: (w (x - m) / (y - b))**2 - var, by the bounds of y."""
    weight, bias = view.along(view.weight), view.along(view.bias)
    top = np.abs(weight * (view.x - view.along(view.mean)))
    seen = np.abs(view.observed - bias)
    limit = view.bound + (np.abs(view.observed) + np.abs(bias)) * 4 * view.u
    with np.errstate(all="ignore"):
        variance = np.broadcast_to(view.along(view.variance), seen.shape)
        low, high = (top / (seen + limit)) ** 2 - variance, (top / (seen - limit)) ** 2 - variance
    at = (seen > 4 * limit) & np.isfinite(low) & np.isfinite(high)
    if not at.any():
        return None
    found = float(low[at].max()), float(high[at].min())
    return found if found[0] <= found[1] else None


# -- the divisor of the variance that normalises ----------------------------------------------------------------------


def _divisors(point: Behaviour) -> Iterator[Relation]:
    named: tuple[tuple[str, Callable[[CallView], float]], ...] = (
        ("n - 2, n the values of a channel", lambda v: v.values - 2),
        ("n + 1, n the values of a channel", lambda v: v.values + 1),
        ("the number of samples", lambda v: v.samples),
        ("the number of samples less 1", lambda v: v.samples - 1),
        ("the number of positions", lambda v: v.values // v.samples),
        ("the number of positions less 1", lambda v: v.values // v.samples - 1),
    )
    for words, divisor in named:
        yield with_operands(f"the variance that normalises divides by {words}", _rescale(divisor), point)


def _rescale(divisor: Callable[[CallView], float]) -> Change:
    """sqrt(f v + e) = sqrt(f) sqrt(v + e / f): another variance is another weight and another epsilon."""

    def change(view: CallView) -> Operands | None:
        other = divisor(view)
        weight = view.before.get("weight")
        if not other > 0 or not view.from_batch or weight is None:
            return None
        factor = view.values / other
        program = view.call.trace.program
        config = replace(program.config, eps=program.config.eps / factor)
        before = {**view.before, "weight": (view.weight / np.sqrt(factor))}
        return Operands(replace(program, config=config), replace(view.seen, before=before))

    return change


# -- another state ----------------------------------------------------------------------------------------------------


def _states(point: Behaviour) -> Iterator[Relation]:
    for name, noun in NOUNS.items():
        yield with_operands(f"{{}} uses the {noun} as it was before the load", of_entries(_without_load(name)), point)
        yield with_operands(f"{{}} uses the {noun} from before the call before", of_entries(_previous(name)), point)
        yield with_operands(f"{{}} uses the first channel's {noun} for all", of_entries(_first(name)), point)
        reverse = f"{{}} uses the {noun} in the reverse order of channels"
        yield with_operands(reverse, of_entries(_reverse(name)), point)
    yield with_operands("{} uses the state as it was before the load", of_entries(_without_load(*NOUNS)), point)
    for words, change in VARIANCES:
        yield with_operands(f"{{}} {words}", of_entries(_other_variance(change)), point)
    other_mode = of_step(lambda view: {"training": not view.step.training})
    yield with_operands("{} is that of the other mode", other_mode, point)
    yield with_operands("{} is that of the input of an earlier call", of_step(_earlier_input), point)


VARIANCES: tuple[tuple[str, Callable[[CallView, Array], Array | None]], ...] = (
    ("takes the running mean for the running variance", lambda view, _: view.entry("running_mean")),
    ("uses the square of the running variance", lambda _, value: np.asarray(value**2)),
    ("uses the root of the running variance", lambda _, value: np.asarray(np.sqrt(value))),
)
"""What may stand in the place of the running variance."""


def _other_variance(change: Callable[[CallView, Array], Array | None]) -> Callable[[CallView], State | None]:
    def value(view: CallView) -> State | None:
        variance = view.entry("running_var")
        return None if variance is None else {"running_var": change(view, variance)}

    return value


NOUNS = {"weight": "weight", "bias": "bias", "running_mean": "running mean", "running_var": "running variance"}


def _without_load(*names: str) -> Callable[[CallView], State | None]:
    def value(view: CallView) -> State | None:
        loads = [seen for seen in view.call.trace.steps[:-1] if seen.step.op == "load"]
        found = {name: seen.before.get(name) for seen in loads[-1:] for name in names if name in seen.step.state}
        return found or None

    return value


def _previous(name: str) -> Callable[[CallView], State | None]:
    def value(view: CallView) -> State | None:
        steps = view.call.trace.steps
        return {name: steps[-2].before.get(name)} if len(steps) > 1 and steps[-2].step.op != "load" else None

    return value


def _first(name: str) -> Callable[[CallView], State | None]:
    def value(view: CallView) -> State | None:
        entry = view.before.get(name)
        return None if entry is None else {name: np.full_like(entry, entry[0])}

    return value


def _reverse(name: str) -> Callable[[CallView], State | None]:
    def value(view: CallView) -> State | None:
        entry = view.before.get(name)
        return None if entry is None else {name: entry[::-1].copy()}

    return value


def _earlier_input(view: CallView) -> dict[str, Any] | None:
    for seen in reversed(view.call.trace.steps[:-1]):
        if seen.step.x is not None and view.step.x is not None and seen.step.x.shape == view.step.x.shape:
            return {"x": seen.step.x}
    return None


# -- another grad_output ----------------------------------------------------------------------------------------------


def _upstreams(point: Behaviour) -> Iterator[Relation]:
    def change(value: Callable[[Array, Array], Array]) -> Change:
        def other(view: CallView) -> dict[str, Any] | None:
            x, g = view.step.x, view.step.grad_output
            if x is None or g is None:
                return None
            return {"grad_output": np.asarray(value(x.astype(np.float64), g.astype(np.float64))).astype(g.dtype)}

        return of_step(other)

    yield with_operands("{} takes grad_output for ones", change(lambda x, g: np.ones_like(g)), point)
    yield with_operands("{} takes the input for grad_output", change(lambda x, g: x), point)
    yield with_operands("{} is that of the grad_output of an earlier call", of_step(_earlier_upstream), point)


def _earlier_upstream(view: CallView) -> dict[str, Any] | None:
    for seen in reversed(view.call.trace.steps[:-1]):
        g = seen.step.grad_output
        if g is not None and view.step.x is not None and g.shape == view.step.x.shape:
            return {"grad_output": g}
    return None
