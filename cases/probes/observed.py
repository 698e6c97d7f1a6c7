"""The probes whose results a run keeps number by number, so that runs of machines which never met can be compared.

They are few, small, of shapes that other probes use too, and start from a new or a loaded layer, so that what is due
follows from the program alone. Between them they show every array of a layer in both modes; those of ill-conditioned
batches show how its error grows with the condition of the problem.
"""

from __future__ import annotations

from collections.abc import Mapping

OBSERVED: Mapping[str, tuple[str, ...]] = {
    "BN-TRAIN-NORM": ("rank2", "rank4"),
    "BN-EVAL-STATS": ("rank2",),
    "BN-RUN-MEAN": ("2-values", "4-values"),
    "BN-RUN-VAR": ("2-values", "4-values"),
    "BN-GRAD-INPUT": ("rank2", "rank4"),
    "BN-GRAD-EVAL-INPUT": ("rank2",),
    "BN-GRAD-WEIGHT": ("rank2-training", "rank2-evaluation"),
    "BN-GRAD-BIAS": ("rank2-training", "rank2-evaluation"),
    "BN-NUM-STABLE": ("ratio1e2", "ratio1e3", "ratio1e4", "ratio1e5"),
    "BN-NUM-STABLE-GRAD": ("ratio1e2", "ratio1e3", "ratio1e4"),
}
"""Names of probes by requirement; adding one is no change of the format, changing one makes old files incomparable."""


def is_observed(requirement: str, case: str) -> bool:
    """Whether the results of a probe are kept."""
    return case in OBSERVED.get(requirement, ())
