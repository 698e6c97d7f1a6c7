"""The probes, by requirement: each is one case, chosen because some wrong implementation fails it there.

Several are made for one fault only; the self-tests show which neighbour of the specified point each tells apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from cases.program import Probe
from cases.relations import Relation

from . import (
    documents,
    dtypes,
    edges,
    evaluation,
    flags,
    frozen,
    gradients,
    layout,
    quality,
    relations,
    running,
    training,
)

_MODULES = (training, evaluation, running, flags, gradients, layout, dtypes, edges, quality, documents, frozen)


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
    for relation in relations.relations():
        found.setdefault(relation.requirement, []).append(relation)
    return {requirement: tuple(group) for requirement, group in found.items()}


def cases_of(requirement: str, dtype: str) -> tuple[Probe | Relation, ...]:
    """The probes or relations of one requirement that make sense in a dtype."""
    every: tuple[Probe | Relation, ...] = (*probes().get(requirement, ()), *all_relations().get(requirement, ()))
    return tuple(case for case in every if dtype in case.dtypes)
