"""What an implementation does in passes that a layer need not have, measured: over replicas, saved, frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bnconform.cases.distinguishing import distinguishing_programs
from bnconform.cases.program import Program
from bnconform.diagnosis import search
from bnconform.judge.subject import Subject
from bnconform.spec.behaviour import OF_ABILITY, SPECIFIED, decisions

PREFERRED = ("float32", "float64", "float16", "bfloat16")

DECISIONS = tuple(name for name in decisions() if name.startswith("replica_"))
"""The decisions about replicas, in the order of the space."""

BESIDES = ("saved_statistics", "freeze")
"""The abilities whose decisions stand in a section of their own."""


def replicas(of: Callable[[str], Subject]) -> dict[str, Any]:
    """By decision the values that the evidence allows, the simplest first, and the specified one; {} without replicas.

    Nothing declared is used but what is said to be lacking: where shards of one shape alone are taken, how unequal ones
    weigh is not told.

    Args:
        of: the subject in a dtype.
    """
    programs = {
        name: program
        for name, program in distinguishing_programs().items()
        if any(step.shards for step in program.steps)
    }
    return _measure(of, programs, lambda _: DECISIONS)


def besides(of: Callable[[str], Subject]) -> dict[str, Any]:
    """The same of what is given beside y, and of layers that are frozen; {} where a layer has neither."""
    programs = {
        name: program
        for name, program in distinguishing_programs().items()
        if any(step.op in BESIDES for step in program.steps)
    }

    def ask(shown: Mapping[str, Program]) -> tuple[str, ...]:
        ops = {step.op for program in shown.values() for step in program.steps}
        return tuple(name for name, ability in OF_ABILITY.items() if ability in BESIDES and ability in ops)

    return _measure(of, programs, ask)


def _measure(
    of: Callable[[str], Subject],
    programs: Mapping[str, Program],
    asked: Callable[[Mapping[str, Program]], tuple[str, ...]],
) -> dict[str, Any]:
    """What the programs allow, in the first dtype that the implementation has, of the decisions that are asked."""
    for dtype in PREFERRED:
        subject = of(dtype)
        if dtype in subject.unsupported:
            continue
        evidence = search.gather(subject, programs)
        if not evidence.traces:
            return {}
        point = search.explain(evidence, SPECIFIED).points[0]
        others = search.alternatives(evidence, point)
        return {
            name: {
                "values": [
                    str(getattr(point, name)),
                    *(value for value, refuted in others[name].items() if refuted is None),
                ],
                "specified": str(getattr(SPECIFIED, name)),
            }
            for name in asked({name: trace.program for name, trace in evidence.traces.items()})
        }
    return {}
