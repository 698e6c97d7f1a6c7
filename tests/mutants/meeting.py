"""Faults where two circumstances meet: for every pair of levels of the covering array, and each thing that can be seen.

A generated implementation errs in one observable where both levels hold, and nowhere else. Only rows that hold the pair
can tell it from a right one, and in each of these it is the layer that errs throughout the row's calls; so every row is
asked once for each observable, and a pair counts as killed if a row that holds it was. The literature calls an array
that finds such faults a detecting one, and one that also says which they are a locating one (Colbourn and McClary 2008,
"Locating and detecting arrays for interaction faults").
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from bnconform.cases.covering.factors import TRIPLES, trains
from bnconform.cases.covering.rows import CALLS, CoveringRow, rows
from bnconform.cases.covering.tables import table
from bnconform.cases.program import PASSES
from bnconform.judge.check import Check, conduct
from bnconform.judge.outcome import CRASHED, VIOLATES
from bnconform.judge.subject import Subject
from bnconform.spec.catalogue import requirement
from bnconform.spec.config import Config
from bnconform.tests.mutants.catalogue import Mutant
from bnconform.tests.mutants.layer import Array, Layer

Observable = tuple[str, str]
"""The mode of a call, and what of its results is wrong."""

GRADIENTS = ("grad_x", "grad_weight", "grad_bias")
OBSERVABLES: tuple[Observable, ...] = (
    ("training", "y"), ("evaluation", "y"), ("training", "running_mean"), ("training", "running_var"),
    *((mode, name) for mode in ("training", "evaluation") for name in GRADIENTS),
)  # fmt: skip

ERROR = 2.0**-3
"""How far a wrong number is off: of itself, and of the largest of its array."""

SEED = 20260201

Levels = tuple[tuple[str, str], ...]
"""Circumstances that hold together: factor and level of each."""


def spoilt(values: Array) -> Array:
    """The numbers, each off by ERROR; those that are none become 0."""
    wide = values.astype(np.float64)
    finite = np.isfinite(wide)
    with np.errstate(all="ignore"):
        scale = np.abs(wide[finite]).max(initial=0.0) or 1.0
        return np.where(finite, wide + ERROR * (np.abs(wide) + scale), 0.0).astype(values.dtype)


class Erring:
    """A right layer whose answers are wrong in one observable, from a call on; `note` is called where they are."""

    def __init__(self, config: Config, observable: Observable, first: int, note: Callable[[], None]) -> None:
        self.layer = Layer(config)
        self.mode, self.name = observable
        self.first, self.note = first, note
        self.passes = 0

    def _errs(self, training: bool) -> bool:
        self.passes += 1
        return self.passes > self.first and training == (self.mode == "training")

    def forward(self, x: Array, *, training: bool) -> Array:
        """As of the contract."""
        y = self.layer.forward(x, training=training)
        if not self._errs(training):
            return y
        if self.name == "y":
            self.note()
            return spoilt(y)
        kept = self.layer.entries.get(self.name)
        if kept is not None:
            self.note()
            self.layer.entries[self.name] = spoilt(kept)
        return y

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """As of the contract."""
        found = dict(zip(GRADIENTS, self.layer.backward(x, grad_output, training=training), strict=True))
        wrong = found.get(self.name)
        if self._errs(training) and wrong is not None:
            self.note()
            found[self.name] = spoilt(wrong)
        return found["grad_x"], found["grad_weight"], found["grad_bias"]  # type: ignore[return-value]

    def state(self) -> Mapping[str, Array | None]:
        """As of the contract."""
        return self.layer.state()

    def load(self, state: Mapping[str, Array]) -> None:
        """As of the contract."""
        self.layer.load(state)


@dataclass(frozen=True)
class Killed:
    """What a row tells: the observables that it asks for, and those of which it finds an error."""

    number: int
    asked: frozenset[Observable]
    found: frozenset[Observable]


def ask_row(row: CoveringRow, dtype: str) -> Killed:
    """Judge the implementations that err in one observable throughout a row's own calls, one after the other."""
    program = row.at(dtype, dtype)
    passes = sum(step.op in PASSES for step in program.steps)
    own = len(CALLS) if trains(row.levels) else 2
    seen, found = set(), set()
    for observable in OBSERVABLES:
        noted: list[None] = []
        build = partial(Erring, observable=observable, first=passes - own, note=partial(noted.append, None))
        mutant = Mutant("erring", "wrong where two circumstances meet", build)
        subject = Subject("erring", mutant, "cpu", dtype, brief=True)
        outcomes = conduct(_run, Check(subject, requirement(row.requirement), row))
        if noted:
            seen.add(observable)
            if any(outcome.verdict in (VIOLATES, CRASHED) for outcome in outcomes):
                found.add(observable)
    return Killed(row.number, frozenset(seen), frozenset(found))


