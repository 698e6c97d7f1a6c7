"""The text of a failure: what, got, should be, how far, the call, the requirement, its source, how to replay it.

The text is made here, from the record, and nothing reads it but people.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import numpy as np

from bnconform.cases.program import MAPPED_STATE, SPREAD, Program, Step
from bnconform.judge.judgement import Comparison
from bnconform.judge.outcome import CRASHED, VIOLATES
from bnconform.results.failure import DECLARATION, VIOLATION, Failure, Quantity
from bnconform.spec.catalogue import Requirement
from bnconform.spec.shards import slices_of

VERBS = {VIOLATES: "violated", CRASHED: "not answered"}
"""What is said of a requirement by verdict."""

Line = tuple[str, str]
"""A label, "" for a line without one, and what it says."""


def number(value: float) -> str:
    """A count or ratio in three significant digits."""
    return f"{value:.3g}"


def worst_quantity(program: Program, comparison: Comparison) -> Quantity:
    """The worst element of a comparison."""
    at = comparison.index
    step = None if comparison.step < 0 else program.steps[comparison.step]
    call = "build" if step is None else step.describe()
    what = f"{comparison.name}{list(at)}" if step is None else _element(step, comparison.name, at)
    return Quantity(
        f"{what} after call {comparison.step + 1}, {call}",
        float(comparison.observed[at]),
        float(comparison.exact.nearest[at]),
        str(comparison.observed.dtype),
        float(comparison.bound[at]),
        float(comparison.ulps()),
        comparison.worst,
    )


def _element(step: Step, name: str, at: tuple[int, ...]) -> str:
    """An element by its place; of a row of several replicas, by that in the shard of its own."""
    if step.lanes and (name in SPREAD or name in MAPPED_STATE):
        each = 1 if name in MAPPED_STATE else len(step.x) // step.lanes if step.x is not None else 1
        inside = list(at[1:]) if name in MAPPED_STATE else [at[0] % each, *at[1:]]
        return f"{name.removeprefix('mapped_')}{inside} of lane {at[0] // each}"
    if not (step.shards and name in SPREAD):
        return f"{name}{list(at)}"
    number = next(number for number, own in enumerate(slices_of(step.shards)) if at[0] < own.stop)
    sample, *position = map(int, np.unravel_index(at[0] - slices_of(step.shards)[number].start, step.shards[number]))
    return f"{name}{[sample, at[1], *position]} of replica {number}"


def sources(requirement: Requirement) -> str:
    """Where the requirement comes from: one source, and what shows the others."""
    first, *others = requirement.sources
    more = f" ({len(others)} more: bnconform explain {requirement.id})" if others else ""
    return f"{first.document}, {first.place}{more}"


def message(failure: Failure) -> str:
    """The whole text of a failure."""
    cause = [f"  {'diagnosis':<11}{failure.cause}"] if failure.cause else []
    if failure.kind == DECLARATION:
        return "\n".join([f"{failure.requirement} {failure.backend} {failure.remark}", *cause])
    if failure.kind != VIOLATION:
        return "\n".join([failure.remark, *cause])
    verb = VERBS.get(failure.verdict, failure.verdict)
    head = f"{failure.requirement} ({failure.level}) {verb} by {failure.label}: {failure.title}"
    return "\n".join([head, *(f"  {label:<11}{text}" if label else f"  {text}" for label, text in lines(failure))])


def lines(failure: Failure) -> Iterator[Line]:
    """What a failure's text says after its first line; what goes over several lines has labels only in its first."""
    for label, text in entries(failure):
        first, *rest = text.splitlines() or [""]
        yield label, first
        yield from (("", line) for line in rest)


def entries(failure: Failure) -> Iterator[Line]:
    """What a failure's text says after its first line, each text whole."""
    yield from (("", line) for line in failure.remark.splitlines())
    yield from (("what", problem) for problem in failure.problems)
    if failure.quantity is not None:
        yield from _quantity(failure.quantity)
    if failure.relation:
        yield "relation", failure.relation
    if failure.cause:
        yield "diagnosis", failure.cause
    if failure.call:
        yield "the call", failure.call
    yield "source", failure.source
    yield "replay", shlex.join(replay(failure))


def _quantity(found: Quantity) -> Iterator[Line]:
    yield "what", found.what
    yield "got", found.got if isinstance(found.got, str) else repr(found.got) + _of(found.dtype)
    exactly = found.bound == 0
    if found.bound is None:
        yield "should be", str(found.expected)
    else:
        yield "should be", f"{found.expected!r}, {'exactly' if exactly else f'to within {number(found.bound)}'}"
    if found.ratio is not None:
        share = "where nothing is computed" if exactly else f"{number(found.ratio)} times the bound"
        off = ""
        if found.ulps is not None:
            lost = not np.isfinite(found.ratio) and not np.isfinite(found.ulps)
            off = "finite and not, " if lost else f"{number(found.ulps)} ulp, "
        yield "off by", f"{off}{share}"


def _of(dtype: str) -> str:
    return f" ({dtype})" if dtype else ""


def replay(failure: Failure) -> list[str]:
    """The command that runs the case again, or else the checks of the requirement, as words."""
    device = [] if failure.device == "cpu" else ["--device", failure.device]
    if failure.case is not None:
        return ["bnconform", "replay", failure.case, "--backend", failure.key, *device]
    return [
        "bnconform", "--backend", failure.key, *device, "--dtype", failure.dtype, "--level", "may",
        "-k", f"{failure.requirement}-",
    ]  # fmt: skip
