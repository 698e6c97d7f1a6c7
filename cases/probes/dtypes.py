"""Probes of half precision: range, and single-precision accumulation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.program import Probe, Program, Step, backward, forward, load
from bnconform.spec.config import Config

FULL = ("float64", "float32")
HALF = ("float16", "bfloat16")
GRADIENTS = ("grad_x", "grad_weight", "grad_bias")


def probes() -> Iterator[Probe]:
    """float16 input beyond the square root of its range, more values than it can count, statistics out of its range."""
    x = inputs.values((4, 3), 1, offset=0.1) * 150
    steps: tuple[Step, ...] = (forward(x, "y", "running_mean", "running_var:finite"),)
    program = Program(Config(ndim=2, momentum=1.0), steps)
    yield Probe("BN-DTYPE-HALF-RANGE", "squares-beyond-65504", program, dtypes=HALF)
    steps = (backward(x, inputs.upstream((4, 3)) * 300, *GRADIENTS),)
    program = Program(Config(ndim=2), steps)
    yield Probe("BN-DTYPE-HALF-RANGE", "gradients-where-squares-pass-65504", program, dtypes=HALF)
    x = inputs.values((4, 3), 2) * 3
    steps = (
        load(running_mean=np.zeros(3), running_var=np.array([1e5, 1e-8, 3e5])),
        forward(x * 10, "y", "running_var", training=False),
    )
    yield Probe("BN-DTYPE-HALF-RANGE", "running-variance-out-of-range", Program(Config(ndim=2), steps), dtypes=HALF)
    steps = (load(running_mean=np.zeros(3), running_var=np.array([1e5, 1e-8, 3e5])), forward(x, "running_var:finite"))
    yield Probe("BN-DTYPE-HALF-RANGE", "update-out-of-range", Program(Config(ndim=2), steps), dtypes=HALF)
    x = inputs.values((70_001, 1), 3)
    steps = (forward(x, "y", "running_mean", "running_var:finite"),)
    program = Program(Config(num_features=1, ndim=2, momentum=1.0), steps)
    yield Probe("BN-DTYPE-HALF-RANGE", "70001-values", program, "single", HALF)

    yield from _precision()
    shape: tuple[int, ...] = (6, 3, 5, 7)
    x, g = inputs.values(shape, 4), inputs.upstream(shape)
    start = load(**inputs.everything(3))
    seen = ("y", "running_mean")
    program = Program(Config(momentum=1.0), (start, forward(x, *seen)))
    yield Probe("BN-DTYPE-HALF-SINGLE", "training", program, "single", HALF)
    program = Program(Config(), (start, forward(x, "y", training=False)))
    yield Probe("BN-DTYPE-HALF-SINGLE", "evaluation", program, "single", HALF)
    program = Program(Config(), (start, backward(x, g, "grad_x", "grad_weight", "grad_bias")))
    yield Probe("BN-DTYPE-HALF-SINGLE", "gradients", program, "single", HALF)
    for layout in ("fortran", "channels_last", "every_other_element"):
        steps = (start, backward(x, g, "grad_x", "grad_weight", "grad_bias", grad_layout=layout))
        yield Probe("BN-DTYPE-HALF-SINGLE", f"gradients-of-{layout}", Program(Config(), steps), "single", HALF)
    gradients = ("grad_x", "grad_weight", "grad_bias")
    for rank, shape in {2: (331, 3), 3: (11, 3, 30), 5: (3, 3, 5, 4, 6)}.items():  # a kernel of its own for matrices
        x, g = inputs.values(shape, 4) + 2.0, inputs.upstream(shape, 4) + 1.5
        steps = (
            start,
            forward(x, *seen),
            backward(x, g, *gradients),
            backward(x, g, *gradients, training=False),
            forward(x, "y", training=False),
        )
        program = Program(Config(momentum=1.0, ndim=rank), steps)
        yield Probe("BN-DTYPE-HALF-SINGLE", f"rank{rank}", program, "single", HALF)


def _precision() -> Iterator[Probe]:
    """Numbers that fill their significands, so that a detour through a narrower dtype shows in every result."""
    shape = (2, 3, 4, 5)
    x, g, start = inputs.values(shape, 9), inputs.upstream(shape, 9), load(**inputs.everything(3, 9))
    seen = ("running_mean", "running_var")
    calls: dict[str, Step] = {
        "training": forward(x, "y", "running_mean"),
        # A constant batch has no variance, whatever the estimator: the precision of the running one alone shows.
        "running-variance": forward(x[:1, :, :1, :1].repeat(4, axis=0), "running_var"),
        "evaluation": forward(x, "y", training=False),
        "gradients": backward(x, g, *GRADIENTS),
        "evaluation-gradients": backward(x, g, *GRADIENTS, training=False),
        "loaded-state": load((*seen, "weight", "bias"), **inputs.everything(3, 10)),
    }
    for name, call in calls.items():
        yield Probe("BN-DTYPE-PRECISION", name, Program(Config(momentum=0.3), (start, call)), dtypes=FULL)
    # A sum with epsilon of which neither part alone is wider than half precision.
    x = inputs.symmetric((1.0, 0.25, 4.0))
    program = Program(Config(ndim=2, eps=2.0**-12 + 2.0**-10), (forward(x, "y"),))
    yield Probe("BN-DTYPE-PRECISION", "variance-plus-epsilon", program, dtypes=FULL)
