"""Rows with what an implementation may refuse: a refusal is no failure, and an answer is judged."""

from __future__ import annotations

import pytest

from bnconform.cases.covering.rows import CoveringRow, rows
from bnconform.judge.check import Check, conduct
from bnconform.judge.subject import Subject
from bnconform.spec.catalogue import requirement
from bnconform.spec.config import Config
from bnconform.tests.mutants.catalogue import Mutant
from bnconform.tests.mutants.layer import Array, Layer


class RefusesWhenMade(Layer):
    """A layer that is not made with epsilon 0."""

    def __init__(self, config: Config) -> None:
        if config.eps == 0:
            raise ValueError("eps must be positive")
        super().__init__(config)


class RefusesWhenCalled(Layer):
    """A layer whose passes fail with epsilon 0."""

    def check(self, x: Array, training: bool) -> None:
        """Refuse epsilon 0, too."""
        if self.config.eps == 0:
            raise ValueError("eps must be positive")
        super().check(x, training)


def verdicts(layer: type[Layer], row: CoveringRow) -> list[tuple[str, str]]:
    """What is said of a layer by one row."""
    subject = Subject("it", Mutant("it", "refuses", layer), "cpu", "float32", brief=True)
    outcomes = conduct(Check.run, Check(subject, requirement(row.requirement), row))
    return [(outcome.verdict, outcome.message) for outcome in outcomes]


def row(epsilon: str) -> CoveringRow:
    """The first row in single precision with an epsilon."""
    return next(row for row in rows() if "float32" in row.dtypes and row.levels["epsilon"] == epsilon)


@pytest.mark.parametrize("layer", [RefusesWhenMade, RefusesWhenCalled])
def test_epsilon_of_zero_may_be_refused(layer: type[Layer]) -> None:
    """When the layer is made or when it is called; with another epsilon it is judged as any."""
    [(verdict, message)] = verdicts(layer, row("0"))
    assert verdict == "unsupported" and "epsilon 0 is refused" in message and "eps must be positive" in message
    assert {verdict for verdict, _ in verdicts(layer, row("0.37"))} == {"conforms"}
