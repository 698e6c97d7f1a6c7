"""The assertions for other projects pass what is right, and say in a few lines what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnconform import UserError, testing
from bnconform.backends.numpy_layer import NumpyBackend
from bnconform.tests.mutants.catalogue import every

ONE: dict[str, Any] = {"dtypes": ["float32"], "requirements": ["BN-RUN-VAR", "BN-RUN-MEAN", "BN-TRAIN-NORM"]}


def test_what_conforms_passes() -> None:
    """The result of a right implementation is returned."""
    result = testing.assert_conforms(NumpyBackend(), **ONE)
    assert {row.verdict for row in result.rows} == {"conforms"}


def test_what_does_not_says_why() -> None:
    """The verdict is one line, the cause another, and some failures are whole."""
    biased: Any = every()["running_variance=biased"]
    with pytest.raises(AssertionError) as caught:
        testing.assert_conforms(biased, **ONE)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("running_variance=biased does not conform: 1 of 3 requirements fail (BN-RUN-VAR); only")
    assert "running_variance = biased (explains" in lines[1]
    assert lines[3].startswith("BN-RUN-VAR (must) violated by running_variance=biased:cpu-float32")
    assert any(line.startswith("  should be") for line in lines)


def test_level_decides() -> None:
    """What violates only a `should` fails at that level and not at `must`."""
    counter: Any = every()["counter_is_a_fraction"]
    testing.assert_conforms(counter, dtypes=["float32"], requirements=["BN-STATE-COUNTER"])
    with pytest.raises(AssertionError, match="1 of 1 requirements fail"):
        testing.assert_conforms(counter, level="should", dtypes=["float32"], requirements=["BN-STATE-COUNTER"])
    with pytest.raises(UserError, match="unknown level 'shall'"):
        testing.assert_conforms(counter, level="shall")


CLOSE = {
    "within": ([1.0, 2.0], [1.0, 2.1], [0.0, 0.2]),
    "nan": ([np.nan], [np.nan], 0.0),
    "infinity": ([np.inf], [np.inf], 0.0),
    "no bound": ([5.0], [np.nan], np.inf),
    "empty": (np.zeros((0, 3)), np.zeros((0, 3)), 0.0),
}
FAR = {
    "beyond": ([1.0, 2.0], [1.0, 2.1], [0.0, 0.05], r"worst at \[1\]: got 2.0, should be 2.1 to within 0.05"),
    "nan": ([np.nan, 1.0], [1.0, 1.0], 1.0, "1 of 2 elements"),
    "infinity": ([-np.inf], [np.inf], 1.0, "got -inf"),
    "exact": ([1.0], [1.0 + 2**-52], 0.0, "by inf times"),
    "shape": ([1.0], [[1.0]], 1.0, r"got shape \(1,\), should be \(1, 1\)"),
}


@pytest.mark.parametrize(("got", "expected", "bound"), CLOSE.values(), ids=list(CLOSE))
def test_close(got: list[float], expected: list[float], bound: float) -> None:
    """What lies within its bound passes."""
    testing.assert_close(got, expected, bound)


@pytest.mark.parametrize(("got", "expected", "bound", "words"), FAR.values(), ids=list(FAR))
def test_far(got: list[float], expected: list[float], bound: float, words: str) -> None:
    """What does not is named: where, got, should be, and how far."""
    with pytest.raises(AssertionError, match=words):
        testing.assert_close(got, expected, bound)
