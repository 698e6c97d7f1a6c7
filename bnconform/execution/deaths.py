"""What an implementation dies of: how often, and which features the programs share at which its process ends.

A feature that all of them share and no program that was answered has is left out from then on, so that everything else
is judged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce

from bnconform.cases.program import PASSES, Program
from bnconform.execution.worker import Died

ENOUGH = 3
"""Deaths from which on a feature that they share is left out."""

IN_A_ROW, DEATHS, HANGS = 5, 50, 3
"""How often a process may die, without an answer in between and in all, and how often it may run into the time limit,
before its implementation is not asked any more."""

MANY = 10_000
"""Elements of an input from which on a program is called large."""


@dataclass
class Deaths:
    """What is known of the deaths of one backend's processes.

    Attributes:
        died: the features of each program that ended a process, and how. answered: those of all that were answered.
    """

    died: list[tuple[frozenset[str], Died]] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    in_a_row: int = 0
    hangs: int = 0

    def note_answer(self, program: Program) -> None:
        """Count a program that was answered."""
        self.in_a_row = 0
        if self.died or len(self.answered) < 64:
            self.answered |= features(program)

    def note_death(self, program: Program, how: Died) -> None:
        """Count a program that ended its process."""
        self.died.append((features(program), how))
        self.in_a_row += 1
        self.hangs += how.hung

    def shared(self) -> frozenset[str]:
        """The features that all programs with a death have and no program with an answer has."""
        if len(self.died) < ENOUGH or not self.answered:
            return frozenset()
        return reduce(frozenset.intersection, (found for found, _ in self.died)) - self.answered

    def refusal(self, program: Program) -> str:
        """Why a program is not asked for; "" where it is."""
        shared = self.shared()
        if shared and shared <= features(program):
            causes = " or ".join(dict.fromkeys(how.cause for _, how in self.died))
            return f"not asked: {causes}, only {' and '.join(sorted(shared))} ({len(self.died)} deaths)"
        if len(self.died) >= DEATHS or self.hangs >= HANGS or self.in_a_row >= IN_A_ROW:
            return f"not asked, because the process has died {len(self.died)} times before: {self.died[-1][1]}"
        return ""


def features(program: Program) -> frozenset[str]:
    """What is special about a program, in words."""
    config = program.config
    found = {f"rank {config.ndim}", config.dtype, f"momentum {'None' if config.momentum is None else 'a number'}"}
    found |= {"affine" if config.affine else "no affine", "tracking" if config.track_running_stats else "no tracking"}
    found |= {f"{step.op} in {step.mode}" for step in program.steps if step.op in PASSES}
    for step in program.steps:
        if step.op == "load":
            found.add("a load")
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
