"""A small experiment on made images, and layers that train in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bnconform.backends.runner.lenet import CHANNELS, NORMS, LeNet, convert
from bnconform.cases.images import ImageSet
from bnconform.judge.training.experiment import experiment
from bnconform.judge.training.norms import BehavingNorm
from bnconform.judge.training.session import TrainingRun
from bnconform.judge.training.trajectory import Experiment, gather

STEPS, BATCH = 4, 8


def image_set(count: int = 32) -> ImageSet:
    """Made images, each brighter where its class is."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % 10
    images = random.integers(0, 64, (count, 1, 28, 28)) / 256
    for image, label in zip(images, labels, strict=True):
        image[0, 2 * label : 2 * label + 6] += 0.5
    return ImageSet(images, labels.astype(np.int64), "made images")


def small_experiment() -> Experiment:
    """A few steps on few images."""
    return experiment(image_set(), STEPS, batch=BATCH, held_out=BATCH)


class SinglePrecision(BehavingNorm):
    """A right layer whose every result is rounded to single precision."""

    def forward(self, x: Any) -> Any:
        return super().forward(x).astype(np.float32).astype(np.float64)


def run_of(given: Experiment, layer: Callable[..., Any], dtype: str = "float64", **declared: str) -> TrainingRun:
    """A training of the network around such layers, of this dtype; it declares deviations."""
    weights = convert(given.weights, dtype)
    norms = [layer(weights[f"{name}.weight"], weights[f"{name}.bias"]) for name in NORMS]
    assert len(norms) == len(CHANNELS)
    net = LeNet(weights, norms, given.rate)
    images = given.images.astype(dtype)
    held_out = images[given.held_out], given.labels[given.held_out]
    seen = []
    for batch in given.batches:
        loss = net.step(images[batch], given.labels[batch])
        seen.append({"loss": loss, "statistics": net.statistics(), "evaluation_loss": net.evaluate(*held_out)})
    return TrainingRun(gather(seen), deviations=declared)
