"""The search for what explains a trace: the points next to the specified one at which everything observed holds."""

from __future__ import annotations

from spec.behaviour import SPECIFIED, Behaviour

from .execute import Trace
from .judge import Judgement, judge

LARGEST = 6000
"""Elements of input up to which a trace is searched; the probes that tell behaviours apart are far smaller."""


def explains(trace: Trace, point: Behaviour, quality: str = "") -> bool:
    """Whether everything observed holds at the point, with bounds that say something (none is infinite)."""
    found = judge(trace, point, quality)
    return (
        found.holds
        and found.checks > 0
        and all(_bounded(comparison.bound.max(initial=0.0)) for comparison in found.comparisons)
    )


def _bounded(value: float) -> bool:
    return value < float("inf")


def diagnose(trace: Trace, quality: str = "", base: Behaviour = SPECIFIED) -> list[Behaviour]:
    """The neighbours of `base` that explain the trace."""
    size = sum(step.x.size for step in trace.program.steps if step.x is not None)
    if trace.broken is not None or size > LARGEST:
        return []
    return [point for _, _, point in base.neighbours() if explains(trace, point, quality)]


def narrow(judgement: Judgement) -> str:
    """Where a violation that no neighbour explains shows: the narrowest description that one trace allows."""
    worst = judgement.worst
    if worst is None or worst.worst <= 1:
        return ""
    wrong = worst.share > 1
    parts = [f"{int(wrong.sum())} of {wrong.size} elements of {worst.name}"]
    if wrong.ndim > 1 and wrong.any():
        channels = sorted({int(index) for index in wrong.nonzero()[1]})
        if len(channels) < wrong.shape[1]:
            first, last = channels[0], channels[-1]
            dense = len(channels) == last - first + 1
            parts.append(
                f"only channels {first} to {last}" if dense and first != last else f"only channels {channels[:8]}"
            )
    return ", ".join(parts)
