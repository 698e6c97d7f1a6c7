"""Whether a run names the two circumstances at which an implementation errs: faults drawn from the covering array.

A generated implementation looks at each of its calls, and errs in one observable where both levels hold. The first row
of the table that fails is given to the diagnosis as a run gives it, and what is told must speak of both factors. Drawn
are the factors that a call shows by itself; values and history are told by other means (`diagnosis.value_factors`,
`diagnosis.experiments`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from bnconform.backends.runner.layouts import LAYOUTS
from bnconform.cases.covering.factors import COUNTS
from bnconform.cases.covering.rows import CoveringRow
from bnconform.cases.covering.tables import table
from bnconform.diagnosis.narrowing import narrow
from bnconform.judge.check import Check, conduct
from bnconform.judge.outcome import CRASHED, VIOLATES
from bnconform.judge.subject import Subject
from bnconform.spec.catalogue import requirement
from bnconform.spec.config import Config
from bnconform.tests.mutants.catalogue import Mutant
from bnconform.tests.mutants.layer import Array
from bnconform.tests.mutants.meeting import GRADIENTS, OBSERVABLES, PLANS, SEED, Erring, Levels, Observable, rows_of

TRIED = 3
"""Rows that hold a pair and are tried until one fails."""

LEAST = 0.9
"""The share of faults of which both circumstances are to be named."""

PARAMETERS = {"both": (True, True), "neither": (False, False), "weight": (True, False), "bias": (False, True)}
"""Whether there is a weight, and a bias, by level."""


@dataclass(frozen=True)
class Call:
    """What an implementation sees of a call."""

    config: Config
    x: Array
    grad_output: Array | None

    @property
    def positions(self) -> int:
        """prod(S)."""
        return int(np.prod(self.x.shape[2:], dtype=np.int64))


def _lies(array: Array | None, layout: str) -> bool:
    if array is None or array.size < 2:
        return False
    same = LAYOUTS[layout](np.ascontiguousarray(array)).strides == array.strides
    return same and (array.flags.writeable or layout == "read_only")


HOLDS: Mapping[str, Callable[[Call, str], bool]] = {
    "rank": lambda call, level: call.x.ndim == int(level),
    "samples": lambda call, level: len(call.x) == int(level),
    "positions": lambda call, level: call.positions == COUNTS[level],
    "channels": lambda call, level: call.x.shape[1] == int(level),
    "x_layout": lambda call, level: _lies(call.x, level),
    "grad_layout": lambda call, level: _lies(call.grad_output, level),
    "affine": lambda call, level: (call.config.weight, call.config.bias) == PARAMETERS[level],
    "tracking": lambda call, level: call.config.track_running_stats == (level == "tracked"),
    "momentum": lambda call, level: call.config.momentum == (None if level == "None" else float(level)),
    "epsilon": lambda call, level: call.config.eps == float(level),
}
"""Whether a call is at a level, by factor."""

WORDS = {
    "rank": "rank",
    "samples": "sample|values? a channel",
    "positions": "position|values? a channel|rank 2",
    "channels": r"channel\b|channels\b(?!_)",
    "x_layout": r" x\b",
    "grad_layout": "grad_output",
    "affine": "weight|bias",
    "tracking": "running statistics",
    "momentum": "momentum",
    "epsilon": "epsilon",
}
"""How circumstances speak of a factor."""


@dataclass(frozen=True)
class Fault:
    """An observable that is wrong where two levels meet, and the rows that hold them."""

    levels: Levels
    observable: Observable
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Naming:
    """What was told of a fault: `circumstances` is None where no row that was tried fails."""

    fault: Fault
    circumstances: tuple[str, ...] | None

    @property
    def missing(self) -> tuple[str, ...]:
        """The factors of which nothing was said, though something was to be said."""
        text = "; ".join(self.circumstances or ())
        wanted = [
            factor for factor, level in self.fault.levels if not _is_implied(self.fault.observable, factor, level)
        ]
        return tuple(factor for factor in wanted if not re.search(WORDS[factor], text))

    def describe(self) -> str:
        """One line."""
        where = " and ".join(f"{factor} {level}" for factor, level in self.fault.levels)
        told = "; ".join(self.circumstances or ()) or "nothing"
        return f"{' '.join(self.fault.observable)} wrong where {where}: told {told}"


def _is_implied(observable: Observable, factor: str, level: str) -> bool:
    """Whether an observable is there at this level only, so that there is nothing to say."""
    by_factor = {"affine": ("grad_weight", "grad_bias"), "tracking": ("running_mean", "running_var")}
    return level in ("both", "tracked") and observable[1] in by_factor.get(factor, ())


class ErringWhereTwoMeet(Erring):
    """A right layer that is wrong in one observable in the calls that are at both levels."""

    def __init__(self, config: Config, fault: Fault) -> None:
        super().__init__(config, fault.observable, first=0, note=lambda: None)
        self.config, self.levels, self.here = config, fault.levels, False

    def _look(self, x: Array, grad_output: Array | None) -> None:
        call = Call(self.config, x, grad_output)
        self.here = all(HOLDS[factor](call, level) for factor, level in self.levels)

    def forward(self, x: Array, *, training: bool) -> Array:
        """As of the contract."""
        self._look(x, None)
        return super().forward(x, training=training)

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """As of the contract."""
        self._look(x, grad_output)
        return super().backward(x, grad_output, training=training)

    def _errs(self, training: bool) -> bool:
        return self.here and super()._errs(training)


def _can_be_seen(levels: Levels, observable: Observable) -> bool:
    """Whether some call at both levels shows the observable."""
    held = dict(levels)
    name = observable[1]
    if "grad_layout" in held and name not in GRADIENTS:
        return False
    weight, bias = PARAMETERS[held.get("affine", "both")]
    if (name == "grad_weight" and not weight) or (name == "grad_bias" and not bias):
        return False
    one_row = held.get("positions") in ("tall", "wide")  # which a call of 5 or 7 positions need not be
    return not one_row and not (name.startswith("running") and held.get("tracking") == "untracked")


def sample(count: int) -> list[Fault]:
    """Faults, the same in every run, over rows of ordinary values."""
    plan = PLANS[0]
    every = table(plan.table)
    numbers = [row.number for row in rows_of(plan)]
    ordinary = [number for number in numbers if every[number - 1]["values"] == "ordinary"]
    draw = random.Random(SEED)
    found: dict[tuple[Levels, Observable], Fault] = {}
    pairs = list(combinations(HOLDS, 2))
    while len(found) < count:
        levels = tuple((factor, every[draw.choice(ordinary) - 1][factor]) for factor in draw.choice(pairs))
        observable = draw.choice(OBSERVABLES)
        holding = [number for number in numbers if all(every[number - 1][name] == level for name, level in levels)]
        if holding and _can_be_seen(levels, observable):
            found[levels, observable] = Fault(levels, observable, tuple(sorted(holding)))
    return list(found.values())


def name_fault(fault: Fault) -> Naming:
    """Judge the rows that hold a fault's levels until one fails, and have the diagnosis look for its circumstances."""
    plan = PLANS[0]
    by_number: dict[int, CoveringRow] = {row.number: row for row in rows_of(plan)}
    for number in fault.numbers[:TRIED]:
        row = by_number[number]
        mutant = Mutant("erring", "wrong where two circumstances meet", partial(ErringWhereTwoMeet, fault=fault))
        subject = Subject("erring", mutant, "cpu", plan.dtype, brief=True)
        outcomes = conduct(Check.run, Check(subject, requirement(row.requirement), row))
        if any(outcome.verdict in (VIOLATES, CRASHED) for outcome in outcomes):
            finding = narrow(subject, subject.run(row.at(plan.dtype, plan.dtype).read_always))
            return Naming(fault, tuple(one.words for one in finding.where) if finding is not None else ())
    return Naming(fault, None)
