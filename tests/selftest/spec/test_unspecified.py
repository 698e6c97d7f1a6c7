"""What rests on 0/0 is fixed by nothing: an average debiased by 1 - (1 - a)**k has no value at momentum 0."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from bnconform.cases import inputs
from bnconform.cases.probes import cases_of
from bnconform.cases.program import Array, Program, Step, backward, forward
from bnconform.diagnosis import search
from bnconform.judge.check import Check, conduct
from bnconform.judge.judgement import Judgement, judge
from bnconform.judge.outcome import UNSUPPORTED, VIOLATES, Outcome
from bnconform.judge.subject import Subject
from bnconform.spec import oracle
from bnconform.spec.behaviour import SPECIFIED, Averaging, Behaviour
from bnconform.spec.catalogue import requirement
from bnconform.spec.config import Config
from bnconform.spec.exact import arithmetic, exact
from bnconform.tests.mutants.oracle_layer import OracleBackend, OracleLayer

DEBIASED = SPECIFIED.but(averaging="zero_debiased")
READ_BACK = DEBIASED.but(training_statistics="running_updated")
LEFT = {"nan": np.nan, "zero": 0.0, "seven": 7.0}
"""What an implementation may make of 0/0."""


class Dividing(OracleLayer):
    """After each training pass at momentum 0 the statistics are one number, and so is what they normalise."""

    left = np.nan

    def forward(self, x: Array, *, training: bool) -> Array:
        y = super().forward(x, training=training)
        if training and self.config.momentum == 0:
            numbers = exact(np.full(self.config.num_features, self.left))
            self.current = replace(self.current, running_mean=numbers, running_var=numbers)
            if self.behaviour == READ_BACK:
                y = np.full_like(y, self.left)
        return y


class Divides(OracleBackend):
    """The backend of such layers."""

    def __init__(self, behaviour: Behaviour, left: float, declares: bool = True) -> None:
        super().__init__(behaviour, declares)
        self.left = left

    def build(self, config: Config, device: str) -> OracleLayer:
        """A layer at the point."""
        layer = Dividing(config, self.behaviour)
        layer.left = self.left
        return layer


def outcomes(
    backend: OracleBackend, identifier: str = "BN-RUN-MOMENTUM", ending: str = "momentum0"
) -> Iterator[Outcome]:
    """Those of the cases of a requirement whose names end so."""
    rule = requirement(identifier)
    for case in cases_of(rule.id, "float32"):
        if case.name.endswith(ending):
            check = Check(Subject("divides", backend, "cpu", "float32"), rule, case)
            yield from conduct(lambda check: check.run(), check)


def judge_layer(backend: OracleBackend, point: Behaviour, *steps: Step) -> Judgement:
    """What one layer with momentum 0 shows, as seen from a point."""
    program = Program(Config(ndim=2, momentum=0.0), steps).cast("float32", "float32")
    return judge(Subject("divides", backend, "cpu", "float32").run(program), point)


@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("momentum", [0.0, 1e-3, 1.0, None])
@pytest.mark.parametrize("averaging", Averaging)
def test_only_momentum_0_of_a_debiased_average_fixes_nothing(
    averaging: Averaging, momentum: float | None, count: int
) -> None:
    """Every other momentum, and momentum 0 of every other average, has a value."""
    x, config = exact(inputs.values((4, 3), 1)), Config(ndim=2, momentum=momentum)
    with arithmetic():
        point = SPECIFIED.but(averaging=averaging)
        state = replace(oracle.initial_state(config, point), num_batches_tracked=count)
        training = oracle.forward(config, point, state, x, training=True)
        evaluation = oracle.forward(config, point, state, x, training=False)
    due = {"running_mean", "running_var"} if averaging == "zero_debiased" and momentum == 0 else set()
    assert training.unspecified == due
    assert evaluation.unspecified == frozenset()


def test_the_other_convention_is_unspecified_at_momentum_1() -> None:
    """Where momentum weighs the old value it is momentum 1 that gives the batch no weight."""
    x = exact(inputs.values((4, 3), 1))
    point = DEBIASED.but(momentum_weighs="running")
    with arithmetic():
        found = [
            bool(oracle.forward(config, point, oracle.initial_state(config, point), x, training=True).unspecified)
            for config in (Config(ndim=2, momentum=0.0), Config(ndim=2, momentum=1.0))
        ]
    assert found == [False, True]


@pytest.mark.parametrize("left", LEFT)
def test_whatever_is_left_is_neither_accused_nor_counted(left: str) -> None:
    """At the declared point the check ends as one that has nothing to compare."""
    found = list(outcomes(Divides(DEBIASED, LEFT[left])))
    assert [(outcome.verdict, outcome.checks) for outcome in found] == [(UNSUPPORTED, 0)] * 2
    assert all("averaging = zero_debiased" in outcome.message for outcome in found)


@pytest.mark.parametrize("averaging", ["exponential", "first_batch_copied", "cumulative"])
def test_momentum_0_of_every_other_average_is_judged(averaging: str) -> None:
    """The same answers, declared to be those of another average, are violations."""
    found = list(outcomes(Divides(SPECIFIED.but(averaging=averaging), np.nan)))
    assert [outcome.verdict for outcome in found] == [VIOLATES] * 2


def test_nothing_is_excused_without_the_declaration() -> None:
    """An undeclared debiased average violates the momentum's requirement at momentum 0."""
    found = list(outcomes(Divides(DEBIASED, np.nan, declares=False)))
    assert [outcome.verdict for outcome in found] == [VIOLATES] * 2


