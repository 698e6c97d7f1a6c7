"""Folders that declare a lower precision than the model's, and are wrong besides, which no declaration covers."""

from __future__ import annotations

import numpy as np

from bnconform.spec.graph import Array
from bnconform.tests.mutants.folder import wrong_folder
from bnconform.tests.mutants.right_lower_precision import ComputesInBfloat16, StoresHalfWeights
from bnconform.tests.mutants.wrong_folding import (
    EQUAL,
    FoldsAlongTheFeatures,
    FoldsEpsilonOutside,
    FoldsGammaTwice,
    FoldsTheAbsoluteGamma,
)  # fmt: skip


@wrong_folder(EQUAL)
class HalfWeightsAlongTheFeatures(StoresHalfWeights, FoldsAlongTheFeatures):
    """It declares weights in float16, and folds along the features of a linear layer."""


@wrong_folder(EQUAL)
class HalfWeightsWithGammaTwice(StoresHalfWeights, FoldsGammaTwice):
    """It declares weights in float16, and the factor has the weight twice."""


@wrong_folder("BN-FOLD-GAMMA")
class HalfWeightsOfTheAbsoluteGamma(StoresHalfWeights, FoldsTheAbsoluteGamma):
    """It declares weights in float16, and the factor has the weight without its sign."""


@wrong_folder(EQUAL)
class BrainFloatsAlongTheFeatures(ComputesInBfloat16, FoldsAlongTheFeatures):
    """It declares bfloat16, and folds along the features of a linear layer."""


@wrong_folder(EQUAL)
class BrainFloatsWithGammaTwice(ComputesInBfloat16, FoldsGammaTwice):
    """It declares bfloat16, and the factor has the weight twice."""


@wrong_folder(EQUAL)
class BrainFloatsWithEpsilonOutside(ComputesInBfloat16, FoldsEpsilonOutside):
    """It declares bfloat16, and adds epsilon to the root."""


@wrong_folder(EQUAL)
class StoresEightBits(StoresHalfWeights):
    """It declares weights in float16, and stores them as whole numbers of eight bits with a scale for each layer."""

    def round_lower(self, values: Array) -> Array:
        """To 255 steps of equal size."""
        step = np.abs(values).max(initial=0.0) / 127
        return values if not step else np.asarray(np.round(values / step) * step, values.dtype)
