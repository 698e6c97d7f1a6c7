"""What is due where a batch is spread over replicas: the rows (n, C, 1, ...) of all, and (R, C) of what each shows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bnconform.cases.program import Step
from bnconform.judge.truths.expansion import Expansion
from bnconform.judge.truths.truth_record import Expected, Truth
from bnconform.spec import oracle
from bnconform.spec.behaviour import Behaviour
from bnconform.spec.config import Config
from bnconform.spec.error_bounds.error_model import ErrorModel
from bnconform.spec.error_bounds.replicas import ReplicaErrors
from bnconform.spec.exact import Exact, Floats, exact
from bnconform.spec.oracle.replicas import Replica, Replicated, replicated


def truth_of_replicas(
    config: Config, behaviour: Behaviour, model: ErrorModel, state: oracle.State, step: Step, wanted: frozenset[str]
) -> Truth:
    """The truth of a step with shards, of replicas that are all in `state`; to be called within `arithmetic()`.

    The layer's own state is left out: whether it moves is left free.
    """
    assert step.x is not None
    upstream = None if step.grad_output is None else exact(step.grad_output)
    mask = None if step.mask is None else step.mask != 0
    found = replicated(
        config, behaviour, state, exact(step.x), step.shards, training=step.training, grad_output=upstream, mask=mask
    )
    quantities = {} if found.refused else _quantities(found, ReplicaErrors(model), step, wanted - found.unspecified)
    return Truth(found.refused, found.unspecified, quantities, False, state.num_batches_tracked, state.updates)


def _quantities(
    found: Replicated, errors: ReplicaErrors, step: Step, wanted: frozenset[str]
) -> dict[str, Expected | None]:
    assert step.x is not None
    shape, replicas = step.x.shape, found.replicas
    quantities: dict[str, Expected | None] = {}
    if "y" in wanted:
        quantities["y"] = _rows(shape, replicas, lambda one: one.y, errors.output)
    if "grad_x" in wanted:
        quantities["grad_x"] = _rows(shape, replicas, lambda one: one.grad_x, errors.input_gradient)
    for name in ("running_mean", "running_var"):
        if f"replica_{name}" in wanted:
            values = [one.statistic(name) for one in replicas]
            quantities[f"replica_{name}"] = _stack(values, [errors.statistic(one, name) for one in replicas])
    for name in ("grad_weight", "grad_bias"):
        if f"replica_{name}" in wanted:
            given = [one.parameter_gradient(name) for one in replicas]
            there = [value for value in given if value is not None]
            bounds = [errors.parameter_gradient(one, name) for one in replicas] if there else []
            quantities[f"replica_{name}"] = _stack(there, bounds) if there else None
    if "replica_num_batches_tracked" in wanted:
        counts = [one.remembered[0].state.num_batches_tracked for one in replicas]
        shown = None if counts[0] is None else np.asarray(counts, np.float64)
        quantities["replica_num_batches_tracked"] = (
            None if shown is None else Expected(Expansion.of(shown), np.zeros(shown.shape))
        )
    return quantities


def _rows(
    shape: tuple[int, ...],
    replicas: tuple[Replica, ...],
    value: Callable[[Replica], Exact],
    bound: Callable[[Replica], Floats],
) -> Expected:
    """What all replicas show, one after the other, as rows."""
    values = np.concatenate([value(one) for one in replicas]).reshape(shape)
    limit = np.concatenate([bound(one) for one in replicas]).reshape(shape)
    return Expected(Expansion.of(values, limit), limit)


def _stack(values: list[Exact], bounds: list[Floats]) -> Expected:
    """What each replica shows of its own, (R, C)."""
    limit = np.stack(bounds)
    return Expected(Expansion.of(np.stack(values), limit), limit)
