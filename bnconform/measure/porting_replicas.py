"""What an implementation does with a batch that is spread over replicas, measured: the decisions about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bnconform.cases.distinguishing import distinguishing_programs
from bnconform.diagnosis import search
from bnconform.judge.subject import Subject
from bnconform.spec.behaviour import SPECIFIED, decisions

PREFERRED = ("float32", "float64", "float16", "bfloat16")

DECISIONS = tuple(name for name in decisions() if name.startswith("replica_"))
"""The decisions, in the order of the space."""


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
            for name in DECISIONS
        }
    return {}
