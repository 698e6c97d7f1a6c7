"""The verdict on declarations: one that nothing bears out is told, unless what it is about is not to be had here."""

from __future__ import annotations

import pytest

from bnconform.judge.declarations import stale
from bnconform.judge.outcome import CONFORMS, UNSUPPORTED, VIOLATES, Outcome
from bnconform.judge.subject import Subject
from bnconform.spec.behaviour import SPECIFIED
from bnconform.tests.mutants.oracle_layer import OracleBackend

RULE = "BN-REP-GRAD-PARAMETERS"


def outcomes_told(verdict: str, *, contradicted: bool = False) -> list[Outcome]:
    """What is said of a declaration about replicas where the requirement that fixes it came to a verdict."""
    backend = OracleBackend(SPECIFIED.but(replica_parameter_gradients="mean"), declares=True)
    subject = Subject("mine", backend, "cpu", "float32")
    outcome = Outcome(subject.name, "cpu", "float32", RULE, "must", verdict)
    if contradicted:
        outcome.contradicted.append("replica_parameter_gradients")
    return stale([outcome], [subject], whole=True)


@pytest.mark.parametrize("verdict", [CONFORMS, VIOLATES])
def test_declaration_that_nothing_needs_is_told(verdict: str) -> None:
    """It is a promise."""
    [found] = outcomes_told(verdict)
    assert found.verdict == VIOLATES and "nothing that was measured needs it" in found.headline


def test_declaration_of_what_is_not_to_be_had_is_not_judged() -> None:
    """Where all that could bear it out is unsupported, as training over CPUs, nothing is said of it."""
    assert outcomes_told(UNSUPPORTED) == []
    assert len(outcomes_told(UNSUPPORTED, contradicted=True)) == 1


@pytest.mark.parametrize(("dtype", "told"), [("float64", 1), ("float32", 0)])
def test_declaration_that_no_judged_dtype_can_show_is_not_judged(dtype: str, told: int) -> None:
    """An epsilon in single precision shows in double precision alone."""
    backend = OracleBackend(SPECIFIED.but(epsilon_value="single_precision"), declares=True)
    subject = Subject("mine", backend, "cpu", dtype)
    found = stale([Outcome(subject.name, "cpu", dtype, "BN-TRAIN-NORM", "must", CONFORMS)], [subject], whole=True)
    assert len(found) == told
