"""The covering array: what it covers, proven without the generator; what its rows ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product

import numpy as np
import pytest

from bnconform.cases.covering.factors import (
    COARSE,
    CONSTRAINTS,
    ELEMENTS,
    FACTORS,
    FEW_CONFIGURATIONS,
    FEW_SHAPES,
    ORDERS,
    TRIPLES,
    Constraint,
    Levels,
    elements,
    is_allowed,
    showing,
    shows,
    trains,
)
from bnconform.cases.covering.rows import CALLS, REQUIREMENT, SINGLE, rows
from bnconform.cases.covering.tables import table
from bnconform.cases.covering.values import repeat_shared
from bnconform.cases.program import SHARING
from bnconform.spec.formats import DTYPES, parameter_dtype

TABLES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "shown": {},
    "other_dtypes": {},
    "triples": {},
    "orders": ORDERS,
    "few_shapes": FEW_SHAPES,
    "few_configurations": FEW_CONFIGURATIONS,
}
each_table = pytest.mark.parametrize("name", TABLES)


def levels_of(name: str) -> dict[str, tuple[str, ...]]:
    """The levels of a table."""
    return {factor.name: TABLES[name].get(factor.name, factor.levels) for factor in FACTORS}


@each_table
def test_every_row_is_one(name: str) -> None:
    """A row gives each factor one of the levels of its table, and breaks no constraint."""
    levels = levels_of(name)
    for row in table(name):
        assert list(row) == list(levels)
        assert all(row[factor] in levels[factor] for factor in levels)
        assert [constraint.reason for constraint in CONSTRAINTS if not constraint.holds(row)] == []
        assert elements(row) <= ELEMENTS


@pytest.mark.parametrize("name", [name for name in TABLES if name not in ("triples", "orders")])
def test_every_pair_of_levels_meets_or_cannot(name: str) -> None:
    """Each pair stands in a row, in the table `shown` in one that shows all of it, or there can be no such row.

    In the table of other dtypes that is each pair of coarser levels, and of any level and each way to begin. That there
    can be none is found by a search of its own (`is_possible`).
    """
    levels = levels_of(name)
    every = [
        ((a, x), (b, y))
        for a, b in combinations(levels, 2)
        for x, y in product(levels[a], levels[b])
        if name != "other_dtypes"
        or "begins" in (a, b)
        or (x in COARSE.get(a, levels[a]) and y in COARSE.get(b, levels[b]))
    ]
    met, shown = set(), set()
    for row in table(name):
        for a, b in combinations(levels, 2):
            met.add(((a, row[a]), (b, row[b])))
            if shows(row, (a, b)):
                shown.add(((a, row[a]), (b, row[b])))
    missing = [pair for pair in every if pair not in met]
    assert [pair for pair in missing if is_possible(dict(pair), levels, CONSTRAINTS)] == []
    if name != "shown":
        return
    hidden = [pair for pair in every if pair not in shown and pair in met]
    rules = {pair: (*CONSTRAINTS, *showing((pair[0][0], pair[1][0]))) for pair in hidden}
    assert [pair for pair in hidden if is_possible(dict(pair), levels, rules[pair])] == []
    assert len(shown) > 10 * len(missing) > 0


def test_every_three_levels_meet_or_cannot() -> None:
    """Of the factors and levels that a thorough run takes in threes."""
    levels = levels_of("triples")
    missing = []
    for factors in combinations(TRIPLES, 3):
        met = {tuple(row[factor] for factor in factors) for row in table("triples")}
        every = product(*(TRIPLES[factor] for factor in factors))
        missing += [dict(zip(factors, chosen, strict=True)) for chosen in every if chosen not in met]
    assert [row for row in missing if is_possible(row, levels, CONSTRAINTS)] == []
    assert 0 < len(missing) < 200


def test_every_pair_meets_in_each_order_of_memory_or_cannot() -> None:
    """Channels-last and Fortran's, in a row that shows all of the three."""
    levels = levels_of("orders")
    missing, count = [], 0
    for a, b in combinations([name for name in levels if name != "x_layout"], 2):
        factors = tuple(name for name in levels if name in (a, b, "x_layout"))
        met = {tuple(row[name] for name in factors) for row in table("orders") if shows(row, factors)}
        every = list(product(*(levels[name] for name in factors)))
        count += len(every)
        rules = (*CONSTRAINTS, *showing(factors))
        held = {tuple(row[name] for name in factors) for row in table("orders")}
        for chosen in every:
            row = dict(zip(factors, chosen, strict=True))
            if (chosen not in met and is_possible(row, levels, rules)) or (
                chosen not in held and is_possible(row, levels, CONSTRAINTS)
            ):
                missing.append(row)
    assert missing == []
    assert count > 2_000


