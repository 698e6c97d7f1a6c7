"""Probes of options that are set after a layer was built: momentum, eps, tracking."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.program import (
    STATE,
    Probe,
    Program,
    Step,
    backward,
    forward,
    jvp,
    load,
    masked,
    pullback,
    recomputed,
    set_options,
    vjp,
)
from bnconform.spec.config import Config

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def probes() -> Iterator[Probe]:
    """Each option at ranks 2 and 4, before the first pass and after others, and back."""
    for rank in (4, 2):
        x = inputs.values(inputs.SHAPES[rank], 21)
        start = load(**inputs.parameters(3), **inputs.statistics(3))
        momentum: tuple[Step, ...] = (
            start,
            set_options(*STATE, momentum=0.5),
            forward(x, *STATISTICS),
            set_options(*STATE, momentum=0.125),
            forward(x + 1, *STATISTICS),
            forward(x - 2, "y", training=False),
        )
        yield Probe("BN-SET-MOMENTUM", f"rank{rank}", Program(Config(ndim=rank, momentum=0.9), momentum))
        average = (start, forward(x), forward(x * 2), set_options(*STATE, momentum=None), forward(x + 1, *STATISTICS))
        yield Probe("BN-SET-MOMENTUM", f"to-none-rank{rank}", Program(Config(ndim=rank), average))
        # Numbers that are false, and the way back from the cumulative average.
        zero, one = set_options(momentum=0.0), set_options(momentum=1.0)
        edges = (start, zero, forward(x, *STATISTICS), one, forward(x + 1, *STATISTICS))
        yield Probe("BN-SET-MOMENTUM", f"zero-and-one-rank{rank}", Program(Config(ndim=rank, momentum=0.3), edges))
        back = (start, forward(x), forward(x * 2), set_options(momentum=0.25), forward(x + 1, *STATISTICS))
        yield Probe("BN-SET-MOMENTUM", f"from-none-rank{rank}", Program(Config(ndim=rank, momentum=None), back))
        unread = (start, forward(x), set_options(momentum=0.5), forward(x + 1, *STATISTICS))
        program = Program(Config(ndim=rank, momentum=0.125), unread, reads="end")
        yield Probe("BN-SET-MOMENTUM", f"unread-rank{rank}", program)
        steps = [start, forward(x, training=False), forward(x), set_options(*STATE, eps=0.5)]
        for training in (True, False):
            steps.append(forward(x, "y", training=training))
            steps.append(backward(x, inputs.upstream(x.shape), "grad_x", "grad_weight", training=training))
        yield Probe("BN-SET-EPS", f"rank{rank}", Program(Config(ndim=rank, eps=0.015625), tuple(steps)))
        yield from _epsilons(rank, start)
        yield from _after_evaluation(rank, start)
        evaluated = forward(x * 2, "y", training=False)
        tracking: tuple[Step, ...] = (
            start,
            forward(x),
            evaluated,
            set_options(*STATE, track_running_stats=False),
            forward(x + 1, "y", *STATISTICS),
            forward(x - 2, "y", *STATISTICS),
            evaluated,
            set_options(*STATE, track_running_stats=True),
            forward(x + 1, "y", *STATISTICS),
            evaluated,
        )
        yield Probe("BN-SET-TRACKING", f"rank{rank}", Program(Config(ndim=rank, eps=0.25), tracking))
        tracking = (start, set_options(track_running_stats=False), backward(x, x, "grad_x", *STATISTICS), evaluated)
        yield Probe("BN-SET-TRACKING", f"backward-rank{rank}", Program(Config(ndim=rank, eps=0.25), tracking))
        yield from _other_passes(rank, start)


def _other_passes(rank: int, start: Step) -> Iterator[Probe]:
    """Passes with a mask, with a tangent, and such as run again for their gradients: they have the options, too."""
    x = inputs.values(inputs.SHAPES[rank], 21)
    mask = np.arange(len(x)).reshape(-1, *(1,) * (rank - 1)) > 0
    passes: dict[str, Callable[..., Step]] = {
        "masked": lambda *seen: masked(x, mask, *seen),
        "tangent": lambda *seen: jvp(x, inputs.upstream(x.shape), *seen),
        "recomputed": lambda *seen: recomputed(x, inputs.upstream(x.shape), *seen),
    }
    for name, step in passes.items():
        shown = ("grad_x",) if name == "recomputed" else ("y",)
        off = (start, set_options(track_running_stats=False), step(*STATISTICS))
        yield Probe("BN-SET-TRACKING", f"{name}-rank{rank}", Program(Config(ndim=rank, eps=0.25), off))
        other = (start, set_options(momentum=0.5), step(*STATISTICS))
        yield Probe("BN-SET-MOMENTUM", f"{name}-rank{rank}", Program(Config(ndim=rank, momentum=0.9), other))
        wider = (start, set_options(eps=0.5), step(*shown))
        yield Probe("BN-SET-EPS", f"{name}-rank{rank}", Program(Config(ndim=rank, eps=0.015625), wider))


def _after_evaluation(rank: int, start: Step) -> Iterator[Probe]:
    """Passes in evaluation right before and after: what they fold and keep is made of options, too."""
    x = inputs.values(inputs.SHAPES[rank], 21)
    passes = forward(x, "y", training=False), backward(x, inputs.upstream(x.shape), "grad_x", training=False)
    steps = (start, *passes, set_options(*STATE, eps=0.5), *passes, set_options(*STATE, eps=0.25), *passes)
    yield Probe("BN-SET-EPS", f"evaluated-rank{rank}", Program(Config(ndim=rank, eps=0.015625), steps))


def _epsilons(rank: int, start: Step) -> Iterator[Probe]:
    """Epsilon 0, which is false, and passes that are recorded."""
    x = inputs.values(inputs.SHAPES[rank], 21)
    g = inputs.upstream(x.shape)
    # PyTorch refuses an epsilon of 0 in training, with a message of its own, and takes it in evaluation.
    evaluated = forward(x, "y", training=False), backward(x, g, "grad_x", training=False)
    zero = Program(Config(ndim=rank, eps=0.37), (start, set_options(eps=0.0), *evaluated))
    yield Probe("BN-SET-EPS", f"zero-rank{rank}", zero)
    recorded: list[Step] = [start, vjp(x), pullback(1, g), set_options(eps=0.5)]
    for number, training in enumerate((True, False), 2):
        recorded += [vjp(x, "y", training=training), pullback(number, g, "grad_x", "grad_weight")]
    yield Probe("BN-SET-EPS", f"recorded-rank{rank}", Program(Config(ndim=rank, eps=0.015625), tuple(recorded)))
