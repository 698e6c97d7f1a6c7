"""Probes of recorded passes: the pullback late, twice, after other calls, after a load or a change of mode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.program import Array, Probe, Program, Step, backward, forward, load, pullback, refill, vjp
from bnconform.spec.config import Config

GRADIENTS = ("grad_x", "grad_weight", "grad_bias")
STATISTICS = ("running_mean", "running_var")
ALL = (*STATISTICS, "num_batches_tracked", "weight", "bias")
MOVED = tuple(name for name in ALL if name != "running_var")
"""What shows how often the statistics have moved; which variance is remembered is judged elsewhere."""

MODES = {True: "training", False: "evaluation"}

CIRCUMSTANCES: Mapping[str, tuple[tuple[int, ...], str, str]] = {
    "rank3-odd-batch": ((3, 3, 5), "contiguous", "contiguous"),
    "rank5-odd-batch": ((3, 3, 2, 1, 2), "contiguous", "contiguous"),
    "rank3-channels_last": ((2, 3, 5), "channels_last", "channels_last"),
    "rank4-channels_last": ((2, 3, 4, 5), "channels_last", "channels_last"),
    "rank5-channels_last": ((2, 3, 2, 3, 2), "channels_last", "channels_last"),
    "rank2-fortran": ((7, 3), "fortran", "fortran"),
    "rank4-every_other_element": ((2, 3, 4, 5), "every_other_element", "expanded_everywhere"),
    "rank4-reversed_batch": ((3, 3, 1, 2), "reversed_batch", "reversed_batch"),
    "rank4-one-sample": ((1, 3, 4, 5), "contiguous", "contiguous"),
    "rank4-one-position": ((6, 3, 1, 1), "contiguous", "contiguous"),
    "rank3-one-channel": ((4, 1, 5), "contiguous", "contiguous"),
    "rank2-65-channels": ((5, 65), "contiguous", "contiguous"),
    "rank2-257-channels": ((3, 257), "contiguous", "contiguous"),
    "rank4-546-values": ((2, 2, 13, 21), "contiguous", "contiguous"),
    "rank2-1025-samples": ((1025, 2), "contiguous", "contiguous"),
}
"""Shape and layouts of x and of grad_output where an operator's gradient may have a code path of its own."""

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "weight-alone": {"affine": "weight"},
    "bias-alone": {"affine": "bias"},
    "momentum-none": {"momentum": None},
    "momentum1": {"momentum": 1.0},
    "large-eps": {"eps": 0.37},
}
"""What a configuration may have otherwise."""


def probes() -> Iterator[Probe]:
    """Recorded passes."""
    for rank in (4, 2):
        yield from _ordinary(rank)
        yield from _late(rank)
        for training, mode in MODES.items():
            yield from _twice(rank, training=training, mode=mode)
            yield from _after_a_load(rank, training=training, mode=mode)
            yield from _passes_refilled(rank, training=training, mode=mode)
        yield from _modes(rank)
        yield from _state(rank)
    yield from _circumstances()
    yield from _options()
    for rank in (4, 2):
        yield from _many(rank)


def _operands(rank: int, seed: int = 0) -> tuple[Array, Array]:
    """X and g of one shape a rank."""
    return inputs.values(inputs.SHAPES[rank], 10 + seed), inputs.upstream(inputs.SHAPES[rank], seed)


def _load_state() -> Step:
    """A state that is no default in any entry."""
    return load(**inputs.parameters(3), **inputs.statistics(3))


def _ordinary(rank: int) -> Iterator[Probe]:
    """One pass and its pullback at once, in either mode, with and without parameters and statistics."""
    x, g = _operands(rank)
    for training, mode in MODES.items():
        steps: tuple[Step, ...] = (_load_state(), vjp(x, "y", training=training), pullback(1, g, *GRADIENTS))
        yield Probe("BN-REC-VJP", f"{mode}-rank{rank}", Program(Config(ndim=rank), steps))
        steps = (load(**inputs.parameters(3)), *steps[1:])
        config = Config(ndim=rank, track_running_stats=False)
        yield Probe("BN-REC-VJP", f"{mode}-untracked-rank{rank}", Program(config, steps))
        steps = (load(**inputs.statistics(3)), *steps[1:])
        yield Probe("BN-REC-VJP", f"{mode}-affine-off-rank{rank}", Program(Config(ndim=rank, affine=False), steps))


