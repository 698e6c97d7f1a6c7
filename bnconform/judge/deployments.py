"""The judgement on what a tool has deployed: each prediction against the model's own in evaluation, with its bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

import numpy as np

from bnconform.cases.models.build import sample
from bnconform.cases.models.rows import BATCH, LARGER, TWICE, ModelCase
from bnconform.execution.deployment_trace import DeploymentRequest, DeploymentTrace, Prediction
from bnconform.judge.check import Check
from bnconform.judge.check_record import Unsupported
from bnconform.judge.outcome import CRASHED, DEVIATES, UNSUPPORTED, UNTRUSTED, VIOLATES
from bnconform.judge.subject import Ended, Subject
from bnconform.results.failure import Quantity
from bnconform.spec.error_bounds.networks import errors
from bnconform.spec.exact import Exact, Floats, arithmetic, exact, floats
from bnconform.spec.formats import DTYPES, ulp
from bnconform.spec.graph import Array, Graph
from bnconform.spec.oracle.networks import evaluate

DECISION, SINGLE = "epsilon_value", "single_precision"
"""What a tool may declare of the epsilon that its format keeps."""

LOWER = "lower_precision"
"""What it may declare besides: the dtype to which it rounds by default, by that of the model."""

TOLD = ("train", "eval")
"""A warning about the mode has one of these in it."""

KEPT = 2048
"""Truths that are kept in a process."""


@dataclass(frozen=True)
class Admitted:
    """What is admitted of a tool besides arithmetic in the model's dtype.

    Attributes:
        single_epsilon: whether its format stores epsilon in single precision. lower: the dtype to which it rounds
            constants, operands and results; "" for none.
    """

    single_epsilon: bool = False
    lower: str = ""

    def words(self) -> dict[str, str]:
        """As the tool declares it."""
        found = {DECISION: SINGLE} if self.single_epsilon else {}
        return {**found, **({LOWER: self.lower} if self.lower else {})}


NOTHING = Admitted()
"""What is admitted of a tool that declares nothing."""


def list_admitted(subject: Subject) -> list[Admitted]:
    """What is admitted, the strictest first: nothing, then what the tool declares, its lower precision last."""
    single = subject.deviations.get(DECISION) == SINGLE
    lower = subject.lower_precision.get(subject.dtype, "")
    found = [NOTHING, Admitted(single), Admitted(single, lower)]
    return list(dict.fromkeys(found))


@dataclass(frozen=True, eq=False)
class PredictionTruth:
    """What is due of a prediction.

    Attributes:
        value: exact. bound: how far off a right one may be; infinite where that is not known. Both of one shape.
    """

    value: Exact
    bound: Floats

    def of(self, samples: slice) -> PredictionTruth:
        """That of some of the samples."""
        return PredictionTruth(self.value[samples], self.bound[samples])

    @property
    def tells(self) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Where the bound is smaller than the largest prediction: elsewhere zero would pass for it."""
        largest = np.abs(floats(self.value)).max(initial=0.0)
        return np.asarray(self.bound < largest)


@lru_cache(KEPT)
def truth(network: Graph, count: int, training: bool, admitted: Admitted) -> PredictionTruth:
    """What a model predicts of its first so many samples (`bnconform.cases.models.build.sample`).

    Args:
        training: whether BatchNorms that were left in training normalise by the batch.
    """
    single, lower = admitted.single_epsilon, admitted.lower
    with arithmetic():
        results = evaluate(network, sample(network, count), training=training, single_epsilon=single)
        bound = errors(network, results, training=training, single_epsilon=single, lower=lower)
        return PredictionTruth(results[network.output], bound)