def _run(check: Check) -> Any:
    return check.run()


@dataclass(frozen=True)
class Plan:
    """Which faults are generated.

    Attributes:
        table, dtype: whose rows are asked. words: what meets. strength: how many levels.
        least: the share to be killed; for pairs what the table has been seen to reach, so that it grows no less.
        count: how many faults are drawn; 0 for all.
    """

    table: str
    dtype: str
    words: str
    strength: int
    least: float
    count: int = 0


PLANS = (
    Plan("shown", "float32", "two circumstances", 2, 0.97),
    Plan("triples", "float32", "three circumstances", 3, 0.95, 300),
)
"""Faults of pairs; with --thorough also of triples."""


@dataclass
class Proof:
    """How many faults are told from right, by observable.

    Attributes:
        faults: observable -> how many. killed: those that were. survivors: the others.
        located: those of which no other has the same failing rows, so that the rows alone say which it is.
    """

    faults: Counter[Observable] = field(default_factory=Counter)
    killed: Counter[Observable] = field(default_factory=Counter)
    located: Counter[Observable] = field(default_factory=Counter)
    survivors: list[tuple[Observable, Levels]] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many faults there are."""
        return self.faults.total()

    @property
    def total_killed(self) -> int:
        """How many of them are told from right."""
        return self.killed.total()

    def hardest(self) -> list[tuple[tuple[str, str], int]]:
        """The levels of which most faults survive, with how many."""
        return Counter(item for _, levels in self.survivors for item in levels).most_common(5)


def rows_of(plan: Plan) -> list[CoveringRow]:
    """The rows of the plan's own table that are asked; a run has those of others beside them."""
    own = (row for row in rows(plan.table) if row.name == f"row{row.number}")
    return [row for row in own if plan.dtype in row.dtypes and not row.quality]


def prove(plan: Plan, told: Mapping[int, Killed]) -> Proof:
    """Which faults are killed: one for each meeting of levels and each observable that a row of it asks for."""
    every = table(plan.table)
    holding: dict[Levels, list[int]] = defaultdict(list)
    factors = [name for name in every[0] if plan.strength == 2 or name in TRIPLES]
    for number in told:
        for levels in combinations([(name, every[number - 1][name]) for name in factors], plan.strength):
            holding[levels].append(number)
    chosen: Sequence[Levels] = list(holding)
    if plan.count:
        chosen = random.Random(SEED).sample(chosen, plan.count)
    proof = Proof()
    for observable in OBSERVABLES:
        shown = {number for number, one in told.items() if observable in one.found}
        alike: Counter[frozenset[int]] = Counter()
        for levels in chosen:
            numbers = holding[levels]
            if not any(observable in told[number].asked for number in numbers):
                continue
            proof.faults[observable] += 1
            failing = frozenset(shown.intersection(numbers))
            if failing:
                proof.killed[observable] += 1
                alike[failing] += 1
            else:
                proof.survivors.append((observable, levels))
        proof.located[observable] = sum(count == 1 for count in alike.values())
    return proof
