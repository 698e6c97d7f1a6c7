"""How far a right implementation's Jacobian may lie from the oracle's.

A Jacobian in reverse mode is a map of backward passes over the units of y, one in forward mode a map of tangents over
those of x. A map is a loop, and changes nothing of what is computed for one of them: so each row has the bound of the
gradient for x that it is (`gradients.input_gradient`), and each column that of its tangent (`derivatives.tangent`). A
framework may batch the rows, which changes the grouping of sums, and those bounds hold for every grouping.
"""

from __future__ import annotations

import numpy as np

from bnconform.spec.error_bounds import derivatives
from bnconform.spec.error_bounds.error_model import ErrorModel
from bnconform.spec.error_bounds.forward import ForwardErrors
from bnconform.spec.error_bounds.gradients import input_gradient
from bnconform.spec.exact import Floats
from bnconform.spec.oracle.transforms import Jacobian


def jacobian(record: Jacobian, model: ErrorModel) -> Floats:
    """The bound, of the shape of dy/dx."""
    if record.rows:
        rows = [input_gradient(row, model, ForwardErrors(row.flowing, model)) for row in record.rows]
        return np.stack([np.broadcast_to(bound, record.forward.x.shape) for bound in rows]).reshape(record.value.shape)
    columns = [derivatives.tangent(column, model) for column in record.columns]
    each = [np.broadcast_to(bound, record.forward.x.shape) for bound in columns]
    return np.stack(each, axis=-1).reshape(record.value.shape)
