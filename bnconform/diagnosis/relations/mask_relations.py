"""Relations of passes with a mask: what is summed, and by which number it is divided.

A mask selects a of the n values of a channel; z is normalised by the statistics of those, g is grad_output. The
formulas are those of BN-MASK-RUN, BN-MASK-GRAD and BN-MASK-GRAD-PARAMETERS. Each prediction is computed in float64 from
the formula with another sum or divisor, and errs by less than the roundings of as many terms, which are added to the
derived bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from bnconform.diagnosis.relations.call_view import CallView
from bnconform.diagnosis.relations.relation import Prediction, Relation
from bnconform.spec.exact import Floats

Sums = Callable[[CallView, Floats, Floats], Floats]
"""What is subtracted from g in the gradient for x over its scale, of z and g, (N, C, *S)."""


def masks() -> Iterator[Relation]:
    """The family."""
    inputs: dict[str, Sums] = {
        "sums over what the mask selects alone": lambda view, z, g: _of_selected(
            view, _through(view, z, view.of_selected(g), view.counts)
        ),
        "divides its sums by the number of all values": lambda view, z, g: _of_selected(
            view, _through(view, z, g, np.full(len(view.counts), view.values))
        ),
        "has the terms of mean and variance where the mask selects nothing": lambda view, z, g: _through(
            view, z, g, view.counts
        ),
    }
    for words, sums in inputs.items():
        yield Relation(f"grad_x {words}", _input_gradient(sums))
    for name in ("grad_weight", "grad_bias"):
        yield Relation("{} sums over what the mask selects alone", _parameter_gradient(name))
    yield Relation("running_var is corrected by the number of all values", _correct_by_all)


def _of_selected(view: CallView, values: Floats) -> Floats:
    return view.of_selected(np.broadcast_to(values, view.x.shape))


def _through(view: CallView, z: Floats, g: Floats, counts: Floats) -> Floats:
    """(sum(g) + z sum(g z)) / a."""
    first, second = view.over_values(g), view.over_values(g * z)
    return np.asarray(view.along(first / counts) + z * view.along(second / counts))


def _z(view: CallView) -> Floats:
    shape = (1, -1) + (1,) * (view.x.ndim - 2)
    return np.asarray((view.x - view.mean.reshape(shape)) / view.deviation.reshape(shape))


def _input_gradient(sums: Sums) -> Callable[[CallView], Prediction | None]:
    def predict(view: CallView) -> Prediction | None:
        if view.name != "grad_x" or view.grad_output is None or view.selected is None or not view.from_batch:
            return None
        g, z = view.grad_output, _z(view)
        scale = view.along(view.weight / view.deviation)
        parts = np.abs(g) + _through(view, np.abs(z), np.abs(g), view.counts)
        return scale * (g - sums(view, z, g)), view.bound + np.abs(scale) * parts * view.slack

    return predict


def _parameter_gradient(name: str) -> Callable[[CallView], Prediction | None]:
    def predict(view: CallView) -> Prediction | None:
        if view.name != name or view.grad_output is None or view.selected is None:
            return None
        terms = view.of_selected(view.grad_output * (_z(view) if name == "grad_weight" else 1.0))
        return view.over_values(terms), view.bound + view.over_values(np.abs(terms)) * view.slack

    return predict


def _correct_by_all(view: CallView) -> Prediction | None:
    """The old variance and the biased one of what is selected times n / (n - 1), weighed."""
    old, momentum = view.entry("running_var"), view.momentum
    if view.name != "running_var" or view.selected is None or old is None or momentum is None or view.values < 2:
        return None
    found = (1 - momentum) * old + momentum * view.batch_variance * view.values / (view.values - 1)
    return found, view.bound + np.abs(found) * view.slack