@dataclass(frozen=True, eq=False)
class PredictionComparison:
    """A prediction beside what is due.

    Attributes:
        problem: why it cannot be compared, or "". ratios: the distance over the bound, element by element; 0 where the
            bound admits everything. told: how many elements the bound tells anything of.
    """

    y: Array | None
    due: PredictionTruth
    problem: str = ""
    ratios: Floats | None = None
    told: int = 0

    @property
    def worst(self) -> float:
        """The largest ratio; infinite for what cannot be compared."""
        if self.ratios is None:
            return np.inf
        return float(self.ratios.max(initial=0.0))

    def quantity(self, what: str) -> Quantity | None:
        """The element that is furthest off; None where there is no number."""
        if self.ratios is None or self.y is None:
            return None
        place = tuple(int(i) for i in np.unravel_index(int(np.argmax(self.ratios)), self.ratios.shape))
        due = float(self.due.value[place])
        kind = str(self.y.dtype)
        units = abs(float(self.y[place]) - due) / float(ulp(np.array(due), kind)) if kind in DTYPES else None
        return Quantity(
            f"{what}[{', '.join(map(str, place))}]", float(self.y[place]), due, dtype=kind,
            bound=float(self.due.bound[place]), ulps=units, ratio=float(self.ratios[place]),
        )  # fmt: skip


def compare(prediction: Prediction, due: PredictionTruth, samples: slice = slice(None)) -> PredictionComparison:
    """Some of the samples of a prediction beside what is due of them."""
    if prediction.y is None:
        return PredictionComparison(None, due, prediction.misfit or prediction.raised)
    y = prediction.y[samples] if prediction.y.ndim else prediction.y
    if y.shape != due.value.shape:
        return PredictionComparison(y, due, f"a prediction of shape {y.shape} where {due.value.shape} is due")
    with arithmetic():
        wide = y.astype(np.float64)
        off = np.where(
            np.isfinite(wide), floats(abs(exact(np.nan_to_num(wide, posinf=0, neginf=0)) - due.value)), np.inf
        )
    with np.errstate(all="ignore"):
        ratios = np.where(np.isposinf(due.bound) | (off == 0), 0.0, off / due.bound)
    return PredictionComparison(y, due, "", ratios, int(due.tells.sum()))


# -- what the tests call ---------------------------------------------------------------------------------------------


def require_layers(check: Check) -> DeploymentTrace:
    """What the subject makes of the check's model; the check ends where it crashes, or lacks the dtype as declared."""
    __tracebackhide__ = True
    case, subject = case_of(check), check.subject
    inputs = case.inputs(subject.dtype)
    network, example = case.graph(subject.dtype), case.example(subject.dtype)
    request = DeploymentRequest(network, example, inputs, case.again, case.merged)
    try:
        trace = subject.deploy((case.number, subject.dtype), request)
    except Ended as how:
        fail(check, CRASHED, problems=(str(how),))
    if subject.dtype in subject.unsupported:
        _see_refused(check, trace)
    return trace


def require_deployment(check: Check) -> DeploymentTrace:
    """The same; the check ends where the tool refuses the model, too."""
    __tracebackhide__ = True
    trace = require_layers(check)
    if trace.refused:
        refuse(check, trace.refused)
    return trace


def case_of(check: Check) -> ModelCase:
    """The model of a check."""
    assert isinstance(check.case, ModelCase)
    return check.case


def require_prediction(check: Check) -> tuple[DeploymentTrace, Array]:
    """What the subject makes of the model, and its prediction of the first input; unsupported where it raises there."""
    __tracebackhide__ = True
    trace = require_deployment(check)
    first = trace.predictions[0]
    if first.raised:
        refuse(check, first.raised)
    if first.y is None:
        fail(check, VIOLATES, problems=(first.misfit,))
    return trace, first.y


def equal(check: Check) -> None:
    """Judge every prediction of the check's model against the model in evaluation."""
    __tracebackhide__ = True
    trace, _ = require_prediction(check)
    case, network = case_of(check), case_of(check).graph(check.subject.dtype)
    asked = questions_of(case, trace, network)
    refusals = [f"{what}: {prediction.raised}" for what, prediction, *_ in asked if prediction.raised]
    before = len(check.outcomes)
    judge(check, network, [entry for entry in asked if not entry[1].raised])
    if refusals and case.requirement == BATCH:
        del check.outcomes[before:]  # what was answered is right, and of the other sizes nothing was seen
        refuse(check, refusals[0])
    if refusals:
        fail(check, VIOLATES, problems=tuple(refusals))


