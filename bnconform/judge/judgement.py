"""The judgement: a trace against the oracle at one point of the behaviour space, within the derived bounds.

Each step is judged from the state that the implementation itself showed before it, so that a fault is found where it
is made and is not carried into what follows. What an implementation does not show (how many batches it has seen) is
carried by the oracle.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from bnconform.cases.program import COUNTERS, GRADIENTS, MASKED_REPLICATED, RESULTS, SAVED, Array, Program, Step
from bnconform.execution.trace import Misfit, State, StepResult, Trace
from bnconform.judge.error_ratio import error_ratios
from bnconform.judge.truths.expansion import Expansion
from bnconform.judge.truths.layer_state import PARAMETERS, STATISTICS, LayerState, Values
from bnconform.judge.truths.truth import Question, Truths, process_truths
from bnconform.judge.truths.truth_record import Expected, Truth
from bnconform.spec import oracle
from bnconform.spec.behaviour import OF_ABILITY, SPECIFIED, Behaviour
from bnconform.spec.config import Config
from bnconform.spec.error_bounds.error_model import ErrorModel, error_model_of
from bnconform.spec.error_bounds.forward import keep_as_inverse
from bnconform.spec.exact import Floats, arithmetic, floats
from bnconform.spec.formats import ulp_of
from bnconform.spec.oracle.pieces import SMALLEST

__all__ = [
    "PARAMETERS",
    "STATISTICS",
    "Comparison",
    "Judgement",
    "agrees",
    "can_act",
    "initial_state",
    "judge",
    "judge_step",
]


NO_PARAMETER = "as there is no such parameter, or it is frozen"
NOTHING_SAVED = "as the pass computes no statistics"
"""Why nothing is due."""


@dataclass(frozen=True)
class Comparison:
    """One observed array against the exact one.

    Attributes:
        observed, exact, bound: arrays of one shape; `error_ratio` is |observed - exact| / bound, element by element
            (infinite where a finite value was due and another came).
        unspecified: whether nothing fixes it: exact, bound and error ratio are then 0, infinite and 0, whatever was
            observed.
        given: x, the tangent or grad_output, of which the observation is a function of the same shape; None for those
            of (C,).
    """

    step: int
    name: str
    observed: Array
    exact: Expansion
    bound: Floats
    error_ratio: Floats
    unspecified: bool = False
    given: Array | None = None

    @cached_property
    def is_vacuous(self) -> bool:
        """Whether the bound admits what is plainly wrong, so that nothing can be told from the observation.

        That is zero where something else is due, or the input as it was given; in half precision, where n u nears 1,
        any answer. What must be exactly 0 is told from everything that is not.
        """
        if not self.unspecified and self.exact.is_plain and not self.bound.any():
            return False  # what must be exact, and is a number, admits nothing else
        due = self.exact.nearest
        told = self.exact.finite & (due != 0)
        if self.unspecified or (not told.any() and self.exact.finite.all() and np.isfinite(self.bound).all()):
            return self.unspecified
        bound = np.broadcast_to(self.bound, due.shape)
        if not told.any() or (np.abs(due) <= bound)[told].all():
            return bool(self.exact.finite.all())
        if self.given is None:
            return False
        given = self.given.astype(np.float64)
        return bool((np.abs(due[told] - given[told]) <= bound[told]).all() and (due != given)[told].any())

    @property
    def elements(self) -> int:
        """How many elements have a bound, or are no numbers, so that something can be told of them."""
        limited = np.broadcast_to(np.isfinite(self.bound), self.exact.shape)
        if self.exact.is_plain:
            return int(np.count_nonzero(limited))
        return int(np.count_nonzero(limited | ~self.exact.finite))

    @cached_property
    def worst(self) -> float:
        """The largest error ratio; 1 is the limit."""
        return float(self.error_ratio.max()) if self.error_ratio.size else 0.0

    @property
    def index(self) -> tuple[int, ...]:
        """Where the worst element is."""
        return tuple(int(i) for i in np.unravel_index(int(self.error_ratio.argmax()), self.error_ratio.shape))

    def ulps(self) -> float:
        """How far the worst element is off, in units in the last place of the observed dtype."""
        if not self.worst or self.unspecified:
            return 0.0
        at = self.index
        got, due = float(self.observed[at]), float(self.exact.nearest[at])
        if not (np.isfinite(got) and np.isfinite(due)):
            return 0.0 if got == due or (np.isnan(got) and np.isnan(due)) else float("inf")
        off = self.exact.distance(at, got)
        if self.observed.dtype.kind == "i":
            return off
        return off / ulp_of(due, str(self.observed.dtype))


@dataclass
class Judgement:
    """A trace as seen from one point of the space.

    Attributes:
        comparisons: every array compared, within its bound or not.
        problems: (step, what) where something else than a number was wrong; `crashed` if the implementation raised.
        missing: (step, name) of the problems that are None in the place of an array.
        truths: what answers what is due.
        recorded: the passes that were recorded, each with the state before it; None for one that was refused.
        announced: what other calls said of plain passes: the shape of x, whether it trains, the dtype of y, and
            which call.
    """

    behaviour: Behaviour
    comparisons: list[Comparison] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)
    missing: list[tuple[int, str]] = field(default_factory=list)
    refusals: int = 0
    crashed: bool = False
    truths: Truths = field(default_factory=process_truths, repr=False)
    recorded: list[tuple[LayerState, Step] | None] = field(default_factory=list, repr=False)
    announced: list[tuple[tuple[int, ...], bool, str, str]] = field(default_factory=list, repr=False)

    @property
    def holds(self) -> bool:
        """Whether everything observed lies within its bound at this point."""
        return not self.problems and all(comparison.worst <= 1 for comparison in self.comparisons)

    @property
    def differing(self) -> frozenset[str]:
        """The names of what lies outside its bound; "" where something else than a number was wrong."""
        return frozenset(one.name for one in self.comparisons if one.worst > 1).union([""] if self.problems else [])

    @property
    def checks(self) -> int:
        """How many elements were compared, and refusals seen where they were due; 0 means that nothing was judged."""
        told = (one for one in self.comparisons if not one.is_vacuous)
        return self.refusals + sum(comparison.elements for comparison in told)

    @property
    def vacuous(self) -> int:
        """How many observations were within bounds that admit what is plainly wrong."""
        return sum(comparison.is_vacuous and not comparison.unspecified for comparison in self.comparisons)

    @property
    def unspecified(self) -> int:
        """How many arrays were seen of which nothing is fixed at this point; they are neither right nor wrong."""
        return sum(comparison.unspecified for comparison in self.comparisons)

    @property
    def error_ratio(self) -> float:
        """The largest distance over its bound."""
        return max((comparison.worst for comparison in self.comparisons), default=0.0)

    @property
    def worst(self) -> Comparison | None:
        """The comparison that is furthest off."""
        return max(self.comparisons, key=lambda comparison: comparison.worst, default=None)


def can_act(decision: str, behaviour: Behaviour, program: Program) -> bool:
    """Whether a decision may make a difference to a program; False where it surely makes none, which saves judging.

    What an empty batch or one value a channel does is asked only by such a batch, if statistics are those of channels;
    what a pass does that a layer need not have, by such a pass.
    """
    if decision == "virtual_batch":
        return any(step.x is not None and len(step.x) > SMALLEST for step in program.steps)
    if decision in OF_ABILITY:
        return any(OF_ABILITY[decision] in abilities_in(step) for step in program.steps)
    if decision not in ("empty_batch", "single_value") or behaviour.statistics_axes is not SPECIFIED.statistics_axes:
        return True
    if any(step.shards or step.lanes for step in program.steps):
        return True
    values = {count for step in program.steps for count in _values_of_channels(step)}
    return (0 if decision == "empty_batch" else 1) in values


def _values_of_channels(step: Step) -> set[int]:
    """How many values of a channel a pass is given, and how many of them a mask selects."""
    if step.x is None:
        return set()
    found = {step.x.size // max(step.x.shape[1], 1)}
    if step.selected is not None:
        found |= {int(count) for count in step.selected.sum(axis=(0, *range(2, step.x.ndim)))}
    return found


def abilities_in(step: Step) -> frozenset[str]:
    """The abilities that a step asks for: those of gradients ask for the pass, and those with a mask for masks, too."""
    found = {step.op, step.op.removesuffix("_vjp").removesuffix("_backward")}
    if step.op in MASKED_REPLICATED:
        found |= {"masked", "replicated", step.op.removeprefix("masked_")}
    return frozenset(found)


def agrees(trace: Trace, behaviour: Behaviour, quality: str = "") -> bool:
    """Whether everything observed lies within its bound at the given point: what `judge` finds, stopping where not."""
    return judge(trace, behaviour, quality, brief=True).holds


def initial_state(config: Config, behaviour: Behaviour) -> LayerState:
    """The state of a new layer, from which the first call is judged; to be called within `arithmetic()`."""
    state = oracle.initial_state(config, behaviour)
    arrays = (state.running_mean, state.running_var, state.weight, state.bias)
    mean, variance, weight, bias = (None if values is None else floats(values) for values in arrays)  # zeros and ones
    return LayerState(mean, variance, state.num_batches_tracked, weight, bias, state.updates)


def judge(
    trace: Trace, behaviour: Behaviour, quality: str = "", *, brief: bool = False, truths: Truths | None = None
) -> Judgement:
    """Judge every observation that the trace's program asks for at the given point of the space.

    Args:
        brief: whether to stop at the first call that shows something else, which answers whether all holds.
        truths: what answers what is due; that of the process by default.
    """
    verdict = Judgement(behaviour, truths=truths or process_truths())
    program = trace.program
    if trace.broken is not None and not trace.steps:
        verdict.problems.append((-1, str(trace.broken)))
        verdict.crashed = not isinstance(trace.broken, Misfit)
        return verdict
    with arithmetic():
        model = error_model_of(program.config, behaviour, quality=quality)
        carried = initial_state(program.config, behaviour)
        known = 0
        for number, seen in enumerate(trace.steps):
            carried = judge_step(verdict, number, seen, program, carried, model)
            new, known = verdict.comparisons[known:], len(verdict.comparisons)
            if brief and (verdict.problems or any(comparison.worst > 1 for comparison in new)):
                return verdict
    if trace.broken is not None:
        verdict.problems.append((len(trace.steps) - 1, str(trace.broken)))
        verdict.crashed = verdict.crashed or not isinstance(trace.broken, Misfit)
    return verdict


def judge_step(
    verdict: Judgement, number: int, seen: StepResult, program: Program, carried: LayerState, model: ErrorModel
) -> LayerState:
    """Compare what one call shows with what is due after the state `carried`; the state that is due afterwards.

    To be called within `arithmetic()`.
    """
    step, config, behaviour = seen.step, carried.config(program.config), verdict.behaviour
    if step.may_refuse and step.op in ("forward", "backward"):
        return carried.with_everything_shown(seen.after) if seen.after else carried
    if step.op == "vjp":
        answers = not seen.misfit and not seen.raised
        verdict.recorded.append((carried.show(seen.before), step) if answers else None)
    if seen.misfit:
        verdict.problems.append((number, seen.misfit))
        return carried
    if step.pass_number:
        return _judge_recorded(verdict, number, seen, config, carried, model)
    if step.op in ("build", "load", "reset", "set", "freeze"):
        if seen.raised:
            verdict.problems.append((number, str(seen.raised)))
            verdict.crashed = True
            return carried
        if step.op == "build":
            after = initial_state(program.config, behaviour)
        elif step.op == "reset":
            kept = carried.show(seen.before)
            new = initial_state(config, behaviour)
            after = replace(new, weight=kept.weight, bias=kept.bias, options=kept.options)
        elif step.op in ("set", "freeze"):
            after = carried.show(seen.before).with_options(step.options)
        else:
            after = carried.show(seen.before).load_values(step.state)
        for name in sorted(step.observe):
            variance = after.values("running_var") if name.startswith("running_var") else None
            bound = None if variance is None else keep_as_inverse(_nearest(variance), config.eps, model)
            _judge_stored(verdict, number, name, seen.after, after, bound)
        return after
    if step.shards or step.lanes:
        return _several(verdict, number, seen, config, carried, model)
    if step.op == "eval_shape":
        return _abstract(verdict, number, seen, carried)
    _as_announced(verdict, number, seen)
    if _is_unjudged_update(seen) and not (carried.keeps_statistics or carried.is_frozen):
        return carried.after_unjudged_update(seen.after)
    question = Question.of(config, model, carried.show(seen.before), step)
    truth = verdict.truths.answer(question, behaviour)
    if truth.refused or seen.raised:
        if truth.refused and seen.raised:
            verdict.refusals += 1
        elif seen.raised:
            verdict.problems.append((number, str(seen.raised)))
            verdict.crashed = True
        else:
            verdict.problems.append((number, f"answered where it should have refused: {truth.refused}"))
        return question.before
    _results(verdict, number, seen, truth, model)
    return _state(verdict, number, seen, question, truth)


def _several(
    verdict: Judgement, number: int, seen: StepResult, config: Config, carried: LayerState, model: ErrorModel
) -> LayerState:
    """Compare what replicas or lanes show.

    What becomes of the layer's own state is left free, where it is not observed: an evaluation leaves it as it is.
    """
    step = seen.step
    question = Question.of(config, model, carried.show(seen.before), step)
    truth = verdict.truths.answer(question, verdict.behaviour)
    is_open = question.wanted <= truth.unspecified
    if seen.raised and (truth.refused or is_open):
        verdict.refusals += 1
    elif seen.raised:
        verdict.problems.append((number, str(seen.raised)))
        verdict.crashed = True
    elif truth.refused and not is_open:
        verdict.problems.append((number, f"answered where it should have refused: {truth.refused}"))
    else:
        _results(verdict, number, seen, truth, model)
        if step.lanes and "y" in step.observe:
            _announce(verdict, step, seen.values["y"])
        for name in sorted(step.observe & {*STATISTICS, *PARAMETERS, "num_batches_tracked"}):
            _judge_stored(verdict, number, name, seen.after, question.before, None)
    return question.before.with_everything_shown(seen.after) if seen.after else question.before


def _abstract(verdict: Judgement, number: int, seen: StepResult, carried: LayerState) -> LayerState:
    """Compare what is said of a pass that is not made, which moves nothing; its dtype is kept for a later y."""
    step, before = seen.step, carried.show(seen.before)
    if seen.raised:
        verdict.problems.append((number, str(seen.raised)))
        verdict.crashed = True
        return before
    said = seen.values["abstract_y"]
    if "abstract_y" in step.observe and said is not None and step.x is not None:
        verdict.announced.append((step.x.shape, step.training, str(said.dtype), step.op))
    for name in sorted(step.observe & {*STATISTICS, *PARAMETERS, "num_batches_tracked"}):
        _judge_stored(verdict, number, name, seen.after, before, None)
    return before


def _announce(verdict: Judgement, step: Step, y: Array | None) -> None:
    """Keep the dtype that a map gives, of each lane, for a plain pass that follows."""
    if y is not None and step.x is not None:
        shape = (step.x.shape[0] // step.lanes, *step.x.shape[1:])
        verdict.announced.append((shape, step.training, str(y.dtype), step.op))


def _as_announced(verdict: Judgement, number: int, seen: StepResult) -> None:
    """Hold the dtype of y against that which abstract evaluation, or a map, gave of such a pass before."""
    step, y = seen.step, seen.values.get("y")
    if step.op != "forward" or y is None or step.x is None:
        return
    for shape, training, dtype, op in verdict.announced:
        if (shape, training) != (step.x.shape, step.training):
            continue
        if dtype == str(y.dtype):
            verdict.refusals += 1
        else:
            verdict.problems.append((number, f"y has dtype {y.dtype} here; by {op} it has {dtype}"))
    verdict.announced.clear()


def _is_unjudged_update(seen: StepResult) -> bool:
    """Whether a call is one of training that nothing is asked of and no point refuses, with its state shown.

    The truth of it is not needed then: the next call is judged from the state that is shown.
    """
    step = seen.step
    if step.op != "forward" or step.observe or not step.training or seen.raised or not seen.after:
        return False
    assert step.x is not None
    return seen.after["running_mean"] is not None and step.x.size > step.x.shape[1]


def _nearest(values: Values) -> Floats:
    return floats(values) if values.dtype == object else np.asarray(values, np.float64)


def _results(verdict: Judgement, number: int, seen: StepResult, truth: Truth, model: ErrorModel) -> None:
    """Compare what a call returned, as far as it is observed."""
    step = seen.step
    # What each is a function of that has its shape.
    like = {"y": step.x, "tangent_y": step.tangent, "grad_x": step.grad_output, "hvp_x": step.grad_output}
    formats = {"y": model.output, "tangent_y": model.output, "grad_x": model.gradient, "hvp_x": model.gradient}
    like["second_y"], formats["second_y"] = step.tangent, model.output
    like["third_x"], formats["third_x"] = step.grad_output, model.gradient
    formats["jacobian"] = model.gradient if step.op == "jacrev" else model.output
    for name in RESULTS[step.op]:
        if name not in step.observe:
            continue
        got = seen.values[name]
        if name in COUNTERS and got is None:
            continue  # no replica and no lane shows a counter
        if name not in truth.quantities:
            _record_unspecified(verdict, number, name, got)
            continue
        due = truth.expect(name)
        if due is None:
            _absent(verdict, number, name, got, NOTHING_SAVED if name in SAVED else NO_PARAMETER)
            continue
        if name in SAVED and got is None:
            if all(value is None for value in seen.values.values()):
                verdict.problems.append((number, f"nothing is saved; it should be one of {', '.join(SAVED)} at least"))
                return
            continue  # the operator saves another of them
        _compare(verdict, number, name, got, due, formats.get(name, model.statistics).largest, like.get(name))


def _judge_recorded(
    verdict: Judgement, number: int, seen: StepResult, config: Config, carried: LayerState, model: ErrorModel
) -> LayerState:
    """Compare the gradients of a recorded pass with those at the state before it; nothing of the state may move."""
    step, after = seen.step, carried.show(seen.before)
    recorded = verdict.recorded[step.pass_number - 1]
    if step.op == "pullback" and recorded is not None:
        before, passed = recorded
        asked = replace(passed, op="backward", grad_output=step.grad_output, observe=step.observe & set(GRADIENTS))
        if not seen.raised:
            truth = verdict.truths.answer(Question.of(config, model, before, asked), verdict.behaviour)
            _results(verdict, number, seen, truth, model)
        elif not step.may_refuse:
            verdict.problems.append((number, str(seen.raised)))
            verdict.crashed = True
    for name in sorted(step.observe - set(GRADIENTS)):
        variance = after.values("running_var") if name.startswith("running_var") else None
        kept = None if variance is None else keep_as_inverse(_nearest(variance), config.eps, model)
        _judge_stored(verdict, number, name, seen.after, after, kept)
    return after


def _state(verdict: Judgement, number: int, seen: StepResult, question: Question, truth: Truth) -> LayerState:
    """Compare what a pass leaves of the state; the state that is due."""
    before, observed = question.before, seen.step.observe
    # Whether a backward step's own forward pass moves the statistics is left to the adapter: look whether it did.
    moved = not before.keeps_statistics and (
        seen.step.op in ("forward", "masked", "recomputed")
        or any(_bytes(seen.before[name]) != _bytes(seen.after[name]) for name in (*STATISTICS, "num_batches_tracked"))
    )
    after = verdict.truths.after(question, verdict.behaviour, truth) if moved else before
    for name in sorted(observed & {*STATISTICS, *PARAMETERS, "num_batches_tracked", "running_var:finite"}):
        part = name.partition(":")[0]
        if part in truth.unspecified and moved:
            _record_unspecified(verdict, number, part, seen.after[part])
        elif part in STATISTICS and moved and truth.moves:
            _part(verdict, number, name, seen.after[part], truth.expect(part), question.model.statistics.largest)
        else:
            _judge_stored(verdict, number, name, seen.after, after, None, question.model.statistics.largest)
    return after


def _judge_stored(
    verdict: Judgement,
    number: int,
    name: str,
    shown: State,
    due: LayerState,
    bound: Floats | None,
    largest: float = np.inf,
) -> None:
    """Compare one part of the state that was stored, not computed: without a bound it must be exactly that."""
    part = name.partition(":")[0]
    got = shown[part]
    if name == "num_batches_tracked":
        if got is None:
            return
        count = due.num_batches_tracked
        values: Values | None = None if count is None else np.asarray(count, np.float64)
    else:
        values = due.values(part)
    if values is None:
        _absent(verdict, number, name, got, "as this layer has none")
        return
    limit = np.zeros(values.shape) if bound is None else bound
    _part(verdict, number, name, got, Expected(Expansion.of(values), limit), largest)


def _part(verdict: Judgement, number: int, name: str, got: Array | None, due: Expected | None, largest: float) -> None:
    """Compare one part of the state, or only where it is finite."""
    part, _, only = name.partition(":")
    if only and got is not None and due is not None:
        agree = np.isfinite(got.astype(np.float64)) == due.value.finite
        ratio = np.where(agree, 0.0, np.inf)
        verdict.comparisons.append(Comparison(number, name, got, due.value, due.bound, ratio))
        return
    _compare(verdict, number, part, got, due, largest)


def _bytes(value: Array | None) -> bytes | None:
    return None if value is None else value.tobytes()


def _absent(verdict: Judgement, number: int, name: str, got: Array | None, why: str) -> None:
    if got is not None:
        verdict.problems.append((number, f"{name} is an array; it should be None, {why}"))
    else:
        verdict.refusals += 1


def _record_unspecified(verdict: Judgement, number: int, name: str, got: Array | None) -> None:
    """Record an array of which nothing is fixed but that it is there: any value is at no distance from it."""
    if got is None:
        verdict.problems.append((number, f"{name} is None; it should be an array"))
        verdict.missing.append((number, name))
        return
    zeros = np.zeros(got.shape)
    verdict.comparisons.append(
        Comparison(number, name, got, Expansion.of(zeros), zeros + np.inf, zeros, unspecified=True)
    )


def _compare(
    verdict: Judgement,
    number: int,
    name: str,
    got: Array | None,
    due: Expected | None,
    largest: float,
    given: Array | None = None,
) -> None:
    assert due is not None
    if got is None:
        verdict.problems.append((number, f"{name} is None; it should be an array of shape {due.value.shape}"))
        verdict.missing.append((number, name))
        return
    # What must be exact was stored: it has just been made, and is not asked for again.
    if due.value.equals(got):
        ratio = np.zeros(got.shape)
    elif due.bound.any():
        ratio = verdict.truths.error_ratios(got, due, largest)
    else:
        ratio = error_ratios(got, due.value, due.bound, largest)
    verdict.comparisons.append(Comparison(number, name, got, due.value, due.bound, ratio, given=given))
