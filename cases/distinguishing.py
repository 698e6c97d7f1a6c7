"""The distinguishing programs, which together tell every two points of the behaviour space apart.

A diagnosis and `identify` run them on an implementation and look for the point that explains all that they show. They
are short, so that what one call shows depends on few decisions, and small (n from 4 to 16), where estimators, axes and
epsilons differ most; epsilons and momenta are such that no two values of a decision agree. Shapes are few, for
implementations that compile for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np

from bnconform.cases.inputs import everything, parameters, statistics, uneven, upstream
from bnconform.cases.program import (
    SAVED,
    Array,
    Program,
    Step,
    backward,
    build,
    forward,
    freeze,
    load,
    masked,
    recomputed,
    replicated,
    replicated_vjp,
    saved_statistics,
)
from bnconform.spec.config import Config

SHAPE = (2, 3, 2, 4)
BY_RANK: Mapping[int, tuple[int, ...]] = {2: (4, 3), 3: (3, 3, 2), 5: (2, 3, 1, 2, 2)}
MASKED = (6, 3)
SQUARE = (2, 3, 2, 3)
"""The last axis is as long as there are channels: what broadcasts along the wrong one answers."""

SHOWN = ("running_mean", "running_var", "num_batches_tracked")
GRADIENTS = ("grad_x", "grad_weight", "grad_bias")
EPSILON, MOMENTUM = 0.1, 0.4
"""Far from every fixed value of the decisions, and large enough to show.

