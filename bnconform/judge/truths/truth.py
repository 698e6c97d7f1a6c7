"""What is due at one call, as plain float64 arrays, and where it comes from: memory, the disk, or the oracle.

Many implementations, and many points of the behaviour space, are asked the same: the suite's programs are fixed, and a
right layer shows the same state before a call as every other. A truth is computed once for a question; it then answers
the same question at every point that does not differ in a decision that was read while it was computed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any, cast

import numpy as np

from bnconform.cases.program import GRADIENTS, HESSIAN, JACOBIANS, RESULTS, SAVED, Array, Step
from bnconform.judge.error_ratio import error_ratios
from bnconform.judge.truths.cache_settings import CacheSettings
from bnconform.judge.truths.expansion import Expansion
from bnconform.judge.truths.layer_state import STATISTICS, LayerState
from bnconform.judge.truths.lru_cache import LruCache
from bnconform.judge.truths.mapped_truth import truth_of_mapped
from bnconform.judge.truths.replicated_truth import truth_of_replicas
from bnconform.judge.truths.truth_of_pieces import truth_of_pieces
from bnconform.judge.truths.truth_record import Expected, Truth
from bnconform.judge.truths.truth_store import TruthStore
from bnconform.spec import oracle
from bnconform.spec.behaviour import Behaviour, FrozenGradients, ModeSource
from bnconform.spec.config import Config
from bnconform.spec.error_bounds import derivatives, transforms
from bnconform.spec.error_bounds.error_model import ErrorModel
from bnconform.spec.error_bounds.forward import ForwardErrors, running_errors
from bnconform.spec.error_bounds.gradients import bias_gradient, input_gradient, weight_gradient
from bnconform.spec.error_bounds.saved import error_of_saved
from bnconform.spec.exact import Exact, Floats, exact

RATIOS = 16 * 2**20
"""Bytes of error ratios that a process keeps."""

Answer = tuple[dict[str, str], Truth]
"""The decisions that a truth rests on, by name, and the truth."""

IN_PIECES = ("forward", "backward", "vjp")
"""The passes that a point may make of pieces of the batch."""

OF_PARAMETERS = frozenset({"grad_weight", "grad_bias", "hvp_weight", "hvp_bias"})
"""What belongs to weight and bias, which a frozen layer does not train."""

INPUTS = 64 * 2**20
"""Bytes of inputs in 320 bits, with their statistics, that a process keeps; some 300 bytes an element."""


@dataclass(frozen=True)
class Question:
    """A forward or backward step of a layer in a state, within an error model; the point of the space is apart.

    Attributes:
        wanted: the names of what must be answered.
    """

    config: Config
    model: ErrorModel
    before: LayerState
    step: Step
    wanted: frozenset[str]

    @staticmethod
    def of(config: Config, model: ErrorModel, before: LayerState, step: Step) -> Question:
        """What must be answered to judge everything that a step observes."""
        wanted = step.observe & set(RESULTS[step.op])
        if before.running_mean is not None and step.observe & {*STATISTICS, "running_var:finite"}:
            wanted = wanted | set(STATISTICS)
        return Question(config, model, before, step, wanted)

    @property
    def key(self) -> bytes:
        """A digest of all that decides the answer, but for the oracle and the point of the space."""
        step = self.step
        assert step.x is not None
        digest = hashlib.sha256(_head(self.config, self.model, step.op, step.training, self.wanted))
        digest.update(self.before.key())
        if self.before.is_frozen:
            digest.update(b"frozen")
        if step.shards:
            digest.update(f"shards {step.shards}".encode())
        if step.lanes:
            digest.update(f"lanes {step.lanes} {list(step.layers)}".encode())
        for values in (step.x, step.grad_output, step.tangent, step.second, step.selected, *step.layers.values()):
            if values is not None:
                digest.update(b"|%s %s|" % (values.dtype.char.encode(), str(values.shape).encode()))
                digest.update(values.tobytes())
        return digest.digest()


@cache
def _head(config: Config, model: ErrorModel, op: str, training: bool, wanted: frozenset[str]) -> bytes:
    return repr((config, model, op, training, sorted(wanted))).encode()


class WatchedBehaviour:
    """A behaviour that notes which of its decisions are read; it stands in for one (`typing.cast`)."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._read: dict[str, Any] = {}

    @property
    def decisions_read(self) -> dict[str, Any]:
        """The values of the decisions that were read, by name."""
        return self._read

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._behaviour, name)
        self._read[name] = value
        setattr(self, name, value)  # so that it is not looked up here again
        return value


