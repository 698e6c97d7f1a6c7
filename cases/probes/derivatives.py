"""Probes of derivatives: forward mode, and second derivatives, in both modes and with every flag.

Epsilon is large beside its default, so that it takes part: with few values and a small one y hardly depends on x at
all. A program asks for one of the abilities, so that who has one alone is asked for that. Second and third derivatives
for x are asked for in full precision: in half precision, where sums and products may be rounded to it, their bounds
admit any answer, but for one probe in float16, and in evaluation, where they are 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.program import (
    STATE,
    Array,
    Probe,
    Program,
    Step,
    forward,
    hvp,
    jvp,
    jvp_jvp,
    load,
    third,
)
from bnconform.spec.config import Affine, Config
from bnconform.spec.formats import DTYPES

EPSILON = 0.1

FULL = ("float64", "float32")

MODES = {True: "training", False: "evaluation"}
"""In words, by whether the layer trains."""

SMALL_COUNTS = (2, 3, 4, 5)
"""Values a channel: 2 is the least that has a variance."""

MANY = (40, 3)
"""The shape of a larger batch."""

FOR_THE_WEIGHT = {"training": ("rank4", "rank2", "2-values", "many-values"), "evaluation": ("rank4", "rank2")}
"""The shapes at which the weight is asked for, by mode."""

MOVED = tuple(name for name in STATE if name != "running_var")
"""What shows how often the statistics have moved; which variance is remembered is judged elsewhere."""


def probes() -> Iterator[Probe]:
    """Derivatives."""
    for name, shape in _shapes().items():
        yield from _ordinary(name, shape)
    yield from _second_batch()
    yield _along_x()
    for rank in (4, 2):
        yield from _evaluation(rank)
    yield from _flags()
    yield from _alone()
    yield from _strides()
    yield from _momentum()
    yield from _state()


def _shapes() -> dict[str, tuple[int, ...]]:
    """By what they are called; the one that frameworks meet most first."""
    shapes = {f"rank{rank}": inputs.SHAPES[rank] for rank in (4, 2, 3, 5)}
    return shapes | {f"{n}-values": (n, 3) for n in SMALL_COUNTS} | {"many-values": MANY}


def _operands(shape: tuple[int, ...], seed: int = 0) -> tuple[Array, Array, Array]:
    """X, g and t."""
    return inputs.values(shape, 20 + seed), inputs.upstream(shape, 10 + seed), inputs.upstream(shape, 20 + seed) - 0.9


def _load_state(*, affine: bool = True, tracked: bool = True) -> tuple[Step, ...]:
    """A state that is no default in any entry that there is."""
    state = (inputs.parameters(3) if affine else {}) | (inputs.statistics(3) if tracked else {})
    return (load(**state),) if state else ()


def _ordinary(name: str, shape: tuple[int, ...]) -> Iterator[Probe]:
    """One pass in training, and the gradient for the weight in either mode."""
    config = Config(ndim=len(shape), eps=EPSILON)
    x, g, t = _operands(shape)
    yield Probe("BN-DERIV-JVP", name, Program(config, (*_load_state(), jvp(x, t, "y", "tangent_y"))))
    yield Probe("BN-DERIV-HVP", name, Program(config, (*_load_state(), hvp(x, g, t, "hvp_x"))), dtypes=FULL)
    steps = (*_load_state(), jvp_jvp(x, t, g, "second_y"))
    yield Probe("BN-DERIV-JVP-JVP", name, Program(config, steps), dtypes=FULL)
    u = inputs.values(shape, 30)
    yield Probe("BN-DERIV-THIRD", name, Program(config, (*_load_state(), third(x, g, t, u, "third_x"))), dtypes=FULL)
    if name in ("rank4", "rank2"):
        steps = (*_load_state(), third(x, g, t, u, "third_x", training=False))
        yield Probe("BN-DERIV-THIRD", f"{name}-evaluation", Program(config, steps))
        steps = (*_load_state(), jvp_jvp(x, t, g, "second_y", training=False))
        yield Probe("BN-DERIV-JVP-JVP", f"{name}-evaluation", Program(config, steps))
    for training, mode in MODES.items():
        if name in FOR_THE_WEIGHT[mode]:
            steps = (*_load_state(), hvp(x, g, t, "hvp_weight", "hvp_bias", training=training))
            yield Probe("BN-DERIV-HVP-WEIGHT", f"{mode}-{name}", Program(config, steps))


def _second_batch() -> Iterator[Probe]:
    """After another batch, as running statistics that normalise the batch which moves them show only then."""
    config = Config(eps=EPSILON, momentum=0.3)
    (x, g, t), (other, _, _) = _operands(inputs.SHAPES[4]), _operands(inputs.SHAPES[4], 1)
    start = (*_load_state(), forward(other))
    steps: tuple[Step, ...] = (*start, jvp(x, t, "y", "tangent_y"))
    yield Probe("BN-DERIV-JVP", "second-batch", Program(config, steps))
    yield Probe("BN-DERIV-HVP", "second-batch", Program(config, (*start, hvp(x, g, t, "hvp_x"))), dtypes=FULL)


def _along_x() -> Probe:
    """The upstream gradient and the vector are x, of mean 0 and below epsilon, so that hardly anything cancels."""
    x = np.array([[1.0, 0.0, -0.5], [-1.0, 0.5, 0.0], [0.0, -0.5, 0.0], [0.0, 0.0, 0.5]])
    steps = (*_load_state(), hvp(x, x, x, "hvp_x"))
    return Probe("BN-DERIV-HVP", "along-x", Program(Config(ndim=2, eps=4.0), steps), dtypes=(*FULL, "float16"))


def _evaluation(rank: int) -> Iterator[Probe]:
    """From a layer that never trained, and after training passes with and without derivatives."""
    config = Config(ndim=rank, eps=EPSILON)
    x, g, t = _operands(inputs.SHAPES[rank])
    other, other_g, other_t = _operands(inputs.SHAPES[rank], 1)
    along, twice = jvp(x, t, "y", "tangent_y", training=False), hvp(x, g, t, "hvp_x", training=False)
    between: dict[str, tuple[Step, ...]] = {"": ()}
    if rank == 4:
        between["-after-training"] = (forward(other),)
    for words, steps in between.items():
        yield Probe("BN-DERIV-EVAL-JVP", f"rank{rank}{words}", Program(config, (*_load_state(), *steps, along)))
        yield Probe("BN-DERIV-EVAL-HVP", f"rank{rank}{words}", Program(config, (*_load_state(), *steps, twice)))
    if rank == 4:
        steps = (*_load_state(), jvp(other, other_t), along)
        yield Probe("BN-DERIV-EVAL-JVP", f"rank{rank}-after-a-tangent", Program(config, steps))
        steps = (*_load_state(), hvp(other, other_g, other_t), twice)
        yield Probe("BN-DERIV-EVAL-HVP", f"rank{rank}-after-second-derivatives", Program(config, steps))


ALONE: dict[str, Affine] = {"weight-alone": "weight", "bias-alone": "bias", "neither": False}
"""Layers that lack a parameter, in words."""


def _alone() -> Iterator[Probe]:
    """With the weight alone, the bias alone and neither, tracked or not, in either mode: whatever is differentiated."""
    x, g, t = _operands(inputs.SHAPES[4])
    u = inputs.values(inputs.SHAPES[4], 30)
    for lacking, affine in ALONE.items():
        for tracked, training in product((True, False), (True, False)):
            config = Config(eps=EPSILON, affine=affine, track_running_stats=tracked)
            names = [name for name in ("weight", "bias") if getattr(config, name)]
            state = {name: inputs.parameters(3)[name] for name in names} | (inputs.statistics(3) if tracked else {})
            start: tuple[Step, ...] = (load(**state),) if state else ()
            words = f"{lacking}-tracking-{_word(tracked)}-{MODES[training]}"
            steps: dict[str, Step] = {
                "BN-DERIV-JVP-JVP": jvp_jvp(x, t, g, "second_y", training=training),
                "BN-DERIV-THIRD": third(x, g, t, u, "third_x", training=training),
            }
            if lacking != "neither":  # that is asked by `_flags`
                along = jvp(x, t, "y", "tangent_y", training=training)
                yield Probe("BN-DERIV-FLAGS", f"jvp-{words}", Program(config, (*start, along)))
                shown = ("hvp_x", *(f"hvp_{name}" for name in names))
                twice = hvp(x, g, t, *shown, training=training)
                yield Probe("BN-DERIV-FLAGS", f"hvp-{words}", Program(config, (*start, twice)))
            # In evaluation by running statistics they are 0, which half precision tells, too.
            dtypes = DTYPES if tracked and not training else FULL
            for requirement, step in steps.items():
                yield Probe(requirement, words, Program(config, (*start, step)), dtypes=dtypes)


def _strides() -> Iterator[Probe]:
    """A tangent that is one sample, or one number, over and over, and one whose channels lie last."""
    x, _, t = _operands(inputs.SHAPES[4])
    for layout, given in {
        "expanded_batch": t * 0 + t[:1], "expanded_everywhere": t * 0 + 0.75, "channels_last": t, "reversed_batch": t,
    }.items():  # fmt: skip
        steps = (*_load_state(), jvp(x, given, "y", "tangent_y", tangent_layout=layout))
        yield Probe("BN-DERIV-JVP", f"tangent-{layout.replace('_', '-')}", Program(Config(eps=EPSILON), steps))
        steps = (*_load_state(), jvp(x, given, "y", "tangent_y", training=False, tangent_layout=layout))
        yield Probe("BN-DERIV-EVAL-JVP", f"tangent-{layout.replace('_', '-')}", Program(Config(eps=EPSILON), steps))


def _flags() -> Iterator[Probe]:
    """Every combination of affine, tracking and mode, at rank 4, with few values, so that bfloat16 tells something."""
    x, g, t = _operands(inputs.SMALL[4])
    for affine, tracked in ((False, True), (True, False), (False, False)):  # both are there in every other probe
        for training, mode in MODES.items():
            config = Config(eps=EPSILON, affine=affine, track_running_stats=tracked)
            words = f"affine-{_word(affine)}-tracking-{_word(tracked)}-{mode}"
            start = _load_state(affine=affine, tracked=tracked)
            steps: tuple[Step, ...] = (*start, jvp(x, t, "y", "tangent_y", training=training))
            yield Probe("BN-DERIV-FLAGS", f"jvp-{words}", Program(config, steps))
            steps = (*start, hvp(x, g, t, "hvp_x", "hvp_weight", "hvp_bias", training=training))
            yield Probe("BN-DERIV-FLAGS", f"hvp-{words}", Program(config, steps))


def _momentum() -> Iterator[Probe]:
    """In training every momentum gives the same derivatives, from default parameters too."""
    x, g, t = _operands(inputs.SHAPES[4])
    for words, momentum in (("0", 0.0), ("1", 1.0), ("none", None)):
        config = Config(eps=EPSILON, momentum=momentum)
        yield Probe("BN-DERIV-FLAGS", f"jvp-momentum-{words}", Program(config, (jvp(x, t, "y", "tangent_y"),)))
        steps = (hvp(x, g, t, "hvp_x", "hvp_weight", "hvp_bias"),)
        yield Probe("BN-DERIV-FLAGS", f"hvp-momentum-{words}", Program(config, steps))


def _state() -> Iterator[Probe]:
    """What is remembered after each call."""
    x, g, t = _operands(inputs.SHAPES[4])
    config = Config(momentum=0.3, eps=EPSILON)
    for training, mode in MODES.items():
        shown = MOVED if training else STATE
        steps = (*_load_state(), jvp(x, t, *shown, training=training))
        yield Probe("BN-DERIV-STATE", f"jvp-{mode}", Program(config, steps))
        steps = (*_load_state(), hvp(x, g, t, *shown, training=training))
        yield Probe("BN-DERIV-STATE", f"hvp-{mode}", Program(config, steps))


def _word(flag: bool) -> str:
    return "on" if flag else "off"