Rounding the momentum to single precision, or 1 less it, gives different weights: of 0.3 it would give the same.
"""


@cache
def distinguishing_programs() -> Mapping[str, Program]:
    """The programs by name, in float64; cast them to a dtype."""
    return dict(
        (
            *_passes(),
            *_ranks(),
            *_epsilons(),
            *_averages(),
            *_flags(),
            *_edges(),
            *_masks(),
            *_recomputation(),
            *_pieces(),
            *_saving_passes(),
            *_passes_while_frozen(),
            *_replicas(),
        )
    )


def _config(**values: Any) -> Config:
    return Config(**{"eps": EPSILON, "momentum": MOMENTUM, **values})


def _everything() -> Step:
    return load(**everything(3))


def _passes() -> Iterator[tuple[str, Program]]:
    """Each pass from a loaded state, and a new layer."""
    x, g = uneven(SHAPE), upstream(SHAPE)
    yield "training", Program(_config(), (_everything(), forward(x, "y", *SHOWN)))
    yield "evaluation", Program(_config(), (_everything(), forward(x, "y", *SHOWN, training=False)))
    yield "training gradient", Program(_config(), (_everything(), backward(x, g, *GRADIENTS, "running_mean")))
    yield (
        "evaluation gradient",
        Program(_config(), (_everything(), backward(x, g, *GRADIENTS, *SHOWN, training=False))),
    )
    square = uneven(SQUARE, 1)
    yield "evaluation, square", Program(_config(), (_everything(), forward(square, "y", training=False)))
    yield "new", Program(_config(), (build("running_mean", "running_var", "weight", "bias"),))
    yield "new, evaluation", Program(_config(), (forward(x, "y", *SHOWN, training=False),))
    yield "new, training", Program(_config(), (forward(x, "y"), forward(x + 1, "y", training=False)))
    yield "after training", Program(_config(), (_everything(), forward(x), forward(x - 1, "y", training=False)))


def _ranks() -> Iterator[tuple[str, Program]]:
    """Ranks 2, 3 and 5 in training and evaluation."""
    for rank, shape in BY_RANK.items():
        x = uneven(shape, rank)
        steps = (_everything(), forward(x, "y", "running_var"), forward(x * 0.5, "y", training=False))
        yield f"rank {rank}", Program(_config(ndim=rank), steps)


def _epsilons() -> Iterator[tuple[str, Program]]:
    """Variances around an epsilon that is small, usual, or large, in both modes and in the gradients."""
    for eps in (1e-7, 1e-5, 1e-3, 0.5):
        x = _around(eps)
        g = upstream(x.shape, 1)
        variance = eps * np.array([0.5, 1.0, 3.0])
        near = {**parameters(3), "running_mean": np.array([0.5, -0.25, 1.0]), "running_var": variance}
        config = _config(ndim=2, eps=eps)
        yield f"eps {eps:g}, training", Program(config, (load(**near), forward(x, "y"), backward(x, g, "grad_x")))
        yield (
            f"eps {eps:g}, evaluation",
            Program(
                config,
                (load(**near), forward(x, "y", training=False), backward(x, g, "grad_x", training=False)),
            ),
        )


def _around(eps: float) -> Array:
    """(4, 3): deviations from 0 with the variances eps/4, 2 eps, 9 eps."""
    signs = np.array([[1.0, 1.0, -1.0], [-1.0, 0.5, 1.0], [0.5, -1.0, 1.0], [-0.5, -0.5, -1.0]])
    return np.asarray(signs / np.sqrt((signs**2).mean(axis=0)) * np.sqrt(eps * np.array([0.25, 2.0, 9.0])))


def _averages() -> Iterator[tuple[str, Program]]:
    """Several batches, with momenta of all kinds."""
    batches = [uneven(BY_RANK[2], seed) * (1 + seed) for seed in range(3)]
    for momentum in (None, 0.25, 1.0, 0.0):
        steps = tuple(forward(x, *SHOWN) for x in batches)
        yield f"momentum {momentum}, from new", Program(_config(ndim=2, momentum=momentum), steps)
    mixed = (
        load(**statistics(3)), forward(batches[0], *SHOWN), forward(batches[1], *SHOWN, training=False),
        forward(batches[2], *SHOWN),
    )  # fmt: skip
    yield "modes in turn", Program(_config(ndim=2), mixed)
    yield "modes in turn, momentum None", Program(_config(ndim=2, momentum=None), mixed[1:])


def _flags() -> Iterator[tuple[str, Program]]:
    """Without parameters, and without running statistics."""
    x, g = uneven(BY_RANK[2], 4), upstream(BY_RANK[2], 4)
    for affine, tracked in ((False, True), (True, False), (False, False)):
        config = _config(ndim=2, affine=affine, track_running_stats=tracked)
        state = (parameters(3) if affine else {}) | (statistics(3) if tracked else {})
        first = (load(**state),) if state else ()
        words = f"affine {affine}, track_running_stats {tracked}"
        for training in (True, False):
            steps = (*first, forward(x, "y", training=training), backward(x, g, *GRADIENTS, training=training))
            yield f"{words}, {steps[-1].mode}", Program(config, steps)


def _edges() -> Iterator[tuple[str, Program]]:
    """One value a channel, and none."""
    one = np.array([0.5, -2.0, 3.0]).reshape(1, 3, 1, 1)
    empty = np.zeros((0, 3, 2, 4))
    yield "one value", Program(_config(), (_everything(), forward(one, "y", "running_mean", "running_var")))
    yield "an empty batch", Program(_config(), (_everything(), forward(empty, "running_mean", "running_var")))


REPLICAS = ((1, 3, 1, 2), (1, 3, 1, 2))
"""Two values a channel each, where numbers of values differ most."""

UNEQUAL = ((1, 3, 1, 1), (3, 3, 1, 1))


def _replicas() -> Iterator[tuple[str, Program]]:
    """A batch over two replicas with other means, equal and unequal; of layers that have replicas."""
    for words, shapes in (("replicas", REPLICAS), ("unequal replicas", UNEQUAL)):
        xs = [uneven(shape, 6) + 2.5 * number for number, shape in enumerate(shapes)]
        shown = ("y", "replica_running_mean", "replica_running_var")
        yield words, Program(_config(), (_everything(), replicated(xs, *shown)))
    xs = [uneven(shape, 6) + 2.5 * number for number, shape in enumerate(REPLICAS)]
    gs = [upstream(shape, 6 + number) for number, shape in enumerate(REPLICAS)]
    steps = (_everything(), replicated_vjp(xs, gs, "grad_x", "replica_grad_weight", "replica_grad_bias"))
    yield "replicas, gradient", Program(_config(), steps)


def _recomputation() -> Iterator[tuple[str, Program]]:
    """A pass whose forward part is run again, for who has such."""
    x, g = uneven(BY_RANK[2], 7), upstream(BY_RANK[2], 7)
    yield "a recomputed pass", Program(_config(ndim=2), (_everything(), recomputed(x, g, *GRADIENTS, *SHOWN)))


def _pieces() -> Iterator[tuple[str, Program]]:
    """A batch of more samples than a piece of it has, whose mean grows along it."""
    x = uneven((130, 1), 10)
    yield "many samples", Program(_config(num_features=1, ndim=2), (load(**everything(1)), forward(x, "y")))


def _saving_passes() -> Iterator[tuple[str, Program]]:
    """What is given beside y in both modes, for who gives it."""
    x = uneven(BY_RANK[2], 8)
    for training in (True, False):
        step = saved_statistics(x, *SAVED, training=training)
        yield f"what is saved in {step.mode}", Program(_config(ndim=2), (_everything(), step))


def _passes_while_frozen() -> Iterator[tuple[str, Program]]:
    """Passes of a layer that is frozen, for whose layers can be."""
    x, g = uneven(BY_RANK[2], 9), upstream(BY_RANK[2], 9)
    steps = (_everything(), freeze(), forward(x, "y", *SHOWN), backward(x, g, *GRADIENTS))
    yield "a frozen layer", Program(_config(ndim=2), steps)


def _masks() -> Iterator[tuple[str, Program]]:
    """A mask of some samples, and one of none, for who takes masks."""
    x = uneven(MASKED, 5)
    some = np.array([True, False, True, True, False, True]).reshape(-1, 1)
    yield "a mask", Program(_config(ndim=2), (_everything(), masked(x, some, "y", *SHOWN)))
    nothing = masked(x, np.zeros((6, 1), bool), "running_mean", "running_var")
    yield "a mask that selects nothing", Program(_config(ndim=2), (_everything(), nothing))
