"""The diagnosis names the fault: one decision, two, or the narrowest description of what is no decision."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest

from bnconform.cases.distinguishing import distinguishing_programs
from bnconform.cases.program import Program
from bnconform.diagnosis import search
from bnconform.diagnosis.causes import diagnose, note
from bnconform.diagnosis.failure_conditions import narrowest
from bnconform.execution.sessions import InProcess, Session
from bnconform.execution.trace import Trace, lose_trace
from bnconform.judge.outcome import CRASHED, VIOLATES, Outcome
from bnconform.judge.subject import Subject
from bnconform.judge.suite import conformance_tests
from bnconform.results.result import Diagnosis
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.formats import DTYPES
from bnconform.tests.mutants import pairs
from bnconform.tests.mutants.catalogue import DTYPES as WIDE
from bnconform.tests.mutants.catalogue import Mutant, neighbours
from bnconform.tests.mutants.layer import Array, Layer
from bnconform.tests.mutants.oracle_layer import OracleBackend


def outcomes(backend: Any, dtypes: Iterable[str], *requirements: str) -> list[Outcome]:
    """The outcomes of these requirements, each failing check with the points that explain it."""
    found = []
    for dtype in dtypes:
        subject = Subject("wrong", backend, "cpu", dtype)
        for test in conformance_tests():
            if test.rule.id not in requirements:
                continue
            for case in test.cases(dtype):
                mine = test.run(subject, case)
                for outcome in mine:
                    if outcome.verdict in (VIOLATES, CRASHED):
                        note(outcome, subject, partial(test.rerun, case))
                found += mine
    return found


def diagnoses(backend: Any, dtypes: Iterable[str], *requirements: str) -> list[Diagnosis]:
    """What explains the failing checks of these requirements."""
    return diagnose(outcomes(backend, dtypes, *requirements))[1]


@pytest.mark.thorough(keep=5)
@pytest.mark.parametrize("mutant", neighbours(), ids=lambda mutant: mutant.name)
def test_every_single_fault_is_named_alone(mutant: Mutant) -> None:
    """The search gives an ideal implementation at a neighbour its decision and value, and nothing else."""
    for dtype in mutant.dtypes:
        found = search.explain(search.gather(Subject("neighbour", mutant, "cpu", dtype)))
        assert [tuple(point.differences().items()) for point in found.points] == [mutant.explanation]
        assert found.unexplained == 0 < found.total


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_specified_point_needs_no_explanation(dtype: str) -> None:
    """The distinguishing programs show nothing wrong of an ideal implementation."""
    found = search.explain(search.gather(Subject("right", OracleBackend(), "cpu", dtype)))
    assert found.points == (SPECIFIED,)
    assert found.total == 0


@pytest.mark.parametrize("point", random.Random(7).sample(pairs.sample(60), 8), ids=pairs.words)
def test_two_faults_are_named_together(point: Behaviour) -> None:
    """The search gives both decisions, or a point that nothing tells from them; `tests.mutants` takes more."""
    assert pairs.diagnose(point).verdict != pairs.MISSED


@pytest.mark.parametrize(
    "differences",
    [
        {"running_variance": "biased", "epsilon_form": "outside", "momentum_weighs": "running"},
        {
            "running_variance": "biased",
            "mode_source": "gradients_enabled",
            "momentum_weighs": "running",
            "single_value": "bias_output",
            "empty_batch": "nan_statistics",
        },
    ],
    ids=["three", "five"],
)
def test_more_faults_are_found_step_by_step(differences: dict[str, str]) -> None:
    """The climb arrives at a point with more decisions than two."""
    point = SPECIFIED.but(**differences)
    assert search.explain(search.gather(Subject("wrong", OracleBackend(point), "cpu", "float32"))).points == (point,)


def test_one_fault_explains_all_failing_checks() -> None:
    """The sentence counts the failing checks of all dtypes and requirements."""
    wrong = OracleBackend(SPECIFIED.but(running_variance="biased"))
    found = outcomes(wrong, WIDE, "BN-RUN-VAR", "BN-RUN-LOAD")
    failing = sum(outcome.verdict == VIOLATES for outcome in found)
    told, (one,) = diagnose(found)
    assert one.text == f"running_variance = biased (explains {failing} of {failing} failing checks)"
    assert {outcome.verdict for outcome in told if f"  diagnosis  {one.text}" in outcome.message} == {VIOLATES}
    assert [{"coordinate": "running_variance", "value": "biased"}] * failing == [
        outcome.diagnosis[0] for outcome in told if outcome.verdict == VIOLATES
    ]


def test_two_faults_are_one_explanation() -> None:
    """A pair is told as a pair."""
    wrong = OracleBackend(SPECIFIED.but(running_variance="biased", momentum_weighs="running"))
    (one,) = diagnoses(wrong, ("float32",), "BN-RUN-VAR", "BN-RUN-MOMENTUM")
    assert one.explains == one.failing > 0
    assert one.text.startswith("running_variance = biased and momentum_weighs = running (explains ")


class OnlyRank3(Layer):
    """Rank 3 is a hundredth too large."""

    def reshape_like(self, values: Array, x: Array) -> Array:
        y = super().reshape_like(values, x)
        return y * y.dtype.type(1.01) if x.ndim == 3 else y


class OnlyHighChannels(Layer):
    """Channels from 64 on are zero."""

    def reshape_like(self, values: Array, x: Array) -> Array:
        y = super().reshape_like(values, x)
        y[:, 64:] = 0
        return y


class OnlyStrided(Layer):
    """Input that is not contiguous is read in the order of memory."""

    def channels(self, x: Array) -> Array:
        return super().channels(np.ravel(x, order="K").reshape(x.shape))


class OnlyFloat16(Layer):
    """Half precision of one kind is a fifth too large."""

    def affine(self, z: Array, training: bool) -> Array:
        return super().affine(z, training) * self.work.type(1.2 if self.config.dtype == "float16" else 1)


class OnlyLargeMean(Layer):
    """The variance is the difference of two large numbers."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        mean = values.mean(axis=1)
        return mean, np.maximum((values * values).mean(axis=1) - mean * mean, 0)


