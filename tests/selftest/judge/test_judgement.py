"""What the judge leaves out to save time makes no difference."""

from __future__ import annotations

import numpy as np
import pytest

from bnconform.backends.numpy_layer import NumpyBackend
from bnconform.cases.probes import probes
from bnconform.cases.program import Program, forward
from bnconform.judge.judgement import can_act, judge
from bnconform.judge.subject import Subject
from bnconform.spec.behaviour import SPECIFIED, decisions

PROBES = [probe for group in probes().values() for probe in group if "float32" in probe.dtypes]
LARGEST = 5000
"""Elements up to which a program is judged here."""


@pytest.mark.parametrize("decision", ["empty_batch", "single_value"])
def test_what_cannot_act_makes_no_difference(decision: str) -> None:
    """Where a decision is said not to act on a program, every value of it comes to the same truths and bounds."""
    subject = Subject("numpy", NumpyBackend(), "cpu", "float32")
    judged = 0
    for probe in PROBES:
        program = probe.at("float32", "float32").read_always
        if can_act(decision, SPECIFIED, program):
            continue
        if sum(step.x.size for step in program.steps if step.x is not None) > LARGEST:
            continue
        judged += 1
        trace = subject.run(program)
        found = [
            judge(trace, SPECIFIED.but(**{decision: value.value}), probe.quality) for value in decisions()[decision]
        ]
        ratios = [[comparison.error_ratio.tolist() for comparison in one.comparisons] for one in found]
        assert ratios == ratios[:1] * len(found), probe.name
        assert {(tuple(one.problems), one.refusals) for one in found} == {((), found[0].refusals)}, probe.name
    assert judged > 300


def test_statistics_of_something_else_are_no_reason_to_leave_it_out() -> None:
    """Where statistics are not those of channels, one value may be all that there is of each."""
    program = PROBES[0].at("float32", "float32")
    assert not can_act("single_value", SPECIFIED, program)
    assert can_act("single_value", SPECIFIED.but(statistics_axes="per_position"), program)
    assert can_act("running_variance", SPECIFIED, program)
    empty, single = (Program(program.config, (forward(np.zeros((length, 3))),)) for length in (0, 1))
    acting = [[can_act(name, SPECIFIED, one) for one in (empty, single)] for name in ("empty_batch", "single_value")]
    assert acting == [[True, False], [False, True]]
