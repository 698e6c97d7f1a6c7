"""Probes of a reset: statistics and counter as when new, the parameters as they were, and the updates after it."""

from __future__ import annotations

from collections.abc import Iterator

from bnconform.cases import inputs
from bnconform.cases.program import STATE, Probe, Program, Step, forward, load, reset
from bnconform.spec.config import Config

COUNTED = ("running_mean", "num_batches_tracked")


def probes() -> Iterator[Probe]:
    """With a momentum and without, and without tracking."""
    for rank in (4, 2):
        x = inputs.values(inputs.SHAPES[rank], 8)
        for momentum in (0.3, None):
            steps: tuple[Step, ...] = (
                load(**inputs.parameters(3), **inputs.statistics(3)),
                forward(x * 2),
                forward(x + 1),
                reset(*STATE),
                forward(x, *COUNTED),
                forward(x - 2, *COUNTED),
                reset(*STATE),
                forward(x, "y", training=False),
            )
            words = f"momentum-{'none' if momentum is None else momentum}-rank{rank}"
            yield Probe("BN-STATE-RESET", words, Program(Config(ndim=rank, momentum=momentum), steps))
        evaluated = forward(x + 1, "y", training=False)  # what it may have kept of the statistics is of no use any more
        steps = (load(**inputs.everything(3)), evaluated, reset(*STATE), evaluated)
        yield Probe("BN-STATE-RESET", f"between-evaluations-rank{rank}", Program(Config(ndim=rank, eps=0.3), steps))
        # Parameters as new look like statistics as new: what is reset must not take their place in memory.
        seen = (*COUNTED, "weight", "bias")
        steps = (forward(x), reset(*STATE), forward(x + 1, *seen), reset(*STATE), forward(x * 2, *seen))
        yield Probe("BN-STATE-RESET", f"default-parameters-rank{rank}", Program(Config(ndim=rank), steps))
        config = Config(ndim=rank, track_running_stats=False)
        steps = (load(**inputs.parameters(3)), forward(x), reset(*STATE), forward(x, "y", training=False))
        yield Probe("BN-STATE-RESET", f"untracked-rank{rank}", Program(config, steps))