@pytest.mark.parametrize("left", LEFT)
def test_what_follows_is_judged_from_what_was_left(left: str) -> None:
    """Evaluation normalises by whatever the layer shows; a wrong evaluation is still seen."""
    x = inputs.values((4, 3), 1)
    steps = forward(x, "y", "running_mean", "running_var:finite"), forward(x, "y", training=False)
    found = judge_layer(Divides(DEBIASED, LEFT[left]), DEBIASED, *steps)
    assert found.holds
    assert (found.unspecified, found.checks) == (2, 2 * x.size)
    wrong = Divides(DEBIASED.but(evaluation_statistics="batch"), 7.0)
    assert not judge_layer(wrong, DEBIASED, *steps).holds


@pytest.mark.parametrize("left", LEFT)
def test_where_updated_statistics_normalise_the_output_is_unspecified_too(left: str) -> None:
    """And so are the gradients for x and the weight, but not that for the bias."""
    x = inputs.values((4, 3), 1)
    names = "grad_x", "grad_weight", "grad_bias"
    steps = forward(x, "y"), backward(x, inputs.upstream((4, 3)), *names)
    found = judge_layer(Divides(READ_BACK, LEFT[left]), READ_BACK, *steps)
    assert found.holds
    assert (found.unspecified, found.checks) == (3, 3)


@pytest.mark.parametrize("left", LEFT)
def test_a_relation_of_what_is_unspecified_is_neither_accused_nor_counted(left: str) -> None:
    """The output of momentum 0 has no relation to that of another, where updated statistics normalise."""
    found = list(outcomes(Divides(READ_BACK, LEFT[left]), "BN-INV-MOMENTUM", "0-and-0.5-rank2"))
    assert [(outcome.verdict, outcome.checks) for outcome in found] == [(UNSUPPORTED, 0)]


def test_the_search_counts_it_as_vague() -> None:
    """A point at which nothing is fixed explains nothing."""
    x = inputs.values((4, 3), 1)
    program = Program(Config(ndim=2, momentum=0.0), (forward(x, "running_mean"),)).cast("float32", "float32")
    trace = Subject("divides", Divides(DEBIASED, 7.0), "cpu", "float32").run(program)
    view = search.view(trace, judge(trace, DEBIASED), DEBIASED)
    assert view.vague == {(0, "running_mean")}
    assert view.wrong == frozenset()
