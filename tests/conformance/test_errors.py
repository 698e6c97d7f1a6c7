"""Conformance: what must be refused is refused, and leaves no trace."""

from __future__ import annotations

import numpy as np
import pytest

from cases import inputs
from cases.program import STATE
from spec.formats import numpy_dtype
from tests.harness.check import Check
from tests.harness.guard import Guarded, Misfit, Raised


def _layer(check: Check) -> Guarded:
    __tracebackhide__ = True
    lacking = {"affine", "track_running_stats"} & set(check.subject.unsupported)
    rank = 4 if "rank_4" not in check.subject.unsupported else 2
    config = check.config(
        ndim=rank, affine="affine" not in lacking, track_running_stats="track_running_stats" not in lacking
    )
    return check.layer(config)


def _refuses(layer: Guarded, shape: tuple[int, ...], training: bool) -> bool:
    x = inputs.values(shape, 1) if len(shape) > 1 else np.arange(shape[0]) * 0.5
    try:
        layer.forward(x.astype(numpy_dtype(layer.config.dtype)), training=training)
    except Raised:
        return True
    except Misfit:
        return False
    return False


@pytest.mark.requirement("BN-ERR-CHANNELS")
@pytest.mark.once
def test_wrong_number_of_channels(check: Check) -> None:
    """Input with another number of channels than the layer has is refused, in both modes."""
    for channels in (4, 2):
        for training in (True, False):
            mode = "training" if training else "evaluation"
            layer = _layer(check)
            refused = _refuses(layer, (2, channels, 4, 5)[: layer.config.ndim], training)
            check.require(
                refused,
                f"x with {channels} channels in {mode}, for a layer of 3",
                "an answer",
                "an error",
            )


@pytest.mark.requirement("BN-ERR-RANK")
@pytest.mark.once
def test_rank_one(check: Check) -> None:
    """Input without a batch and a channel axis is refused."""
    for training in (True, False):
        refused = _refuses(_layer(check), (3,), training)
        check.require(refused, "x of shape (3,)", "an answer", "an error")


@pytest.mark.requirement("BN-ERR-STATE")
@pytest.mark.once
def test_refusal_leaves_the_state(check: Check) -> None:
    """A call that is refused changes nothing of the state."""
    for full in ((2, 4, 4, 5), (1, 3, 1, 1), (3,)):
        layer = _layer(check)
        shape = full[: layer.config.ndim]
        before = check.call(layer.state)
        if not _refuses(layer, shape, training=True):
            continue
        after = check.call(layer.state)
        for name in STATE:
            one, other = before[name], after[name]
            same = (one is None and other is None) or (
                one is not None and other is not None and one.tobytes() == other.tobytes()
            )
            check.require(
                same,
                f"{name} after x of shape {shape} was refused",
                other,
                f"{one}, as before",
            )
    if not check.outcomes:
        check.note("nothing was refused")
