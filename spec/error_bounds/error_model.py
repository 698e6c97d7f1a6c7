"""Which arithmetic and which algorithms the bounds admit.

* at level `must`, every reasonable one: sums in any order, one-pass, two-pass or updating variance, the
  normalisation folded into `scale * x + shift`, and for half-precision input arithmetic in that format;
* `stable`: no one-pass variance, the error grows with the first power of the condition number only;
* `single`: half-precision input is summed in single precision and rounded once at the end;
* `blocked`: sums whose error does not grow with n faster than its square root.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnconform.spec import behaviour as b
from bnconform.spec.behaviour import Behaviour
from bnconform.spec.config import Config
from bnconform.spec.formats import Format, format_of, is_half

UPDATING = 3.2
"""sqrt(2) times 2.26; see `bnconform.spec.error_bounds.forward.variance_error`."""


@dataclass(frozen=True)
class ErrorModel:
    """Which arithmetic and which algorithms a bound admits.

    Attributes:
        compute: the format in which sums and products are evaluated.
        output: the format of y. gradient: that of the gradient for x.
        statistics: the format of running statistics and of the parameters' gradients.
        stable: whether one-pass variance and the roundings of folded forms are excluded; a folded form still passes
            where the error of the mean, which is of the same order, leaves room for them.
        blocked: whether sums must err by less than in recursive summation.
    """

    compute: Format
    output: Format
    gradient: Format
    statistics: Format
    stable: bool = False
    blocked: bool = False

    @property
    def u(self) -> float:
        """The unit roundoff of the arithmetic."""
        return self.compute.unit_roundoff

    def gamma(self, k: Any) -> Any:
        """g(k) = k u / (1 - k u), infinite where k u >= 1; of a number or of an array, as `terms` and `updating`."""
        if isinstance(k, np.ndarray):
            part = np.minimum(k * self.u, 1.0)
            return np.where(part < 1, part / np.where(part < 1, 1 - part, 1), np.inf)
        return k * self.u / (1 - k * self.u) if k * self.u < 1 else math.inf

    def terms(self, n: Any) -> Any:
        """The number of additions that one term of a sum of n passes through: n - 1, rounded up to n.

        `blocked`: sums of blocks of length b, themselves summed, pass each term through b + n/b additions, least at
        b = sqrt(n), that is 2 sqrt(n); pairwise summation needs only log2(n) (Higham, section 4.2).
        """
        if isinstance(n, np.ndarray):
            return np.minimum(n, 2 * np.ceil(np.sqrt(n)) + 2) if self.blocked else n.astype(np.float64)
        return min(float(n), 2 * math.ceil(math.sqrt(n)) + 2) if self.blocked else float(n)

    def updating(self, n: Any) -> Any:
        """The coefficient of u sqrt(v M2) in the variance of updating algorithms; see `forward.variance_error`."""
        if not self.blocked:
            return UPDATING * n
        if isinstance(n, np.ndarray):
            return np.vectorize(self.updating, otypes=[np.float64])(n)
        block, logarithm = math.ceil(math.sqrt(n)), math.log2(max(n, 1))
        tree = logarithm / 2 * (block + 4 * logarithm) ** 2
        return min(UPDATING * n, 2 * math.sqrt((UPDATING * block / 2) ** 2 + tree))


def error_model_of(config: Config, behaviour: Behaviour, *, quality: str = "") -> ErrorModel:
    """The error model for a layer of this configuration.

    Args:
        quality: "" at level must; or some of the words "stable", "single", "blocked".
    """
    words = quality.split()
    # Where x and the parameters differ, a library computes in the one format or in the other: the documents fix
    # neither, so that a bound in the wider one alone would call the rounding of x's own format a fault. Of
    # half-precision input "single" asks for more.
    kinds = (config.param_dtype,) if is_half(config.dtype) and "single" in words else (config.dtype, config.param_dtype)
    narrow = max(kinds, key=lambda name: format_of(name).unit_roundoff)
    output, statistics = config.dtype, config.param_dtype
    if behaviour.output_dtype is b.OutputDtype.PARAMETER:
        output = config.param_dtype
    if behaviour.statistics_dtype is b.StatisticsDtype.INPUT:
        statistics = config.dtype
    return ErrorModel(
        format_of(narrow), format_of(output), format_of(config.dtype), format_of(statistics),
        "stable" in words, "blocked" in words,
    )  # fmt: skip
