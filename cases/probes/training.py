"""Probes of the training forward pass."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.program import Probe, Program, Step, backward, forward, load
from bnconform.spec.config import Config
from bnconform.spec.formats import DTYPES

FULL = ("float64", "float32")
"""Dtypes whose exponent range and precision the smallest epsilons need."""


def _probe(requirement: str, name: str, config: Config, *steps: Step, dtypes: tuple[str, ...] = DTYPES) -> Probe:
    return Probe(requirement, name, Program(config, steps), dtypes=dtypes)


def probes() -> Iterator[Probe]:
    """One step in training, most from a layer with loaded weight and bias."""
    yield from _norm()
    for rank, shape in inputs.SHAPES.items():
        config = Config(ndim=rank)
        if rank > 2:
            yield _probe("BN-TRAIN-AXES", f"uneven-rank{rank}", config, forward(inputs.uneven(shape), "y"))
    yield from _variance()
    yield from _epsilon()
    yield from _affine()
    for momentum in (0.1, 1.0, 0.0):
        config = Config(ndim=2, momentum=momentum)
        steps: tuple[Step, ...] = (
            load(**inputs.statistics(3)),
            forward(inputs.values((4, 3)), "y"),
            forward(inputs.values((4, 3), 1), "y"),
        )
        yield _probe("BN-TRAIN-STATS", f"momentum{momentum:g}", config, *steps)
    steps = (load(**inputs.everything(3)), forward(inputs.values(inputs.SHAPES[4]), "y"))
    yield _probe("BN-TRAIN-STATS", "rank4", Config(), *steps)


def _norm() -> Iterator[Probe]:
    for rank, shape in inputs.SHAPES.items():
        steps: tuple[Step, ...] = (load(**inputs.parameters(3)), forward(inputs.values(shape), "y"))
        yield _probe("BN-TRAIN-NORM", f"rank{rank}", Config(ndim=rank), *steps)
    for rank, shape in inputs.SMALL.items():
        steps = (load(**inputs.parameters(3)), forward(inputs.values(shape, offset=0.2), "y"))
        yield _probe("BN-TRAIN-NORM", f"four-values-rank{rank}", Config(ndim=rank), *steps)
    for samples in (1, 2, 3, 5, 6, 9):
        x = inputs.values((samples, 3, 2, 4), samples)
        yield _probe("BN-TRAIN-NORM", f"batch{samples}", Config(), load(**inputs.parameters(3)), forward(x, "y"))
    x = np.abs(inputs.values((6, 3), 14)) + 0.5
    for name, signed in (("all-positive", x), ("all-negative", -x)):
        yield _probe("BN-TRAIN-NORM", name, Config(ndim=2), load(**inputs.parameters(3)), forward(signed, "y"))
    for samples in (2, 3, 8, 13):
        steps = (load(**inputs.parameters(3)), forward(inputs.values((samples, 3), samples, offset=0.3), "y"))
        yield _probe("BN-TRAIN-NORM", f"rank2-batch{samples}", Config(ndim=2), *steps)


def _variance() -> Iterator[Probe]:
    for count in (2, 3, 4, 5):
        x = inputs.values((count, 3), count, offset=0.9)
        yield _probe("BN-TRAIN-VAR", f"{count}-values", Config(ndim=2), forward(x, "y"))
    yield _probe("BN-TRAIN-VAR", "2-values-rank4", Config(), forward(inputs.values((1, 3, 1, 2), 7), "y"))
    yield _probe("BN-TRAIN-VAR", "2-samples-rank4", Config(), forward(inputs.values((2, 3, 1, 1), 8), "y"))
    yield _probe("BN-TRAIN-VAR", "3-values-rank3", Config(ndim=3), forward(inputs.values((1, 3, 3), 9), "y"))
    yield _probe("BN-TRAIN-VAR", "4-values-rank5", Config(ndim=5), forward(inputs.values((1, 3, 2, 1, 2), 10), "y"))


def _epsilon() -> Iterator[Probe]:
    for eps in (0.1, 0.5):
        x = inputs.symmetric((eps / 10, eps, 10 * eps))
        yield _probe("BN-TRAIN-EPS", f"variance-around-{eps:g}", Config(ndim=2, eps=eps), forward(x, "y"))
    x = inputs.symmetric((1e-6, 1e-5, 1e-4))
    yield _probe("BN-TRAIN-EPS", "variance-around-1e-5", Config(ndim=2), forward(x, "y"), dtypes=FULL)
    x = inputs.values((1, 3, 2, 2), 3) * 0.3
    yield _probe("BN-TRAIN-EPS", "rank4", Config(eps=0.2), load(**inputs.parameters(3)), forward(x, "y"))
    for name, config in (
        ("rank3", Config(ndim=3, eps=0.5)),
        ("rank5", Config(ndim=5, eps=0.5)),
        ("affine-off", Config(ndim=2, eps=0.5, affine=False)),
        ("track-off", Config(ndim=2, eps=0.5, track_running_stats=False)),
    ):
        yield _probe("BN-TRAIN-EPS", name, config, forward(inputs.values(inputs.SMALL[config.ndim], 4) * 0.3, "y"))
    for eps in (1e-14, 1e-7, 2e-6, 1e-3, 0.05, 1.0):
        x = inputs.symmetric((eps / 4, eps, 4 * eps))
        dtypes = (*FULL, "bfloat16") if eps < 1e-6 else DTYPES
        yield _probe("BN-TRAIN-EPS-VALUE", f"eps{eps:g}", Config(ndim=2, eps=eps), forward(x, "y"), dtypes=dtypes)


def _affine() -> Iterator[Probe]:
    weight, bias = np.array([-1.75, 0.0, 0.5]), np.array([0.75, -2.5, 3.0])
    for rank in (2, 4):
        x = inputs.values(inputs.SMALL[rank], 11, offset=0.2)
        steps: tuple[Step, ...] = (load(weight=weight, bias=bias), forward(x, "y"))
        yield _probe("BN-TRAIN-AFFINE", f"negative-and-zero-rank{rank}", Config(ndim=rank), *steps)
    steps = (
        load(weight=np.array([64.0, -1e-3, 2.5]), bias=np.array([-32.0, 1e-3, 0.0])),
        forward(inputs.values((4, 3), 12), "y"),
    )
    yield _probe("BN-TRAIN-AFFINE", "large-and-small", Config(ndim=2), *steps)
    x = inputs.values((4, 3), 14)
    steps = (load(weight=np.array([-2.0, -0.5, -1.25])), *(forward(x, "y", training=t) for t in (True, False)))
    yield _probe("BN-TRAIN-AFFINE", "all-negative", Config(ndim=2), *steps)
    # What is as when new in the first channel need not be so in the others.
    for entries in ({"weight": [1.0, -2.0, 0.5]}, {"weight": [1.0, 1.0, 3.0], "bias": [0.0, 1.5, 0.0]}):
        start = load(**{name: np.array(value) for name, value in entries.items()})
        steps = (
            start,
            *(forward(x, "y", training=t) for t in (True, False)),
            backward(x, inputs.upstream((4, 3)), "grad_x"),
        )
        yield _probe("BN-TRAIN-AFFINE", f"first-as-when-new-{len(entries)}", Config(ndim=2), *steps)
    # A sample of zeros is a sample.
    padded = inputs.values((3, 3, 4, 5), 16, offset=2.0)
    padded[1] = 0
    yield _probe("BN-TRAIN-STATS", "sample-of-zeros", Config(), forward(padded, "y"))
    # Two batches that differ in the last sample alone.
    first = inputs.values((3, 3, 4, 5), 15)
    other = first.copy()
    other[-1] = 2 - other[-1] * 3
    yield _probe("BN-TRAIN-STATS", "same-beginning", Config(), forward(first, "y"), forward(other, "y"))
    x = inputs.values((4, 3), 13)
    steps = (
        load(weight=np.array([2.0, -3.0, 0.25])),
        forward(x, "y"),
        load(bias=np.array([1.5, 0.5, -4.0])),
        forward(x, "y"),
    )
    yield _probe("BN-TRAIN-AFFINE", "one-after-the-other", Config(ndim=2), *steps)
