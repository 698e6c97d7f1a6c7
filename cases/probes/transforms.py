"""Probes of transforms: maps over layers, over batches and over samples, whole Jacobians, and shapes without values.

The lanes of a map have means far apart and spreads that differ, so that statistics over the mapped axis, or of another
lane, are another answer. Epsilon takes part, as for derivatives. A Jacobian's x is tiny, as there are as many rows as
it has elements, and in full precision, where bounds on its elements admit no other answer.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.program import (
    MAPPED_STATE,
    STATE,
    Array,
    Probe,
    Program,
    Step,
    eval_shape,
    forward,
    jacfwd,
    jacrev,
    load,
    vmap,
    vmap_layers,
)
from bnconform.spec.config import Config

EPSILON = 0.1
LANES = 3

FULL = ("float64", "float32")
MODES = {True: "training", False: "evaluation"}
"""In words, by whether the layer trains."""

TINY = {"rank2": (4, 2), "rank4": (1, 2, 2, 2), "rank3": (2, 2, 2), "rank5": (1, 2, 1, 2, 2), "3-values": (3, 2)}
"""The shapes of a Jacobian's x, with two channels; the first two are met by every framework."""

MOVED = tuple(name for name in STATE if name != "running_var")
"""What shows how often the statistics have moved; which variance is remembered is judged elsewhere."""

MAPPED_MOVED = tuple(name for name in MAPPED_STATE if name != "mapped_running_var")


def probes() -> Iterator[Probe]:
    """Transforms."""
    for rank in (4, 2, 3, 5):
        yield from _layers(rank)
        yield from _one_layer(rank)
    yield from _layers_otherwise()
    yield from _one_layer_otherwise()
    yield from _jacobians()
    yield from _jacobian_flags()
    yield from _many_columns()
    yield from _shapes()


def lanes(shape: tuple[int, ...], count: int = LANES) -> list[Array]:
    """Batches whose means lie far apart, and whose spreads differ."""
    return [inputs.values(shape, 40 + lane) * (1 + lane / 2) + 1.5 * lane - 1.5 for lane in range(count)]


def states(
    channels: int = 3, count: int = LANES, *, affine: bool = True, tracked: bool = True, counted: bool = False
) -> list[dict[str, Array]]:
    """A state for each layer, none of them like another or like a new one; with counters where they are `counted`."""
    found = []
    for lane in range(count):
        state = inputs.parameters(channels, 50 + lane) if affine else {}
        if tracked:
            state |= inputs.statistics(channels, 50 + lane)
        if counted:
            state["num_batches_tracked"] = np.asarray(2 * lane + 1)
        found.append(state)
    return found


def _load_state(channels: int = 3, *, affine: bool = True, tracked: bool = True) -> tuple[Step, ...]:
    """A state that is no default in any entry that there is."""
    state = (inputs.parameters(channels) if affine else {}) | (inputs.statistics(channels) if tracked else {})
    return (load(**state),) if state else ()


def _layers(rank: int) -> Iterator[Probe]:
    """Layers with states of their own, in either mode."""
    config, given = Config(ndim=rank, eps=EPSILON, momentum=0.3), lanes(inputs.SHAPES[rank])
    steps = (vmap_layers(given, states(), "y"),)
    yield Probe("BN-TRANS-VMAP-LAYERS", f"rank{rank}", Program(config, steps))
    steps = (vmap_layers(given, states(), *MAPPED_MOVED),)
    yield Probe("BN-TRANS-VMAP-STATE", f"rank{rank}", Program(config, steps))
    steps = (vmap_layers(given, states(), "y", *MAPPED_STATE, training=False),)
    yield Probe("BN-TRANS-VMAP-EVAL", f"rank{rank}", Program(config, steps))


