"""Wrong folders are killed by the requirement that names their fault, and right ones are accused of nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from bnconform.backends.deployments import Predict
from bnconform.backends.runner.deployments import ModelData
from bnconform.judge.outcome import CRASHED, UNTRUSTED, VIOLATES
from bnconform.judge.subject import Subject
from bnconform.judge.suite import Test, conformance_tests
from bnconform.spec.catalogue import requirements
from bnconform.spec.formats import DTYPES
from bnconform.tests.mutants.catalogue import all_right, hand_made
from bnconform.tests.mutants.folder import FolderMutant
from bnconform.tests.mutants.layer import Array

TESTS = {test.rule.id: test for test in conformance_tests() if test.rule.is_of_deployments}
WRONG = [mutant for mutant in hand_made() if isinstance(mutant, FolderMutant)]
RIGHT = [mutant for mutant in all_right() if isinstance(mutant, FolderMutant)]

ASKED = 4
"""Of so many models one is asked of a right folder; the kill matrix asks them all."""


def subject(mutant: FolderMutant, dtype: str) -> Subject:
    """A folder as the suite judges it."""
    return Subject(mutant.name, mutant, "cpu", dtype, brief=True)


def test_there_are_enough() -> None:
    """At least 25 wrong ones and 5 right ones, and a wrong one for each requirement of the chapter."""
    assert len(WRONG) >= 25 and len(RIGHT) >= 5
    assert {name for mutant in WRONG for name in mutant.killers} == set(TESTS)
    assert set(TESTS) == {rule.id for rule in requirements().values() if rule.is_of_deployments}


@pytest.mark.parametrize("mutant", WRONG, ids=lambda mutant: mutant.name)
def test_a_wrong_folder_is_killed(mutant: FolderMutant) -> None:
    """By each requirement that names its fault, in each dtype, by many bounds where no lower precision is declared."""
    for dtype in mutant.dtypes:
        for name in mutant.killers:
            test, asked = TESTS[name], subject(mutant, dtype)
            outcomes = (outcome for case in test.cases(dtype) for outcome in test.run(asked, case))
            failed = next((one for one in outcomes if one.verdict in (VIOLATES, CRASHED)), None)
            assert failed is not None, f"{mutant.name} in {dtype} passes {name}"
            assert failed.bound_share is None or failed.bound_share > (1 if mutant.lower_precision else 10)
            assert failed.failure is not None and failed.failure.remark.startswith("the model: ")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mutant", RIGHT, ids=lambda mutant: mutant.name)
def test_a_right_folder_is_not_accused(mutant: FolderMutant, dtype: str) -> None:
    """Of nothing, at any level; where nothing can be told it says so."""
    asked = subject(mutant, dtype)
    told = 0
    for test in TESTS.values():
        for case in test.cases(dtype)[::ASKED]:
            for outcome in test.run(asked, case):
                assert outcome.verdict not in (VIOLATES, CRASHED), outcome.message
                assert outcome.verdict != UNTRUSTED or outcome.vacuous, outcome.message
                told += outcome.checks
    assert told > 1000


def test_layers_and_tools_are_asked_their_own() -> None:
    """A folder is asked nothing about layers, and a layer nothing about models."""
    folder, layer = subject(RIGHT[0], "float32"), next(m for m in all_right() if not isinstance(m, FolderMutant))
    of_layer = Subject(layer.name, layer, "cpu", "float32")
    fitting: list[Test] = [test for test in conformance_tests() if test.fits(folder)]
    assert fitting == list(TESTS.values())
    assert not [test for test in conformance_tests() if test.fits(of_layer) and test.rule.id in TESTS]


@dataclass(frozen=True)
class OfOneSize:
    """A right folder whose prediction takes batches of the example's size alone."""

    right: FolderMutant
    name: str = "of_one_size"
    deviations: ClassVar[Mapping[str, str]] = {}
    unsupported: ClassVar[Mapping[str, str]] = {}

    def devices(self) -> list[str]:
        """The CPU."""
        return ["cpu"]

    def load(self, model: ModelData, device: str) -> Any:
        """As the right one."""
        return self.right.load(model, device)

    def parameters(self, original: Any) -> Mapping[str, Array]:
        """As the right one."""
        return self.right.parameters(original)

    def deploy(self, original: Any, example: Array) -> Predict:
        """The right prediction, refused for other batches."""
        predict = self.right.deploy(original, example)

        def of_its_size(x: Array) -> Array:
            if len(x) != len(example):
                raise ValueError(f"the model takes {len(example)} samples")
            return predict(x)

        return of_its_size


def test_a_refused_batch_is_not_judged() -> None:
    """Who takes one size of batches has shown nothing of the others: the requirement is unsupported, not green."""
    asked = Subject("of_one_size", OfOneSize(RIGHT[0]), "cpu", "float32", brief=True)
    for name, verdict in (("BN-FOLD-BATCH", "unsupported"), ("BN-FOLD-EQUAL", "conforms")):
        test = TESTS[name]
        outcomes = [outcome for case in test.cases("float32")[:6] for outcome in test.run(asked, case)]
        assert {outcome.verdict for outcome in outcomes} == {verdict}
