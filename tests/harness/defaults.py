"""Measuring the defaults of a layer that is asked for nothing but a number of channels."""

from __future__ import annotations

import numpy as np

from .check import Check
from .guard import Guarded

SHAPE = (2, 3, 2, 2)


def describe(check: Check, layer: Guarded) -> str:
    """The default eps and momentum in words, each as measured from what the layer does, not from what it says.

    eps: in evaluation from new, running statistics 0 and 1 give y = x / sqrt(1 + eps), too little to measure, so the
    batch decides: x = +-s has the variance s**2 and gives |y| = s / sqrt(s**2 + eps), from which eps follows.
    momentum: a batch whose mean is 1 moves the running mean from 0 to the weight of the new batch.
    """
    signs = np.where(np.arange(np.prod(SHAPE)).reshape(SHAPE) % 2, 1.0, -1.0)
    size = np.float32(1e-3)
    y = check.call(lambda: layer.forward((signs * size).astype(np.float32), training=True)).astype(np.float64)
    scale = np.abs(y).mean()
    eps = float(size) ** 2 * (1 / scale**2 - 1) if scale > 0 else float("nan")
    fresh = check.call(lambda: check.subject.build_default(3))
    check.call(lambda: fresh.forward((signs + 1).astype(np.float32), training=True))
    mean = check.call(fresh.state)["running_mean"]
    words = f"default eps {eps:.3g}"
    if mean is None:
        return f"{words}, no running statistics"
    return f"{words}, default momentum {float(mean[0]):.3g} (the weight of the new batch)"
