"""Laws that are not over one array: sums of gradients, and facts such as a dtype that a decision fixes."""

from __future__ import annotations

import numpy as np

from bnconform.cases.program import Probe
from bnconform.judge.check import Check
from bnconform.judge.judgement import judge
from bnconform.results.failure import Quantity
from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.exact import arithmetic, exact, floats


def channel_sums(check: Check) -> None:
    """The observed grad_x of each channel adds up to the exact sum, 0 at the specified point, within the bounds' sum.

    A sum over observed values is taken in 320 bits and adds no error of its own.
    """
    __tracebackhide__ = True
    subject = check.subject
    assert isinstance(check.case, Probe)
    program = check.fit(check.case.at(subject.dtype, subject.param_dtype))
    trace = check.execute(program)
    for point in dict.fromkeys((SPECIFIED, subject.declared)):
        found = judge(trace, point)
        if found.problems:
            check.fail("", program, problems=tuple(what for _, what in found.problems[:3]))
        comparison = next(c for c in found.comparisons if c.name == "grad_x")
        axes = (0, *range(2, comparison.observed.ndim))
        with arithmetic():
            due = comparison.exact.exact().sum(axis=axes)
            off = np.abs(floats(exact(comparison.observed).sum(axis=axes) - due))
        ratio = off / comparison.bound.sum(axis=axes)
        if (ratio <= 1).all():
            check.measure(float(ratio.max()), ratio.size, deviates=point != SPECIFIED)
            return
    worst = int(ratio.argmax())
    quantity = Quantity(
        f"the sum of grad_x over channel {worst}",
        float(np.sum(comparison.observed.astype(np.float64), axis=axes)[worst]),
        0.0,
        bound=float(comparison.bound.sum(axis=axes)[worst]),
        ratio=float(ratio[worst]),
    )
    check.fail("", program, share=float(ratio[worst]), quantity=quantity)
