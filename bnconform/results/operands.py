"""One subject of one result file: what it answered, what it declares, and at which point each answer stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bnconform.judge.judgement import Comparison as Placed
from bnconform.results.completeness import Column
from bnconform.results.matching import subjects
from bnconform.results.observations import UnreadableObservation, place_observation
from bnconform.results.result import Declaration, Observation, Result, Row
from bnconform.spec.behaviour import SPECIFIED, decisions
from bnconform.spec.errors import UserError


class Incomparable(UserError):
    """A result that cannot be compared; the message says why in one line."""


@dataclass
class Operand:
    """One subject of one file: what it answered, what it declares, and where it was found to stand.

    Attributes:
        path: the file as it was given. rows: by requirement. observations: by what they are observations of.
        stands: the declaration to try, by "declared", "specified" or "diagnosed", in this order.
        placings: what was placed already, by observation and point.
    """

    path: str
    subject: Column
    rows: Mapping[str, Row]
    observations: Mapping[tuple[Any, ...], Observation]
    declared: Declaration
    stands: Sequence[tuple[str, Declaration]]
    placings: dict[tuple[Any, ...], Placed | None] = field(default_factory=dict)

    def values(self) -> dict[str, tuple[str, str]]:
        """Value and origin of every decision in which it is not, or not said to be, at the specified point."""
        found = {name: (value, "declared") for name, value in self.declared.deviations.items()}
        for origin, point in self.stands:
            for name in {**self.declared.deviations, **point.deviations} if origin == "diagnosed" else ():
                specified = str(getattr(SPECIFIED, name))
                value = point.deviations.get(name, specified)
                if value != self.declared.deviations.get(name, specified):
                    found[name] = value, origin
        return found

    def place(self, observation: Observation, at: Declaration) -> Placed | None:
        """An observation against the truth at a point; Incomparable where it is no array of the program's shape."""
        key = observation.place, tuple(sorted(at.deviations.items()))
        if key not in self.placings:
            try:
                self.placings[key] = place_observation(observation, at)
            except (UnreadableObservation, OverflowError) as problem:
                name = f"{observation.requirement} {observation.case} {observation.name}"
                words = f"{self.subject[0]}:{self.subject[1]} in {self.subject[2]}"
                raise Incomparable(f"{self.path}: the observation {name} of {words}: {problem}") from None
        return self.placings[key]

    def standing(self, observation: Observation) -> tuple[str, Declaration, Placed | None]:
        """The first point at which an observation is within its bound; the declared one where it is at none."""
        for origin, point in self.stands:
            found = self.place(observation, point)
            if found is None or found.worst <= 1:
                return origin, point, found
        origin, point = self.stands[0]
        return origin, point, self.place(observation, point)


def operands(path: str, result: Result) -> dict[Column, Operand]:
    """Every subject of a file.

    Raises:
        Incomparable: where it names a decision or value that this version does not have, or one observation twice.
    """
    declared = {(one.backend, one.device): one for one in result.declarations}
    for one in result.declarations:
        _check_point(path, f"{one.backend} declares", one.deviations)
    rows: dict[Column, dict[str, Row]] = {subject: {} for subject in subjects(result)}
    for row in result.rows:
        rows[row.key[:3]][row.requirement] = row
    kept: dict[Column, dict[tuple[Any, ...], Observation]] = {subject: {} for subject in rows}
    for observation in result.observations:
        mine = kept.get((observation.backend, observation.device, observation.dtype), {})
        if observation.place in mine:
            name = f"{observation.requirement} {observation.case} {observation.name}"
            raise Incomparable(f"{path} has the observation {name} of {observation.backend} twice; run it again")
        mine[observation.place] = observation
    found = {}
    for subject in rows:
        said = declared.get(subject[:2], Declaration(*subject[:2], {}, {}))
        stands = _stands(path, said, rows[subject].values())
        found[subject] = Operand(path, subject, rows[subject], kept[subject], said, stands)
    return found


def _stands(path: str, declared: Declaration, rows: Iterable[Row]) -> list[tuple[str, Declaration]]:
    """The points at which the suite judged a subject, and those by which it explained what it found."""
    found = [("declared" if declared.deviations else "specified", declared)]
    if declared.deviations:
        found.append(("specified", replace(declared, deviations={})))
    for row in rows:
        if row.verdict in ("violates", "crashed") and row.diagnosis:
            point = {**declared.deviations, **{part.coordinate: part.value for part in row.diagnosis}}
            _check_point(path, f"{row.backend} is diagnosed to have", point)
            point = SPECIFIED.but(**point).differences()
            if all(point != other.deviations for _, other in found):
                found.append(("diagnosed", replace(declared, deviations=point)))
    return found


def _check_point(path: str, who: str, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        if name not in decisions() or value not in tuple(map(str, decisions()[name])):
            raise Incomparable(
                f"{path}: {who} {name} = {value}, which this version of bnconform does not know; "
                "compare with the version that wrote the file"
            )