SIZES = ("rank", "positions", "samples", "channels")
"""The factors that the budget and the layouts join; all of their combinations are tried."""


def is_possible(row: dict[str, str], levels: Mapping[str, tuple[str, ...]], constraints: Sequence[Constraint]) -> bool:
    """Whether a whole row holds these levels: every combination of sizes is tried, with the plainest of all others.

    The plainest level of a factor is the one that most goes with, but for an epsilon of 0 and a cumulative average.
    """
    plain = {name: of[0] for name, of in levels.items()}
    if row.get("history") == "counted_40000":
        plain["momentum"] = "None"
    if row.get("values", "").startswith("infinity") or row.get("samples") == "1":
        plain["begins"] = "evaluation"
    free = [name for name in SIZES if name not in row]
    every = ({**plain, **row, **dict(zip(free, choice, strict=True))} for choice in product(*(levels[n] for n in free)))
    return any(all(constraint.holds(one) for constraint in constraints) for one in every)


def test_what_cannot_be_is_found() -> None:
    """The search that excuses a missing pair does not excuse one that can be."""
    levels = levels_of("shown")
    assert not is_possible({"rank": "2", "positions": "15"}, levels, CONSTRAINTS)
    assert is_possible({"rank": "5", "x_layout": "overlapping"}, levels, CONSTRAINTS)


@pytest.mark.parametrize("factor", FACTORS, ids=lambda factor: factor.name)
def test_every_factor_and_constraint_has_a_reason(factor: object) -> None:
    """The table is data with reasons; a constraint names the factors that it reads."""
    assert all(one.reason and len(set(one.levels)) == len(one.levels) > 1 for one in FACTORS)
    names = {one.name for one in FACTORS}
    assert all(constraint.reason and set(constraint.factors) <= names for constraint in CONSTRAINTS)


class Reading(dict[str, str]):
    """Levels that note which of them are read."""

    def __init__(self, levels: Levels) -> None:
        super().__init__(levels)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.read.add(name)
        return super().__getitem__(name)


@pytest.mark.parametrize("number", range(len(CONSTRAINTS)))
def test_a_constraint_reads_what_it_names(number: int) -> None:
    """Otherwise the generator would ask it before what it reads is known."""
    constraint = CONSTRAINTS[number]
    for row in table("shown"):
        levels = Reading(row)
        constraint.holds(levels)
        assert levels.read <= set(constraint.factors)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_makes_its_calls_and_observes_everything(dtype: str) -> None:
    """Four calls over the same x, or those in evaluation where training has no answer; all of them are judged."""
    for row in [row for row in rows() if dtype in row.dtypes][::7]:
        program = row.at(dtype, parameter_dtype(dtype))
        calls = program.steps[-4:] if trains(row.levels) else program.steps[-2:]
        assert {(step.op, step.mode) for step in calls} == {
            ({"gradient": "backward"}.get(call.rpartition("_")[2], "forward"), call.partition("_")[0])
            for call in CALLS
            if trains(row.levels) or call.startswith("evaluation")
        }
        for step in calls:
            assert step.x is not None and str(step.x.dtype) == dtype and step.x.size == elements(row.levels)
            assert step.observe >= ({"y"} if step.op == "forward" else {"grad_x", "grad_weight", "grad_bias"})
            for layout, values in ((step.x_layout, step.x), (step.grad_layout, step.grad_output)):
                if values is not None and layout in SHARING:
                    wide = values.astype(np.float64)
                    assert np.array_equal(repeat_shared(wide, layout), wide, equal_nan=True)


def test_rows_ask_in_half_precision_twice() -> None:
    """Once at level must, whose bounds admit half-precision arithmetic, and once for single precision."""
    assert {row.requirement for row in rows() if "float32" in row.dtypes} == {REQUIREMENT}
    assert [dtype for dtype in DTYPES if not any(dtype in row.dtypes for row in rows())] == []
    assert {row.dtypes for row in rows() if row.requirement == SINGLE} == {("float16", "bfloat16")}


@pytest.mark.parametrize(
    "lacking", ["momentum_none", "weight_alone", "track_running_stats_off", "rank_5", "affine_off"]
)
def test_what_is_lacking_is_replaced(lacking: str) -> None:
    """A row for an implementation that lacks a level keeps its other circumstances; few rows are lost."""
    lost = 0
    for row in rows():
        other = row.adapt(frozenset({lacking}))
        assert is_allowed(other.levels)
        lost += lacking in other.at("float32", "float32").config.features()
    assert lost <= len(rows()) // 20
