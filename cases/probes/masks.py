"""Probes of masks: statistics of what is selected, in every shape of a mask, and nothing of what is hidden.

What is hidden lies far from what is selected, so that it shows where it is counted. Each channel has at least two
selected values: what becomes of fewer is a policy, and asked by a test of its own. Epsilon is large beside its default,
so that it takes part. Shapes of x and of masks are few, for implementations that compile for each.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.metamorphic import MetamorphicRelation, same
from bnconform.cases.program import STATE, Array, Probe, Program, Step, forward, load, masked, masked_backward
from bnconform.spec.config import Config
from bnconform.spec.formats import DTYPES

EPSILON, MOMENTUM = 0.1, 0.3
FULL = ("float64", "float32")
GRADIENTS = ("grad_x", "grad_weight", "grad_bias")
STATISTICS = ("running_mean", "running_var")
MODES = {True: "training", False: "evaluation"}
"""In words, by whether the layer trains."""

UNDER_THE_MASK = {"nan": np.nan, "infinity": np.inf, "huge": 1e30}
"""What hidden values are, by name; the square of the last is beyond single precision, and itself beyond float16."""

IN = {"huge": ("float64", "float32", "bfloat16")}
"""The dtypes in which one of them is asked for, where that is not all."""

TWO = np.arange(7).reshape(-1, 1) % 4 == 1
"""A mask that selects two of seven samples."""

RANKS = (4, 2, 3, 5)
SHAPE = inputs.SHAPES[4]

SMALL = (2, 3, 2, 4)
"""A shape for masks of many shapes."""

FIRST_SHAPES = ((2, 1, 1, 1), (1, 1, 2, 4), (4,))
"""Shapes of masks that are asked of everyone: of samples, of positions, of fewer axes."""

MORE_SHAPES = ((2, 1, 2, 1), (2, 1, 2, 4), (1, 1, 1, 4), (2, 1, 1, 4), (1, 1, 1, 1), (), (2, 4), (1, 2, 4))


def probes() -> Iterator[Probe]:
    """Masks."""
    for rank in RANKS:
        yield from _ordinary(rank)
    yield from _few()
    yield from _values_under_mask()
    yield from _shapes()
    yield from _channels()
    yield from _gradients()
    yield from _evaluation()
    yield from _flags()
    yield from _state()


def relations() -> Iterator[MetamorphicRelation]:
    """What is hidden is changed, and nothing else changes."""
    x, mask = operands(SHAPE)
    other = np.where(mask, x, x * -40 + 300)
    g = np.where(mask, inputs.upstream(SHAPE, 31), 0)
    start, config = load(**inputs.everything(3)), Config(eps=EPSILON, momentum=MOMENTUM)
    yield MetamorphicRelation(
        "BN-MASK-HIDDEN", "hidden-values-changed",
        "what is not selected is changed: the rest of y and the running statistics stay the same",
        Program(config, (start, masked(x, mask, "y", *STATISTICS))),
        Program(config, (start, masked(other, mask, "y", *STATISTICS))),
        tuple((name, same) for name in ("y", *STATISTICS)),
    )  # fmt: skip
    yield MetamorphicRelation(
        "BN-MASK-GRAD", "hidden-values-changed",
        "what is not selected, and no gradient comes from, is changed: the gradients stay the same",
        Program(config, (start, masked_backward(x, mask, g, *GRADIENTS))),
        Program(config, (start, masked_backward(other, mask, g, *GRADIENTS))),
        tuple((name, same) for name in GRADIENTS),
    )  # fmt: skip


def selecting(shape: tuple[int, ...], seed: int = 0) -> Array:
    """A mask of three fifths of the values, at least two of them: bool."""
    count = int(np.prod(shape))
    chosen = inputs.rng(11, seed, *shape).permutation(count) < max(2, round(0.6 * count))
    return np.asarray(chosen.reshape(shape))


def operands(shape: tuple[int, ...], seed: int = 0, mask: Array | None = None) -> tuple[Array, Array]:
    """X with values far away where a mask hides them, and the mask: of samples and of all positions but the last axis.

    Where the channels are not the last axis, Keras takes no mask that tells positions along that apart: those are asked
    for by the requirement about shapes.
    """
    if mask is None:
        mask = selecting((shape[0], 1, *shape[2:-1], 1)[: len(shape)], seed)
    x = inputs.values(shape, 30 + seed)
    return np.where(mask, x, x * 2 + 9), mask


def _config(ndim: int, **values: object) -> Config:
    return Config(ndim=ndim, **{"eps": EPSILON, "momentum": MOMENTUM, **values})  # type: ignore[arg-type]


def _load_state(*, affine: bool = True, tracked: bool = True) -> tuple[Step, ...]:
    """A state that is no default in any entry that there is."""
    state = (inputs.parameters(3) if affine else {}) | (inputs.statistics(3) if tracked else {})
    return (load(**state),) if state else ()


def _ordinary(rank: int) -> Iterator[Probe]:
    """The output, the running statistics, and what stands under the mask; gradients."""
    shape, config, name = inputs.SHAPES[rank], _config(rank), f"rank{rank}"
    x, mask = operands(shape)
    g = inputs.upstream(shape, 30)
    start = _load_state()
    yield Probe("BN-MASK-STATS", name, Program(config, (*start, masked(x, mask, "y"))))
    yield Probe("BN-MASK-RUN", name, Program(config, (*start, masked(x, mask, *STATISTICS))))
    yield Probe("BN-MASK-GRAD", name, Program(config, (*start, masked_backward(x, mask, g, "grad_x"))))
    if rank in (4, 2):
        yield Probe("BN-MASK-OUTPUT", name, Program(config, (*start, masked(x * 0.25 - 1, mask, "y"))))
        steps = (*start, masked(x, mask.astype(np.int64), "y", *STATISTICS))
        yield Probe("BN-MASK-INTEGER", name, Program(config, steps), dtypes=FULL)
        steps = (*start, masked_backward(x, mask, g, *GRADIENTS[1:]))
        yield Probe("BN-MASK-GRAD-PARAMETERS", f"{name}-training", Program(config, steps))


def _few() -> Iterator[Probe]:
    """Everything selected, two values, and one batch after the other."""
    every = np.ones((7, 1), bool)
    for name, made in {
        "everything-selected": operands((7, 3), 1, every),
        "two-values": operands((7, 3), 2, TWO),
    }.items():
        config, start = _config(made[0].ndim), _load_state()
        yield Probe("BN-MASK-STATS", name, Program(config, (*start, masked(*made, "y"))))
        yield Probe("BN-MASK-RUN", name, Program(config, (*start, masked(*made, *STATISTICS))))
    first, second = operands((7, 3), 1, every), operands((7, 3), 2, TWO)
    for word, momentum in (("0.3", 0.3), ("none", None)):
        steps = (masked(*first, *STATISTICS), masked(*second, *STATISTICS), forward(second[0], *STATISTICS))
        yield Probe("BN-MASK-RUN", f"batches-in-turn-momentum-{word}", Program(_config(2, momentum=momentum), steps))


def _values_under_mask() -> Iterator[Probe]:
    """What is no number, and what no square is one of, under the mask."""
    x, mask = operands(SHAPE)
    config, start = _config(4), _load_state()
    for name, value in UNDER_THE_MASK.items():
        steps = (*start, masked(np.where(mask, x, value), mask, "y", *STATISTICS))
        yield Probe("BN-MASK-HIDDEN", name, Program(config, steps), dtypes=IN.get(name, DTYPES))
    one = np.array(x)
    one[_place_under_mask(mask, 2)] = np.nan
    yield Probe("BN-MASK-HIDDEN", "one-nan", Program(config, (*start, masked(one, mask, "y", *STATISTICS))))
    counted = mask.astype(np.int64)
    steps = (*start, masked(one, counted, "y", *STATISTICS))
    yield Probe("BN-MASK-INTEGER", "one-nan-hidden", Program(config, steps))


def _place_under_mask(mask: Array, channel: int) -> tuple[int, ...]:
    """The first place of a channel that a mask of one channel hides."""
    sample, _, *position = np.argwhere(~mask)[0]
    return int(sample), channel, *map(int, position)


def _shapes() -> Iterator[Probe]:
    """Masks of every shape that broadcasts, one after the other on one layer."""
    for name, shapes in {"rank4": FIRST_SHAPES, "rank4-more": MORE_SHAPES}.items():
        steps = [masked(*operands(SMALL, seed, _in_each(shape, seed)), "y") for seed, shape in enumerate(shapes)]
        yield Probe("BN-MASK-SHAPE", name, Program(_config(4), (*_load_state(), *steps)), dtypes=FULL)
    lengths = np.arange(5) < np.array([5, 3, 1, 4]).reshape(-1, 1, 1)
    steps = [masked(*operands((4, 3, 5), 3, lengths), "y", *STATISTICS)]
    yield Probe("BN-MASK-SHAPE", "padded-sequences", Program(_config(3), (*_load_state(), *steps)), dtypes=FULL)
    for rank, some in {3: ((4, 1, 1), (1, 1, 5), (5,)), 2: ((1, 1), (7, 1))}.items():
        shape = inputs.SHAPES[rank]
        steps = [masked(*operands(shape, seed, _in_each(one, seed)), "y") for seed, one in enumerate(some)]
        yield Probe("BN-MASK-SHAPE", f"rank{rank}", Program(_config(rank), (*_load_state(), *steps)), dtypes=FULL)
    for name, shape in {"rank4": (2, 1, 4, 5), "rank2": (7, 1)}.items():
        x, mask = operands(shape)
        config = _config(len(shape), num_features=1)
        calls = load(**inputs.everything(1)), masked(x, mask, "y", *STATISTICS)
        yield Probe("BN-MASK-ONE-CHANNEL", name, Program(config, calls), dtypes=FULL)


def _in_each(shape: tuple[int, ...], seed: int) -> Array:
    """A mask of this shape, of one element or more; one of one element selects it."""
    return selecting(shape, seed) if np.prod(shape) > 1 else np.ones(shape, bool)


def _channels() -> Iterator[Probe]:
    """Masks with as many channels as x, and another count in each."""
    places = inputs.rng(12).permuted(np.tile(np.arange(16), (3, 1)), axis=1)
    counts = np.array([4, 10, 15]).reshape(3, 1)
    full = np.moveaxis((places < counts).reshape(3, 2, 2, 4), 1, 0)
    masks = {
        "counts": full,
        "positions": (np.arange(4) < np.array([2, 3, 1]).reshape(-1, 1)).reshape(1, 3, 1, 4),
        "samples": np.array([[True, True, False], [False, True, True]]).reshape(2, 3, 1, 1),
        "rank2": (np.arange(7).reshape(-1, 1) + np.array([0, 3, 5])) % 7 < np.array([2, 4, 6]),
    }
    for seed, (name, mask) in enumerate(masks.items()):
        x, _ = operands(SMALL if mask.ndim == 4 else (7, 3), seed, mask)
        config = _config(x.ndim)
        steps = (*_load_state(), masked(x, mask, "y", *STATISTICS))
        yield Probe("BN-MASK-CHANNELS", name, Program(config, steps), dtypes=FULL)
    steps = (*_load_state(), masked_backward(*operands(SMALL, 5, full), inputs.upstream(SMALL, 32), *GRADIENTS))
    yield Probe("BN-MASK-CHANNELS", "gradients", Program(_config(4), steps), dtypes=FULL)


def _gradients() -> Iterator[Probe]:
    """Gradients of few values, of large ones under the mask, and of what is no number there."""
    config, start = _config(4), _load_state()
    x, mask = operands(SHAPE)
    g = inputs.upstream(SHAPE, 30)
    of_selected = np.where(mask, g, 0)

    def program(x: Array, g: Array, *observe: str) -> Program:
        return Program(config, (*start, masked_backward(x, mask, g, *observe)))

    yield Probe("BN-MASK-GRAD", "from-what-is-selected", program(x, of_selected, *GRADIENTS))
    yield Probe("BN-MASK-GRAD", "from-the-rest", program(x, g - of_selected, *GRADIENTS))
    yield Probe("BN-MASK-GRAD", "large-values-hidden", program(np.where(mask, x, 1e4), of_selected, *GRADIENTS))
    large = program(x, np.where(mask, g, 1e3), *GRADIENTS)
    yield Probe("BN-MASK-GRAD", "large-gradients-hidden", large, dtypes=FULL)
    lost = np.array(g)
    lost[_place_under_mask(mask, 1)] = np.nan
    yield Probe("BN-MASK-GRAD-PARAMETERS", "one-gradient-nan", program(x, lost, *GRADIENTS[1:]))
    two = masked_backward(*operands((7, 3), 2, TWO), inputs.upstream((7, 3), 33), *GRADIENTS)
    yield Probe("BN-MASK-GRAD", "two-values", Program(_config(2), (*start, two)))
    for name, value in UNDER_THE_MASK.items():
        hidden = program(np.where(mask, x, value), of_selected, *GRADIENTS)
        yield Probe("BN-MASK-GRAD-HIDDEN", name, hidden, dtypes=IN.get(name, DTYPES))


def _evaluation() -> Iterator[Probe]:
    """In evaluation, from a loaded state and after a masked training pass."""
    x, mask = operands(SHAPE)
    other, second = operands(SHAPE, 1)
    g = inputs.upstream(SHAPE, 30)
    config, start = _config(4), _load_state()
    steps = (*start, masked(x, mask, "y", *STATE, training=False))
    yield Probe("BN-MASK-EVAL", "output", Program(config, steps))
    steps = (*start, masked_backward(x, mask, g, "grad_x", *STATE, training=False))
    yield Probe("BN-MASK-EVAL", "gradient", Program(config, steps))
    steps = (*start, masked(other, second), masked(x, mask, "y", *STATE, training=False))
    yield Probe("BN-MASK-EVAL", "after-training", Program(config, steps))
    steps = (*start, masked(x, np.zeros((1, 1, 1, 1), bool), "y", *STATE, training=False))
    yield Probe("BN-MASK-EVAL", "nothing-selected", Program(config, steps))
    steps = (*start, masked_backward(x, mask, g, *GRADIENTS[1:], training=False))
    yield Probe("BN-MASK-GRAD-PARAMETERS", "rank4-evaluation", Program(config, steps))


def _flags() -> Iterator[Probe]:
    """Every combination of affine, tracking and mode, and every kind of momentum."""
    x, mask = operands(SHAPE)
    g = inputs.upstream(SHAPE, 30)
    for affine, tracked in ((False, True), (True, False), (False, False)):  # both are there in every other probe
        for training, mode in MODES.items():
            config = _config(4, affine=affine, track_running_stats=tracked)
            words = f"affine-{_word(affine)}-tracking-{_word(tracked)}-{mode}"
            start = _load_state(affine=affine, tracked=tracked)
            steps: tuple[Step, ...] = (*start, masked(x, mask, "y", training=training))
            yield Probe("BN-MASK-FLAGS", words, Program(config, steps), dtypes=FULL)
            steps = (*start, masked_backward(x, mask, g, *GRADIENTS, training=training))
            yield Probe("BN-MASK-FLAGS", f"gradients-{words}", Program(config, steps), dtypes=FULL)
    everything = np.ones((1, 1, 1, 1), bool)
    for training, mode in MODES.items():
        steps = (*_load_state(), masked(x, everything, "y", training=training))
        yield Probe("BN-MASK-FLAGS", f"everything-selected-{mode}", Program(_config(4), steps), dtypes=FULL)
        steps = (*_load_state(), masked_backward(x, everything, g, *GRADIENTS, training=training))
        yield Probe("BN-MASK-FLAGS", f"gradients-everything-selected-{mode}", Program(_config(4), steps), dtypes=FULL)
    for alone in ("weight", "bias"):
        for training, mode in MODES.items():
            config = _config(4, affine=alone)
            start = (load(**{alone: inputs.parameters(3)[alone]}, **inputs.statistics(3)),)
            steps = (*start, masked(x, mask, "y", training=training))
            yield Probe("BN-MASK-FLAGS", f"{alone}-alone-{mode}", Program(config, steps), dtypes=FULL)
            steps = (*start, masked_backward(x, mask, g, "grad_x", f"grad_{alone}", training=training))
            yield Probe("BN-MASK-FLAGS", f"gradients-{alone}-alone-{mode}", Program(config, steps), dtypes=FULL)
    for word, momentum in (("0", 0.0), ("1", 1.0), ("none", None)):
        config = _config(4, momentum=momentum)
        steps = (masked(x, mask, "y", *STATISTICS),)
        yield Probe("BN-MASK-FLAGS", f"momentum-{word}", Program(config, steps), dtypes=FULL)


def _state() -> Iterator[Probe]:
    """What is remembered, and that a mask is not."""
    x, mask = operands(SHAPE)
    other, second = operands(SHAPE, 1)
    g = inputs.upstream(SHAPE, 30)
    config, start = _config(4), _load_state()
    steps = (*start, masked(x, mask, *STATE), forward(other, "y", *STATE), masked(other, second, "y", *STATE))
    yield Probe("BN-MASK-STATE", "masks-in-turn", Program(config, steps))
    steps = (*start, masked_backward(x, mask, g, *STATE))
    yield Probe("BN-MASK-STATE", "gradient", Program(config, steps))


def _word(flag: bool) -> str:
    return "on" if flag else "off"
