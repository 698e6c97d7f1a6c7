"""Faults of two decisions: whether the diagnosis names both, in a sample that is the same in every run.

One fault may hide the other. A point counts as named if the search gives it, or a point that no sequence of steps can
tell from it: one that expects exactly the same of every distinguishing program and of random programs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations

from hypothesis import HealthCheck, Phase, given, settings

from bnconform.cases.distinguishing import distinguishing_programs
from bnconform.cases.program import Program
from bnconform.cases.strategies import programs
from bnconform.diagnosis import search
from bnconform.judge.judgement import judge
from bnconform.judge.subject import Subject
from bnconform.results.result import Difference
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.tests.mutants.catalogue import SAME, Mutant
from bnconform.tests.mutants.oracle_layer import OracleLayer

SEED = 20260101
NAMED, EQUAL, MISSED = "named", "a point that nothing tells from it", "missed"
EXAMPLES = 100
"""Random programs by which two points are compared."""


@dataclass(frozen=True)
class FaultPair:
    """One fault of two decisions, and how it was diagnosed."""

    point: Behaviour
    verdict: str
    found: tuple[Behaviour, ...]

    def describe(self) -> str:
        """In words: what is wrong, and what was named."""
        named = " or ".join(words(point) for point in self.found)
        return f"{words(self.point)}: {self.verdict}" + ("" if self.verdict == NAMED else f" ({named})")


def words(point: Behaviour) -> str:
    """A point as what differs from the specification."""
    parts = (Difference(*pair) for pair in point.differences().items())
    return " and ".join(f"{part.coordinate} = {part.value}" for part in parts) or "the specified point"


def sample(count: int, seed: int = SEED) -> list[Behaviour]:
    """So many points that differ from the specification in two decisions, which show in one dtype."""
    singles = [(name, value) for name, value, _ in SPECIFIED.neighbours() if (name, value) not in SAME]
    pairs = (SPECIFIED.but(**dict(pair)) for pair in combinations(singles, 2) if pair[0][0] != pair[1][0])
    return random.Random(seed).sample([point for point in pairs if point.dtypes], count)


def diagnose(point: Behaviour, dtype: str = "float32") -> FaultPair:
    """Search for what explains an ideal implementation at the point, in `dtype` if it shows there."""
    if dtype not in point.dtypes:
        dtype = point.dtypes[-1]
    mutant = Mutant("pair", "wrong in two ways", partial(OracleLayer, behaviour=point))
    evidence = search.gather(Subject("pair", mutant, "cpu", dtype))
    found = search.explain(evidence)
    if found.points[0] == point:
        return FaultPair(point, NAMED, found.points)
    equal = any(other == point or indistinguishable(point, other) for other in found.points)
    return FaultPair(point, EQUAL if equal else MISSED, found.points)


def indistinguishable(one: Behaviour, other: Behaviour, dtype: str = "float64") -> bool:
    """Whether two points expect exactly the same of everything that an ideal implementation of the first shows."""
    return all(_alike(program.cast(dtype, dtype), one, other) for program in _programs())


def _alike(program: Program, one: Behaviour, other: Behaviour) -> bool:
    mutant = Mutant("one", "the first of two points", partial(OracleLayer, behaviour=one))
    trace = Subject("one", mutant, "cpu", program.config.dtype).run(program)
    marks = {search.view(trace, judge(trace, point), point).mark for point in (one, other)}
    return len(marks) == 1


def _programs() -> Iterator[Program]:
    yield from distinguishing_programs().values()
    drawn: list[Program] = []

    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(program=programs())
    def draw(program: Program) -> None:
        drawn.append(program)

    draw()
    yield from drawn
