"""Conformance: numerical quality on ill-conditioned and large input."""

from __future__ import annotations

import numpy as np

from bnconform.judge.check import Check
from bnconform.judge.marks import checks


@checks("BN-NUM-FINITE", over_cases=True)
def test_finite(check: Check) -> None:
    """Finite input never gives NaN, infinity or a negative variance, however large the mean is beside the deviation."""
    trace = check.run_unjudged()
    for seen in trace.steps:
        for name, value in {**seen.values, "running_var": seen.after["running_var"]}.items():
            if value is None:
                continue
            numbers = value.astype(np.float64)
            finite = bool(np.isfinite(numbers).all())
            check.require(
                finite,
                f"{name} after {seen.step.describe()}",
                value[~np.isfinite(numbers)][:3],
                "finite",
                trace.program,
            )
            if name == "running_var":
                least = float(numbers.min())
                check.require(least >= 0, "running_var", least, "not negative", trace.program)
