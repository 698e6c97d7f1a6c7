"""Probes of layers that are frozen, and let go again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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
    freeze,
    jvp,
    load,
    masked,
    pullback,
    recomputed,
    vjp,
)
from bnconform.spec.config import Config

STATISTICS = ("running_mean", "running_var")
SHOWN = (*STATISTICS, "num_batches_tracked")
STATE = (*SHOWN, "weight", "bias")
EPSILON, MOMENTUM = 0.1, 0.3
PARAMETERS = GRADIENTS[1:]


def probes() -> Iterator[Probe]:
    """The truth table of frozen, training and evaluation, and what comes before and after."""
    for rank in (4, 2):
        yield from _training(rank)
        yield from _state(rank)
        yield from _gradients(rank)
        yield from _evaluation(rank)
        yield from _again(rank)
        yield from _loading(rank)
        yield from _passes_recorded(rank)
    for rank in (2, 3, 4, 5):
        yield from _flags(rank)


def _config(rank: int, **options: object) -> Config:
    given: dict[str, Any] = {"eps": EPSILON, "momentum": MOMENTUM, **options}
    return Config(ndim=rank, **given)


def _load_state() -> Step:
    """A state that is no default in any entry."""
    return load(**inputs.everything(3))


def _few(table: dict[str, Any], rank: int) -> dict[str, Any]:
    """Everything at rank 4; elsewhere the first two."""
    return table if rank == 4 else dict(list(table.items())[:2])


def _operands(rank: int, seed: int = 0) -> tuple[Array, Array]:
    """X, far from the running statistics, and g."""
    shape = inputs.SHAPES[rank]
    return inputs.values(shape, 50 + seed, offset=2.0), inputs.upstream(shape, seed)


def _training(rank: int) -> Iterator[Probe]:
    """Frozen after loading, after training, and twice over; several passes; both modes in turn."""
    (x, _), (other, _) = _operands(rank), _operands(rank, 1)
    seen = forward(x, "y")
    table: dict[str, tuple[Step, ...]] = {
        "loaded": (_load_state(), freeze(), seen),
        "after-training": (_load_state(), forward(other), freeze(), seen),
        "passes": (_load_state(), freeze(), seen, forward(other, "y", *STATISTICS), seen),
        "after-evaluation": (_load_state(), freeze(), forward(other, "y", training=False), seen),
        "twice": (_load_state(), freeze(), freeze(), seen),
        "once-let-go": (_load_state(), freeze(), freeze(False), freeze(), seen),
    }
    for name, steps in _few(table, rank).items():
        yield Probe("BN-FROZEN-TRAIN", f"{name}-rank{rank}", Program(_config(rank), steps))
    if rank == 2:
        few = inputs.symmetric((0.5, 2.0, 1.0)) + np.array([1.0, -2.0, 0.5])
        yield Probe("BN-FROZEN-TRAIN", "four-values", Program(_config(2), (_load_state(), freeze(), forward(few, "y"))))


def _state(rank: int) -> Iterator[Probe]:
    """Passes of each kind; what an unfrozen one leaves is left to others."""
    (x, g), (other, _) = _operands(rank, 2), _operands(rank, 3)
    kinds: dict[str, tuple[Step, ...]] = {
        "forward": (forward(x, *STATE), forward(other, *STATE)),
        "backward": (backward(x, g, *STATE),),
        "evaluation": (forward(x, *STATE, training=False), forward(other, *STATE)),
        "recorded": (vjp(x, *STATE), pullback(1, g, *STATE)),
        "many": tuple(forward(x + 0.5 * number, *STATE) for number in range(6)),
        "masked": (masked(x, _mask(x), *STATE), masked(other, _mask(x), *STATE, training=False)),
        "forward-mode": (jvp(x, g, *STATE),),
        "recomputed": (recomputed(x, g, *STATE),),
    }
    for name, steps in _few(kinds, rank).items():
        yield Probe("BN-FROZEN-STATE", f"{name}-rank{rank}", Program(_config(rank), (_load_state(), freeze(), *steps)))
    trained = (_load_state(), forward(other), freeze(True, *STATE), *kinds["forward"])
    yield Probe("BN-FROZEN-STATE", f"after-training-rank{rank}", Program(_config(rank), trained))


def _mask(x: Array) -> Array:
    """All samples but the first."""
    return np.arange(len(x)).reshape(-1, *(1,) * (x.ndim - 1)) > 0


def _gradients(rank: int) -> Iterator[Probe]:
    """The gradient for x in training, and those that there are not."""
    (x, g), (other, _) = _operands(rank, 4), _operands(rank, 5)
    before: dict[str, tuple[Step, ...]] = {
        "loaded": (_load_state(), freeze()),
        "after-training": (_load_state(), forward(other), freeze()),
        "after-a-pass": (_load_state(), freeze(), forward(other)),
    }
    for name, steps in _few(before, rank).items():
        step = backward(x, g, "grad_x")
        yield Probe("BN-FROZEN-GRAD", f"{name}-rank{rank}", Program(_config(rank), (*steps, step)))
        for training in (True, False):
            absent = backward(x, g, *PARAMETERS, training=training)
            words = f"{name}-{absent.mode}-rank{rank}"
            yield Probe("BN-FROZEN-PARAMETERS", words, Program(_config(rank), (*steps, absent)))
    for alone in ("weight", "bias"):
        kept = load(**{alone: inputs.parameters(3)[alone]}, **inputs.statistics(3))
        for training in (True, False):
            absent = backward(x, g, f"grad_{alone}", training=training)
            program = Program(_config(rank, affine=alone), (kept, freeze(), absent))
            yield Probe("BN-FROZEN-PARAMETERS", f"{alone}-alone-{absent.mode}-rank{rank}", program)
    statistics = (load(**inputs.statistics(3)), freeze(), backward(x, g, "grad_x"))
    yield Probe("BN-FROZEN-GRAD", f"affine-off-rank{rank}", Program(_config(rank, affine=False), statistics))
    # Of four values a channel half precision, too, has bounds that tell something.
    if rank == 2:
        few = inputs.symmetric((0.5, 2.0, 1.0)) + np.array([1.0, -2.0, 0.5])
        steps = (_load_state(), freeze(), backward(few, inputs.upstream((4, 3), 3), "grad_x"))
        yield Probe("BN-FROZEN-GRAD", "four-values", Program(_config(2), steps))


def _evaluation(rank: int) -> Iterator[Probe]:
    """Before, while and after the layer is frozen."""
    (x, g), (other, _) = _operands(rank, 6), _operands(rank, 7)
    seen = (forward(x, "y", *SHOWN, training=False), backward(x, g, "grad_x", training=False))
    turns = (_load_state(), *seen, freeze(), *seen, freeze(False), *seen)
    yield Probe("BN-FROZEN-EVAL", f"turns-rank{rank}", Program(_config(rank), turns))
    trained = (_load_state(), forward(other), freeze(), *seen, freeze(False), *seen)
    yield Probe("BN-FROZEN-EVAL", f"after-training-rank{rank}", Program(_config(rank), trained))
    untracked = (load(**inputs.parameters(3)), freeze(), forward(x, "y", training=False))
    program = Program(_config(rank, track_running_stats=False), untracked)
    yield Probe("BN-FROZEN-EVAL", f"untracked-rank{rank}", program)


def _again(rank: int) -> Iterator[Probe]:
    """Let go: at once, after passes, after two freezes; with a cumulative average."""
    (x, g), (other, other_g) = _operands(rank, 8), _operands(rank, 9)
    seen = (forward(x, "y", *SHOWN), backward(x, g, *GRADIENTS), forward(other, "y", training=False))
    between: dict[str, tuple[Step, ...]] = {
        "at-once": (freeze(), freeze(False)),
        "after-passes": (freeze(), forward(other), backward(other, other_g), forward(other), freeze(False)),
        "after-two": (freeze(), freeze(), forward(other), freeze(False)),
        "never-frozen": (freeze(False),),
        "in-turn": (freeze(), forward(other), freeze(False), forward(other), freeze(), forward(x), freeze(False)),
    }
    for name, steps in _few(between, rank).items():
        yield Probe("BN-FROZEN-AGAIN", f"{name}-rank{rank}", Program(_config(rank), (_load_state(), *steps, *seen)))
    counted = (forward(x), freeze(), forward(other), forward(other), freeze(False), *seen)
    yield Probe("BN-FROZEN-AGAIN", f"cumulative-rank{rank}", Program(_config(rank, momentum=None), counted))


def _loading(rank: int) -> Iterator[Probe]:
    """A whole state, and each entry alone, loaded while frozen and used in both modes."""
    x, g = _operands(rank, 10)
    seen = (forward(x, "y", *SHOWN), backward(x, g, "grad_x"), forward(x, "y", training=False))
    every = inputs.everything(3, 1)
    loads = {"everything": every, **{name: {name: value} for name, value in every.items()}}
    for name, state in _few(loads, rank).items():
        steps = (_load_state(), freeze(), forward(x, "y"), load((*STATISTICS, "weight", "bias"), **state), *seen)
        yield Probe("BN-FROZEN-LOAD", f"{name.replace('_', '-')}-rank{rank}", Program(_config(rank), steps))


def _passes_recorded(rank: int) -> Iterator[Probe]:
    """Passes that were recorded before the layer was frozen, and while it was."""
    (x, g), (other, other_g) = _operands(rank, 11), _operands(rank, 12)
    # Which gradients there are for weight and bias of a layer that was frozen in between is left open.
    before = (_load_state(), vjp(x, "y"), freeze(), pullback(1, g, "grad_x"))
    yield Probe("BN-FROZEN-RECORDED", f"before-rank{rank}", Program(_config(rank), before))
    while_ = (_load_state(), freeze(), vjp(x, "y"), freeze(False), pullback(1, g, "grad_x"))
    yield Probe("BN-FROZEN-RECORDED", f"while-rank{rank}", Program(_config(rank), while_))
    both = (
        _load_state(), vjp(x, "y"), freeze(), vjp(other, "y"), pullback(1, g, "grad_x"), pullback(2, other_g, "grad_x"),
    )  # fmt: skip
    yield Probe("BN-FROZEN-RECORDED", f"both-rank{rank}", Program(_config(rank), both))


def _flags(rank: int) -> Iterator[Probe]:
    """New layers, without parameters, every momentum, one value a channel."""
    x, _ = _operands(rank, 13)
    seen = (forward(x, "y", *SHOWN), forward(x * 2 + 1, "y", *SHOWN))
    yield Probe("BN-FROZEN-FLAGS", f"new-rank{rank}", Program(_config(rank), (freeze(), *seen)))
    yield Probe("BN-FROZEN-FLAGS", f"loaded-rank{rank}", Program(_config(rank), (_load_state(), freeze(), *seen)))
    steps = (load(**inputs.statistics(3)), freeze(), *seen)
    yield Probe("BN-FROZEN-FLAGS", f"affine-off-rank{rank}", Program(_config(rank, affine=False), steps))
    if rank not in (2, 4):
        return
    for momentum in (0.0, 1.0, None):
        program = Program(_config(rank, momentum=momentum), (_load_state(), freeze(), *seen))
        yield Probe("BN-FROZEN-FLAGS", f"momentum-{momentum}-rank{rank}".lower(), program)
    one = x.reshape(-1, 3, *(1,) * (rank - 2))[:1]
    single = (_load_state(), freeze(), forward(one, "y", *SHOWN))
    yield Probe("BN-FROZEN-FLAGS", f"one-value-rank{rank}", Program(_config(rank), single))