class Unsteady(Layer):
    """Every call answers a little more."""

    calls = 0

    def affine(self, z: Array, training: bool) -> Array:
        Unsteady.calls += 1
        return super().affine(z, training) * self.work.type(1 + 1e-3 * (Unsteady.calls % 7))


class OnlyRank3Biased(Layer):
    """At rank 3 the running variance remembers the biased variance."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        return self.moments(values) if self.config.ndim == 3 else super().memory_of(values)


class OnlyMomentumHalf(Layer):
    """With a momentum of a half nothing moves."""

    def batch_weight(self) -> float:
        return 0.0 if self.config.momentum == 0.5 else super().batch_weight()


class SmallError(Layer):
    """The output is too large by 3e-6 of itself."""

    def affine(self, z: Array, training: bool) -> Array:
        return super().affine(z, training) * self.work.type(1 + 3e-6)


class ShowsNaN(Layer):
    """The running variance is right, and shown as NaN."""

    def state(self) -> dict[str, Any]:
        shown = super().state()
        if shown.get("running_var") is not None:
            shown["running_var"] = np.full_like(shown["running_var"], np.nan)
        return shown


def test_what_leaves_everything_open_explains_nothing() -> None:
    """Where a statistic is shown as NaN, no decision that makes of it what it likes is named."""
    found = diagnoses(
        Mutant("ShowsNaN", "wrong", ShowsNaN), ("float32",), "BN-EVAL-EPS", "BN-EVAL-ROW", "BN-EVAL-STATS"
    )
    assert found and [one.points for one in found] == [()] * len(found)


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize(
    ("layer", "requirements", "dtypes", "words"),
    [
        (OnlyRank3, ("BN-TRAIN-NORM", "BN-RANK", "BN-GRAD-INPUT"), ("float32",), "only rank 3"),
        (OnlyHighChannels, ("BN-LAYOUT-CHANNELS", "BN-TRAIN-NORM"), ("float32",), "only channel 64, counted from 0"),
        (OnlyStrided, ("BN-LAYOUT-X", "BN-TRAIN-NORM", "BN-RANK"), ("float32",), "read as if it were contiguous"),
        (OnlyFloat16, ("BN-TRAIN-NORM", "BN-RANK"), DTYPES, "only float16"),
        (OnlyLargeMean, ("BN-NUM-STABLE", "BN-TRAIN-NORM"), ("float32",), "only mean over deviation >= "),
        (Unsteady, ("BN-TRAIN-NORM",), ("float32",), "it differs from run to run"),
        (SmallError, ("BN-TRAIN-NORM", "BN-RANK"), ("float32",), "y is 1.000003 times what it should be"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_is_no_decision_is_described(
    layer: type[Layer], requirements: tuple[str, ...], dtypes: tuple[str, ...], words: str
) -> None:
    """Where no point explains the failures, it says so or what does, and where they show and nowhere else."""
    found = diagnoses(Mutant(layer.__name__, "wrong", layer), dtypes, *requirements)
    assert [one.points for one in found] == [()]
    failing = found[0].failing
    unexplained = f"no decision of the behaviour space explains {failing} of "
    quality = f"BN-NUM-STABLE, {failing} of {failing} failing checks"  # which no decision is looked for
    assert found[0].text.startswith((unexplained, quality)) or f"(explains {failing} of {failing} f" in found[0].text
    assert words in found[0].text


@pytest.mark.parametrize(
    ("layer", "requirements", "differs", "words"),
    [
        (
            OnlyRank3Biased,
            ("BN-RUN-VAR", "BN-RANK"),
            {"running_variance": "biased"},
            "but only running_var, only rank 3",
        ),
        (
            OnlyMomentumHalf,
            ("BN-RUN-UPDATE", "BN-RUN-MEAN"),
            {"training_update": "never"},
            "but only running_mean, running_var, only momentum 0.5",
        ),
    ],
    ids=["rank", "momentum"],
)
def test_decision_under_a_condition_is_named(
    layer: type[Layer], requirements: tuple[str, ...], differs: dict[str, str], words: str
) -> None:
    """Where a decision differs only sometimes, it is named together with when."""
    found = diagnoses(Mutant(layer.__name__, "wrong", layer), ("float32",), *requirements)
    assert differs in [{part.coordinate: part.value for part in point} for one in found for point in one.points]
    assert words in found[0].text


def _quantity(ratio: float, *, wrong: bool) -> dict[str, Any]:
    return {"what": "y", "wrong": wrong, "mean_over_std": ratio}


@pytest.mark.parametrize(("right", "told"), [(7.4, True), (10.399999, False)], ids=["far", "alike"])
def test_a_limit_between_numbers_that_print_alike_is_not_told(right: float, told: bool) -> None:
    """Where the nearest right number looks like the first wrong one, there is no limit to tell."""
    failing = [
        Outcome(
            "b",
            "cpu",
            "float32",
            "BN-TRAIN-NORM",
            "must",
            VIOLATES,
            judged_quantities=[_quantity(10.4, wrong=True)] * 2,
        )
    ] * 2
    holds = Outcome(
        "b",
        "cpu",
        "float32",
        "BN-RANK",
        "must",
        "conforms",
        judged_quantities=[_quantity(right, wrong=False)] * 9,
    )
    text = narrowest(failing, [*failing, holds])
    assert ("only mean over deviation >= 10.4 (not at 7.4)" in text) is told
    assert ("10.4" in text) is told


@dataclass
class Expiring:
    """A session in which each program is answered once; whoever asks again finds a process that dies."""

    session: Session
    answered: set[bytes] = field(default_factory=set)

    def run(self, program: Program) -> Trace:
        """What the program shows, or that its process has died."""
        if program.key in self.answered:
            return lose_trace(program, "the process died of SIGSEGV")
        self.answered.add(program.key)
        return self.session.run(program)

    def ahead(self, programs: Iterable[Program]) -> None:
        """Nothing."""


def test_process_that_dies_when_it_is_asked_again_is_not_steady() -> None:
    """It is no error of ours: nothing is explained of what does not do the same twice."""
    mutant = Mutant("biased", "remembers the biased variance", OnlyRank3Biased)
    subject = Subject("biased", mutant, "cpu", "float32", session=Expiring(InProcess(mutant)))
    programs = dict(list(distinguishing_programs().items())[:2])
    evidence = search.gather(subject, programs)
    assert not evidence.steady and evidence.ended == [] and set(evidence.traces) == set(programs)
    assert search.gather(Subject("biased", mutant, "cpu", "float32"), programs).steady