class Truths:
    """Answers questions, each of them computed once.

    Attributes:
        memory: the answers that this process keeps, by question; its `budget` may be changed.
        store: the answers of earlier processes; None where none are kept.
        computed: how many answers came from the oracle.
    """

    def __init__(self, settings: CacheSettings) -> None:
        self.memory: LruCache[bytes, Answers] = LruCache(settings.memory)
        self.store = None if settings.folder is None else TruthStore(settings.folder, settings.disk)
        self.computed = 0
        self._batches: LruCache[bytes, oracle.Batch] = LruCache(INPUTS)
        self._ratios: LruCache[tuple[object, ...], tuple[Expected, Floats]] = LruCache(RATIOS)

    def answer(self, question: Question, behaviour: Behaviour) -> Truth:
        """The truth at a point of the space; to be called within `exact.arithmetic()`."""
        key = question.key
        known = self.memory.get(key)
        found = None if known is None else known.fitting(behaviour)
        if found is not None:
            return found
        if known is None:
            known = Answers.of(self.store.read(key) if self.store is not None else ())
            found = known.fitting(behaviour)
        if found is None:
            self.computed += 1
            read, found = self._compute(question, behaviour)
            known.add((read, found))
            if self.store is not None:
                self.store.write(key, read, found)
        self.memory.put(key, known, sum(truth.nbytes for _, truth in known.each))
        return found

    def error_ratios(self, got: Array, due: Expected, largest: float) -> Floats:
        """The ratios of `error_ratio.error_ratios`, kept, as right layers show the same bits over and over."""
        # What is due is kept with the ratios, so that its identity stays its own.
        key = id(due), largest, got.dtype, got.tobytes()
        found = self._ratios.get(key)
        if found is None:
            found = due, error_ratios(got, due.value, due.bound, largest)
            self._ratios.put(key, found, due.value.nbytes + due.bound.nbytes + found[1].nbytes + got.nbytes + 500)
        return found[1]

    def after(self, question: Question, behaviour: Behaviour, truth: Truth) -> LayerState:
        """The state after a pass; the running statistics are computed again only where the layer does not show them."""

        def move() -> tuple[Exact, Exact]:
            if truth.statistics is not None:
                return truth.statistics
            parts = _pieces(question, behaviour)
            if len(parts) > 1:
                before, x = question.before.exact(), exact(cast(Array, question.step.x))
                last = oracle.forward_in_pieces(question.config, behaviour, before, x, parts)[-1]
                state = last.state
            else:
                state = self._pass(question, behaviour).state
            assert state.running_mean is not None and state.running_var is not None
            return state.running_mean, state.running_var

        return replace(
            question.before, num_batches_tracked=truth.batches, updates=truth.updates,
            moved=move if truth.moves else question.before.moved,
        )  # fmt: skip

    def _compute(self, question: Question, behaviour: Behaviour) -> Answer:
        """A truth, with the decisions that were read on the way."""
        watched = WatchedBehaviour(behaviour)
        point = cast(Behaviour, watched)
        if question.step.shards:
            before = question.before.exact()
            found = truth_of_replicas(question.config, point, question.model, before, question.step, question.wanted)
        elif question.step.lanes:
            carried = question.before
            found = truth_of_mapped(question.config, point, question.model, carried, question.step, question.wanted)
        elif len(parts := _pieces(question, point)) > 1:
            before = question.before.exact()
            found = truth_of_pieces(
                question.config, point, question.model, before, question.step, question.wanted, parts
            )
        else:
            found = _truth(question, self._pass(question, point), point)
        return {name: str(value) for name, value in watched.decisions_read.items()}, found

    def _pass(self, question: Question, behaviour: Behaviour) -> Records:
        config, step, before = question.config, question.step, question.before.exact()
        assert step.x is not None
        x, training = self._batch(step.x, step.selected), step.training
        if question.before.is_frozen:
            training = oracle.mode_when_frozen(behaviour, training)
            records = self._records(question, behaviour, before, x, training)
            state, moving = oracle.state_when_frozen(
                config, behaviour, before, x, records.forward, training=step.training
            )
            if moving is not None or state is not records.forward.state:
                records = replace(records, frozen=state, moving=moving)
            return records
        return self._records(question, behaviour, before, x, training)

    def _records(
        self, question: Question, behaviour: Behaviour, before: oracle.State, x: oracle.Batch, training: bool
    ) -> Records:
        """What the oracle computes of a pass in a mode."""
        config, step = question.config, question.step
        direction = None if step.tangent is None else self._batch(step.tangent).x
        if step.grad_output is None:
            # To record a pass, or to give x a tangent, is to have gradients enabled.
            enabled = (
                step.op in ("vjp", "jvp", "jvp_jvp", *JACOBIANS)
                and behaviour.mode_source is ModeSource.GRADIENTS_ENABLED
            )
            training = training or enabled
            if step.op in JACOBIANS:
                differentiate = oracle.jacrev if step.op == "jacrev" else oracle.jacfwd
                found = differentiate(config, behaviour, before, x, training=training)
                return Records(found.forward, jacobian=found)
            if direction is None:
                return Records(oracle.forward(config, behaviour, before, x, training=training))
            if step.second is not None:
                beyond = self._batch(step.second).x
                twice = oracle.jvp_jvp(config, behaviour, before, x, direction, beyond, training=training)
                return Records(twice.forward, second=twice)
            tangent = oracle.jvp(config, behaviour, before, x, direction, training=training)
            return Records(tangent.forward, tangent=tangent)
        upstream = self._batch(step.grad_output).x
        if step.op == "recomputed":
            twofold = oracle.recomputed(config, behaviour, before, x, upstream, training=training)
            return Records(twofold.backward.forward, twofold.backward, recomputed=twofold)
        if direction is None:
            gradients = oracle.backward(config, behaviour, before, x, upstream, training=training)
            return Records(gradients.forward, gradients)
        if step.second is not None:
            beyond = self._batch(step.second).x
            thrice = oracle.third(config, behaviour, before, x, upstream, direction, beyond, training=training)
            return Records(thrice.backward.forward, third=thrice)
        hessian = oracle.hvp(config, behaviour, before, x, upstream, direction, training=training)
        return Records(hessian.backward.forward, hessian=hessian)

    def _batch(self, values: Array, mask: Array | None = None) -> oracle.Batch:
        """An input in 320 bits, with the statistics of it that were asked for before."""
        key = b"%s %s " % (values.dtype.char.encode(), str(values.shape).encode()) + values.tobytes()
        key += b"" if mask is None else b"|" + mask.tobytes()
        found = self._batches.get(key)
        if found is None:
            found = oracle.Batch(exact(values), mask)
            self._batches.put(key, found, 300 * values.size + 1000)
        return found