def _layers_otherwise() -> Iterator[Probe]:
    """As many lanes as samples and channels, one lane, two values, other momenta, no parameters, no tracking."""
    square = Config(ndim=2, eps=EPSILON, momentum=0.3)
    for name, shape, count in (("lanes-as-samples", (3, 3), 3), ("one-lane", (7, 3), 1), ("two-values", (2, 3), 4)):
        step = vmap_layers(lanes(shape, count), states(3, count), "y", *MAPPED_MOVED)
        yield Probe("BN-TRANS-VMAP-LAYERS", name, Program(square, (step,)))
        yield Probe("BN-TRANS-VMAP-STATE", name, Program(square, (step,)))
    given = lanes(inputs.SHAPES[4])
    alike = [given[0]] * LANES
    step = vmap_layers(alike, states(), "y", *MAPPED_STATE, training=False)
    yield Probe("BN-TRANS-VMAP-EVAL", "one-batch-for-all", Program(Config(eps=EPSILON), (step,)))
    step = vmap_layers(alike, states(), "y", *MAPPED_MOVED)
    yield Probe("BN-TRANS-VMAP-STATE", "one-batch-for-all", Program(Config(eps=EPSILON, momentum=0.3), (step,)))
    step = vmap_layers(given, [states()[0]] * LANES, "y", *MAPPED_MOVED)
    yield Probe("BN-TRANS-VMAP-STATE", "one-state-for-all", Program(Config(eps=EPSILON, momentum=0.3), (step,)))
    constant = [np.full(inputs.SHAPES[4], value) for value in (2.0, -1.0, 0.5)]  # any variance of which is 0
    step = vmap_layers(constant, states(), *MAPPED_STATE)
    yield Probe("BN-TRANS-VMAP-STATE", "constant-batches", Program(Config(eps=EPSILON, momentum=0.3), (step,)))
    for words, momentum in (("none", None), ("1", 1.0), ("0", 0.0)):
        config = Config(eps=EPSILON, momentum=momentum)
        step = vmap_layers(given, states(counted=True), *MAPPED_MOVED)
        yield Probe("BN-TRANS-VMAP-STATE", f"momentum-{words}", Program(config, (step,)))
    for training, mode in MODES.items():
        config = Config(eps=EPSILON, affine=False)
        step = vmap_layers(given, states(affine=False), "y", training=training)
        requirement = "BN-TRANS-VMAP-LAYERS" if training else "BN-TRANS-VMAP-EVAL"
        yield Probe(requirement, f"affine-off-{mode}", Program(config, (step,)))
    config = Config(eps=EPSILON, track_running_stats=False)
    step = vmap_layers(given, states(tracked=False), "y")
    yield Probe("BN-TRANS-VMAP-LAYERS", "tracking-off-training", Program(config, (step,)))
    after = (forward(given[1] + 1), vmap_layers(given, states(), "y", *MAPPED_STATE, training=False))
    yield Probe("BN-TRANS-VMAP-EVAL", "after-training", Program(Config(eps=EPSILON), (*_load_state(), *after)))


def _one_layer(rank: int) -> Iterator[Probe]:
    """One layer, mapped over batches in training and over samples in evaluation."""
    config, shape = Config(ndim=rank, eps=EPSILON), inputs.SHAPES[rank]
    untracked = Config(ndim=rank, eps=EPSILON, track_running_stats=False)
    yield Probe("BN-TRANS-VMAP-BATCHES", f"rank{rank}", Program(config, (*_load_state(), vmap(lanes(shape), "y"))))
    steps: tuple[Step, ...] = (*_load_state(tracked=False), vmap(lanes(shape), "y"))
    yield Probe("BN-TRANS-VMAP-BATCHES", f"tracking-off-rank{rank}", Program(untracked, steps))
    samples = np.split(inputs.values(shape, 41), shape[0])
    steps = (*_load_state(), vmap(samples, "y", *STATE, training=False))
    yield Probe("BN-TRANS-VMAP-SAMPLES", f"rank{rank}", Program(config, steps))


def _one_layer_otherwise() -> Iterator[Probe]:
    """Between other passes; without parameters; batches of several samples in evaluation."""
    config, given = Config(eps=EPSILON, momentum=0.3), lanes(inputs.SHAPES[4])
    samples = np.split(inputs.values((4, 3, 4, 5), 42), 4)
    steps: tuple[Step, ...] = (*_load_state(), forward(given[0]), vmap(samples, "y", *STATE, training=False))
    yield Probe("BN-TRANS-VMAP-SAMPLES", "after-training", Program(config, steps))
    steps = (*_load_state(), vmap(given, "y", *STATE, training=False))
    yield Probe("BN-TRANS-VMAP-SAMPLES", "batches", Program(config, steps))
    steps = (*_load_state(), vmap(samples, "y", *STATE, training=False), forward(given[0], "y", *MOVED))
    yield Probe("BN-TRANS-VMAP-SAMPLES", "before-training", Program(config, steps))
    for training, mode in MODES.items():
        config = Config(eps=EPSILON, track_running_stats=not training)
        parts = given if training else samples
        requirement = "BN-TRANS-VMAP-BATCHES" if training else "BN-TRANS-VMAP-SAMPLES"
        steps = (
            *_load_state(tracked=not training),
            vmap(parts, "y", training=training),
            forward(parts[0], "y", training=training),
        )
        yield Probe(requirement, f"dtype-{mode}", Program(config, steps))
    ones = lanes((1, 3, 4, 5))
    yield Probe("BN-TRANS-VMAP-BATCHES", "one-sample", Program(config, (*_load_state(), vmap(ones, "y"))))
    bare = Config(eps=EPSILON, affine=False, track_running_stats=False)
    yield Probe("BN-TRANS-VMAP-BATCHES", "no-parameters", Program(bare, (vmap(given, "y"),)))
    wide = Config(ndim=2, eps=EPSILON, track_running_stats=False)
    steps = (*_load_state(tracked=False), vmap(lanes((3, 3)), "y"))
    yield Probe("BN-TRANS-VMAP-BATCHES", "lanes-as-samples", Program(wide, steps))


