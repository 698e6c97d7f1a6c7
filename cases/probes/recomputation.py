"""Probes of steps whose forward pass is run again for the gradients, and of gradients over micro-batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.program import (
    GRADIENTS,
    Array,
    Probe,
    Program,
    Step,
    backward,
    forward,
    load,
    pullback,
    recomputed,
    vjp,
)
from bnconform.spec.config import Config

STATISTICS = ("running_mean", "running_var")
SHOWN = (*STATISTICS, "num_batches_tracked")
MOVED = ("running_mean", "num_batches_tracked")
"""What shows how often the statistics have moved, where which variance is remembered is another requirement's."""

MODES = {True: "training", False: "evaluation"}
MOMENTUM = 0.3
"""Far from 0 and 1, so that one update and two differ in every dtype."""

EPSILON = 0.1
"""Large, so that the gradients of training and of evaluation differ in scale, too."""

SAMPLES = {2: (4, 3, 5), 4: (2, 1, 3)}
"""How many samples each of three micro-batches has, by rank; at rank 4 one has a single sample."""


def probes() -> Iterator[Probe]:
    """Steps with recomputation, and micro-batches."""
    for rank in (4, 2):
        yield from _gradients(rank)
        yield from _statistics(rank)
        yield from _evaluation(rank)
        yield from _after(rank)
        yield from _micro_batches(rank)
        yield from _accumulation(rank)


def _operands(rank: int, seed: int = 0) -> tuple[Array, Array]:
    """X, whose channels are off 0 by more than they spread, and g."""
    shape = inputs.SHAPES[rank]
    return inputs.values(shape, 20 + seed, offset=2.5), inputs.upstream(shape, seed)


def _load_state() -> Step:
    """A state that is no default in any entry."""
    return load(**inputs.everything(3))


def _config(rank: int, **options: object) -> Config:
    return Config(ndim=rank, **{"eps": EPSILON, "momentum": MOMENTUM, **options})  # type: ignore[arg-type]


def _gradients(rank: int) -> Iterator[Probe]:
    """The three gradients, with and without parameters and statistics."""
    x, g = _operands(rank)
    step = recomputed(x, g, *GRADIENTS)
    yield Probe("BN-REMAT-GRAD", f"loaded-rank{rank}", Program(_config(rank), (_load_state(), step)))
    yield Probe("BN-REMAT-GRAD", f"new-rank{rank}", Program(_config(rank), (step,)))
    without = (load(**inputs.statistics(3)), step)
    yield Probe("BN-REMAT-GRAD", f"affine-off-rank{rank}", Program(_config(rank, affine=False), without))
    untracked = (load(**inputs.parameters(3)), step)
    program = Program(_config(rank, track_running_stats=False), untracked)
    yield Probe("BN-REMAT-GRAD", f"untracked-rank{rank}", program)
    # Of four values a channel half precision, too, has bounds that tell something.
    x, g = inputs.symmetric((0.5, 2.0, 1.0)), inputs.upstream((4, 3), 3)
    if rank == 2:
        few = (_load_state(), recomputed(x + np.array([1.0, -2.0, 0.5]), g, *GRADIENTS))
        yield Probe("BN-REMAT-GRAD", "four-values", Program(_config(2), few))


def _statistics(rank: int) -> Iterator[Probe]:
    """What is remembered of a step: of a loaded layer, after a pass, and as a cumulative average."""
    x, g = _operands(rank, 1)
    other, _ = _operands(rank, 2)
    step = recomputed(x, g, *STATISTICS)
    yield Probe("BN-REMAT-STATS", f"loaded-rank{rank}", Program(_config(rank), (_load_state(), step)))
    after = Program(_config(rank), (_load_state(), forward(other), step))
    yield Probe("BN-REMAT-STATS", f"after-a-pass-rank{rank}", after)
    counted = recomputed(x, g, "num_batches_tracked")
    yield Probe("BN-REMAT-COUNTER", f"new-rank{rank}", Program(_config(rank), (counted,)))
    later = (load(**inputs.statistics(3), num_batches_tracked=5), counted)
    yield Probe("BN-REMAT-COUNTER", f"loaded-rank{rank}", Program(_config(rank), later))
    cumulative = (recomputed(x, g, *MOVED), recomputed(other, g, *MOVED), forward(x, *MOVED))
    yield Probe("BN-REMAT-COUNTER", f"cumulative-rank{rank}", Program(_config(rank, momentum=None), cumulative))


