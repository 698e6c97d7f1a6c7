"""How far what an operator gives beside y may lie from the oracle."""

from __future__ import annotations

import numpy as np

from bnconform.spec import behaviour as b
from bnconform.spec.error_bounds.forward import FACTOR, ForwardErrors, enclosure, keep_as_inverse, round_error, spread
from bnconform.spec.exact import Floats, floats
from bnconform.spec.oracle.saved import Saved


def error_of_saved(saved: Saved, name: str, errors: ForwardErrors) -> Floats:
    """The bound (C,) on one of `oracle.saved.NAMES`.

    The mean errs as the one that it is: `mean_error` of a batch, `running_errors` of a running one; it is rounded once
    to the statistics' format. What is made of the variance is a monotone function of it: its exact change over the
    variance's error, with an underflow for epsilon as it is stored, FACTOR roundings of the result, and the last one to
    the statistics' format. A variance may have been kept as an inverse deviation, `keep_as_inverse`.
    """
    record, model = saved.record, errors.model
    if name == "saved_mean":
        error, size = _source(saved, errors)[0], np.abs(floats(saved.mean))
    else:
        function = saved.deviation_of if name == "saved_invstd" else saved.variance_of
        size = np.abs(floats(function(saved.variance)))
        change = enclosure(function, saved.variance, _source(saved, errors)[1] + model.compute.underflow)
        error = change + FACTOR * model.u * size
        if name == "saved_variance" and record.behaviour.saved_variance is not b.SavedVariance.INVERSE_DEVIATION:
            error = error + keep_as_inverse(size, float(floats(record.epsilon)), model)
    value = floats(saved.value(name))
    return round_error(value, spread(np.broadcast_to(error, size.shape), size, record, model), model.statistics)


def _source(saved: Saved, errors: ForwardErrors) -> tuple[Floats, Floats]:
    """On the mean and on the variance, broadcastable against x."""
    if saved.source == "batch":
        return errors.batch_mean, errors.batch_variance
    if saved.source == "running":
        shape = (1, -1) + (1,) * (saved.record.x.ndim - 2)
        mean, variance = errors.running
        return mean.reshape(shape), variance.reshape(shape)
    return errors.mean, errors.variance
