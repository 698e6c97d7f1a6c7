"""The table of models: what it covers, proven without the generator; what its models are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations, product

import numpy as np
import pytest

from bnconform.cases.covering.factors import Constraint
from bnconform.cases.models import rows
from bnconform.cases.models.build import graph
from bnconform.cases.models.factors import CONSTRAINTS, FACTORS, SHOWING, TRIPLES, is_allowed
from bnconform.cases.models.rows import ModelCase
from bnconform.cases.models.tables import table
from bnconform.spec.catalogue import requirements
from bnconform.spec.formats import DTYPES
from bnconform.spec.graph import WITH_WEIGHTS, Graph, Node

LEVELS: Mapping[str, tuple[str, ...]] = {factor.name: factor.levels for factor in FACTORS}
CASES = rows.every()
each_row = pytest.mark.parametrize("number", range(len(table())))


def test_there_are_enough() -> None:
    """The table has at least 150 models, each once."""
    assert len(table()) >= 150
    assert len({tuple(row.values()) for row in table()}) == len(table())


def test_every_row_is_one() -> None:
    """A row gives each factor one of its levels, and breaks no constraint."""
    for row in table():
        assert list(row) == list(LEVELS)
        assert all(row[name] in levels for name, levels in LEVELS.items())
        assert is_allowed(row)


def test_every_pair_of_levels_meets_or_cannot() -> None:
    """Each stands in a row, in one that shows it where there can be such a row; a search of its own finds whether."""
    met, shown = set(), set()
    for row in table():
        pairs = set(combinations(row.items(), 2))
        met |= pairs
        if all(rule.holds(row) for rule in SHOWING):
            shown |= pairs
    every = [((a, x), (b, y)) for a, b in combinations(LEVELS, 2) for x, y in product(LEVELS[a], LEVELS[b])]
    assert [pair for pair in every if pair not in met and is_possible(dict(pair), CONSTRAINTS)] == []
    hidden = [pair for pair in every if pair not in shown and pair in met]
    assert [pair for pair in hidden if is_possible(dict(pair), (*CONSTRAINTS, *SHOWING))] == []
    assert len(shown) > 1000


def test_every_three_levels_of_a_fold_meet_or_cannot() -> None:
    """What is folded, into what, with room for the shift or without, in a model that shows it."""
    shown = [row for row in table() if all(rule.holds(row) for rule in SHOWING)]
    rules = (*CONSTRAINTS, *SHOWING)
    for names in combinations(TRIPLES, 3):
        met = {tuple(row[name] for name in names) for row in shown}
        missing = [chosen for chosen in product(*(LEVELS[name] for name in names)) if chosen not in met]
        assert [chosen for chosen in missing if is_possible(dict(zip(names, chosen, strict=True)), rules)] == []


def is_possible(row: Mapping[str, str], constraints: Sequence[Constraint], last: str | None = None) -> bool:
    """Whether a whole row holds these levels: all are tried, those first that a constraint joins to what is chosen.

    `last` is the level that was chosen last, to levels that break no constraint.
    """
    new = [c for c in constraints if last is None or last in c.factors]
    if any(not c.holds(row) for c in new if all(name in row for name in c.factors)):
        return False
    joined = [c for c in constraints if any(name in row for name in c.factors)]
    near = [name for c in joined for name in c.factors if name not in row]
    rest = [*near, *(name for c in constraints for name in c.factors if name not in row)]
    if not rest:  # no constraint is about what is left
        return True
    name = Counter(near).most_common(1)[0][0] if near else rest[0]
    return any(is_possible({**row, name: level}, constraints, name) for level in LEVELS[name])


def test_the_search_finds_what_cannot_be() -> None:
    """A pair that a constraint forbids, and one that two forbid together, are impossible."""
    assert not is_possible({"affine": "no", "gamma": "zero"}, CONSTRAINTS)
    assert not is_possible({"layer": "no_layer", "kernel": "1"}, CONSTRAINTS)
    assert not is_possible({"tracking": "no", "statistics": "far"}, CONSTRAINTS)
    assert is_possible({"layer": "no_layer", "shared": "norm"}, CONSTRAINTS)


@each_row
def test_a_model_is_small_and_made_from_its_row_alone(number: int) -> None:
    """The same row gives the same numbers, each of a BatchNorm's arrays is there as it says, and none is large."""
    row = table()[number]
    network, again = graph(row), graph(row)
    assert network.nodes == again.nodes
    assert all(np.array_equal(value, again.arrays[name]) for name, value in network.arrays.items())
    assert np.prod(network.shape) <= 3_000
    norms = [node for node in network.nodes if node.kind == "batch_normalization"]
    assert norms
    for node in norms:
        assert (network.array(node.layer, "weight") is not None) == (row["affine"] == "yes")
        assert (network.array(node.layer, "running_mean") is not None) == (row["tracking"] == "yes")
        assert node.options["training"] == (row["mode"] != "evaluation")


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_level_is_asked_in_every_dtype(dtype: str) -> None:
    """The rows of other dtypes hold every level, and every layer in every order that it has."""
    asked = [case.levels for case in CASES if dtype in case.dtypes]
    assert all({row[name] for row in asked} == set(levels) for name, levels in LEVELS.items())
    assert {(row["layer"], row["order"]) for row in asked} == {(row["layer"], row["order"]) for row in table()}


def test_every_model_is_asked() -> None:
    """Each row is asked by the requirement for what is special of it, and its name is its own there."""
    assert {case.number for case in CASES if case.requirement not in rows.OF_ALL} == set(range(len(table())))
    names = Counter((case.requirement, case.name) for case in CASES)
    assert set(names.values()) == {1}
    assert {case.requirement for case in CASES} == {
        rule.id for rule in requirements().values() if rule.is_of_deployments
    }


def test_a_batch_is_asked_in_four_ways() -> None:
    """The first sample is in each of four batches, bit for bit."""
    case: ModelCase = rows.models_of(rows.BATCH, "float32")[0]
    inputs = case.inputs("float32")
    assert [len(x) for x in inputs] == [3, 1, 5, 3]
    assert all(np.array_equal(x[0], inputs[0][0]) for x in inputs)
    assert not np.array_equal(inputs[3][1], inputs[0][1])


def test_a_network_that_is_none_is_refused() -> None:
    """An unknown kind, a result that there is not yet, a name given twice and no node at all."""
    relu = Node("relu", "y", ("x",))
    for nodes in ((Node("gelu", "y", ("x",)),), (Node("relu", "y", ("z",)),), (relu, relu), ()):
        with pytest.raises(ValueError, match=r"kind|reads|node"):
            Graph(nodes, {}, (1, 2))
    assert WITH_WEIGHTS[3] == "batch_normalization"
