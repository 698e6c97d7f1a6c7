"""Probes of the gradients: random upstream gradients, variances far from 1, every rank, both modes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.program import Array, Probe, Program, Step, backward, forward, load
from bnconform.spec.config import Config

ALL = ("grad_x", "grad_weight", "grad_bias")


def probes() -> Iterator[Probe]:
    """Each of the three gradients in both modes, and all together in every combination of flags."""
    for rank, shape in inputs.SHAPES.items():
        yield from _both(rank, inputs.values(shape, 1), inputs.upstream(shape), f"rank{rank}")
    for rank, shape in inputs.SMALL.items():
        x, g = inputs.values(shape, 2, offset=0.3), inputs.upstream(shape, 1)
        yield from _both(rank, x, g, f"four-values-rank{rank}")
    for count in (2, 3, 5):
        x = inputs.values((count, 3), 3, offset=0.3)
        yield from _both(2, x, inputs.upstream(x.shape, 2), f"{count}-values", eps=0.75)
    x = inputs.values((6, 3), 4, offset=0.3) * np.array([0.05, 1.0, 20.0])
    yield from _both(2, x, inputs.upstream(x.shape, 3), "variance-far-from-1")
    x = inputs.symmetric((0.01, 0.1, 1.0), 3) + inputs.values((6, 3), 5, offset=0.0) * 0.1
    yield from _both(2, x, inputs.upstream(x.shape, 4), "variance-around-eps", eps=0.1)

    yield from _both(2, x, inputs.upstream(x.shape, 5), "eps-1", eps=1.0)  # the largest that MindSpore takes
    yield from _weights()
    for side in (7, 8):  # images of sizes for which libraries have kernels of their own
        shape = (2, 3, side, side)
        yield from _both(4, inputs.values(shape, 6), inputs.upstream(shape, 6), f"{side}x{side}")
    x, g = inputs.values((5, 3), 9), inputs.upstream((5, 3), 9)
    steps: tuple[Step, ...] = (
        load(**inputs.everything(3, 1)),
        *(backward(x + number, g, "grad_x", training=number % 2 == 0) for number in range(10)),
    )
    yield Probe("BN-GRAD-EVAL-INPUT", "ten-passes", Program(Config(ndim=2), steps))
    for momentum in (0.0, None):
        start = load(**inputs.everything(3, 1))
        program = Program(Config(ndim=2, momentum=momentum), (start, backward(x, g, "grad_x")))
        yield Probe("BN-GRAD-INPUT", f"momentum-{'none' if momentum is None else '0'}", program)

    for affine, tracked, training in product((True, False), (True, False), (True, False)):
        words = f"affine-{_word(affine)}-track-{_word(tracked)}-{'training' if training else 'evaluation'}"
        x, g = inputs.values(inputs.SHAPES[4], 6), inputs.upstream(inputs.SHAPES[4], 5)
        state = (inputs.parameters(3) if affine else {}) | (inputs.statistics(3) if tracked else {})
        first = (load(**state),) if state else ()
        config = Config(affine=affine, track_running_stats=tracked)
        yield Probe("BN-GRAD-AFFINE", words, Program(config, (*first, backward(x, g, *ALL, training=training))))

    x = inputs.values((5, 3), 7, offset=0.4)
    hot = np.zeros((5, 3))
    hot[2, 1] = 1.0
    for name, g in (("ones", np.ones((5, 3))), ("zeros", np.zeros((5, 3))), ("one-element", hot)):
        for training in (True, False):
            mode = "training" if training else "evaluation"
            steps = (load(**inputs.everything(3)), backward(x, g, *ALL, training=training))
            yield Probe("BN-GRAD-UPSTREAM", f"{name}-{mode}", Program(Config(ndim=2, eps=0.1), steps))
    steps = (
        load(**inputs.everything(3)),
        forward(x),
        backward(x, inputs.upstream((5, 3)), *ALL),
        backward(x, inputs.upstream((5, 3), 8), *ALL),
    )
    yield Probe("BN-GRAD-UPSTREAM", "twice-after-a-forward", Program(Config(ndim=2), steps))

    for rank, training in product((2, 4), (True, False)):
        shape, mode = inputs.SHAPES[rank], "training" if training else "evaluation"
        once, again = (
            backward(inputs.values(shape, 8 + k), inputs.upstream(shape, 6 + k), *ALL, training=training)
            for k in range(2)
        )
        steps = (load(**inputs.everything(3)), once, replace(again, refills=True))
        yield Probe("BN-GRAD-UPSTREAM", f"refilled-{mode}-rank{rank}", Program(Config(ndim=rank), steps))
    for rank in (2, 4):
        x, g = inputs.values(inputs.SHAPES[rank], 8), inputs.upstream(inputs.SHAPES[rank], 6)
        steps = (load(**inputs.parameters(3)), backward(x, g, "grad_x"))
        yield Probe("BN-GRAD-SUM", f"rank{rank}", Program(Config(ndim=rank), steps))


def _both(rank: int, x: Array, g: Array, name: str, eps: float = 1e-5) -> Iterator[Probe]:
    """The three gradients in training and in evaluation, evaluation from a layer that never trained."""
    config = Config(ndim=rank, eps=eps)
    start = load(**inputs.everything(3, 1))

    def steps(observable: str, training: bool) -> tuple[Step, ...]:
        return start, backward(x, g, observable, training=training)

    yield Probe("BN-GRAD-INPUT", name, Program(config, steps("grad_x", True)))
    yield Probe("BN-GRAD-EVAL-INPUT", name, Program(config, steps("grad_x", False)))
    yield Probe("BN-GRAD-WEIGHT", f"{name}-training", Program(config, steps("grad_weight", True)))
    yield Probe("BN-GRAD-WEIGHT", f"{name}-evaluation", Program(config, steps("grad_weight", False)))
    yield Probe("BN-GRAD-BIAS", f"{name}-training", Program(config, steps("grad_bias", True)))
    yield Probe("BN-GRAD-BIAS", f"{name}-evaluation", Program(config, steps("grad_bias", False)))


def _word(flag: bool) -> str:
    return "on" if flag else "off"


def _weights() -> Iterator[Probe]:
    """Weights that are all alike and negative, and tiny ones."""
    x, g = inputs.values((5, 3), 7), inputs.upstream((5, 3), 7)
    for name, weight in (("equal-negative", np.full(3, -1.5)), ("tiny", np.array([1e-8, -3e-7, 2e-6]))):
        steps = (load(weight=weight), *(backward(x, g, *ALL, training=training) for training in (True, False)))
        dtypes = ("float64", "float32")
        yield Probe("BN-GRAD-INPUT", f"{name}-weights", Program(Config(ndim=2), steps), dtypes=dtypes)