_ALL = slice(None)

Asked = tuple[str, Prediction, int, slice]
"""A prediction in words, what it was, of so many first samples, of which some are compared."""


def questions_of(case: ModelCase, trace: DeploymentTrace, network: Graph) -> list[Asked]:
    """What a case asks of the predictions of its model."""
    first = ("prediction", trace.predictions[0], len(sample(network)), _ALL)
    if case.requirement == BATCH:
        _, alone, larger, others = trace.predictions
        return [
            ("prediction", trace.predictions[0], 3, _ALL),
            ("prediction of a larger batch", larger, LARGER, _ALL),
            ("prediction of one sample alone", alone, 1, _ALL),
            ("prediction beside large samples", others, 1, slice(0, 1)),
        ]
    if case.requirement == TWICE:
        assert trace.again is not None
        return [first, ("prediction of the second deployment", trace.again, len(sample(network)), _ALL)]
    return [first]


def wrong_prediction(case: ModelCase, trace: DeploymentTrace, subject: Subject) -> tuple[Array, Array] | None:
    """(x, y) of the first prediction of a case that is off, whole; None where none is, or it is no array."""
    network = case.graph(subject.dtype)
    inputs = case.inputs(subject.dtype)
    admitted = list_admitted(subject)[-1]
    for _, prediction, count, samples in questions_of(case, trace, network) if trace.predictions else ():
        place = next((i for i, one in enumerate(trace.predictions) if one is prediction), 0)
        found = _compare(network, prediction, count, samples, admitted)
        if prediction.y is not None and not found.problem and found.worst > 1:
            return inputs[place], prediction.y
    return None


def judge(check: Check, network: Graph, asked: Sequence[tuple[str, Prediction, int, slice]]) -> None:
    """Record the verdict on predictions, each of so many first samples, of which some are compared."""
    __tracebackhide__ = True
    for admitted in list_admitted(check.subject):
        found = [(what, _compare(network, one, count, samples, admitted)) for what, one, count, samples in asked]
        worst_what, worst = max(found, key=lambda pair: pair[1].worst)
        if worst.worst <= 1:
            record(check, admitted, worst.worst, sum(comparison.told for _, comparison in found))
            return
    problems = (worst.problem,) if worst.problem else ()
    fail(check, VIOLATES, share=worst.worst, problems=problems, quantity=worst.quantity(worst_what))


def record(check: Check, admitted: Admitted, ratio: float, told: int) -> None:
    """Record that what was seen is due where so much is admitted; untrusted where nothing was told by it."""
    if not told:
        _vacuous(check)
        return
    declared = admitted.words()
    if not declared:
        check.measure(ratio, told)
        return
    outcome = check._outcome(DEVIATES, checks=told, bound_share=ratio)
    outcome.needed = [name for name in declared if name == DECISION]
    outcome.diagnosis = [{"coordinate": name, "value": value} for name, value in declared.items()]
    outcome.headline = outcome.message = "as declared: " + ", ".join(
        f"{name} = {value}" for name, value in declared.items()
    )
    check._add(outcome)


def _vacuous(check: Check) -> None:
    """Record that nothing was seen, as the bounds admit any prediction."""
    text = "nothing can be told here: the bounds admit any prediction"
    check._add(check._outcome(UNTRUSTED, vacuous=True, headline=text, message=text))


def _compare(
    network: Graph, prediction: Prediction, count: int, samples: slice, admitted: Admitted
) -> PredictionComparison:
    """A prediction beside what is due; of a batch whose samples do not meet, a part of that of the larger one."""
    if any(network.array(node.layer, "running_mean") is None for node in network.nodes if _is_norm(node.kind)):
        return compare(prediction, truth(network, count, False, admitted), samples)
    whole = truth(network, LARGER if count in (1, LARGER) else count, False, admitted)
    return compare(prediction, whole.of(slice(0, count)), samples)


