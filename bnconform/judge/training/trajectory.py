"""Trajectories of a training: what is looked at after each step, the reference's own, and how far two are apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnconform.backends.runner.lenet import EXACT, NORMS, Array, LeNet, Rounding, Weights, convert
from bnconform.judge.training.norms import BehavingNorm
from bnconform.spec.behaviour import SPECIFIED, Behaviour

QUANTITIES = ("loss", "running_mean", "running_var", "evaluation_loss")
"""What is looked at: the loss before a step, and after it the statistics and the loss in evaluation mode."""


@dataclass(frozen=True, eq=False)
class Experiment:
    """What everybody trains on.

    Attributes:
        weights: the initial ones, float64, by the names of `bnconform.backends.runner.lenet.WEIGHTS`.
        images: (M, 1, 28, 28) float64, values that float32 holds exactly. labels: (M,) int64.
        batches: (steps, N) int64, the images of each step. held_out: (E,) int64, those of the evaluation loss.
        rate: the learning rate.
        source: where the images come from, in words.
    """

    weights: Weights
    images: Array
    labels: Array
    batches: Array
    held_out: Array
    rate: float = 0.1
    source: str = ""

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return len(self.batches)

    def batch(self, step: int) -> tuple[Array, Array]:
        """Images and labels of a step."""
        return self.images[self.batches[step]], self.labels[self.batches[step]]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """What was seen, or a bound on how far each may be off.

    Attributes:
        values: by quantity an array, (steps, 1) of a loss, and of statistics (steps, channels of all layers).
    """

    values: Mapping[str, Array]

    @property
    def steps(self) -> int:
        """How many steps were seen."""
        return len(self.values["loss"])

    def first(self, steps: int) -> Trajectory:
        """Its beginning."""
        return Trajectory({name: value[:steps] for name, value in self.values.items()})

    def ratios(self, other: Trajectory, bound: Trajectory) -> dict[str, Array]:
        """How far another one is off, over the bound: by quantity the largest of each step, (steps,).

        Infinite where a value is not finite, or of another shape.
        """
        found = {}
        for name, due in self.values.items():
            got = other.values[name]
            if got.shape != due.shape:
                found[name] = np.full(len(due), np.inf)
                continue
            with np.errstate(all="ignore"):
                off = np.abs(got - due)
                share = np.where(off == 0, 0.0, off / bound.values[name])
            found[name] = np.where(np.isfinite(got), share, np.inf).max(1)
        return found


def gather(seen: list[dict[str, Any]]) -> Trajectory:
    """The trajectory of what each step showed: {"loss", "evaluation_loss", "statistics": [(mean, var)]}."""
    values = {name: np.array([[step[name]] for step in seen], np.float64) for name in ("loss", "evaluation_loss")}
    for place, name in enumerate(("running_mean", "running_var")):
        rows = [np.concatenate([np.ravel(pair[place]) for pair in step["statistics"]]) for step in seen]
        values[name] = np.array(rows, np.float64)
    return Trajectory({name: values[name] for name in QUANTITIES})


def reference(
    experiment: Experiment, behaviour: Behaviour = SPECIFIED, *, steps: int = 0, rounding: Rounding = EXACT
) -> Trajectory:
    """What a network in double precision shows whose BatchNorms do this.

    Args:
        steps: how many (default: all). rounding: what moves every intermediate result.
    """
    weights = convert(experiment.weights, "float64")
    norms = [BehavingNorm(weights[f"{n}.weight"], weights[f"{n}.bias"], behaviour, rounding) for n in NORMS]
    net = LeNet(weights, norms, experiment.rate, rounding)
    seen = []
    held_out = experiment.images[experiment.held_out], experiment.labels[experiment.held_out]
    with np.errstate(all="ignore"):
        for step in range(steps or experiment.steps):
            loss = net.step(*experiment.batch(step))
            seen.append({"loss": loss, "statistics": net.statistics(), "evaluation_loss": net.evaluate(*held_out)})
    return gather(seen)
