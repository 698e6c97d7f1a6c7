"""Probes of the evaluation forward pass; most load running statistics, so that no training is needed before."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.program import Probe, Program, Step, backward, forward, load
from bnconform.spec.config import Config


def probes() -> Iterator[Probe]:
    """Evaluation with loaded, initial and learnt statistics."""
    yield from _statistics()
    yield from _modes_in_turn()
    yield from _epsilons()
    yield from _affine()
    yield from _no_update()


def _statistics() -> Iterator[Probe]:
    """It is the running statistics that normalise, at every rank and shape."""
    for rank, shape in inputs.SHAPES.items():
        steps: tuple[Step, ...] = (load(**inputs.everything(3)), forward(inputs.values(shape), "y", training=False))
        yield Probe("BN-EVAL-STATS", f"rank{rank}", Program(Config(ndim=rank), steps))
    for name, shape in (
        ("one-sample", (1, 3, 4, 5)),
        ("last-axis-as-long-as-channels", (2, 3, 4, 3)),
        ("square", (3, 3, 3, 3)),
    ):
        steps = (load(**inputs.everything(3)), forward(inputs.values(shape, 2), "y", training=False))
        yield Probe("BN-EVAL-STATS", name, Program(Config(), steps))
    for rank, shapes in {2: ((6, 3), (6, 3)), 3: ((2, 3, 6), (6, 3, 2)), 4: ((2, 3, 4, 3), (3, 3, 2, 4))}.items():
        # As many elements in another shape: what is kept by the number of elements is at other places.
        calls = [forward(inputs.values(shape, 11 + k), "y", training=False) for k, shape in enumerate(shapes)]
        steps = (load(**inputs.everything(3)), *calls, calls[0])
        yield Probe("BN-EVAL-STATS", f"as-many-elements-rank{rank}", Program(Config(ndim=rank), steps))
    steps = (
        load(running_mean=np.full(3, 1.5), running_var=np.array([0.5, 2.0, 4.0])),
        forward(inputs.values((5, 3), 14), "y", training=False),
    )
    yield Probe("BN-EVAL-STATS", "equal-means", Program(Config(ndim=2), steps))
    steps = (
        forward(inputs.values((5, 3), 3), "y", training=False),
        forward(inputs.values((5, 3), 3), "y", training=False),
    )
    yield Probe("BN-EVAL-STATS", "before-any-training", Program(Config(ndim=2, eps=0.5), steps))
    steps = (
        load(**inputs.everything(3)),
        *(forward(inputs.values((4, 3), 15 + k), "y", training=False) for k in range(20)),
    )
    yield Probe("BN-EVAL-STATS", "twenty-batches", Program(Config(ndim=2), steps))


def _modes_in_turn() -> Iterator[Probe]:
    """After training those that were learnt, and after evaluation those of the batch again."""
    x = inputs.values((5, 3), 4)
    steps: tuple[Step, ...] = (
        forward(x),
        forward(inputs.values((5, 3), 5)),
        forward(x, "y", training=False),
        forward(x),
        forward(x, "y", training=False),
    )
    yield Probe("BN-EVAL-STATS", "after-training", Program(Config(ndim=2), steps))
    steps = (
        load(**inputs.everything(3)),
        forward(x, training=False),
        forward(x, "y"),
        forward(x, training=False),
        forward(x, training=False),
        forward(x + 1, "y"),
    )
    yield Probe("BN-TRAIN-STATS", "after-evaluation", Program(Config(ndim=2), steps))


def _epsilons() -> Iterator[Probe]:
    """Variances around epsilon, where it shows."""
    for name, config in (
        ("variance-around-0.1", Config(ndim=2, eps=0.1)),
        ("variance-around-0.5", Config(ndim=2, eps=0.5)),
        ("variance-around-1e-3", Config(ndim=2, eps=1e-3)),
        ("rank3", Config(ndim=3, eps=0.5)),
        ("rank5", Config(ndim=5, eps=0.5)),
        ("affine-off", Config(ndim=2, eps=0.5, affine=False)),
    ):
        eps = config.eps
        state = {"running_mean": np.zeros(3), "running_var": np.array([eps / 10, eps, 10 * eps])}
        x = inputs.values((4, 3) if config.ndim == 2 else inputs.SMALL[config.ndim], 6)
        steps: tuple[Step, ...] = (load(**state), forward(x, "y", training=False))
        yield Probe("BN-EVAL-EPS", name, Program(config, steps))
    steps = (
        load(running_mean=np.zeros(3), running_var=np.zeros(3)),
        forward(inputs.values((4, 3), 7), "y", training=False),
    )
    yield Probe("BN-EVAL-EPS", "variance-0", Program(Config(ndim=2, eps=0.25), steps))
    state = {"running_mean": np.zeros(3), "running_var": np.array([1e-8, 1e-5, 1e-4])}
    steps = (load(**state), forward(inputs.values((4, 3), 8) * 1e-3, "y", training=False))
    yield Probe("BN-EVAL-EPS", "default-eps", Program(Config(ndim=2), steps), dtypes=("float64", "float32"))


def _affine() -> Iterator[Probe]:
    """Weight and bias of every sign."""
    for rank in (2, 4):
        steps: tuple[Step, ...] = (
            load(weight=np.array([-1.75, 0.0, 0.5]), bias=np.array([0.75, -2.5, 3.0])),
            forward(inputs.values(inputs.SMALL[rank], 9), "y", training=False),
        )
        yield Probe("BN-EVAL-AFFINE", f"negative-and-zero-rank{rank}", Program(Config(ndim=rank), steps))
    steps = (load(**inputs.everything(3, 4)), forward(inputs.values((4, 3), 10), "y", training=False))
    yield Probe("BN-EVAL-AFFINE", "loaded-statistics", Program(Config(ndim=2), steps))


def _no_update() -> Iterator[Probe]:
    """Neither a forward nor a backward pass moves the running statistics."""
    seen = ("running_mean", "running_var")
    for momentum in (0.1, 1.0, None):
        word = "none" if momentum is None else f"{momentum:g}"
        x = inputs.values((4, 3), 11)
        steps: tuple[Step, ...] = (
            load(**inputs.statistics(3)), forward(x, *seen, training=False), forward(x, *seen, training=False)
        )  # fmt: skip
        yield Probe("BN-EVAL-NO-UPDATE", f"momentum-{word}", Program(Config(ndim=2, momentum=momentum), steps))
        steps = (forward(x), forward(x, *seen, training=False), forward(x + 1, *seen, training=False))
        program = Program(Config(ndim=2, momentum=momentum), steps)
        yield Probe("BN-EVAL-NO-UPDATE", f"after-training-momentum-{word}", program)
    x = inputs.values(inputs.SHAPES[4], 12)
    yield Probe("BN-EVAL-NO-UPDATE", "new-layer-rank4", Program(Config(), (forward(x, *seen, training=False),)))

    for rank in (2, 4):
        x, g = inputs.values(inputs.SHAPES[rank], 13), inputs.upstream(inputs.SHAPES[rank])
        steps = (
            load(**inputs.everything(3)),
            backward(x, g, *seen, training=False),
            backward(x, g, *seen, training=False),
        )
        program = Program(Config(ndim=rank, momentum=0.5), steps)
        yield Probe("BN-EVAL-MODE", f"backward-leaves-statistics-rank{rank}", program)