def _late(rank: int) -> Iterator[Probe]:
    """Other passes in between."""
    config = Config(ndim=rank)
    (x, g), (other, other_g) = _operands(rank), _operands(rank, 1)
    smaller, smaller_g = other[:-1] * 2 + 1, other_g[:-1]
    for training, mode in MODES.items():
        start = (_load_state(), vjp(x, "y", training=training))
        late = pullback(1, g, *GRADIENTS, may_refuse=not training)
        between = {
            "same-shape": (forward(other, training=training),),
            "another-size": (forward(smaller, training=training),),
            "backward": (backward(smaller, smaller_g, training=training),),
            "three-passes": tuple(forward(each, training=training) for each in (other, smaller, x * 3 - 1)),
        }
        for name, steps in between.items():
            program = Program(config, (*start, *steps, late))
            yield Probe("BN-REC-LATE", f"{mode}-after-{name}-rank{rank}", program)
        two = (
            *start,
            vjp(smaller, "y", training=training),
            pullback(1, g, *GRADIENTS, may_refuse=not training),
            pullback(2, smaller_g, *GRADIENTS),
        )
        yield Probe("BN-REC-LATE", f"{mode}-first-in-first-out-rank{rank}", Program(config, two))
        two = (*two[:3], two[4], two[3])
        yield Probe("BN-REC-LATE", f"{mode}-last-in-first-out-rank{rank}", Program(config, two))


def _twice(rank: int, *, training: bool, mode: str) -> Iterator[Probe]:
    """The same pullback again, with the same and with another upstream gradient."""
    x, g = _operands(rank)
    other = inputs.upstream(inputs.SHAPES[rank], 7) * 2 - 1
    for name, again in (("same", g), ("another", other)):
        steps = (
            _load_state(),
            vjp(x, "y", training=training),
            pullback(1, g, *GRADIENTS),
            pullback(1, again, *GRADIENTS, may_refuse=True),
        )
        yield Probe("BN-REC-TWICE", f"{mode}-{name}-rank{rank}", Program(Config(ndim=rank), steps))


def _after_a_load(rank: int, *, training: bool, mode: str) -> Iterator[Probe]:
    """What the pass used is set anew, one kind at a time."""
    x, g = _operands(rank)
    parameters, statistics = inputs.parameters(3), inputs.statistics(3)
    other = {
        "weight": {"weight": parameters["weight"] * -2 + 0.5},
        "bias": {"bias": parameters["bias"] * 3 - 1},
        "statistics": {
            "running_mean": statistics["running_mean"] - 2,
            "running_var": statistics["running_var"] * 4 + 1,
        },
    }
    for name, state in other.items():
        steps = (
            _load_state(),
            vjp(x, "y", training=training),
            load(**state),
            pullback(1, g, *GRADIENTS, may_refuse=True),
        )
        yield Probe("BN-REC-LOAD", f"{mode}-{name}-rank{rank}", Program(Config(ndim=rank), steps))


def _passes_refilled(rank: int, *, training: bool, mode: str) -> Iterator[Probe]:
    """The caller's array holds other numbers by then."""
    x, g = _operands(rank)
    steps = (
        _load_state(),
        vjp(x, "y", training=training),
        refill(1),
        pullback(1, g, *GRADIENTS, may_refuse=True),
    )
    yield Probe("BN-REC-INPUT", f"{mode}-rank{rank}", Program(Config(ndim=rank), steps))


