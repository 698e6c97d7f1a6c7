"""The probes, by requirement: each is one case, chosen because some wrong implementation fails it there.

Several are made for one fault only; the self-tests show which neighbour of the specified point each tells apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from bnconform.cases.covering.rows import CoveringRow, rows
from bnconform.cases.metamorphic import MetamorphicRelation
from bnconform.cases.models.rows import ModelCase, models_of
from bnconform.cases.probes import (
    derivatives,
    documents,
    dtypes,
    edges,
    evaluation,
    flags,
    frozen,
    gradients,
    layout,
    masked_replicas,
    masks,
    metamorphic,
    options,
    quality,
    recomputation,
    recorded,
    regression,
    replicas,
    reset,
    running,
    saved,
    training,
    transforms,
    virtual,
)
from bnconform.cases.program import Probe, Program, Step

_MODULES = (
    training,
    evaluation,
    running,
    flags,
    gradients,
    recorded,
    derivatives,
    masks,
    recomputation,
    transforms,
    virtual,
    saved,
    frozen,
    replicas,
    masked_replicas,
    layout,
    dtypes,
    edges,
    quality,
    documents,
    options,
    reset,
    regression,
)


@cache
def probes() -> Mapping[str, tuple[Probe, ...]]:
    """Every probe, by the id of its requirement, in the order of the chapters."""
    found: dict[str, list[Probe]] = {}
    for module in _MODULES:
        for probe in module.probes():
            found.setdefault(probe.requirement, []).append(probe)
    return {requirement: tuple(group) for requirement, group in found.items()}


Case = Probe | CoveringRow | MetamorphicRelation | ModelCase
"""What a requirement is asked by; models are for tools that deploy them."""

TABLES: Mapping[str, str] = {
    "": "shown", "shapes": "few_shapes", "configurations": "few_configurations",
    "minutes": "few_configurations", "thorough": "thorough",
}  # fmt: skip
"""The covering array by what costs an implementation time: nothing, new shapes, or new configurations, too, seconds or
more; or all of it, where time does not matter."""


@cache
def covering(requirement: str, cost: str = "") -> tuple[CoveringRow, ...]:
    """The rows of the covering array for a requirement and an implementation."""
    return tuple(row for row in rows(TABLES[cost]) if row.requirement == requirement)


@cache
def with_cases() -> frozenset[str]:
    """The ids of the requirements that are asked by cases."""
    return frozenset({*probes(), *all_relations(), *(row.requirement for row in rows())})


@cache
def all_relations() -> Mapping[str, tuple[MetamorphicRelation, ...]]:
    """Every relation, by the id of its requirement."""
    found: dict[str, list[MetamorphicRelation]] = {}
    for relation in (*metamorphic.relations(), *masks.relations()):
        found.setdefault(relation.requirement, []).append(relation)
    return {requirement: tuple(group) for requirement, group in found.items()}


def cases_of(requirement: str, dtype: str, cost: str = "") -> tuple[Case, ...]:
    """The cases of one requirement that make sense in a dtype.

    Args:
        cost: what costs an implementation time, a key of TABLES: "shapes" takes the rows of the covering array that
            meet few of them, "configurations" also only those of the others that need no compilation beyond those of
            the first case of each requirement, as does "minutes", of models the fewest. "thorough" takes every row in
            every dtype.
    """
    fitting = _by_hand(requirement, dtype)
    if cost in ("configurations", "minutes") and fitting:
        first, *rest = fitting
        fitting = (first, *(case for case in rest if _compilations(case) <= _keys_of_first_cases(dtype)))
    rows_of_table = (row for row in covering(requirement, cost) if dtype in row.dtypes)
    return (*fitting, *rows_of_table, *models_of(requirement, dtype, cost))


def _by_hand(requirement: str, dtype: str) -> tuple[Probe | MetamorphicRelation, ...]:
    """The probes and relations of one requirement in a dtype."""
    every: tuple[Probe | MetamorphicRelation, ...] = (
        *probes().get(requirement, ()),
        *all_relations().get(requirement, ()),
    )
    return tuple(case for case in every if dtype in case.dtypes)


@cache
def _keys_of_first_cases(dtype: str) -> frozenset[tuple[object, ...]]:
    """What is compiled for the first cases of all requirements."""
    firsts = (_by_hand(requirement, dtype)[:1] for requirement in (*probes(), *all_relations()))
    return frozenset(what for cases in firsts for case in cases for what in _compilations(case))


def _compilations(case: Probe | MetamorphicRelation) -> frozenset[tuple[object, ...]]:
    """What a compiler sees as different: pass, mode, configuration and shape."""
    given = case.at("float64", "float64")
    programs: tuple[Program, ...] = (given,) if isinstance(given, Program) else tuple(given)
    return frozenset(
        (step.op, step.mode, step.x_layout, step.grad_layout, program.config, step.x.shape, _mask_kind(step))
        for program in programs
        for step in program.steps
        if step.x is not None
    )


def _mask_kind(step: Step) -> tuple[object, ...]:
    return () if step.mask is None else (step.mask.shape, str(step.mask.dtype))
