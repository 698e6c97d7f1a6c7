"""What is due where a training pass is made piece by piece: ghost, or virtual, batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np

from bnconform.cases.program import GRADIENTS, Step
from bnconform.judge.truths.expansion import Expansion
from bnconform.judge.truths.truth_record import Expected, Truth
from bnconform.spec import oracle
from bnconform.spec.behaviour import Behaviour
from bnconform.spec.config import Config
from bnconform.spec.error_bounds.error_model import ErrorModel
from bnconform.spec.error_bounds.forward import ForwardErrors, running_errors
from bnconform.spec.error_bounds.gradients import bias_gradient, input_gradient, weight_gradient
from bnconform.spec.exact import Exact, Floats, exact, floats

STATISTICS = ("running_mean", "running_var")
BOUNDS = dict(zip(GRADIENTS, (input_gradient, weight_gradient, bias_gradient), strict=True))


def truth_of_pieces(
    config: Config,
    behaviour: Behaviour,
    model: ErrorModel,
    state: oracle.State,
    step: Step,
    wanted: frozenset[str],
    parts: tuple[slice, ...],
) -> Truth:
    """The truth of a training pass in pieces of a layer in `state`; to be called within `arithmetic()`.

    What has the shape of x is that of the pieces, one after the other, each within its own bound. The parameters'
    gradients are sums over k pieces: the pieces' bounds add up, and k - 1 additions of what they have at most. The
    running statistics are moved by each piece from those that the one before has left, whose bounds they inherit. One
    piece that is refused refuses the whole.
    """
    assert step.x is not None
    x = exact(step.x)
    gradients: Sequence[oracle.Backward] = ()
    records: Sequence[oracle.Forward]
    if step.grad_output is None:
        records = oracle.forward_in_pieces(config, behaviour, state, x, parts)
    else:
        gradients = oracle.backward_in_pieces(config, behaviour, state, x, exact(step.grad_output), parts)
        records = [one.forward for one in gradients]
    refused = next((one.refused for one in records if one.refused), "")
    unspecified = frozenset[str]().union(*(one.unspecified for one in records))
    if refused:
        return Truth(refused, unspecified, {}, False, state.num_batches_tracked, state.updates)
    errors = [ForwardErrors(one, model) for one in records]
    found: dict[str, Expected | None] = {}
    if "y" in wanted - unspecified:
        found["y"] = _join([one.y for one in records], [one.output for one in errors])
    for name in (name for name in GRADIENTS if name in wanted - unspecified):
        found[name] = _gradient(name, gradients, errors, model)
    after = records[-1].state
    moves = after.running_mean is not None and after.updates != state.updates
    if moves and (wanted - unspecified) & set(STATISTICS):
        found |= _running(config, behaviour, records, errors, model)
    statistics = None
    if moves and after.running_mean is not None and after.running_var is not None:
        statistics = after.running_mean, after.running_var
    return Truth("", unspecified, found, moves, after.num_batches_tracked, after.updates, statistics)


def _join(values: list[Exact], bounds: list[Floats]) -> Expected:
    limit = np.concatenate([np.broadcast_to(bound, value.shape) for value, bound in zip(values, bounds, strict=True)])
    return Expected(Expansion.of(np.concatenate(values), limit), limit)


def _gradient(
    name: str, gradients: Sequence[oracle.Backward], errors: Sequence[ForwardErrors], model: ErrorModel
) -> Expected | None:
    """One of the gradients of all pieces; None where there is no such parameter."""
    values: list[Exact | None] = [getattr(one, name) for one in gradients]
    bound: Callable[..., Floats] = BOUNDS[name]
    there = [value for value in values if value is not None]
    if not there:
        return None
    bounds = [bound(one, model, error) for one, error in zip(gradients, errors, strict=True)]
    if name == "grad_x":
        return _join(there, bounds)
    sizes = np.sum([np.abs(floats(value)) + limit for value, limit in zip(there, bounds, strict=True)], axis=0)
    limit = np.asarray(np.sum(bounds, axis=0) + model.gamma(len(there)) * sizes)
    total: Exact = reduce(np.add, there)
    return Expected(Expansion.of(total, limit), limit)


def _running(
    config: Config,
    behaviour: Behaviour,
    records: Sequence[oracle.Forward],
    errors: Sequence[ForwardErrors],
    model: ErrorModel,
) -> dict[str, Expected]:
    """The running statistics after the last piece."""
    bounds: tuple[Floats, Floats] | None = None
    for record, known in zip(records, errors, strict=True):
        bounds = running_errors(config, behaviour, record.before, record, model, known, bounds)
    after = records[-1].state
    assert bounds is not None and after.running_mean is not None and after.running_var is not None
    moved = after.running_mean, after.running_var
    return {
        name: Expected(Expansion.of(value, limit), limit)
        for name, value, limit in zip(STATISTICS, moved, bounds, strict=True)
    }
