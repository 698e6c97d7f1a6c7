"""How far a right implementation may lie from the oracle where a batch is spread over replicas.

The truth is that of some batch (`bnconform.spec.oracle.replicas`), and so are the bounds, but that a sum over it may be
a sum of sums. Of R replicas with n_i >= 1 values, n of them in all, one term of a mean passes through at most

* in a sum of the replicas' sums, or in a merger of their counts, means and squares: what the bounds for one batch
  admit, where sums may be taken in any order, and means updated by chunks;
* in a mean of the replicas' means: n_i - 1 additions, a division by n_i (two roundings, as a product with 1/n_i), the
  weight n_i/n or 1/R (a rounding, and one of the product), R - 1 additions and a division by what the weights add up
  to (two): n_i + R + 4 roundings. As the others have at least one value each, n_i + R <= n + 1, so that these are at
  most n + 5, where the bounds for one batch count n + 1 or more (a sum's n - 1, and two of the division).

Hence MERGED = 4 more for each term of every sum, mean and gradient alike. An empty replica adds 0 exactly. With
masks n_i is the number of values that are selected; what is hidden adds 0 exactly, and a replica of which nothing is
selected is as an empty one. Where
replicas weigh equally the truth is that of a batch with copies, of which a bound counts each: it is wider than need be,
never narrower. Where the gradient of a replica's values is the sum over copies, its bound is the sum of theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from bnconform.spec.error_bounds.error_model import ErrorModel
from bnconform.spec.error_bounds.forward import ForwardErrors, round_error
from bnconform.spec.error_bounds.gradients import bias_gradient, input_gradient, weight_gradient
from bnconform.spec.exact import Floats, floats
from bnconform.spec.oracle.record import Backward, Forward
from bnconform.spec.oracle.replicas import Replica, rows

MERGED = 4
"""Roundings of one term in a mean of means, more than in one sum."""


@dataclass(frozen=True)
class OverReplicas(ErrorModel):
    """An error model in whose sums each term passes through MERGED roundings more."""

    def terms(self, n: Any) -> Any:
        """As of one batch, and MERGED more."""
        return super().terms(n) + MERGED


def over_replicas(model: ErrorModel) -> OverReplicas:
    """The same model where a batch is spread over replicas."""
    return OverReplicas(**{one.name: getattr(model, one.name) for one in fields(model)})


@dataclass
class ReplicaErrors:
    """The bounds on what replicas compute, those on passes that they share being computed once."""

    model: ErrorModel
    _of: dict[int, ForwardErrors] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Sums may be sums of sums."""
        self.model = over_replicas(self.model)

    def errors(self, record: Forward) -> ForwardErrors:
        """The bounds on the parts of a pass."""
        known = self._of.get(id(record))
        if known is None:
            known = self._of[id(record)] = ForwardErrors(record, self.model)
        return known

    def output(self, replica: Replica) -> Floats:
        """On y, (n_i, C)."""
        record = replica.forward
        if not record.x.size:
            return np.zeros(replica.y.shape)
        bound: Floats = rows(self.errors(record).output)[replica.places[:, 0]]
        return bound

    def input_gradient(self, replica: Replica) -> Floats:
        """On grad_x, (n_i, C)."""
        assert replica.backward is not None
        if not replica.forward.x.size:
            return np.zeros(replica.grad_x.shape)
        bound = rows(input_gradient(replica.backward, self.model, self._errors_of(replica.backward)))
        return np.asarray(bound[replica.places].sum(axis=1))

    def statistic(self, replica: Replica, name: str) -> Floats:
        """On the running_mean or running_var, (C,): a mean of K errs by that of their errors, and K + 1 roundings."""
        which = ("running_mean", "running_var").index(name)
        several = [self.errors(one).running[which] for one in replica.remembered]
        if len(several) == 1:
            return several[0]
        count = len(several)
        sizes = [np.abs(floats(getattr(one.state, name))) for one in replica.remembered]
        error = sum(several, np.zeros(several[0].shape)) / count
        error = error + self.model.gamma(count + 1) * sum(sizes, np.zeros(sizes[0].shape)) / count
        return round_error(np.abs(floats(replica.statistic(name))), error, self.model.statistics)

    def parameter_gradient(self, replica: Replica, name: str) -> Floats:
        """On grad_weight or grad_bias, (C,): the errors of K > 1 parts add up, with K + 1 roundings of them."""
        bound = {"grad_weight": weight_gradient, "grad_bias": bias_gradient}[name]
        several = [
            bound(part, self.model, self._errors_of(part)) if part.forward.x.size else np.zeros(part.forward.x.shape[1])
            for part in replica.parts
        ]
        if len(several) == 1:
            return several[0]
        sizes = [np.abs(floats(getattr(part, name))) for part in replica.parts]
        error = sum(several, np.zeros(several[0].shape))
        error = error + self.model.gamma(len(several) + 1) * sum(sizes, np.zeros(sizes[0].shape))
        value = np.abs(floats(replica.parameter_gradient(name)))
        return round_error(value, error / replica.divisor, self.model.statistics)

    def _errors_of(self, record: Backward) -> ForwardErrors:
        return self.errors(record.forward)