def _evaluation(rank: int) -> Iterator[Probe]:
    """A step in evaluation: its gradients of a loaded layer, and that it leaves the state after training as well."""
    x, g = _operands(rank, 3)
    step = recomputed(x, g, *GRADIENTS, *SHOWN, training=False)
    yield Probe("BN-REMAT-EVAL", f"loaded-rank{rank}", Program(_config(rank), (_load_state(), step)))
    # What training leaves is another requirement's.
    step = recomputed(x, g, *STATISTICS, training=False)
    for name, earlier in (("training", forward(x * 2 - 1)), ("a-step", recomputed(x * 2 - 1, g))):
        program = Program(_config(rank), (_load_state(), earlier, step))
        yield Probe("BN-REMAT-EVAL", f"after-{name}-rank{rank}", program)


def _after(rank: int) -> Iterator[Probe]:
    """Ordinary passes after a step in either mode; what each is judged from is the state that the layer showed."""
    (x, g), (other, other_g) = _operands(rank, 4), _operands(rank, 5)
    for training, mode in MODES.items():
        step = recomputed(x, g, training=training)
        passes = {
            "training": (forward(other, "y", "running_mean"), forward(x, "y", "running_mean")),
            "evaluation": (forward(other, "y", *STATISTICS, training=False),),
            "gradient": (backward(other, other_g, *GRADIENTS),),
        }
        for name, later in passes.items():
            program = Program(_config(rank), (_load_state(), step, *later))
            yield Probe("BN-REMAT-AFTER", f"{name}-after-{mode}-rank{rank}", program)


def _parts(rank: int) -> list[tuple[Array, Array]]:
    """Micro-batches of several sizes with means of their own, each with its upstream gradient."""
    found = []
    for number, samples in enumerate(SAMPLES[rank]):
        shape = (samples, *inputs.SHAPES[rank][1:])
        found.append((inputs.values(shape, 30 + number) + 1.5 * number, inputs.upstream(shape, number)))
    return found


def _micro_batches(rank: int) -> Iterator[Probe]:
    """Steps with recomputation one after the other: over the same batch, over unequal ones, and with modes in turn."""
    x, g = _operands(rank, 6)
    again = (recomputed(x, g, *GRADIENTS, *MOVED),) * 3
    yield Probe("BN-REMAT-ACCUMULATE", f"the-same-batch-rank{rank}", Program(_config(rank), (_load_state(), *again)))
    parts = _parts(rank)
    unequal = tuple(recomputed(x, g, *GRADIENTS, *MOVED) for x, g in parts)
    program = Program(_config(rank), (_load_state(), *unequal))
    yield Probe("BN-REMAT-ACCUMULATE", f"unequal-rank{rank}", program)
    (first, first_g), (second, second_g), _ = parts
    mixed = (
        recomputed(first, first_g, *GRADIENTS, *MOVED),
        recomputed(second, second_g, *GRADIENTS, *MOVED, training=False),
        recomputed(second, second_g, *GRADIENTS, *MOVED),
    )
    yield Probe("BN-REMAT-ACCUMULATE", f"modes-in-turn-rank{rank}", Program(_config(rank), (_load_state(), *mixed)))


def _accumulation(rank: int) -> Iterator[Probe]:
    """Micro-batches of a layer that keeps what it needs. Gradients each within their bounds add up within the sum.

    Those of one shape, and halves, come first, for implementations to which each shape costs time.
    """
    x, g = _operands(rank, 7)
    middle = len(x) // 2
    halves = [(x[:middle], g[:middle]), (x[middle:], g[middle:])]
    for name, parts in (("halves", halves), ("unequal", _parts(rank))):
        whole, whole_g = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
        of_parts = tuple(backward(x, g, *GRADIENTS, training=False) for x, g in parts)
        constant = (_load_state(), *of_parts, backward(whole, whole_g, *GRADIENTS, training=False))
        yield Probe("BN-ACC-SUM", f"{name}-rank{rank}", Program(_config(rank), constant))
    for name, parts in (("equal", [_operands(rank, seed) for seed in (8, 9)]), ("unequal", _parts(rank))):
        pairs: list[Step] = [_load_state()]
        first: list[Step] = [_load_state()]
        for number, (x, g) in enumerate(parts, 1):
            pairs += [forward(x, *MOVED), vjp(x, "y"), pullback(number, g, *GRADIENTS)]
            first += [forward(x, *MOVED), vjp(x, "y")]
        late = [pullback(number, g, *GRADIENTS, *MOVED) for number, (_, g) in enumerate(parts, 1)]
        yield Probe("BN-ACC-STEPS", f"{name}-one-by-one-rank{rank}", Program(_config(rank), tuple(pairs)))
        yield Probe("BN-ACC-STEPS", f"{name}-forward-first-rank{rank}", Program(_config(rank), (*first, *late)))
