"""Conformance: how results lie in memory; a policy, which is recorded."""

from __future__ import annotations

from itertools import product

from bnconform.cases import inputs
from bnconform.cases.program import Program, Step, backward, forward
from bnconform.judge.check import Check
from bnconform.judge.marks import checks

FORMATS = ("contiguous", "channels_last")


@checks("BN-LAYOUT-FORMAT", once=True)
def test_memory_format_of_results(check: Check) -> None:
    """In which format y and grad_x are, for x in either, in either mode."""
    x = inputs.values((2, 3, 4, 5), 1)
    steps: list[Step] = []
    for layout, training in product(FORMATS, (True,) if check.subject.slow else (True, False)):
        steps.append(forward(x, "y", training=training, layout=layout))
        steps.append(backward(x, x, "grad_x", training=training, layout=layout, grad_layout=layout))
    config = check.config(ndim=4)
    whole = Program(config, tuple(steps), watch="formats").cast(config.dtype, config.param_dtype)
    program = check.fit(whole)
    seen: dict[tuple[str, str], str] = {}
    for fact in check.ask(program).facts:
        if fact["what"] == "none":
            check.not_shown("the adapter does not show how results lay in memory")
        step = program.steps[fact["step"]]
        seen[step.x_layout, f"{fact['name']} in {step.mode}"] = fact["format"]
    kept = {place for place, found in seen.items() if found == place[0]}
    if len(kept) == len(seen):
        check.note("the format of x is kept")
    elif len(set(seen.values())) == 1:
        check.note(f"{next(iter(seen.values()))}, whatever the format of x")
    else:
        others = [f"{name} is {found} for {layout} x" for (layout, name), found in seen.items() if found != layout]
        check.note(f"the format of x is kept, but {', '.join(others)}")
