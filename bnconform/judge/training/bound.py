"""How far a right implementation may be off, by experiment: perturbed runs of the reference.

In each of RUNS runs every intermediate result of the network, its forward and backward passes, updates and running
averages is moved by the largest error that any reasonable algorithm may make in an arithmetic of unit roundoff u, with
random signs (`bnconform.backends.runner.lenet.Rounding`). How far these runs lie from the reference after each step is
how far rounding has grown there. The bound of a quantity at a step is

    SAFETY * (u of the dtype / PROBE) * the largest distance of all runs, of all channels of a layer

The runs are made once, with u = PROBE: far above the rounding of the reference's own double precision, which then does
not show, and far below where the growth is no longer linear (a self-test holds two values of it against each other).
SAFETY covers that signs may conspire where the runs' are random, and the reference's own rounding, which is of the same
kind as that of what is judged. The bound is an experiment, not a proof; what it is worth is shown by what leaves it: a
wrong epsilon, estimator or momentum does, by orders of magnitude.

The same bound serves behaviours beside the specified one, whose trajectories are neighbours of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bnconform.backends.runner.lenet import CHANNELS, Array, RandomRounding
from bnconform.judge.training.trajectory import Experiment, Trajectory, reference
from bnconform.spec.formats import format_of

RUNS = 4
"""Perturbed runs."""

PROBE = 2.0**-32
"""The unit roundoff that they stand for."""

SAFETY = 8.0
"""How much further than in the experiment a right run may be off."""


@dataclass(frozen=True, eq=False)
class Growth:
    """How far perturbed runs were off.

    Attributes:
        spread: the largest distance of all runs, over PROBE; of statistics the same for all channels of a layer.
    """

    spread: Trajectory

    def bound(self, dtype: str) -> Trajectory:
        """How far a right implementation in a dtype may be off."""
        factor = SAFETY * format_of(dtype).unit_roundoff
        return Trajectory({name: value * factor for name, value in self.spread.values.items()})


def growth(
    experiment: Experiment,
    exact: Trajectory,
    *,
    runs: int = RUNS,
    probe: float = PROBE,
    say: Callable[[str], None] = lambda _: None,
) -> Growth:
    """How rounding grows in an experiment.

    Args:
        exact: the reference's trajectory. say: is told what goes on.
    """
    largest = {name: np.zeros_like(value) for name, value in exact.values.items()}
    for run in range(runs):
        say(f"bound: perturbed run {run + 1} of {runs}")
        moved = reference(experiment, rounding=RandomRounding(probe, np.random.default_rng(run)))
        for name, value in moved.values.items():
            largest[name] = np.maximum(largest[name], np.abs(value - exact.values[name]) / probe)
    return Growth(Trajectory({name: _by_layer(value) for name, value in largest.items()}))


def _by_layer(values: Array) -> Array:
    """The largest of each layer in the place of each of its channels; a loss is as it was."""
    if values.shape[1] == 1:
        return values
    ends = np.cumsum(CHANNELS)[:-1]
    parts = [np.broadcast_to(part.max(1, keepdims=True), part.shape) for part in np.split(values, ends, axis=1)]
    return np.concatenate(parts, axis=1)