def _is_norm(kind: str) -> bool:
    return kind == "batch_normalization"


def require_unchanged(check: Check) -> None:
    """Judge whether the original model, and the input of the prediction, are as they were."""
    __tracebackhide__ = True
    trace, _ = require_prediction(check)
    if trace.changed or trace.mutated:
        names = ", ".join([*trace.changed[:4], *(["an input"] if trace.mutated else [])])
        what = f"{names} of the original model" if trace.changed else "the input of a prediction"
        fail(check, VIOLATES, quantity=Quantity(f"{what} after it was deployed", "changed", "bitwise as before"))
    check.require(True)


def same_dtype(check: Check) -> None:
    """Judge the dtype of the prediction."""
    __tracebackhide__ = True
    _, y = require_prediction(check)
    if str(y.dtype) != check.subject.dtype:
        fail(check, VIOLATES, quantity=Quantity("dtype of the prediction", str(y.dtype), check.subject.dtype))
    check.require(True)


def one_mode(check: Check) -> None:
    """Judge what becomes of a model that was left in training: refused, told of, or predicted in one mode."""
    __tracebackhide__ = True
    subject, trace = check.subject, require_layers(check)
    network = case_of(check).graph(subject.dtype)
    told = [text for text in trace.warnings if any(word in text.lower() for word in TOLD)]
    refusal = trace.refused or (trace.predictions[0].raised if trace.predictions else "")
    if refusal:
        if "NotImplementedError" in refusal:
            refuse(check, refusal)
        check.note(f"refused: {refusal}")
        return
    if told:
        check.note(f"told: {told[0]}")
        return
    count = len(sample(network))
    first = trace.predictions[0]
    admitted = list_admitted(subject)[-1]
    as_evaluated = compare(first, truth(network, count, False, admitted))
    as_trained = compare(first, truth(network, count, True, admitted))
    if min(as_evaluated.worst, as_trained.worst) <= 1:
        evaluated = as_evaluated.worst <= 1
        if not (as_evaluated if evaluated else as_trained).told:
            _vacuous(check)
            return
        check.note("predicts as in evaluation" if evaluated else "keeps its mode: normalises by the batch")
        return
    nearest = min(as_evaluated, as_trained, key=lambda comparison: comparison.worst)
    fail(
        check, VIOLATES, share=nearest.worst, problems=(nearest.problem,) if nearest.problem else (),
        quantity=nearest.quantity("prediction, of neither mode: in the nearer one"),
    )  # fmt: skip


def _see_refused(check: Check, trace: DeploymentTrace) -> NoReturn:
    """Record that a dtype is unsupported as declared, or fail because the tool answers in it."""
    __tracebackhide__ = True
    if not trace.refused and not all(one.raised for one in trace.predictions):
        dtype = check.subject.dtype
        fail(
            check,
            VIOLATES,
            problems=(f"declares {dtype} unsupported, and yet answers: take `{dtype}` out of `unsupported`",),
        )
    check.record_unsupported(check.subject.dtype)


def refuse(check: Check, words: str) -> NoReturn:
    """Record that the tool refuses the model, in its words."""
    __tracebackhide__ = True
    check._add(check._outcome(UNSUPPORTED, headline=words, message=words))
    raise Unsupported(words)


def fail(check: Check, verdict: str, share: float | None = None, **facts: Any) -> NoReturn:
    """Let the check fail, with its model in words, and what `bnconform.results.failure.Failure` takes."""
    __tracebackhide__ = True
    case = case_of(check)
    network = case.graph(check.subject.dtype)
    outcome = check._outcome(verdict, checks=1, bound_share=share)
    check._raise(outcome, None, remark=f"the model: {case.pattern()}", call=network.describe(), **facts)
