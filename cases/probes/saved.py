"""Probes of what an operator gives beside y: the mean, the inverse deviation and the variance of a training pass."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.program import SAVED, Array, Probe, Program, Step, forward, load, saved_statistics
from bnconform.spec.config import Config

STATISTICS = ("running_mean", "running_var")
SHOWN = (*STATISTICS, "num_batches_tracked")
EPSILON, MOMENTUM = 0.25, 0.3
VARIANCES = (0.5, 2.0, 1.0)
"""Beside EPSILON, so that it shows whether that is added."""

OF = {"BN-SAVED-MEAN": SAVED[0], "BN-SAVED-DEVIATION": SAVED[1], "BN-SAVED-VARIANCE": SAVED[2]}
"""What each requirement is about."""

SIZES: dict[str, tuple[int, ...]] = {
    "one-channel": (5, 1),
    "one-channel-rank4": (3, 1, 2, 2),
    "two-values": (2, 3),
    "one-sample": (1, 3, 2, 5),
    "one-position": (6, 3, 1, 1),
    "many-channels": (3, 70, 2),
    "many-samples": (300, 2),
    "many-positions": (2, 3, 9, 33),
    "square": (3, 3, 3, 3),
}


def probes() -> Iterator[Probe]:
    """What is saved, by value, size, flags and history."""
    yield from _values()
    for rank in (2, 3, 4, 5):
        x = inputs.values(inputs.SHAPES[rank], 40 + rank)
        yield Probe("BN-SAVED-RANK", f"rank{rank}", _program(x))
    for name, shape in SIZES.items():
        yield Probe("BN-SAVED-RANK", name, _program(inputs.values(shape, 45)))
    x = inputs.values(inputs.SHAPES[4], 46)
    for layout in ("fortran", "channels_last", "every_other_element", "reversed_batch"):
        program = Program(_config(4), (_load_state(3), saved_statistics(x, *SAVED, layout=layout)))
        yield Probe("BN-SAVED-RANK", layout.replace("_", "-"), program)
    for rank in (4, 2):
        yield from _flags(rank)
        yield from _passes(rank)


def _config(rank: int, channels: int = 3, **options: object) -> Config:
    given = {"num_features": channels, "ndim": rank, "eps": EPSILON, "momentum": MOMENTUM, **options}
    return Config(**given)  # type: ignore[arg-type]


def _load_state(channels: int) -> Step:
    """A state that is no default in any entry."""
    return load(**inputs.everything(channels))


def _program(x: Array, *observe: str, **options: object) -> Program:
    """A training pass from a loaded state."""
    channels = x.shape[1]
    shown = observe or SAVED
    return Program(_config(x.ndim, channels, **options), (_load_state(channels), saved_statistics(x, *shown)))


def _four(rank: int, variances: tuple[float, ...] = VARIANCES, means: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Array:
    """Four values a channel of these variances and means: half precision, too, has bounds that tell something."""
    x = inputs.symmetric(variances) + np.asarray(means)
    return np.asarray(x if rank == 2 else x.reshape(2, 2, 3, 1).transpose(0, 2, 1, 3))


def _values() -> Iterator[Probe]:
    """Means away from 0 and from the running ones; variances around epsilon, large, small and 0; epsilons."""
    for identifier, name in OF.items():
        for rank in (2, 4):
            yield Probe(identifier, f"four-values-rank{rank}", _program(_four(rank), name))
            x = inputs.values(inputs.SHAPES[rank], 41, offset=2.0)
            yield Probe(identifier, f"values-rank{rank}", _program(x, name))
            new = Program(_config(rank), (saved_statistics(x, name),))
            yield Probe(identifier, f"new-rank{rank}", new)
            shifted = _four(rank, means=(1.0, -2.0, 0.5))
            yield Probe(identifier, f"shifted-rank{rank}", _program(shifted, name))
            constant = _four(rank, (0.0, 1.0, 0.0), (1.0, 0.0, -0.5))
            yield Probe(identifier, f"constant-rank{rank}", _program(constant, name))
            for eps in (1e-5, 1e-3, 4.0):
                x = _four(rank, (eps / 4, 2 * eps, 9 * eps))
                yield Probe(identifier, f"eps{eps:g}-rank{rank}", _program(x, name, eps=eps))


def _flags(rank: int) -> Iterator[Probe]:
    """Without parameters, with one alone, without statistics, with momenta of all kinds."""
    x = inputs.values(inputs.SHAPES[rank], 42, offset=1.5)
    pass_ = saved_statistics(x, *SAVED)
    stats, own = load(**inputs.statistics(3)), load(**inputs.parameters(3))
    yield Probe("BN-SAVED-FLAGS", f"affine-off-rank{rank}", Program(_config(rank, affine=False), (stats, pass_)))
    untracked = _config(rank, track_running_stats=False)
    yield Probe("BN-SAVED-FLAGS", f"untracked-rank{rank}", Program(untracked, (own, pass_)))
    neither = _config(rank, track_running_stats=False, affine=False)
    yield Probe("BN-SAVED-FLAGS", f"neither-rank{rank}", Program(neither, (pass_,)))
    for momentum in (0.0, 1.0, None):
        program = Program(_config(rank, momentum=momentum), (_load_state(3), pass_))
        yield Probe("BN-SAVED-FLAGS", f"momentum-{momentum}-rank{rank}".lower(), program)
    zero = load(**inputs.statistics(3), weight=np.zeros(3), bias=np.ones(3))
    yield Probe("BN-SAVED-FLAGS", f"weight-zero-rank{rank}", Program(_config(rank), (zero, pass_)))


def _passes(rank: int) -> Iterator[Probe]:
    """After other passes, and the state afterwards; the same batch again."""
    (x, other) = (inputs.values(inputs.SHAPES[rank], 43 + number, offset=1.0 + number) for number in range(2))
    pass_ = saved_statistics(x, *SAVED, *SHOWN)
    before = {
        "first": (),
        "after-training": (forward(other),),
        "after-evaluation": (forward(other, training=False),),
        "after-another": (saved_statistics(other, *SAVED),),
        "again": (saved_statistics(x, *SAVED),),
    }
    for name, steps in before.items():
        yield Probe("BN-SAVED-PASS", f"{name}-rank{rank}", Program(_config(rank), (_load_state(3), *steps, pass_)))
    evaluation = saved_statistics(other, *SHOWN, training=False)
    program = Program(_config(rank), (_load_state(3), evaluation, pass_, evaluation))
    yield Probe("BN-SAVED-PASS", f"modes-in-turn-rank{rank}", program)
    after = (pass_, forward(other, "y", *SHOWN), forward(x, "y", training=False))
    yield Probe("BN-SAVED-PASS", f"passes-afterwards-rank{rank}", Program(_config(rank), (_load_state(3), *after)))
