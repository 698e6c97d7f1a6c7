"""The experiment: initial weights, batches and held-out images, from a seed, the same for everybody."""

from __future__ import annotations

import math

import numpy as np

from bnconform.backends.runner.lenet import CLASSES, NORMS, WEIGHTS, Weights
from bnconform.cases.images import ImageSet
from bnconform.judge.training.trajectory import Experiment
from bnconform.spec.errors import UserError

SEED = 20260
"""Of the weights and of the order of the images."""

BATCH, HELD_OUT = 32, 64
"""Images of a batch, as in document 002_b673ca5c343f0bbc; images of the evaluation loss."""

MOST = 8192
"""Images of a set that are used: more would only take longer to hand over."""


def initial_weights(seed: int = SEED) -> Weights:
    """Xavier's uniform weights, as the document's init_cnn; biases in the same range, since 0 would hide them.

    Weight and bias of the BatchNorms are 1 and 0. All are rounded to single precision, so that both dtypes start alike.
    """
    random = np.random.default_rng(seed)
    found = {}
    for name, shape in WEIGHTS.items():
        layer = name.partition(".")[0]
        if layer in NORMS:
            found[name] = np.full(shape, float(name.endswith("weight")))
            continue
        whole = WEIGHTS[f"{layer}.weight"]
        area = math.prod(whole[2:])
        limit = math.sqrt(6 / ((whole[0] + whole[1]) * area))
        found[name] = random.uniform(-limit, limit, shape).astype(np.float32).astype(np.float64)
    return found


def experiment(images: ImageSet, steps: int, *, batch: int = BATCH, held_out: int = HELD_OUT) -> Experiment:
    """The experiment on a set of images, whose last ones are held out.

    Raises:
        UserError: where there are too few images.
    """
    count = len(images.images)
    if count < batch + held_out:
        raise UserError(f"{images.source}: {count} images; {batch + held_out} are needed for one batch and evaluation")
    random = np.random.default_rng(SEED)
    order = random.permutation(count)
    training, rest = order[:-held_out], order[-held_out:]
    a_round = len(training) // batch
    places = [
        random.permutation(training)[: a_round * batch].reshape(a_round, batch) for _ in range(-(-steps // a_round))
    ]
    batches = np.concatenate(places)[:steps].astype(np.int64)
    assert images.labels.max(initial=0) < CLASSES
    return Experiment(
        initial_weights(), images.images, images.labels, batches, rest.astype(np.int64), 0.1, images.source
    )
