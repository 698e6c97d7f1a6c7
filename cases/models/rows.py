"""The models, by the requirement that asks each, and what is asked of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from bnconform.cases.covering.factors import Levels
from bnconform.cases.models.build import graph, sample
from bnconform.cases.models.factors import FACTORS
from bnconform.cases.models.tables import table
from bnconform.spec.formats import DTYPES, numpy_dtype
from bnconform.spec.graph import Array, Graph

EQUAL, MODE, UNTRACKED = "BN-FOLD-EQUAL", "BN-FOLD-MODE", "BN-FOLD-UNTRACKED"
SHARED, READER, AFFINE, GAMMA = "BN-FOLD-SHARED", "BN-FOLD-READER", "BN-FOLD-AFFINE-OFF", "BN-FOLD-GAMMA"
BATCH, TWICE, ORIGINAL, DTYPE = "BN-FOLD-BATCH", "BN-FOLD-TWICE", "BN-FOLD-ORIGINAL", "BN-FOLD-DTYPE"

CONSTANTS = "BN-FOLD-CONSTANTS"

OF_ALL = (BATCH, TWICE, ORIGINAL, DTYPE)
"""What is asked of models besides, whatever is special of them."""

SINGLE = "float32"
"""The dtype in which every model is asked."""

LARGER = 5
"""Samples of the larger batch."""

OTHERS = 50.0
"""How much larger the other samples of a batch are made, to see that they do not matter."""


def requirement_of(levels: Levels) -> str:
    """The requirement that asks a row: what is special of it, the rarest first."""
    if levels["mode"] != "evaluation":
        return MODE
    if levels["tracking"] == "no":
        return UNTRACKED
    if levels["shared"] != "none":
        return SHARED
    if levels["reader"] != "none":
        return READER
    if levels["affine"] == "no":
        return AFFINE
    return GAMMA if levels["gamma"] in ("zero", "negative") else EQUAL


def shows_merged(levels: Levels) -> bool:
    """Whether a model has a layer that a BatchNorm may be merged into, and what the layer then holds is known.

    Of a layer before another one, or beside one that joins it, it is not, as two layers may be made one.
    """
    merges = levels["order"] in ("layer_norm", "norm_layer", "layer_norm_norm", "norm_layer_norm")
    plain = levels["mode"] == "evaluation" and levels["tracking"] == "yes"
    maps_channels = levels["layer"] not in ("no_layer", "linear_rank_3", "linear_rank_4")
    return merges and plain and maps_channels and levels["after"] not in ("add", "concatenate")


@dataclass(frozen=True, eq=False)
class ModelCase:
    """One model, asked by one requirement.

    Attributes:
        number: of its row, from 0. dtypes: those in which it is asked.
    """

    requirement: str
    number: int
    levels: Levels
    dtypes: tuple[str, ...]

    @property
    def name(self) -> str:
        """A name that a person can type: number, layer and order."""
        return f"model-{self.number:03}-{self.levels['layer']}-{self.levels['order']}".replace("_", "-")

    def graph(self, dtype: str) -> Graph:
        """The network in a dtype; always the same object."""
        return network(self.number, dtype)

    def inputs(self, dtype: str) -> tuple[Array, ...]:
        """What is predicted: a batch of three.

        Of a row that is asked about batches, by whichever requirement, also the first sample alone, five samples, and
        the three with large others: so one deployment answers all of its requirements.
        """
        made = self.graph(dtype)
        x = sample(made)
        if BATCH not in besides().get(self.number, ()):
            return (x,)
        others = x.copy()
        others[1:] = (others[1:].astype("float64") * OTHERS).astype(numpy_dtype(dtype))
        return x, x[:1], sample(made, LARGER), others

    def example(self, dtype: str) -> Array:
        """An input for tools that trace: of other values than those that are predicted."""
        return sample(self.graph(dtype), seed=1)

    @property
    def again(self) -> bool:
        """Whether it is deployed twice."""
        return TWICE in besides().get(self.number, ())

    @property
    def merged(self) -> bool:
        """Whether the layers of what is deployed are to be shown."""
        return shows_merged(self.levels)

    def pattern(self) -> str:
        """What the model is, in words: its layer, its order, and every level that is not the plainest."""
        levels = self.levels
        told = [f"{levels['layer']}, {levels['order'].replace('_', ' -> ')}".replace("layer_norm", "layer")]
        plain = {factor.name: factor.levels[0] for factor in FACTORS if factor.name not in ("layer", "order")}
        told += [f"{name} {levels[name]}" for name, level in plain.items() if levels[name] != level]
        return ", ".join(told).replace("_", " ")


@cache
def network(number: int, dtype: str) -> Graph:
    """The network of a row in a dtype."""
    return graph(table()[number]).cast(dtype)


@cache
def every() -> tuple[ModelCase, ...]:
    """Every case, by requirement, in the order of the table."""
    found = []
    special = [0] * len(OF_ALL)
    for number, levels in enumerate(table()):
        # Statistics of the batch lose most in half precision: of few models nothing could be told.
        asked = number in few() or requirement_of(levels) == UNTRACKED
        dtypes = (SINGLE, *(dtype for dtype in DTYPES if dtype != SINGLE and asked))
        found.append(ModelCase(requirement_of(levels), number, levels, dtypes))
        if requirement_of(levels) in (MODE, UNTRACKED):
            continue
        if shows_merged(levels):
            found.append(ModelCase(CONSTANTS, number, levels, dtypes))
        for place, name in enumerate(OF_ALL):
            special[place] += 1
            if special[place] % len(OF_ALL) == place:
                found.append(ModelCase(name, number, levels, dtypes))
    return tuple(found)


@cache
def besides() -> Mapping[int, frozenset[str]]:
    """What of OF_ALL is asked of a row, by its number."""
    found: dict[int, frozenset[str]] = {}
    for case in every():
        if case.requirement in OF_ALL:
            found[case.number] = found.get(case.number, frozenset()) | {case.requirement}
    return found


@cache
def few() -> frozenset[int]:
    """The numbers of rows that slow tools are asked, and every tool in other dtypes.

    Together they hold every level, every layer in every order, and, of layers that a BatchNorm after them is merged
    into, every layer with each of its widths and groups.
    """
    return _cover([list_held(row) for row in table()])


@cache
def fewest() -> frozenset[int]:
    """The numbers of rows that tools are asked which take ten seconds and more for a model: they hold every level."""
    return _cover([set(row.items()) for row in table()])


def _cover(wanted: Sequence[set[Any]]) -> frozenset[int]:
    """The rows that together hold whatever any row holds: each time the one that brings most of what is missing."""
    missing: set[Any] = set().union(*wanted)
    chosen: set[int] = set()
    while missing:
        best = max(range(len(wanted)), key=lambda number: (len(wanted[number] & missing), -number))
        chosen.add(best)
        missing -= wanted[best]
    return frozenset(chosen)


def list_held(levels: Levels) -> set[tuple[str, ...]]:
    """What a row brings to the few.

    An axis that is mistaken for another one shows by the widths and groups: of equal widths in the numbers alone.
    """
    held: set[tuple[str, ...]] = {(name, level) for name, level in levels.items()} | {
        (levels["layer"], levels["order"])
    }
    if levels["order"] in ("layer_norm", "layer_norm_layer") and requirement_of(levels) not in (MODE, UNTRACKED):
        held.add((levels["layer"], levels["width"], levels["groups"]))
    return held


@cache
def by_requirement() -> Mapping[str, tuple[ModelCase, ...]]:
    """The cases of each requirement."""
    found: dict[str, list[ModelCase]] = {}
    for case in every():
        found.setdefault(case.requirement, []).append(case)
    return {name: tuple(cases) for name, cases in found.items()}


def models_of(requirement: str, dtype: str, cost: str = "") -> tuple[ModelCase, ...]:
    """The cases of a requirement in a dtype; few of them where `cost` is "configurations", the fewest of "minutes"."""
    chosen = {"configurations": few, "minutes": fewest}.get(cost)
    cases = (case for case in by_requirement().get(requirement, ()) if dtype in case.dtypes)
    return tuple(case for case in cases if chosen is None or case.number in chosen())
