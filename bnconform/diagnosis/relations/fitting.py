"""The relation that explains failing calls: the first of the family that holds of all of them, for each quantity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from bnconform.diagnosis.experiments.trials import FailingCall
from bnconform.diagnosis.relations.call_view import CallView
from bnconform.diagnosis.relations.derivative_relations import derivatives
from bnconform.diagnosis.relations.mask_relations import masks
from bnconform.diagnosis.relations.memory_relations import memory
from bnconform.diagnosis.relations.other_operands import relations
from bnconform.diagnosis.relations.relation import Relation, relations_without_number
from bnconform.diagnosis.relations.solved_relations import solve
from bnconform.spec.behaviour import Behaviour

MOST_CALLS = 10
"""Calls that a relation must hold of; more say little more."""

ALONE = 4
"""Relations, the first of `relations_without_number`, that one program is enough for: zero, NaN, the opposite sign,
another call's answer to the last bit hold of no other."""

SOME = ", in some channels"
"""What is told of a relation that holds of the channels that are wrong, where others are right."""

PLURALS = {
    "{} is": "{} are",
    "{} has": "{} have",
    "{} uses": "{} use",
    "{} lacks": "{} lack",
    "{} takes": "{} take",
    "what it should be": "what they should be",
}


@dataclass(frozen=True)
class Fit:
    """What explains the quantities that fail: by name, all relations that hold, the simplest first.

    Attributes:
        everywhere: whether in all channels; else in those that are wrong.
    """

    relations: Mapping[str, tuple[Relation, ...]]
    everywhere: bool = True

    def of(self, call: FailingCall) -> Fit | None:
        """What of it explains everything that is wrong of a call; None where something is left."""
        if not call.is_pass:
            return None
        found: dict[str, tuple[Relation, ...]] = {}
        for one in call.comparisons:
            if one.worst > 1:
                view = CallView(call, one)
                known = self.relations.get(one.name, ())
                found[one.name] = tuple(each for each in known if each.holds(view, everywhere=self.everywhere))
        return Fit(found, self.everywhere) if found and all(found.values()) else None

    def covers(self, call: FailingCall) -> bool:
        """Whether it explains everything that is wrong of a call."""
        return self.of(call) is not None

    def hides(self, call: FailingCall) -> bool:
        """Whether nothing of it would show in a call."""
        known = [one for one in call.comparisons if one.name in self.relations and call.is_pass]
        return bool(known) and all(self.relations[one.name][0].is_hidden(CallView(call, one)) for one in known)

    @property
    def causes(self) -> list[Cause]:
        """What can be told of it, the simplest first; each names all quantities."""
        first, *_ = self.relations.values()
        found = [self._cause(relation.words) for relation in first]
        return [cause for number, cause in enumerate(found) if cause not in found[:number]]

    def _cause(self, preferred: str) -> Cause:
        names: dict[str, list[str]] = {}
        for name, known in self.relations.items():
            words = [relation.words for relation in known]
            chosen = preferred if preferred in words else words[0]
            names.setdefault(chosen if self.everywhere else chosen + SOME, []).append(name)
        return [[words, *found] for words, found in names.items()]


Cause = list[list[str]]
"""Relations in words, each followed by the names of the quantities of which it holds; JSON-ready."""


def sentence(causes: Iterable[Cause]) -> str:
    """What several causes of the same relations say together, in words."""
    names: dict[str, list[str]] = {}
    for cause in causes:
        for words, *found in cause:
            known = names.setdefault(words, [])
            known += [name for name in found if name not in known]
    return "; ".join(_clause(words, found) for words, found in names.items())


def relations_of(cause: Cause) -> tuple[str, ...]:
    """What two causes share that are the same but for the quantities."""
    return tuple(sorted(words for words, *_ in cause))


def _clause(words: str, names: Sequence[str]) -> str:
    if len(names) > 1:
        for one, many in PLURALS.items():
            words = words.replace(one, many)
    *most, last = names
    return words.replace("{}", f"{', '.join(most)} and {last}" if most else last)


def fit(calls: Sequence[FailingCall], point: Behaviour, known: Sequence[Relation] = ()) -> Fit | None:
    """The relations that hold of all calls, for every quantity that fails in the first; None where one has none.

    Args:
        known: relations that explained other failures of the subject, whose numbers need not be solved for again.
    """
    chosen = _distinct(calls)
    if not chosen or not all(call.is_pass for call in chosen):
        return None
    with np.errstate(all="ignore"):  # what is infinite, or no number, fits no relation
        return _fitting(chosen, point, known)


def fit_one(call: FailingCall, family: Sequence[Relation]) -> Fit | None:
    """Those of a family that hold of one call, for every quantity that fails in it; None where one has none."""
    with np.errstate(all="ignore"):
        found = {
            view.name: tuple(one for one in family if _is_shown(one, [view], everywhere=True))
            for view in _all_views(call)
        }
    return Fit(found) if found and all(found.values()) else None


def alone() -> Iterator[Relation]:
    """The relations that one program is enough for."""
    yield from (relation for number, relation in enumerate(relations_without_number()) if number < ALONE)


def _fitting(chosen: Sequence[FailingCall], point: Behaviour, known: Sequence[Relation]) -> Fit | None:
    for everywhere in (True, False):
        found: dict[str, tuple[Relation, ...]] = {}
        for name in dict.fromkeys(one.name for one in chosen[0].comparisons if one.worst > 1):
            views = list(_views(chosen, name))
            holding = tuple(one for one in _family(views, point, known) if _is_shown(one, views, everywhere=everywhere))
            if not holding:
                break
            found[name] = holding
        else:
            return Fit(found, everywhere)
        if all(view.wrong_channels.all() for call in chosen for view in _all_views(call)):
            break
    return None


def _is_shown(relation: Relation, views: Sequence[CallView], *, everywhere: bool) -> bool:
    """Whether it explains every call, and two of them, or the only one, refute what is due."""
    told = 0
    for view in views:
        holds, tells = relation.explains(view, everywhere=everywhere)
        if not holds:
            return False
        told += tells
    return told >= min(2, len(views))


def _all_views(call: FailingCall) -> Iterator[CallView]:
    for one in call.comparisons:
        if one.worst > 1:
            yield CallView(call, one)


def _distinct(calls: Sequence[FailingCall]) -> list[FailingCall]:
    """The calls of different programs, as many of them as are looked at: the first, and others evenly."""
    by_key = {call.trace.program.key: call for call in calls}
    every = list(by_key.values())
    if len(every) <= MOST_CALLS:
        return every
    return [every[number * len(every) // MOST_CALLS] for number in range(MOST_CALLS)]


def _views(calls: Sequence[FailingCall], name: str) -> Iterator[CallView]:
    for call in calls:
        for view in _all_views(call):
            if view.name == name:
                yield view


def _family(views: Sequence[CallView], point: Behaviour, known: Sequence[Relation]) -> Iterator[Relation]:
    """The relations that are tried, the simplest first; few where there is one program only."""
    if len(views) < 2:
        yield from alone()
        return
    yield from chain(
        relations_without_number(), derivatives(), masks(), memory(point), solve(views), relations(views, point), known
    )
