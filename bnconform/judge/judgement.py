"""The judgement: a trace against the oracle at one point of the behaviour space, within the derived bounds.

Each step is judged from the state that the implementation itself showed before it, so that a fault is found where it
is made and is not carried into what follows. What an implementation does not show (how many batches it has seen) is
carried by the oracle.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bnconform.cases.program import Array, Program, Step
from bnconform.execution.instrumented import Misfit
from bnconform.execution.trace import Seen, State, Trace
from bnconform.judge.error_ratio import shares
from bnconform.judge.truth import Truth, numbers, truth
from bnconform.spec import oracle
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.error_bounds.error_model import Allowance, allowance
from bnconform.spec.error_bounds.forward import kept_as_inverse
from bnconform.spec.exact import Exact, Floats, arithmetic, exact, floats, is_finite
from bnconform.spec.formats import ulp

STATISTICS = ("running_mean", "running_var")
PARAMETERS = ("weight", "bias")


@dataclass(frozen=True)
class Comparison:
    """One observed array against the exact one.

    Attributes:
        observed, exact, bound: arrays of one shape; `share` is |observed - exact| / bound, element by element
            (infinite where a finite value was due and another came).
        unspecified: whether nothing fixes it: exact, bound and share are then 0, infinite and 0, whatever was observed.
    """

    step: int
    name: str
    observed: Array
    exact: Exact
    bound: Floats
    share: Floats
    unspecified: bool = False

    @property
    def worst(self) -> float:
        """The largest share of the bound; 1 is the limit."""
        return float(self.share.max()) if self.share.size else 0.0

    @property
    def index(self) -> tuple[int, ...]:
        """Where the worst element is."""
        return tuple(int(i) for i in np.unravel_index(int(self.share.argmax()), self.share.shape))

    def ulps(self) -> float:
        """How far the worst element is off, in units in the last place of the observed dtype."""
        if not self.share.size or self.unspecified:
            return 0.0
        at = self.index
        got, due = float(self.observed[at]), float(floats(self.exact[at]))
        if not (np.isfinite(got) and np.isfinite(due)):
            return 0.0 if got == due or (np.isnan(got) and np.isnan(due)) else float("inf")
        with arithmetic():
            off = float(abs(exact(got) - self.exact[at]))
        if self.observed.dtype.kind == "i":
            return off
        return off / float(ulp(np.asarray(due), str(self.observed.dtype)))


@dataclass
class Judgement:
    """A trace as seen from one point of the space.

    Attributes:
        comparisons: every array compared, within its bound or not.
        problems: (step, what) where something else than a number was wrong; `crashed` if the implementation raised.
    """

    behaviour: Behaviour
    comparisons: list[Comparison] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)
    refusals: int = 0
    crashed: bool = False

    @property
    def holds(self) -> bool:
        """Whether everything observed lies within its bound at this point."""
        return not self.problems and all(comparison.worst <= 1 for comparison in self.comparisons)

    @property
    def checks(self) -> int:
        """How many elements were compared, and refusals seen where they were due; 0 means that nothing was judged."""
        return self.refusals + sum(int((np.isfinite(c.bound) | ~is_finite(c.exact)).sum()) for c in self.comparisons)

    @property
    def unspecified(self) -> int:
        """How many arrays were seen of which nothing is fixed at this point; they are neither right nor wrong."""
        return sum(comparison.unspecified for comparison in self.comparisons)

    @property
    def share(self) -> float:
        """The largest share of a bound."""
        return max((comparison.worst for comparison in self.comparisons), default=0.0)

    @property
    def worst(self) -> Comparison | None:
        """The comparison that is furthest off."""
        return max(self.comparisons, key=lambda comparison: comparison.worst, default=None)


def can_act(coordinate: str, behaviour: Behaviour, program: Program) -> bool:
    """Whether a coordinate may make a difference to a program; False where it surely makes none, which saves judging.

    What an empty batch or one value a channel does is asked only by such a batch, if statistics are those of channels.
    """
    if coordinate not in ("empty_batch", "single_value") or behaviour.statistics_axes is not SPECIFIED.statistics_axes:
        return True
    shapes = [step.x.shape for step in program.steps if step.x is not None]
    values = [int(np.prod(shape, dtype=np.int64)) // max(shape[1], 1) for shape in shapes]
    return (0 if coordinate == "empty_batch" else 1) in values


def agrees(trace: Trace, behaviour: Behaviour, quality: str = "") -> bool:
    """Whether everything observed lies within its bound at the given point: what `judge` finds, stopping where not."""
    return judge(trace, behaviour, quality, brief=True).holds


def judge(trace: Trace, behaviour: Behaviour, quality: str = "", *, brief: bool = False) -> Judgement:
    """Judge every observation that the trace's program asks for at the given point of the space.

    Args:
        brief: whether to stop at the first call that shows something else, which answers whether all holds.
    """
    verdict = Judgement(behaviour)
    program = trace.program
    if trace.broken is not None and not trace.seen:
        verdict.problems.append((-1, str(trace.broken)))
        verdict.crashed = not isinstance(trace.broken, Misfit)
        return verdict
    with arithmetic(), np.errstate(all="ignore"):
        allow = allowance(program.config, behaviour, quality=quality)
        carried = oracle.initial_state(program.config, behaviour)
        for number, seen in enumerate(trace.seen):
            carried = judge_step(verdict, number, seen, program, carried, allow)
            if brief and not verdict.holds:
                return verdict
    if trace.broken is not None:
        verdict.problems.append((len(trace.seen) - 1, str(trace.broken)))
        verdict.crashed = verdict.crashed or not isinstance(trace.broken, Misfit)
    return verdict


def judge_step(
    verdict: Judgement, number: int, seen: Seen, program: Program, carried: oracle.State, allow: Allowance
) -> oracle.State:
    """Compare what one call shows with what is due after the state `carried`; the state that is due afterwards."""
    step, config, behaviour = seen.step, program.config, verdict.behaviour
    if seen.misfit:
        verdict.problems.append((number, seen.misfit))
        return carried
    if step.op in ("build", "load"):
        if seen.raised:
            verdict.problems.append((number, str(seen.raised)))
            verdict.crashed = True
            return carried
        if step.op == "build":
            after = oracle.initial_state(config, behaviour)
        else:
            after = _loaded(_shown(carried, seen.before), step)
        for name in step.observe:
            kept = None
            if name.startswith("running_var") and after.running_var is not None:
                kept = kept_as_inverse(floats(after.running_var), config.eps, allow)
            _state(verdict, number, name, seen.after, after, kept)
        return after
    assert step.x is not None
    before = _shown(carried, seen.before)
    due = truth(config, behaviour, allow, before, step)
    record = due.record
    if record.refused or seen.raised:
        if record.refused and seen.raised:
            verdict.refusals += 1
        elif seen.raised:
            verdict.problems.append((number, str(seen.raised)))
            verdict.crashed = True
        else:
            verdict.problems.append((number, f"answered where it should have refused: {record.refused}"))
        return before
    if step.op == "backward":
        _gradients(verdict, number, seen, due, record.unspecified)
        after = _after_backward(before, record.state, seen)
    else:
        after = record.state
        if "y" in record.unspecified & step.observe:
            _unspecified(verdict, number, "y", seen.values["y"])
        elif "y" in step.observe:
            _compare(verdict, number, "y", seen.values["y"], record.y, due.bound("y"), allow.output.largest)
    state_names = step.observe & {*STATISTICS, *PARAMETERS, "num_batches_tracked", "running_var:finite"}
    if state_names:
        bounds: dict[str, Floats] = {}
        if before.running_mean is not None and after is record.state:
            bounds = {name: due.running(name) for name in STATISTICS}
        bounds["running_var:finite"] = bounds.get("running_var", np.zeros(config.num_features))
        for name in sorted(state_names):
            part = name.partition(":")[0]
            if part in record.unspecified and after is record.state:
                _unspecified(verdict, number, part, seen.after[part])
                continue
            _state(verdict, number, name, seen.after, after, bounds.get(name), allow.statistics.largest)
    return after


def _shown(carried: oracle.State, state: State) -> oracle.State:
    """The state to judge from: what the layer shows, and what it does not show as the oracle carries it."""
    shown: dict[str, Any] = {}
    for name in (*STATISTICS, *PARAMETERS):
        value = state[name]
        if value is not None and getattr(carried, name) is not None:
            shown[name] = numbers(value)
    if state["num_batches_tracked"] is None:
        shown["num_batches_tracked"] = None
    return replace(carried, **shown)


def _loaded(carried: oracle.State, step: Step) -> oracle.State:
    changes: dict[str, Any] = {}
    for name, value in step.state.items():
        if getattr(carried, name) is not None:
            changes[name] = int(value) if name == "num_batches_tracked" else numbers(value)
    return replace(carried, **changes)


def _after_backward(before: oracle.State, moved: oracle.State, seen: Seen) -> oracle.State:
    """Whether a backward step's own forward pass moves the statistics is left to the adapter: look whether it did."""
    changed = any(
        _bytes(seen.before[name]) != _bytes(seen.after[name]) for name in (*STATISTICS, "num_batches_tracked")
    )
    return moved if changed else before


