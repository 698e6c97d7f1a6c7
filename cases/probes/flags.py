"""Probes of weight, bias, track_running_stats and momentum None, alone and in every combination."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from bnconform.cases import inputs
from bnconform.cases.program import Probe, Program, Step, backward, build, forward, load
from bnconform.spec.config import Config

BUFFERS = ("running_mean", "running_var")
PARAMETERS = ("weight", "bias")
GRADIENTS = ("grad_x", "grad_weight", "grad_bias")


def probes() -> Iterator[Probe]:
    """Flags and their truth table."""
    for rank in (2, 4):
        program = Program(Config(ndim=rank), (build("weight", "bias"),))
        yield Probe("BN-FLAG-AFFINE-INIT", f"new-layer-rank{rank}", program)
    program = Program(Config(track_running_stats=False), (build("weight", "bias"),))
    yield Probe("BN-FLAG-AFFINE-INIT", "untracked", program)

    for rank in (2, 4):
        x, g = inputs.values(inputs.SHAPES[rank], 1), inputs.upstream(inputs.SHAPES[rank])
        config = Config(ndim=rank, affine=False)
        steps: tuple[Step, ...] = (
            build("weight", "bias"),
            forward(x, "y"),
            load(**inputs.statistics(3)),
            forward(x, "y", "weight", "bias", training=False),
        )
        yield Probe("BN-FLAG-AFFINE-OFF", f"forward-rank{rank}", Program(config, steps))
        steps = (backward(x, g, "grad_x", "grad_weight", "grad_bias"),)
        yield Probe("BN-FLAG-AFFINE-OFF", f"backward-rank{rank}", Program(config, steps))

        config = Config(ndim=rank, track_running_stats=False)
        steps = (
            build(*BUFFERS),
            load(**inputs.parameters(3)),
            forward(x, "y", *BUFFERS),
            forward(x + 1, "y", *BUFFERS),
        )
        yield Probe("BN-FLAG-TRACK-OFF", f"training-rank{rank}", Program(config, steps))
        steps = (
            load(**inputs.parameters(3)),
            forward(x, "y", *BUFFERS, training=False),
            forward(x + 1),
            forward(x, "y", training=False),
        )
        yield Probe("BN-FLAG-TRACK-OFF-EVAL", f"evaluation-rank{rank}", Program(config, steps))
    steps = (forward(inputs.values((4, 3), 3), "y", training=False),)
    yield Probe("BN-FLAG-TRACK-OFF-EVAL", "before-training", Program(Config(ndim=2, track_running_stats=False), steps))

    for rank, name in product((2, 4), PARAMETERS):
        yield from _alone(rank, name)

    for affine, tracked, momentum in product((True, False), (True, False), (0.1, None)):
        words = f"affine-{_word(affine)}-track-{_word(tracked)}-momentum-{'none' if momentum is None else momentum}"
        x = inputs.values((5, 3), 4)
        seen = ("y", "running_mean")
        steps = (
            forward(x, *seen),
            forward(x * 2, *seen, training=False),
            forward(x - 1, *seen),
            forward(x, *seen, training=False),
        )
        config = Config(ndim=2, affine=affine, track_running_stats=tracked, momentum=momentum)
        yield Probe("BN-FLAG-TABLE", words, Program(config, steps))
    config = Config(ndim=2, affine=False, momentum=None)
    steps = (forward(inputs.values((3, 3), 5, offset=1.2), "running_var"),)
    yield Probe("BN-RUN-VAR", "affine-off-momentum-none", Program(config, steps))


def _alone(rank: int, name: str) -> Iterator[Probe]:
    """A layer with one of the two parameters: forward, backward and state, in both modes."""
    requirement = f"BN-FLAG-{name.upper()}-ALONE"
    x, g = inputs.values(inputs.SHAPES[rank], 6), inputs.upstream(inputs.SHAPES[rank])
    config = Config(ndim=rank, affine="weight" if name == "weight" else "bias")
    given = load(PARAMETERS, **{name: inputs.parameters(3)[name]}, **inputs.statistics(3))
    steps: tuple[Step, ...] = (
        build(*PARAMETERS),
        forward(x, "y"),
        given,
        forward(x, "y", *PARAMETERS),
        forward(x, "y", *PARAMETERS, training=False),
    )
    yield Probe(requirement, f"forward-rank{rank}", Program(config, steps))
    for training in (True, False):
        mode = "training" if training else "evaluation"
        steps = (given, backward(x, g, *GRADIENTS, *PARAMETERS, training=training))
        yield Probe(requirement, f"backward-rank{rank}-{mode}", Program(config, steps))
        untracked = replace(config, track_running_stats=False)
        part = load(**{name: inputs.parameters(3)[name]})
        steps = (part, forward(x, "y", training=training), backward(x, g, *GRADIENTS, training=training))
        yield Probe(requirement, f"untracked-rank{rank}-{mode}", Program(untracked, steps))


def _word(flag: bool) -> str:
    return "on" if flag else "off"
