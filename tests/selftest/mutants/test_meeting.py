"""Faults where two circumstances meet: a row tells those of what it asks for, and no right implementation."""

from __future__ import annotations

import numpy as np
import pytest

from bnconform.cases.covering.factors import trains
from bnconform.cases.covering.rows import rows
from bnconform.cases.covering.tables import table
from bnconform.spec.config import Config
from bnconform.tests.mutants import meeting
from bnconform.tests.mutants.meeting import OBSERVABLES, PLANS, Erring, Killed


@pytest.mark.parametrize("number", [number for number, row in enumerate(table("shown"), 1) if trains(row)][:40:8])
def test_a_row_finds_what_is_wrong_in_it(number: int) -> None:
    """Of every observable that it asks for and whose bound is not as wide as the error."""
    row = next(row for row in rows() if row.number == number and "float32" in row.dtypes)
    told = meeting.ask_row(row, "float32")
    assert told.found <= told.asked and told.asked
    assert len(told.found) >= len(told.asked) / 2


def test_what_errs_later_is_right_until_then() -> None:
    """The layer is a right one before the row's own calls, and in what it does not err in."""
    noted: list[None] = []
    layer = Erring(Config(3), ("training", "y"), 1, lambda: noted.append(None))
    x = np.arange(24.0).reshape(4, 3, 2, 1).astype(np.float32)
    first, second = layer.forward(x, training=True), layer.forward(x, training=True)
    assert len(noted) == 1 and np.abs(first - second).max() > 0.1
    assert np.array_equal(layer.forward(x, training=False), layer.forward(x, training=False))


def test_spoilt_numbers_are_all_wrong() -> None:
    """Zeros and numbers that are none, too."""
    values = np.array([0.0, 1.0, -2.0, np.nan, np.inf], np.float32)
    found = meeting.spoilt(values)
    assert found.dtype == values.dtype and np.isfinite(found).all()
    assert (np.abs(found - values)[:3] > 0.1).all()
    assert meeting.spoilt(np.zeros(3)).all()


def test_a_pair_survives_where_no_row_of_it_tells() -> None:
    """What is killed is counted by the rows that hold the pair alone."""
    plan = PLANS[0]
    everything = frozenset(OBSERVABLES)
    told = {number: Killed(number, everything, everything) for number in (1, 2)}
    whole = meeting.prove(plan, told)
    assert whole.total_killed == whole.total > 0 and not whole.survivors
    blind = meeting.prove(plan, {**told, 2: Killed(2, everything, frozenset())})
    only = {pair for _, pair in blind.survivors}
    assert only and all(dict(table("shown")[1])[factor] == level for pair in only for factor, level in pair)
    assert blind.total == whole.total and blind.total_killed + len(blind.survivors) == blind.total
