"""What of a mask a failure depends on: that it hides something, its dtype, its channels, its shape."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bnconform.cases.program import Array, Program, Step
from bnconform.diagnosis.experiments import variations as vary
from bnconform.diagnosis.experiments.circumstances import Circumstance
from bnconform.diagnosis.experiments.trials import Trials


def masks(trials: Trials, base: Program) -> Iterator[Circumstance]:
    """The circumstances of the mask of the last call, where it has one."""
    step = vary.last(base)
    if step.mask is None or step.x is None:
        return
    for words, changed in _changes(step, step.mask, step.x):
        if trials.show(vary.with_last(base, mask=changed)) is False:
            yield Circumstance(words)
            return


def _changes(step: Step, mask: Array, x: Array) -> Iterator[tuple[str, Array]]:
    """A circumstance in words, and the mask without it: the more special first."""
    whole = np.array(np.broadcast_to(mask, x.shape))
    if mask.dtype != bool:
        yield "only with an integer mask", mask != 0
    if mask.ndim < x.ndim:
        yield "only with a mask of fewer axes than x", mask.reshape((1,) * (x.ndim - mask.ndim) + mask.shape)
    if mask.ndim >= x.ndim - 1 and mask.shape[1 - x.ndim] > 1:
        yield "only with a mask of channels", whole[:, :1]
    elif whole[:, :1].shape != mask.shape:
        yield "only with a mask that is broadcast along samples or positions", whole[:, :1]
    if step.selected is not None and not step.selected.all():
        yield "only where the mask hides something", np.ones_like(mask)
