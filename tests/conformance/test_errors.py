"""Conformance: what must be refused is refused, and leaves no trace."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pytest
from bnconform.cases import inputs
from bnconform.cases.program import STATE, Array, Program, forward
from bnconform.spec.behaviour import EvaluationBroadcast
from bnconform.spec.config import Config
from bnconform.spec.formats import numpy_dtype

from bnconform.execution.instrumented import Guarded, Misfit, Raised
from bnconform.judge.check import Check
from bnconform.judge.judgement import PARAMETERS, STATISTICS


def _layer(check: Check) -> Guarded:
    __tracebackhide__ = True
    lacking = {"affine", "track_running_stats"} & set(check.subject.unsupported)
    rank = 4 if "rank_4" not in check.subject.unsupported else 2
    config = check.config(
        ndim=rank, affine="affine" not in lacking, track_running_stats="track_running_stats" not in lacking
    )
    _offered(check, config)
    return check.layer(config)


def _offered(check: Check, config: Config) -> None:
    """End the check as unsupported where the implementation lacks the dtype, and is seen to refuse it."""
    __tracebackhide__ = True
    if config.dtype in check.subject.unsupported:
        x = inputs.values(inputs.SHAPES[config.ndim], 1).astype(numpy_dtype(config.dtype))
        check.fitted(Program(config, (forward(x, "y", training="training" not in check.subject.unsupported),)))


def _refuses(layer: Guarded, shape: tuple[int, ...], training: bool, *, backward: bool = False) -> bool:
    dtype = numpy_dtype(layer.config.dtype)
    x = (inputs.values(shape, 1) if len(shape) > 1 else np.arange(shape[0]) * 0.5).astype(dtype)
    try:
        if backward:
            layer.backward(x, np.ones(shape, dtype), training=training)
        else:
            layer.forward(x, training=training)
    except Raised:
        return True
    except Misfit:
        return False
    return False


@pytest.mark.requirement("BN-ERR-CHANNELS")
@pytest.mark.once
def test_wrong_number_of_channels(check: Check) -> None:
    """Input with another number of channels than the layer has is refused, in both modes."""
    for channels in (4, 2, 1, 6):
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
    """A call that is refused changes nothing of the state, nor of what evaluation answers afterwards."""
    for full, training, backward in product(((2, 4, 4, 5), (1, 3, 1, 1), (3,)), (True, False), (False, True)):
        layer = _layer(check)
        shape = full[: layer.config.ndim]
        state = _loadable(check, layer)
        if state:
            check.call(partial(layer.load, state))
        answer = _evaluated(check, layer)
        before = check.call(layer.state)
        if not _refuses(layer, shape, training, backward=backward):
            continue
        after = check.call(layer.state)
        call = f"a {'backward' if backward else 'forward'} pass in {'training' if training else 'evaluation'}"
        again = _evaluated(check, layer)
        if answer is not None and again is not None:
            check.require(
                answer.tobytes() == again.tobytes(),
                f"y in evaluation after {call} on x of shape {shape} was refused",
                again,
                f"{answer}, as before",
            )
        for name in STATE:
            one, other = before[name], after[name]
            same = (one is None and other is None) or (
                one is not None and other is not None and one.tobytes() == other.tobytes()
            )
            check.require(
                same,
                f"{name} after {call} on x of shape {shape} was refused",
                other,
                f"{one}, as before",
            )
    if not check.outcomes:
        check.note("nothing was refused")


def _evaluated(check: Check, layer: Guarded) -> Array | None:
    """Y, (2, 3, ...), of one x in evaluation; None where that does not exist, or is by the statistics of the batch.

    With running statistics every value is a function of its own x, so that nothing may differ in the second call; the
    sums of a batch may be added up in another order each time.
    """
    __tracebackhide__ = True
    if "evaluation" in check.subject.unsupported or not layer.config.track_running_stats:
        return None
    x = inputs.values(inputs.SHAPES[layer.config.ndim], 2).astype(numpy_dtype(layer.config.dtype))
    if check.subject.declared.evaluation_broadcast is EvaluationBroadcast.LAST_AXIS:
        return None  # whose evaluation refuses this x
    y: Array = check.call(partial(layer.forward, x, training=False))
    return y


def _loadable(check: Check, layer: Guarded) -> dict[str, Array]:
    """Values for everything that the layer shows but the counter, none of them those of a new layer."""
    __tracebackhide__ = True
    shown = check.call(layer.state)
    dtype = numpy_dtype(layer.config.param_dtype)
    return {name: value.astype(dtype) for name, value in inputs.everything(3).items() if shown[name] is not None}


@pytest.mark.requirement("BN-ERR-LOAD")
@pytest.mark.once
def test_what_does_not_fit_is_not_loaded(check: Check) -> None:
    """Loading an entry that the layer does not have, or of another shape, is refused."""
    lacking = set(check.subject.unsupported)
    rank = 4 if "rank_4" not in lacking else 2
    affine, tracked = "affine" not in lacking, "track_running_stats" not in lacking
    config = check.config(ndim=rank, affine=affine, track_running_stats=tracked)
    _offered(check, config)
    dtype = numpy_dtype(config.param_dtype)
    cases = [(config, name, (size,)) for name in PARAMETERS if affine for size in (1, 4)]
    cases += [(config, name, (size,)) for name in STATISTICS if tracked for size in (1, 4)]
    if "affine_off" not in lacking:
        cases += [(replace(config, affine=False), name, (3,)) for name in PARAMETERS]
    if "track_running_stats_off" not in lacking:
        cases += [(replace(config, track_running_stats=False), name, (3,)) for name in STATISTICS]
    for made, name, shape in cases:
        layer = check.layer(made)
        fits = check.call(layer.state)[name]
        room = "none" if fits is None else f"one of shape {fits.shape}"
        check.require(
            _refuses_to_load(layer, {name: np.full(shape, 0.5, dtype)}),
            f"loading {name} of shape {shape} into a layer that has {room}",
            "no error",
            "an error",
        )


def _refuses_to_load(layer: Guarded, state: dict[str, Array]) -> bool:
    try:
        layer.load(state)
    except Raised:
        return True
    except Misfit:
        return False
    return False