def _modes(rank: int) -> Iterator[Probe]:
    """The layer is in the other mode by then."""
    config = Config(ndim=rank)
    (x, g), (other, other_g) = _operands(rank), _operands(rank, 1)
    steps: tuple[Step, ...] = (_load_state(), vjp(x, "y"), forward(other, training=False), pullback(1, g, *GRADIENTS))
    yield Probe("BN-REC-MODE", f"training-then-evaluation-rank{rank}", Program(config, steps))
    # What evaluation used, the running statistics, may have been saved and seen to be written to.
    late = pullback(1, g, *GRADIENTS, may_refuse=True)
    steps = (_load_state(), vjp(x, "y", training=False), forward(other), late)
    yield Probe("BN-REC-MODE", f"evaluation-then-training-rank{rank}", Program(config, steps))
    steps = (_load_state(), forward(other), vjp(x, "y", training=False), pullback(1, g, *GRADIENTS))
    yield Probe("BN-REC-MODE", f"evaluation-after-training-rank{rank}", Program(config, steps))
    steps = (
        _load_state(),
        vjp(x, "y"),
        vjp(other, "y", training=False),
        pullback(1, g, *GRADIENTS),
        pullback(2, other_g, *GRADIENTS),
    )
    yield Probe("BN-REC-MODE", f"one-of-each-rank{rank}", Program(config, steps))


def _state(rank: int) -> Iterator[Probe]:
    """What is remembered, after each call."""
    x, g = _operands(rank)
    for training, mode in MODES.items():
        steps = (
            _load_state(),
            vjp(x, *MOVED, training=training),
            pullback(1, g, *ALL),
            pullback(1, g, *ALL, may_refuse=True),
            forward(x * 2, *MOVED, training=training),
        )
        yield Probe("BN-REC-STATE", f"{mode}-rank{rank}", Program(Config(ndim=rank, momentum=0.3), steps))
        yield Probe(
            "BN-REC-STATE", f"{mode}-momentum-none-rank{rank}", Program(Config(ndim=rank, momentum=None), steps)
        )


def _both(config: Config, name: str, shape: tuple[int, ...], layout: str, grad_layout: str) -> Probe:
    """A pass recorded in training, and one in evaluation, each pulled back at once."""
    x, g = inputs.values(shape, 12), inputs.upstream(shape, 2)
    if grad_layout == "expanded_everywhere":  # one value, as what a sum sends back
        g = np.full(shape, g.flat[0])
    state = inputs.everything(shape[1], 2)
    present = {key: value for key, value in state.items() if key in ALL and getattr(config, key, True)}
    steps: list[Step] = [load(**present)]
    for number, training in enumerate(MODES, 1):
        steps += [
            vjp(x, "y", training=training, layout=layout),
            pullback(number, g, *GRADIENTS, layout=grad_layout),
        ]
    return Probe("BN-REC-VJP", name, Program(config, tuple(steps)))


def _circumstances() -> Iterator[Probe]:
    """Other ranks, sizes and layouts: a recorded pass need not run what a backward pass of one call runs."""
    for name, (shape, layout, grad_layout) in CIRCUMSTANCES.items():
        yield _both(Config(num_features=shape[1], ndim=len(shape)), name, shape, layout, grad_layout)


def _options() -> Iterator[Probe]:
    """Other configurations."""
    for rank in (4, 2):
        for name, options in OPTIONS.items():
            config = Config(ndim=rank, **options)
            yield _both(config, f"{name}-rank{rank}", inputs.SHAPES[rank], "contiguous", "contiguous")


def _many(rank: int) -> Iterator[Probe]:
    """Five passes before the first is pulled back, and one pullback asked three times: what is kept may be too few."""
    config = Config(ndim=rank)
    given = [_operands(rank, seed) for seed in range(5)]
    for training, mode in MODES.items():
        steps = (
            _load_state(),
            *(vjp(x, training=training) for x, _ in given),
            *(pullback(n, g, *GRADIENTS, may_refuse=not training) for n, (_, g) in enumerate(given, 1)),
        )
        yield Probe("BN-REC-LATE", f"{mode}-five-in-a-row-rank{rank}", Program(config, steps))
        x, g = given[0]
        steps = (
            _load_state(),
            vjp(x, training=training),
            pullback(1, g, *GRADIENTS),
            *(pullback(1, g * scale, *GRADIENTS, may_refuse=True) for scale in (2, -3)),
        )
        yield Probe("BN-REC-TWICE", f"{mode}-three-times-rank{rank}", Program(config, steps))