@dataclass
class Answers:
    """The answers to one question, each found by the values of the decisions that were read while it was computed.

    Answers rest on few sets of decisions, whatever their number, so that it is looked up once a set.
    """

    each: list[Answer] = field(default_factory=list)
    _by_values: dict[tuple[str, ...], dict[tuple[str, ...], Truth]] = field(default_factory=dict)

    @staticmethod
    def of(answers: Iterable[Answer]) -> Answers:
        """Those that were kept."""
        found = Answers()
        for answer in answers:
            found.add(answer)
        return found

    def add(self, answer: Answer) -> None:
        """One more."""
        read, truth = answer
        self.each.append(answer)
        self._by_values.setdefault(tuple(read), {}).setdefault(tuple(read.values()), truth)

    def fitting(self, behaviour: Behaviour) -> Truth | None:
        """The answer that was computed at a point with the same decisions, as far as they were read."""
        for names, truths in self._by_values.items():
            found = truths.get(tuple(str(getattr(behaviour, name)) for name in names))
            if found is not None:
                return found
        return None


@dataclass(frozen=True)
class Records:
    """What the oracle computed of one pass: the forward pass, and gradients or derivatives if they are asked for.

    `recomputed` has what becomes of the statistics where the forward pass is run again; `frozen` the state after a pass
    of a layer that is frozen, and `moving` the pass that has moved it, where that is another one.
    """

    forward: oracle.Forward
    gradients: oracle.Backward | None = None
    tangent: oracle.Tangent | None = None
    hessian: oracle.Hessian | None = None
    recomputed: oracle.Recomputed | None = None
    jacobian: oracle.Jacobian | None = None
    second: oracle.SecondTangent | None = None
    third: oracle.ThirdDerivative | None = None
    frozen: oracle.State | None = None
    moving: oracle.Forward | None = None

    @property
    def state(self) -> oracle.State:
        """The state afterwards."""
        if self.frozen is not None:
            return self.frozen
        return self.forward.state if self.recomputed is None else self.recomputed.state


def _pieces(question: Question, behaviour: Behaviour) -> tuple[slice, ...]:
    """The pieces that a pass divides its batch into; one where the point, or the pass, divides none."""
    step = question.step
    if step.x is None or not step.training or question.before.is_frozen or step.op not in IN_PIECES or step.shards:
        return ()
    return oracle.pieces(behaviour, len(step.x))


