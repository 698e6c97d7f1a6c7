"""What a pass does in a layer that is frozen, as passes that are not: at any point of the behaviour space."""

from __future__ import annotations

from bnconform.spec.behaviour import Behaviour, FrozenMode
from bnconform.spec.config import Config
from bnconform.spec.exact import Exact
from bnconform.spec.oracle.passes import forward
from bnconform.spec.oracle.record import Batch, Forward, State


def mode_when_frozen(behaviour: Behaviour, training: bool) -> bool:
    """Whether a pass of a frozen layer, asked for in a mode, is normalised as one of training."""
    return training and behaviour.frozen_mode in (FrozenMode.TRAINING, FrozenMode.STATISTICS_KEPT)


def state_when_frozen(
    config: Config, behaviour: Behaviour, state: State, x: Exact | Batch, passed: Forward, *, training: bool
) -> tuple[State, Forward | None]:
    """The state after a pass of a layer that is frozen, and the pass that has moved it where that is another one.

    Args:
        passed: the pass as it normalises, in the mode of `mode_when_frozen`.
        training: the mode that was asked for.

    Raises:
        PrecisionError: outside of `exact.arithmetic()`.
    """
    kind = behaviour.frozen_mode
    if not training or passed.refused or kind in (FrozenMode.EVALUATION, FrozenMode.TRAINING):
        return passed.state, None
    if kind is FrozenMode.STATISTICS_KEPT:
        return state, None
    moving = forward(config, behaviour, state, x, training=True)
    return moving.state, moving
