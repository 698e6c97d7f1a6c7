"""Whether reading the state changes something, asked of implementations that do not repeat themselves to the bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bnconform.judge.outcome import CONFORMS, VIOLATES
from bnconform.judge.subject import Subject
from bnconform.judge.suite import conformance_tests
from bnconform.spec.config import Config
from bnconform.tests.mutants.catalogue import Mutant
from bnconform.tests.mutants.deferred import Deferred
from bnconform.tests.mutants.layer import Array, Entries, Layer

ID = "BN-STATE-READ"


def verdicts(layer: type[Layer], dtype: str = "float32") -> set[str]:
    """What the requirement comes to for a layer."""
    [test] = [test for test in conformance_tests() if test.rule.id == ID]
    subject = Subject("layer", Mutant("layer", "a layer", layer), "cpu", dtype)
    return {outcome.verdict for outcome in test.run(subject, None)}


def unsteady(base: type[Layer]) -> type[Layer]:
    """A layer whose sums are taken in another order, drawn anew, in each call."""

    class Unsteady(base):  # type: ignore[misc, valid-type]  # a base that is chosen when it runs
        drawn = np.random.default_rng(7)

        def moments(self, values: Array) -> tuple[Array, Array]:
            """The mean and the biased variance, one value after the other in a drawn order."""
            if not values.shape[1]:
                return super().moments(values)  # type: ignore[no-any-return]
            ordered = values[:, self.drawn.permutation(values.shape[1])]
            mean = np.cumsum(ordered, axis=1)[:, -1] / values.dtype.type(values.shape[1])
            squares = np.cumsum(np.square(ordered - mean[:, None]), axis=1)[:, -1]
            return mean, squares / values.dtype.type(values.shape[1])

    return Unsteady


class ReadingMovesTheMean(Layer):
    """Reading the state moves the running mean by a hundredth."""

    def state(self) -> Entries:
        """What is remembered, which is then another."""
        shown = super().state()
        if shown["running_mean"] is not None:
            self.entries["running_mean"] = self.present("running_mean") * np.float32(1.01)
        return shown


class Forgetful(Deferred):
    """Of several updates that wait to be read or used only the last one is made."""

    def remember(self, values: Array, x: Array) -> None:
        """Keep the batch in the place of what waits."""
        self.waiting.clear()
        super().remember(values, x)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("base", [Layer, Deferred])
def test_who_does_not_repeat_himself_is_not_accused(base: type[Layer], dtype: str) -> None:
    """Where the same calls on a new layer give other roundings, reading is not what changes them."""
    assert verdicts(unsteady(base), dtype) == {CONFORMS}


@pytest.mark.parametrize("base", [ReadingMovesTheMean, Forgetful])
@pytest.mark.parametrize("made", [unsteady, lambda base: base], ids=["unsteady", "steady"])
def test_what_reading_changes_is_told_from_roundings(
    made: Callable[[type[Layer]], type[Layer]], base: type[Layer]
) -> None:
    """A change beyond all roundings is one, whether or not the implementation repeats itself."""
    assert VIOLATES in verdicts(made(base))


def test_draws_differ() -> None:
    """The layer of these tests does not repeat itself."""
    layer = unsteady(Layer)(Config(num_features=3))
    x = np.random.default_rng(1).normal(size=(4, 3, 4, 5)).astype(np.float32)
    assert len({layer.forward(x, training=True).tobytes() for _ in range(20)}) > 1