def _truth(question: Question, records: Records, behaviour: Behaviour) -> Truth:
    record = records.forward
    before, after = record.before, records.state
    moves = (
        after.updates != before.updates
        or after.running_mean is not before.running_mean
        or after.running_var is not before.running_var
    )
    statistics = None
    if moves and after.running_mean is not None and after.running_var is not None:
        statistics = after.running_mean, after.running_var
    quantities = {} if record.refused else _quantities(question, records, moves)
    frozen = quantities.keys() & OF_PARAMETERS if question.before.is_frozen else set()
    if frozen and behaviour.frozen_gradients is FrozenGradients.NONE:
        quantities |= dict.fromkeys(frozen)
    return Truth(
        record.refused, record.unspecified, quantities, moves, after.num_batches_tracked, after.updates, statistics
    )


def _quantities(question: Question, records: Records, moves: bool) -> dict[str, Expected | None]:
    record, gradients = records.forward, records.gradients
    model, wanted, unspecified = question.model, question.wanted, record.unspecified
    errors = ForwardErrors(record, model)
    found: dict[str, Expected | None] = {}
    if "y" in wanted - unspecified:
        found["y"] = _due(record, record.y, lambda: errors.output)
    for name, bound in zip(GRADIENTS, (input_gradient, weight_gradient, bias_gradient), strict=True):
        if name in wanted:
            assert gradients is not None
            value: Exact | None = getattr(gradients, name)
            if value is None:
                found[name] = None
            elif name not in unspecified:
                found[name] = _due(record, value, partial(bound, gradients, model, errors))
    if "tangent_y" in wanted and "y" not in unspecified:
        assert records.tangent is not None
        bound = partial(derivatives.tangent, records.tangent, model, errors)
        found["tangent_y"] = _due(record, records.tangent.tangent_y, bound)
    if records.second is not None and "second_y" in wanted - unspecified and "y" not in unspecified:
        bound = partial(derivatives.second_tangent, records.second, model, errors)
        found["second_y"] = _due(record, records.second.second_y, bound)
    if records.jacobian is not None and "jacobian" in wanted and not unspecified & {"y", "grad_x"}:
        bound = partial(transforms.jacobian, records.jacobian, model)
        found["jacobian"] = _due(record, records.jacobian.value, bound)
    if records.third is not None and "third_x" in wanted and "grad_x" not in unspecified:
        bound = partial(derivatives.third_input, records.third, model, errors)
        found["third_x"] = _due(record, records.third.third_x, bound)
    if records.hessian is not None and "grad_x" not in unspecified:
        found |= _hessian(record, records.hessian, model, errors, wanted)
    if wanted & set(SAVED) and "y" not in unspecified:
        found |= _truth_of_saved(record, errors, wanted)
    if moves and (wanted - unspecified) & set(STATISTICS):
        after, bounds = records.state, _running(records, model, errors)
        for name, moved, limit in zip(STATISTICS, (after.running_mean, after.running_var), bounds, strict=True):
            assert moved is not None
            found[name] = Expected(Expansion.of(moved, limit), limit)
    return found


def _truth_of_saved(
    record: oracle.Forward, errors: ForwardErrors, wanted: frozenset[str]
) -> dict[str, Expected | None]:
    """What is given beside y, of what is wanted; None where that is nothing."""
    saved = oracle.results_beside(record)
    names = [name for name in SAVED if name in wanted]
    if saved is None or not record.x.size:
        return dict.fromkeys(names)
    return {name: _due(record, saved.value(name), partial(error_of_saved, saved, name, errors)) for name in names}


def _running(records: Records, model: ErrorModel, errors: ForwardErrors) -> tuple[Floats, Floats]:
    """The bounds on the running statistics after the pass, of one update or of two."""
    if records.moving is not None:
        return ForwardErrors(records.moving, model).running
    again = None if records.recomputed is None else records.recomputed.again
    if again is None:
        return errors.running
    return running_errors(again.config, again.behaviour, again.before, again, model, errors, errors.running)


def _hessian(
    record: oracle.Forward, hessian: oracle.Hessian, model: ErrorModel, errors: ForwardErrors, wanted: frozenset[str]
) -> dict[str, Expected | None]:
    """The derivatives of the gradients that are wanted."""
    found: dict[str, Expected | None] = {}
    bounds = derivatives.hessian_input, derivatives.hessian_weight, derivatives.hessian_bias
    for name, bound in zip(HESSIAN, bounds, strict=True):
        if name in wanted:
            value: Exact | None = getattr(hessian, name)
            found[name] = None if value is None else _due(record, value, partial(bound, hessian, model, errors))
    return found


def _due(record: oracle.Forward, value: Exact, bound: Callable[[], Floats]) -> Expected:
    limit = bound() if record.x.size else np.zeros(value.shape)
    return Expected(Expansion.of(value, limit), limit)


@cache
def process_truths() -> Truths:
    """The truths that this process keeps, as its environment says."""
    return Truths(CacheSettings.of_environment())
