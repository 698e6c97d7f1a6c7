"""Hypothesis strategies for programs and their parts: a configuration, a batch, what a load sets.

Values are drawn freely, shapes and configurations from small fixed sets, so that implementations which compile for
each shape meet few. Every value is a whole number of 8 bits times a power of two: it shrinks to a small number, and is
exact in every dtype, so that one program is the same in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import cache
from typing import TypeVar

import numpy as np
from hypothesis import strategies as st

from bnconform.cases.program import Array, Program, Step, backward, forward, load
from bnconform.spec.config import Config

SHAPES = {
    2: ((2, 3), (5, 3)),
    3: ((2, 3, 4), (1, 3, 2)),
    4: ((1, 3, 2, 2), (2, 3, 1, 4)),
    5: ((2, 3, 1, 2, 1), (1, 3, 2, 1, 2)),
}
"""The shapes of x by rank; C = 3."""

GRADIENTS = ("grad_x", "grad_weight", "grad_bias")

STATISTICS = ("running_mean", "running_var")
"""What is judged of the state after every pass; parameters are judged when they are set, the counter on its own."""

SCALES = (1 / 8, 1 / 128, 1 / 1024, 2.0)
"""The units of a batch's values: variances from far below to far above every eps."""

T = TypeVar("T")


@cache
def arrays(
    shape: tuple[int, ...], scales: tuple[float, ...] = SCALES, *, positive: bool = False
) -> st.SearchStrategy[Array]:
    """Arrays of k times one of `scales`, k in -128..127, or in 1..256 where `positive`."""
    size = math.prod(shape)

    def make(raw: bytes, scale: float) -> Array:
        k = np.frombuffer(raw, np.uint8).astype(np.int64)
        # 0, -1, 1, -2, 2, ...: bytes shrink to 0.
        whole = k + 1 if positive else np.where(k % 2, -(k + 1) // 2, k // 2)
        return np.asarray(whole.reshape(shape) * scale)

    return st.builds(make, st.binary(min_size=size, max_size=size), st.sampled_from(scales))


@cache
def configs(unsupported: frozenset[str] = frozenset()) -> st.SearchStrategy[Config]:
    """Configurations in float32 that ask for no rank, flag or momentum that is unsupported."""
    return st.builds(
        Config,
        num_features=st.just(3),
        eps=st.sampled_from((1e-5, 1e-3, 0.5)),
        momentum=_those((0.5, None, 0.1, None, 1.0), {None: "momentum_none"}, unsupported),
        # Most layers have both: without running statistics there is little that a sequence can change.
        affine=_those((True, True, False), {True: "affine", False: "affine_off"}, unsupported),
        track_running_stats=_those(
            (True, True, True, True, False),
            {True: "track_running_stats", False: "track_running_stats_off"},
            unsupported,
        ),
        ndim=_those((2, 4, 3, 5), {rank: f"rank_{rank}" for rank in SHAPES}, unsupported),
    )


def _those(values: tuple[T, ...], features: dict[T, str], unsupported: Collection[str]) -> st.SearchStrategy[T]:
    """The values that are supported; all of them where none is, for the implementation to refuse."""
    return st.sampled_from([value for value in values if features.get(value) not in unsupported] or values)


@cache
def batches(ndim: int, shapes: int = 2) -> st.SearchStrategy[Array]:
    """Batches of one of the first `shapes` shapes of a rank."""
    return st.sampled_from(SHAPES[ndim][:shapes]).flatmap(arrays)


@st.composite
def loads(draw: st.DrawFn, config: Config, counter: bool) -> Step:
    """A load of some of the state, in float64; of the batch counter too where the layer shows one (`counter`)."""
    present = parts(config)
    kind = draw(st.sampled_from(("one", "all", "some")))
    one = draw(st.sampled_from(present))
    some = draw(st.integers(1, 2 ** len(present) - 1))
    state: dict[str, Array] = {}
    for place, name in enumerate(present):
        if kind == "all" or (name == one if kind == "one" else some >> place & 1):
            state[name] = draw(arrays((config.num_features,), SCALES[:2], positive=name == "running_var"))
    # Seldom: a state without a counter must leave it alone.
    if counter and draw(st.sampled_from((False, False, True))):
        state["num_batches_tracked"] = np.asarray(draw(st.integers(0, 20)), np.int64)
    return load(parts(config), **state)


@st.composite
def programs(draw: st.DrawFn, unsupported: frozenset[str] = frozenset(), most: int = 6) -> Program:
    """A configuration and up to `most` calls in any order, everything observed but the counter; nothing is called.

    Those who have a layer at hand drive it step by step instead (bnconform.judge.sequences).
    """
    config = draw(configs(unsupported))
    modes = [mode for mode, word in ((True, "training"), (False, "evaluation")) if word not in unsupported]
    kinds = (["load"] if parts(config) else []) + ["forward"] * bool(modes)
    if modes and "backward" not in unsupported:
        kinds.append("backward")
    steps = []
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=most)):
        if kind == "load":
            steps.append(draw(loads(config, counter=False)))
            continue
        training, x = draw(st.sampled_from(modes)), draw(batches(config.ndim))
        if kind == "forward":
            steps.append(forward(x, "y", *STATISTICS, training=training))
        else:
            steps.append(backward(x, draw(arrays(x.shape)), *GRADIENTS, *STATISTICS, training=training))
    return Program(config, tuple(steps))


def parts(config: Config) -> tuple[str, ...]:
    """The statistics and parameters that a layer has."""
    tracked = ("running_mean", "running_var") if config.track_running_stats else ()
    return (*tracked, *(name for name in ("weight", "bias") if getattr(config, name)))
