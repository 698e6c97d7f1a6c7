"""What an implementation dies of: which features the programs share at which its process ends, and when to give it up.

Deaths are sorted into groups: the programs of a group share features that no program with an answer has together. From
a few deaths on, programs that have all of these are left out, and everything else is asked; the message names the
fewest of them that tell the group from what was answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations

from bnconform.cases.program import PASSES, Program
from bnconform.execution.worker import Died

ENOUGH = 3
"""Deaths of a group from which on what its programs share is left out."""

AT_ONCE, HANGS_AT_ONCE = 5, 3
"""Deaths, and how many of them may be hangs, before the first answer after which nothing is asked any more."""

IN_A_ROW, DEATHS = 12, 50
"""How often a process may die without an answer in between, and in all, before it is not asked any more."""

HANGS, BREACHES = 5, 5
"""How often it may run into the time limit, and send what it should not, otherwise than by features that are left out,
before it is not asked any more: two groups may have two such deaths each, so that one more is of a third kind."""

EVIDENCE = 200
"""Programs with an answer that are kept in mind before the first death."""

MANY = 10_000
"""Elements of an input from which on a program is called large."""

NAMED = 3
"""Features that are tried together to name a group."""

FIRST = ("rank", "float", "bfloat", "an empty", "one value", "a large", "another", "x ", "grad_output", "memory")
"""With what a feature begins that is named before others."""

USUAL = ("a pass", "rank 4", "float32", "a load", "affine", "tracking", "momentum a number")
"""What most programs have, in the order in which it is named where nothing else tells."""

Features = frozenset[str]


@dataclass
class Group:
    """Deaths that have something in common.

    Attributes:
        features: those that the programs share. deaths: the features of each program, and how its process ended.
    """

    features: Features
    deaths: list[tuple[Features, Died]]

    @property
    def is_known(self) -> bool:
        """Whether there are enough of them to leave out what they share."""
        return len(self.deaths) >= ENOUGH

    @property
    def hangs(self) -> int:
        """How many of them ran into the time limit."""
        return sum(how.hung for _, how in self.deaths)

    @property
    def breaches(self) -> int:
        """How many of them sent what they should not."""
        return sum(how.breach for _, how in self.deaths)


@dataclass
class Deaths:
    """What is known of the deaths of one backend's processes.

    Attributes:
        answered: the features of programs that were answered. in_a_row: deaths since then. last: the last death.
    """

    answered: set[Features] = field(default_factory=set)
    groups: list[Group] = field(default_factory=list)
    in_a_row: int = 0
    last: Died | None = None

    @property
    def count(self) -> int:
        """How many deaths there were."""
        return sum(len(group.deaths) for group in self.groups)

    def note_answer(self, program: Program) -> None:
        """Count a program that was answered."""
        self.in_a_row = 0
        if not self.groups and len(self.answered) >= EVIDENCE:
            return
        found = features(program)
        if found in self.answered:
            return
        self.answered.add(found)
        if any(group.features <= found for group in self.groups):
            self._sort(death for group in self.groups for death in group.deaths)

    def note_death(self, program: Program, how: Died) -> None:
        """Count a program that ended its process."""
        self.in_a_row += 1
        self.last = how
        self._enter(features(program), how)

    def refusal(self, program: Program) -> str:
        """Why a program is not asked for; "" where it is."""
        if self.last is None:
            return ""
        found = features(program)
        for group in self.groups:
            if self.answered and group.is_known and self._left_out(group) <= found:
                causes = " or ".join(dict.fromkeys(how.cause for _, how in group.deaths))
                return f"not asked: {causes}, only {self.name(group)} ({len(group.deaths)} deaths)"
        if self._is_given_up():
            return f"not asked, because the process has died {self.count} times before: {self.last}"
        return ""

    def _is_given_up(self) -> bool:
        if self.in_a_row >= (IN_A_ROW if self.answered else AT_ONCE) or self.count >= DEATHS:
            return True
        unknown = [group for group in self.groups if not group.is_known]
        if sum(group.breaches for group in unknown) >= BREACHES:
            return True
        return sum(group.hangs for group in unknown) >= (HANGS if self.answered else HANGS_AT_ONCE)

    def name(self, group: Group) -> str:
        """What tells a group from all that was answered, in the fewest words."""
        return " and ".join(self._telling(group))

    def _left_out(self, group: Group) -> Features:
        """The features which a program must have to be left out: all that are shared, so that nothing is hidden.

        To find out more costs a time limit where processes hang, so that there those are enough that name the group.
        """
        return frozenset(self._telling(group)) if group.hangs else group.features

    def _telling(self, group: Group) -> tuple[str, ...]:
        shared = sorted(group.features, key=_place)
        alone = tuple(name for name in shared if not self._is_answered((name,)))
        if alone:
            return alone
        for size in range(2, NAMED + 1):
            for names in combinations(shared, size):
                if not self._is_answered(names):
                    return names
        return tuple(shared)

    def _is_answered(self, names: Iterable[str]) -> bool:
        """Whether some program that has all of these features was answered."""
        wanted = frozenset(names)
        return any(wanted <= found for found in self.answered)

    def _enter(self, found: Features, how: Died) -> None:
        """Put a death into the group with which it has most in common that was never answered."""
        fitting = [group for group in self.groups if not self._is_answered(group.features & found)]
        if not fitting:
            self.groups.append(Group(found, [(found, how)]))
            return
        group = max(fitting, key=lambda group: len(group.features & found))
        group.features &= found
        group.deaths.append((found, how))

    def _sort(self, deaths: Iterable[tuple[Features, Died]]) -> None:
        """Form the groups anew, as an answer has refuted one."""
        all_of_them, self.groups = list(deaths), []
        for found, how in all_of_them:
            self._enter(found, how)


def _place(name: str) -> tuple[int, str]:
    """Where a feature comes when a group is named."""
    if name in USUAL:
        return 2 + USUAL.index(name), name
    return (0 if name.startswith(FIRST) else 1), name


def features(program: Program) -> Features:
    """What is special about a program, in words."""
    config = program.config
    found = {f"rank {config.ndim}", config.dtype, f"momentum {'None' if config.momentum is None else 'a number'}"}
    affine = f"a {config.affine} alone" if config.has_one_parameter else "affine" if config.affine else "no affine"
    found |= {affine, "tracking" if config.track_running_stats else "no tracking"}
    for step in program.steps:
        if step.op in PASSES:
            found |= {f"{step.op} in {step.mode}", step.mode}
    if any(step.op in PASSES for step in program.steps):
        found.add("a pass")
    for step in program.steps:
        if step.op == "load":
            found |= {"a load"} | ({f"a load {step.x_layout}"} if step.x_layout != "contiguous" else set())
        if step.x is None:
            continue
        values = step.x.size // step.x.shape[1] if step.x.ndim > 1 and step.x.shape[1] else 0
        found |= {"an empty batch"} if not step.x.size else {"one value a channel"} if values == 1 else set()
        found |= {f"x {step.x_layout}"} if step.x_layout != "contiguous" else set()
        found |= {f"grad_output {step.grad_layout}"} if step.grad_layout != "contiguous" else set()
        found |= {"a large batch"} if step.x.size >= MANY else set()
        found |= {"another shape than the layer's"} if step.x.shape[1:2] != (config.num_features,) else set()
    if program.watch:
        found.add(f"memory of {program.watch}")
    return frozenset(found)
