"""What a pullback answers instead of the gradients of its pass is told by one call, as none can be left out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bnconform.cases import inputs
from bnconform.cases.program import Program, pullback, vjp
from bnconform.diagnosis.narrowing import narrow
from bnconform.judge.subject import Subject
from bnconform.spec.config import Config
from bnconform.tests.mutants.catalogue import Mutant
from bnconform.tests.mutants.layer import Array, Gradients, Layer
from bnconform.tests.selftest.diagnosis.relations.first_failure import first_failure

CAUSES = {
    "pullback_uses_the_present_statistics": "{} takes the running statistics of when the pullback is called",
    "pullback_uses_the_present_weight": "{} takes the weight of when the pullback is called",
    "pullback_uses_the_present_mode": "{} is that of the other mode than its pass was made in",
    "second_pullback_is_zero": "{} is 0",
}


@pytest.mark.parametrize("name", CAUSES)
def test_cause_is_named(name: str) -> None:
    """The first failing case is enough."""
    assert any(words.startswith(CAUSES[name]) for cause in first_failure(name).causes for words, *_ in cause)


class AnswersForTheLast(Layer):
    """A pullback is that of the pass that was recorded last."""

    latest: list[Callable[[Array], Gradients]]

    def vjp(self, x: Array, *, training: bool) -> tuple[Array, Callable[[Array], Gradients]]:
        """The pass is kept on the layer."""
        y, found = super().vjp(x, training=training)
        self.latest = [found]
        return y, lambda grad_output: self.latest[0](grad_output)


class AnswersForTheFirst(Layer):
    """A pullback is that of the pass that was recorded first."""

    first: list[Callable[[Array], Gradients]] | None = None

    def vjp(self, x: Array, *, training: bool) -> tuple[Array, Callable[[Array], Gradients]]:
        """The first pass is kept on the layer."""
        y, found = super().vjp(x, training=training)
        self.first = self.first or [found]
        first = self.first
        return y, lambda grad_output: first[0](grad_output)


@pytest.mark.parametrize(
    ("layer", "number", "words"), [(AnswersForTheLast, 1, "last"), (AnswersForTheFirst, 2, "first")]
)
def test_the_pass_of_another_is_named(layer: type[Layer], number: int, words: str) -> None:
    """Where two passes are of one shape, it is told whose gradients these are."""
    one, other = inputs.values((5, 3), 1), inputs.values((5, 3), 2)
    steps = (vjp(one), vjp(other), pullback(number, inputs.upstream((5, 3)), "grad_x", "grad_weight"))
    subject = Subject("mine", Mutant("mine", "mine", layer), "cpu", "float64")
    trace = subject.run(Program(Config(ndim=2), steps).cast("float64", "float64"))
    found = narrow(subject, trace)
    assert found is not None
    assert [f"{{}} is that of the pass recorded {words}", "grad_x", "grad_weight"] in found.causes[0]