def _bytes(value: Array | None) -> bytes | None:
    return None if value is None else value.tobytes()


def _gradients(verdict: Judgement, number: int, seen: Seen, truth: Truth, unspecified: frozenset[str]) -> None:
    for name in ("grad_x", "grad_weight", "grad_bias"):
        if name not in seen.step.observe:
            continue
        got, due = seen.values[name], truth.due(name)
        if due is None:
            if got is not None:
                verdict.problems.append(
                    (number, f"{name} is an array; it should be None, as there is no such parameter")
                )
            else:
                verdict.refusals += 1
            continue
        if name in unspecified:
            _unspecified(verdict, number, name, got)
            continue
        allow = truth.allow
        largest = allow.gradient.largest if name == "grad_x" else allow.statistics.largest
        _compare(verdict, number, name, got, due, truth.bound(name), largest)


def _state(
    verdict: Judgement,
    number: int,
    name: str,
    shown: State,
    due: oracle.State,
    bound: Floats | None,
    largest: float = np.inf,
) -> None:
    """Compare one part of the state; `bound` None means that it was stored, not computed, and must be exactly that."""
    part, _, only = name.partition(":")
    expected, got = getattr(due, part), shown[part]
    if name == "num_batches_tracked":
        if got is None:
            return
        expected = None if expected is None else exact(expected)
    if expected is None:
        if got is not None:
            verdict.problems.append((number, f"{name} is an array; it should be None, as this layer has none"))
        else:
            verdict.refusals += 1
        return
    bound = np.zeros(expected.shape) if bound is None else bound
    if only and got is not None:
        agree = np.isfinite(got.astype(np.float64)) == is_finite(expected)
        share = np.where(agree, 0.0, np.inf)
        verdict.comparisons.append(Comparison(number, name, got, expected, bound, share))
        return
    _compare(verdict, number, part, got, expected, bound, largest)


def _unspecified(verdict: Judgement, number: int, name: str, got: Array | None) -> None:
    """Record an array of which nothing is fixed but that it is there: any value is at no distance from it."""
    if got is None:
        verdict.problems.append((number, f"{name} is None; it should be an array"))
        return
    zeros = np.zeros(got.shape)
    verdict.comparisons.append(Comparison(number, name, got, exact(zeros), zeros + np.inf, zeros, unspecified=True))


def _compare(
    verdict: Judgement, number: int, name: str, got: Array | None, due: Exact, bound: Floats, largest: float
) -> None:
    if got is None:
        verdict.problems.append((number, f"{name} is None; it should be an array of shape {due.shape}"))
        return
    verdict.comparisons.append(Comparison(number, name, got, due, bound, shares(got, due, bound, largest)))
