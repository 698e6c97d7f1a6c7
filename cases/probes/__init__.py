"""The probes, by requirement: each is one case, chosen because some wrong implementation fails it there.

Several are made for one fault only; the self-tests show which neighbour of the specified point each tells apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from bnconform.cases.metamorphic import Relation
from bnconform.cases.probes import (
    documents,
    dtypes,
    edges,
    evaluation,
    flags,
    gradients,
    layout,
    metamorphic,
    quality,
    regression,
    running,
    training,
)
from bnconform.cases.program import Probe, Program

_MODULES = (training, evaluation, running, flags, gradients, layout, dtypes, edges, quality, documents, regression)


@cache
def probes() -> Mapping[str, tuple[Probe, ...]]:
    """Every probe, by the id of its requirement, in the order of the chapters."""
    found: dict[str, list[Probe]] = {}
    for module in _MODULES:
        for probe in module.probes():
            found.setdefault(probe.requirement, []).append(probe)
    return {requirement: tuple(group) for requirement, group in found.items()}


@cache
def all_relations() -> Mapping[str, tuple[Relation, ...]]:
    """Every relation, by the id of its requirement."""
    found: dict[str, list[Relation]] = {}
    for relation in metamorphic.relations():
        found.setdefault(relation.requirement, []).append(relation)
    return {requirement: tuple(group) for requirement, group in found.items()}


def cases_of(requirement: str, dtype: str) -> tuple[Probe | Relation, ...]:
    """The probes or relations of one requirement that make sense in a dtype."""
    every: tuple[Probe | Relation, ...] = (*probes().get(requirement, ()), *all_relations().get(requirement, ()))
    return tuple(case for case in every if dtype in case.dtypes)


def few_of(requirement: str, dtype: str) -> tuple[Probe | Relation, ...]:
    """Those for an implementation that compiles for each configuration, mode and shape.

    They are the first one, and all that need no compilation beyond those of the first ones of all requirements.
    """
    first, *rest = cases_of(requirement, dtype) or (None,)
    if first is None:
        return ()
    return (first, *(case for case in rest if _compilations(case) <= _needed(dtype)))


@cache
def _needed(dtype: str) -> frozenset[tuple[object, ...]]:
    """What is compiled for the first cases of all requirements."""
    firsts = (cases_of(requirement, dtype)[:1] for requirement in (*probes(), *all_relations()))
    return frozenset(what for cases in firsts for case in cases for what in _compilations(case))


def _compilations(case: Probe | Relation) -> frozenset[tuple[object, ...]]:
    """What a compiler sees as different: pass, mode, configuration and shape."""
    given = case.at("float64", "float64")
    programs: tuple[Program, ...] = (given,) if isinstance(given, Program) else tuple(given)
    return frozenset(
        (step.op, step.mode, step.x_layout, step.grad_layout, program.config, step.x.shape)
        for program in programs
        for step in program.steps
        if step.x is not None
    )
