"""Conformance: the affine, track_running_stats and momentum None."""

from __future__ import annotations

from bnconform.cases import inputs
from bnconform.cases.program import Program, forward
from bnconform.judge.check import Check
from bnconform.judge.marks import checks
from bnconform.measure.defaults import measure, programs
from bnconform.spec.config import Config


@checks("BN-FLAG-DEFAULTS", once=True)
def test_defaults(check: Check) -> None:
    """The defaults for epsilon and momentum are measured and noted; frameworks choose them differently."""
    lone = check.execute(Program(Config(3), (), default=True))
    if lone.broken is not None:
        check.note(f"there are no defaults: {lone.broken}")
        return
    # They are measured in training: an implementation without it is seen to refuse.
    check.fit(
        Program(check.config(), (forward(inputs.values(inputs.SHAPES[4]), "y"),)).cast(
            check.subject.dtype, check.subject.param_dtype
        )
    )
    for program in programs():
        check.ask(program)
    check.note(measure(check.subject).describe())
