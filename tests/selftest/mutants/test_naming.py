"""Faults where two circumstances meet are named by both; what is not named is said."""

from __future__ import annotations

import numpy as np
import pytest

from bnconform.spec.config import Config
from bnconform.tests.mutants import naming
from bnconform.tests.mutants.layer import Layer
from bnconform.tests.mutants.meeting import SEED
from bnconform.tests.mutants.naming import ErringWhereTwoMeet, Fault, Naming

X = np.random.default_rng(SEED).standard_normal((3, 4, 5)).astype(np.float32)
ODD = Fault((("samples", "3"), ("momentum", "0.3")), ("training", "y"), ())


@pytest.mark.parametrize(("momentum", "errs"), [(0.3, True), (0.1, False)])
def test_it_errs_where_both_hold(momentum: float, errs: bool) -> None:
    """And is the right layer elsewhere."""
    config = Config(4, momentum=momentum, ndim=3)
    layer, right = ErringWhereTwoMeet(config, ODD), Layer(config)
    found = [not np.array_equal(one, right.forward(x, training=True))
             for x in (X, X[:2]) for one in (layer.forward(x, training=True),)]  # fmt: skip
    assert found == [errs, False]


def test_faults_are_the_same_in_every_run() -> None:
    """Those of a shorter run are the first of a longer one, each once."""
    assert naming.sample(6) == naming.sample(9)[:6]
    assert len(set(naming.sample(9))) == 9


def test_both_circumstances_are_named() -> None:
    """By the diagnosis of the first row that fails; of single faults one may be left out, of all a tenth."""
    found = [naming.name_fault(fault) for fault in naming.sample(5)]
    assert all(one.circumstances for one in found)
    assert sum(not one.missing for one in found) >= 4, [one.describe() for one in found]


def test_what_is_not_named_is_said() -> None:
    """A factor of which nothing is told is missing, unless the observable is there at that level only."""
    assert Naming(ODD, ("only 3 samples",)).missing == ("momentum",)
    fault = Fault((("affine", "both"), ("tracking", "tracked")), ("training", "grad_weight"), ())
    assert Naming(fault, ("only in training",)).missing == ("tracking",)
    assert Naming(fault, ("only with running statistics",)).missing == ()
    assert "told only 3 samples" in Naming(ODD, ("only 3 samples",)).describe()
