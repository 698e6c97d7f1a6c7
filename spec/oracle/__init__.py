"""The oracle: what a BatchNorm layer at any point of the behaviour space does, to 320 bits."""

from bnconform.spec.oracle.derivatives import (
    Hessian,
    SecondTangent,
    Tangent,
    ThirdDerivative,
    hvp,
    jvp,
    jvp_jvp,
    third,
)
from bnconform.spec.oracle.frozen import mode_when_frozen, state_when_frozen
from bnconform.spec.oracle.passes import backward, forward, initial_state
from bnconform.spec.oracle.pieces import backward_in_pieces, forward_in_pieces, pieces
from bnconform.spec.oracle.recomputation import Recomputed, recomputed
from bnconform.spec.oracle.record import Backward, Batch, Forward, Moments, State
from bnconform.spec.oracle.running import batch_weight
from bnconform.spec.oracle.saved import Saved, results_beside
from bnconform.spec.oracle.transforms import Jacobian, jacfwd, jacrev, vmap

__all__ = [
    "Backward",
    "Batch",
    "Forward",
    "Hessian",
    "Jacobian",
    "Moments",
    "Recomputed",
    "Saved",
    "SecondTangent",
    "State",
    "Tangent",
    "ThirdDerivative",
    "backward",
    "backward_in_pieces",
    "batch_weight",
    "forward",
    "forward_in_pieces",
    "hvp",
    "initial_state",
    "jacfwd",
    "jacrev",
    "jvp",
    "jvp_jvp",
    "mode_when_frozen",
    "pieces",
    "recomputed",
    "results_beside",
    "state_when_frozen",
    "third",
    "vmap",
]
