"""The suite can fail: every neighbour of the specified point is told apart from it by the requirement that fixes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from bnconform.cases.probes import cases_of
from bnconform.judge.check import Check
from bnconform.judge.check_record import Unsupported, Violation
from bnconform.judge.outcome import DEVIATES, Outcome
from bnconform.judge.subject import Subject
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.catalogue import Requirement, fixing, requirements
from bnconform.spec.formats import DTYPES
from bnconform.tests.conformance import test_dtypes as dtypes
from bnconform.tests.conformance import test_edges as edges
from bnconform.tests.conformance import test_masks as masks
from bnconform.tests.conformance import test_saved as saved
from bnconform.tests.mutants.catalogue import Mutant
from bnconform.tests.mutants.oracle_layer import EveryOracleLayer, OracleBackend

LAWS: dict[str, Callable[[Check], None]] = {
    "BN-DTYPE-OUTPUT": dtypes.test_output_dtype,
    "BN-DTYPE-STATS": dtypes.test_statistics_dtype,
    "BN-EDGE-ONE-VALUE-POLICY": edges.test_one_value_policy,
    "BN-EDGE-EMPTY-POLICY": edges.test_empty_batch_policy,
    "BN-MASK-NONE-POLICY": masks.test_nothing_selected_policy,
    "BN-SAVED-EVAL-POLICY": saved.test_what_is_saved_in_evaluation,
}
"""The requirements that fix a decision by a law instead of probes."""

SAME = {("evaluation_epsilon_form", "inside")}
"""Neighbours that do what the specified point does: `inside` in evaluation is what training does there."""

NEIGHBOURS = [(name, value, point) for name, value, point in SPECIFIED.neighbours() if (name, value) not in SAME]


def outcomes(rule: Requirement, backend: Any, dtype: str) -> Iterator[Outcome]:
    """The outcomes of all checks of one requirement."""
    subject = Subject("oracle", backend, "cpu", dtype)
    for case in cases_of(rule.id, dtype) or (None,):
        check = Check(subject, rule, case)
        with suppress(Violation, Unsupported):
            LAWS[rule.id](check) if case is None else check.run()
        yield from check.outcomes


@pytest.mark.thorough(keep=5)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "value", "point"), NEIGHBOURS, ids=[f"{name}={value}" for name, value, _ in NEIGHBOURS]
)
def test_neighbour_is_told_apart(name: str, value: str, point: Behaviour, dtype: str) -> None:
    """An ideal implementation at a neighbour violates the requirement that fixes the decision."""
    if dtype not in point.dtypes:
        pytest.skip("it shows in other dtypes")
    rule = fixing(name)
    found = outcomes(rule, OracleBackend(point), dtype)
    if rule.level == "may":
        assert any(f"{name} = {value}" in outcome.message for outcome in found)
        return
    failed = (outcome.verdict in ("violates", "crashed") for outcome in found)
    assert any(failed), f"{rule.id} lets {name} = {value} pass in {dtype}"


@pytest.mark.thorough(keep=5)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "value", "point"), NEIGHBOURS, ids=[f"{name}={value}" for name, value, _ in NEIGHBOURS]
)
def test_declared_neighbour_deviates(name: str, value: str, point: Behaviour, dtype: str) -> None:
    """The same implementation with the deviation declared deviates, bears the declaration out, and violates nothing."""
    if dtype not in point.dtypes:
        pytest.skip("it shows in other dtypes")
    found = list(outcomes(fixing(name), OracleBackend(point, declares=True), dtype))
    assert not [
        outcome.message
        for outcome in found
        if outcome.verdict in ("violates", "crashed", "untrusted") and not outcome.vacuous
    ]
    assert any(name in outcome.needed for outcome in found)
    assert fixing(name).level == "may" or any(outcome.verdict == DEVIATES for outcome in found)


@pytest.mark.thorough(keep=5)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "rule",
    [rule for rule in requirements().values() if cases_of(rule.id, "float32") and not rule.is_of_deployments],
    ids=lambda rule: rule.id,
)
def test_specified_point_conforms(rule: Requirement, dtype: str) -> None:
    """The oracle itself, rounded once, is accused of nothing."""
    if not cases_of(rule.id, dtype):
        pytest.skip("no case in this dtype")
    if rule.id in ("BN-EDGE-SIZE", "BN-NUM-LARGE-N", "BN-DTYPE-HALF-RANGE") and dtype != "float32":
        pytest.skip("large; one dtype is enough")
    if rule.id == "BN-NUM-FINITE":
        pytest.skip("a law over probes, checked on implementations")
    if rule.chapter in ("Derivatives", "Transforms"):
        pytest.skip("the oracle layer has no such method; right layers by other means have, in the kill matrix")
    right: Any = OracleBackend(replicas=rule.chapter == "Replicas")
    if rule.features & {"masked_replicated", "masked_replicated_vjp"}:
        right = Mutant("oracle", "the oracle with both", lambda config: EveryOracleLayer(config, SPECIFIED))
    found = [outcome for outcome in outcomes(rule, right, dtype) if not outcome.vacuous]
    # The oracle layer has no forward mode: right layers by other means have, in the kill matrix.
    accused = [one for one in found if one.verdict != "conforms" and not one.message.endswith("has no method jvp()")]
    assert not [outcome.message for outcome in accused]