def _jacobian(name: str, *observe: str, training: bool = True, shift: int = 0) -> tuple[Step, Step]:
    """The Jacobian at one x, by either mode."""
    x = inputs.values(TINY[name], 60 + shift)
    return jacrev(x, *observe, training=training), jacfwd(x, *observe, training=training)


def _jacobians() -> Iterator[Probe]:
    """In training at every rank, with two values and after another batch; in evaluation; and what is remembered."""
    for name, shape in TINY.items():
        config = Config(num_features=2, ndim=len(shape), eps=EPSILON, momentum=0.3)
        for step in _jacobian(name, "jacobian"):
            requirement = f"BN-TRANS-{step.op.upper()}"
            yield Probe(requirement, name, Program(config, (*_load_state(2), step)), dtypes=FULL)
        for step in _jacobian(name, "jacobian", training=False):
            if name in ("rank2", "rank4"):
                steps = (*_load_state(2), step)
                yield Probe("BN-TRANS-JAC-EVAL", f"{step.op}-{name}", Program(config, steps), dtypes=FULL)
    x = inputs.values(TINY["rank2"], 61)
    config = Config(num_features=2, ndim=2, eps=EPSILON, momentum=0.3)
    for step in _jacobian("rank2", "jacobian"):
        steps = (*_load_state(2), forward(x), step)
        yield Probe(f"BN-TRANS-{step.op.upper()}", "second-batch", Program(config, steps), dtypes=FULL)
    for step in _jacobian("rank2", "jacobian", training=False):
        steps = (*_load_state(2), forward(x), step)
        yield Probe("BN-TRANS-JAC-EVAL", f"{step.op}-after-training", Program(config, steps), dtypes=FULL)
    for training, mode in MODES.items():
        shown = MOVED if training else STATE
        for step in _jacobian("rank2", *shown, training=training):
            yield Probe(
                "BN-TRANS-JAC-STATE", f"{step.op}-{mode}", Program(config, (*_load_state(2), step)), dtypes=FULL
            )


def _many_columns() -> Iterator[Probe]:
    """More columns than are made at a time, and no multiple of what vectors hold."""
    for shape in ((17, 2), (5, 2, 7)):
        x = inputs.values(shape, 64)
        config = Config(num_features=2, ndim=len(shape), eps=EPSILON)
        for step in (jacrev(x, "jacobian"), jacfwd(x, "jacobian")):
            words = f"{x.size}-columns"
            yield Probe(f"BN-TRANS-{step.op.upper()}", words, Program(config, (*_load_state(2), step)), dtypes=FULL)


def _jacobian_flags() -> Iterator[Probe]:
    """Without parameters, and without tracking in either mode."""
    for affine, tracked in ((False, True), (True, False), (False, False)):
        config = Config(num_features=2, ndim=2, eps=EPSILON, affine=affine, track_running_stats=tracked)
        words = f"affine-{_word(affine)}-tracking-{_word(tracked)}"
        start = _load_state(2, affine=affine, tracked=tracked)
        for step in _jacobian("rank2", "jacobian"):
            yield Probe(f"BN-TRANS-{step.op.upper()}", words, Program(config, (*start, step)), dtypes=FULL)


def _shapes() -> Iterator[Probe]:
    """What is said of y, and then y; and the state around it, in either mode."""
    for rank in (4, 2, 3, 5):
        config, x = Config(ndim=rank, eps=EPSILON), inputs.values(inputs.SHAPES[rank], 43)
        for training, mode in MODES.items():
            asked = eval_shape(x, "abstract_y", training=training)
            steps: tuple[Step, ...] = (*_load_state(), asked, forward(x, "y", training=training))
            yield Probe("BN-TRANS-SHAPE", f"rank{rank}-{mode}", Program(config, steps))
            steps = (*_load_state(), eval_shape(x, *STATE, training=training))
            yield Probe("BN-TRANS-SHAPE-STATE", f"rank{rank}-{mode}", Program(config, steps))
    config, x = Config(eps=EPSILON, momentum=0.3), inputs.values(inputs.SHAPES[4], 43)
    other = inputs.values(inputs.SHAPES[4], 44)
    between = (forward(other, *MOVED), eval_shape(x, *STATE), forward(x, "y", *MOVED))
    yield Probe("BN-TRANS-SHAPE-STATE", "between-passes", Program(config, (*_load_state(), *between)))


def _word(flag: bool) -> str:
    return "on" if flag else "off"
