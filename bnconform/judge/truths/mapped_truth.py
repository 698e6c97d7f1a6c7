"""What is due where a layer, or several like it, is mapped over batches: each lane is a pass of its own.

The outputs (L * N, C, *S) lie one after the other, and of what each of L layers remembers there is (L, C).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnconform.cases.program import MAPPED_STATE, Step
from bnconform.judge.truths.expansion import Expansion
from bnconform.judge.truths.layer_state import LayerState
from bnconform.judge.truths.truth_record import Expected, Truth
from bnconform.spec import oracle
from bnconform.spec.behaviour import Behaviour
from bnconform.spec.config import Config
from bnconform.spec.error_bounds.error_model import ErrorModel
from bnconform.spec.error_bounds.forward import ForwardErrors
from bnconform.spec.exact import Exact, Floats, exact


def truth_of_mapped(
    config: Config, behaviour: Behaviour, model: ErrorModel, state: LayerState, step: Step, wanted: frozenset[str]
) -> Truth:
    """The truth of a step with lanes, of a layer in `state`; to be called within `arithmetic()`.

    Layers with states of their own are each as this one is after a load of what its step says. The layer's own state is
    left out.
    """
    assert step.x is not None
    batches = [exact(batch) for batch in np.split(step.x, step.lanes)]
    named = [{name: value[lane] for name, value in step.layers.items()} for lane in range(step.lanes)]
    states = [state.load_values(entries).exact() for entries in named]
    lanes = oracle.vmap(config, behaviour, states, batches, training=step.training)
    refused = next((lane.refused for lane in lanes if lane.refused), "")
    unspecified = frozenset().union(*(lane.unspecified for lane in lanes))
    hidden = {name for name in MAPPED_STATE if name.removeprefix("mapped_") in unspecified}
    due = wanted - hidden - unspecified
    quantities = {} if refused else _quantities(lanes, model, due)
    count, updates = state.num_batches_tracked, state.updates
    return Truth(refused, (unspecified & {"y"}) | hidden, quantities, False, count, updates)


def _quantities(
    lanes: Sequence[oracle.Forward], model: ErrorModel, wanted: frozenset[str]
) -> dict[str, Expected | None]:
    errors = [ForwardErrors(lane, model) for lane in lanes]
    found: dict[str, Expected | None] = {}
    if "y" in wanted:
        bounds = [np.broadcast_to(one.output, lane.x.shape) for one, lane in zip(errors, lanes, strict=True)]
        limit = np.concatenate(bounds)
        found["y"] = Expected(Expansion.of(np.concatenate([lane.y for lane in lanes]), limit), limit)
    for which, name in enumerate(("running_mean", "running_var")):
        if f"mapped_{name}" in wanted:
            found[f"mapped_{name}"] = _statistic(lanes, errors, name, which)
    if "mapped_num_batches_tracked" in wanted:
        counts = [lane.state.num_batches_tracked for lane in lanes]
        shown = None if counts[0] is None else np.asarray(counts, np.float64)
        exactly = None if shown is None else Expected(Expansion.of(shown), np.zeros(shown.shape))
        found["mapped_num_batches_tracked"] = exactly
    return found


def _statistic(
    lanes: Sequence[oracle.Forward], errors: Sequence[ForwardErrors], name: str, which: int
) -> Expected | None:
    """What each layer remembers, (L, C): exactly what it had where its pass moves nothing."""
    values: list[Exact] = []
    bounds: list[Floats] = []
    for lane, error in zip(lanes, errors, strict=True):
        value, before = getattr(lane.state, name), getattr(lane.before, name)
        if value is None:
            return None
        values.append(value)
        bounds.append(np.zeros(value.shape) if value is before else np.broadcast_to(error.running[which], value.shape))
    limit = np.stack(bounds)
    return Expected(Expansion.of(np.stack(values), limit), limit)
