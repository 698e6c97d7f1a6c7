"""Hypothesis strategies for configurations and programs of several steps.

Values are drawn freely, shapes and configurations from small fixed sets, so that implementations which compile for
each shape meet few. Values are multiples of 1/8: they shrink to small numbers, and are exact in every dtype.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spec.config import Config

from .program import STATE, Array, Program, Step, backward, forward, load

SHAPES = {2: ((2, 3), (5, 3)), 3: ((2, 3, 4),), 4: ((1, 3, 2, 2), (2, 3, 1, 4)), 5: ((2, 3, 1, 2, 1),)}
"""The shapes of x by rank; C = 3."""

OBSERVED = ("running_mean", "running_var")
GRADIENTS = ("grad_x", "grad_weight", "grad_bias")


def arrays(shape: tuple[int, ...], lowest: int = -32, highest: int = 32) -> st.SearchStrategy[Array]:
    """Arrays of multiples of 1/8."""
    return hnp.arrays(np.int64, shape, elements=st.integers(lowest, highest)).map(lambda whole: whole / 8)


def configs(unsupported: frozenset[str] = frozenset()) -> st.SearchStrategy[Config]:
    """Configurations that ask for nothing that is unsupported, in float32."""
    made: st.SearchStrategy[Config] = st.builds(
        Config,
        num_features=st.just(3),
        eps=st.sampled_from((1e-5, 1e-3, 0.5)),
        momentum=st.sampled_from((0.1, 0.5, 1.0, 0.0, None)),
        affine=st.booleans(),
        track_running_stats=st.booleans(),
        ndim=st.sampled_from((2, 4, 3, 5)),
    )
    return made.filter(lambda config: not (config.features() - {config.dtype}) & unsupported)


@st.composite
def programs(
    draw: Callable[[st.SearchStrategy[object]], object], unsupported: frozenset[str] = frozenset(), most: int = 6
) -> Program:
    """A configuration and up to `most` calls in any order, everything observed but the counter."""
    config = draw(configs(unsupported))
    assert isinstance(config, Config)
    operations = ["load"]
    for mode, word in (("training", "train"), ("evaluation", "evaluate")):
        if mode not in unsupported:
            operations += [word] if "backward" in unsupported else [word, f"{word}_backward"]
    chosen = draw(st.lists(st.sampled_from(operations), min_size=1, max_size=most))
    assert isinstance(chosen, list)
    return Program(config, tuple(step for operation in chosen for step in _step(draw, config, operation)))


def _step(draw: Callable[[st.SearchStrategy[object]], object], config: Config, operation: str) -> tuple[Step, ...]:
    if operation == "load":
        return _load(draw, config)
    shape = draw(st.sampled_from(SHAPES[config.ndim]))
    assert isinstance(shape, tuple)
    x = draw(arrays(shape))
    training = operation.startswith("train")
    if operation.endswith("backward"):
        return (backward(x, draw(arrays(shape)), *GRADIENTS, *OBSERVED, training=training),)
    return (forward(x, "y", *OBSERVED, training=training),)


def _load(draw: Callable[[st.SearchStrategy[object]], object], config: Config) -> tuple[Step, ...]:
    present = [name for name in STATE if name != "num_batches_tracked"]
    if not config.affine:
        present = [name for name in present if name not in ("weight", "bias")]
    if not config.track_running_stats:
        present = [name for name in present if name not in ("running_mean", "running_var")]
    if not present:
        return ()
    names = draw(st.lists(st.sampled_from(present), min_size=1, unique=True))
    assert isinstance(names, list)
    lowest = {"running_var": 1}
    state = {name: draw(arrays((config.num_features,), lowest.get(name, -32))) for name in names}
    return (load(names, **state),)
