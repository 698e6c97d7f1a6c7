"""Probes of replicas: one batch in shards, equal and unequal, one of them empty, with other sizes, or with a far mean.

The truth is one layer's over the whole batch. Shards of one shape are asked for apart from others, as a framework that
maps one function over an axis takes no others. Shapes are few, for frameworks that compile for each.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.program import (
    REPLICA_GRADIENTS,
    Array,
    Probe,
    Program,
    Step,
    forward,
    load,
    replicated,
    replicated_vjp,
)
from bnconform.spec.config import Config

Shapes = tuple[tuple[int, ...], ...]

EQUAL = ((2, 3, 2, 2), (2, 3, 2, 2))
"""Two replicas with eight values a channel each."""

AT_RANK_2 = ((3, 3), (3, 3))
UNEQUAL: dict[str, Shapes] = {
    "rank4": ((2, 3, 2, 2), (1, 3, 2, 2)),
    "rank2": ((3, 3), (5, 3)),
    "three": ((1, 3), (2, 3), (4, 3)),
}
SIZES = ((2, 3, 2, 2), (2, 3, 1, 3))
EMPTY: dict[str, Shapes] = {
    "first": ((0, 3, 2, 2), (2, 3, 2, 2)),
    "last": ((2, 3, 2, 2), (0, 3, 2, 2)),
    "in-the-middle": ((2, 3, 2, 2), (0, 3, 2, 2), (1, 3, 2, 2)),
}
SINGLE = ((1, 3),) * 4
"""Four replicas with one value a channel each."""

FAR = 3.0
"""How much further the mean of each replica lies than that of the one before; the deviation is about 1.7."""

EPSILON = 0.1
MEAN, VARIANCE, COUNTER = "replica_running_mean", "replica_running_var", "replica_num_batches_tracked"


def probes() -> Iterator[Probe]:
    """Replicas."""
    yield from _outputs()
    yield from _unequal()
    yield from _memory()
    yield from _gradients()
    yield from _evaluation()


def shards(shapes: Shapes, seed: int = 0, far: float = FAR) -> list[Array]:
    """Values whose mean differs from replica to replica by `far`."""
    return [inputs.values(shape, seed + number) + far * number for number, shape in enumerate(shapes)]


def upstream(shapes: Shapes, seed: int = 0) -> list[Array]:
    """Upstream gradients of the shape of each shard."""
    return [inputs.upstream(shape, seed + number) for number, shape in enumerate(shapes)]


def _config(shapes: Shapes, **values: object) -> Config:
    return Config(**{"ndim": len(shapes[0]), "eps": EPSILON, "momentum": 0.3, **values})  # type: ignore[arg-type]


def _load_state() -> Step:
    """A state that is no default in any entry."""
    return load(**inputs.everything(3))


def _outputs() -> Iterator[Probe]:
    """Y, over shards of one shape."""
    cases = {
        "rank4": shards(EQUAL), "rank2": shards(AT_RANK_2), "near-means": shards(EQUAL, far=0.0),
        "far-means": shards(EQUAL, far=6 * FAR), "one-value-each": shards(SINGLE), "one-replica": shards(EQUAL[:1]),
    }  # fmt: skip
    for name, given in cases.items():
        config = _config(tuple(shard.shape for shard in given))
        yield Probe("BN-REP-OUTPUT", name, Program(config, (_load_state(), replicated(given, "y"))))
    config = _config(EQUAL, affine=False)
    steps: tuple[Step, ...] = (load(**inputs.statistics(3)), replicated(shards(EQUAL), "y"))
    yield Probe("BN-REP-OUTPUT", "affine-off", Program(config, steps))
    steps = (_load_state(), forward(shards(EQUAL, 7)[0]), replicated(shards(EQUAL), "y"))
    yield Probe("BN-REP-OUTPUT", "second-batch", Program(_config(EQUAL), steps))


def _unequal() -> Iterator[Probe]:
    """Y and what is remembered, over shards of several shapes."""
    several: dict[str, dict[str, Shapes]] = {
        "BN-REP-UNEQUAL": UNEQUAL, "BN-REP-SIZES": {"rank4": SIZES}, "BN-REP-EMPTY": EMPTY,
    }  # fmt: skip
    for requirement, cases in several.items():
        for name, shapes in cases.items():
            steps = (_load_state(), replicated(shards(shapes), "y", MEAN))
            yield Probe(requirement, name, Program(_config(shapes), steps))


def _memory() -> Iterator[Probe]:
    """What each replica remembers.

    Of equal shards the mean of the means is that of all; only the variance tells that it was the replicas' own.
    """
    cases = {"rank4": EQUAL, "rank2": AT_RANK_2}
    for name, shapes in cases.items():
        shown = (MEAN, COUNTER, VARIANCE) if name == "rank2" else (MEAN, COUNTER)
        steps: tuple[Step, ...] = (_load_state(), replicated(shards(shapes), *shown))
        yield Probe("BN-REP-MEMORY", name, Program(_config(shapes), steps))
        steps = (_load_state(), replicated(shards(shapes), VARIANCE))
        yield Probe("BN-REP-VARIANCE", name, Program(_config(shapes), steps))
    steps = (_load_state(), replicated(shards(UNEQUAL["rank2"]), VARIANCE))
    yield Probe("BN-REP-VARIANCE", "unequal", Program(_config(AT_RANK_2), steps))


def _gradients() -> Iterator[Probe]:
    """The gradients for x, and for weight and bias, in training."""
    cases = {"rank4": shards(EQUAL), "rank2": shards(AT_RANK_2), "near-means": shards(EQUAL, far=0.0)}
    for name, given in cases.items():
        shapes = tuple(shard.shape for shard in given)
        steps = (_load_state(), replicated_vjp(given, upstream(shapes), "grad_x"))
        yield Probe("BN-REP-GRAD", name, Program(_config(shapes), steps))
        if name != "near-means":
            steps = (_load_state(), replicated_vjp(given, upstream(shapes), *REPLICA_GRADIENTS))
            yield Probe("BN-REP-GRAD-PARAMETERS", name, Program(_config(shapes), steps))
    yield _upstream_of_one()
    for name, shapes in UNEQUAL.items():
        given = shards(shapes)
        steps = (_load_state(), replicated_vjp(given, upstream(shapes), "grad_x", *REPLICA_GRADIENTS))
        yield Probe("BN-REP-GRAD-UNEQUAL", name, Program(_config(shapes), steps))


def _upstream_of_one() -> Probe:
    """All that reaches one replica comes from the other, and hardly anything cancels: half precision tells it, too."""
    x = inputs.symmetric((1.0, 0.5, 2.0), pairs=1)
    given = [x, x[::-1] * 1.5]
    steps = (_load_state(), replicated_vjp(given, [x * 0, x * 0 + 1.0], "grad_x"))
    return Probe("BN-REP-GRAD", "upstream-of-one", Program(_config(((2, 3),) * 2), steps))


def _evaluation() -> Iterator[Probe]:
    """Each by itself: with far means, and where the other has NaN and infinity alone."""
    shown = ("y", MEAN, VARIANCE, COUNTER)
    given = shards(EQUAL)
    beside = [given[0], np.where(given[1] > FAR, np.nan, np.inf)]
    for name, arrays in (("rank4", given), ("nothing-finite-beside", beside), ("rank2", shards(AT_RANK_2))):
        config = _config(tuple(shard.shape for shard in arrays))
        steps = (_load_state(), replicated(arrays, *shown, training=False))
        yield Probe("BN-REP-EVAL", name, Program(config, steps))
