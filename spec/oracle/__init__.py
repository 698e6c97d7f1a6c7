"""The oracle: what a BatchNorm layer at any point of the behaviour space does, to 320 bits."""

from bnconform.spec.oracle.derivatives import Hessian, SecondTangent, Tangent, hvp, jvp, jvp_jvp
from bnconform.spec.oracle.passes import backward, forward, initial_state
from bnconform.spec.oracle.recomputation import Recomputed, recomputed
from bnconform.spec.oracle.record import Backward, Batch, Forward, Moments, State
from bnconform.spec.oracle.running import batch_weight
from bnconform.spec.oracle.transforms import Jacobian, jacfwd, jacrev, vmap

__all__ = [
    "Backward",
    "Batch",
    "Forward",
    "Hessian",
    "Jacobian",
    "Moments",
    "Recomputed",
    "SecondTangent",
    "State",
    "Tangent",
    "backward",
    "batch_weight",
    "forward",
    "hvp",
    "initial_state",
    "jacfwd",
    "jacrev",
    "jvp",
    "jvp_jvp",
    "recomputed",
    "vmap",
]
