"""The text of a failure: what, got, should be, how far, the call, the requirement, its source, how to replay it."""

from __future__ import annotations

import shlex

import numpy as np

from bnconform.cases.program import Program
from bnconform.judge.judgement import Comparison
from bnconform.spec.catalogue import Requirement


def number(value: float) -> str:
    """A count or ratio in three significant digits."""
    return f"{value:.3g}"


def quantity(program: Program, comparison: Comparison) -> str:
    """Which number of which call, in words."""
    call = "build" if comparison.step < 0 else program.steps[comparison.step].describe()
    return f"{comparison.name}{list(comparison.index)} after call {comparison.step + 1}, {call}"


def comparison_lines(program: Program, comparison: Comparison) -> list[str]:
    """What, got, should be and off by, for the worst element of a comparison."""
    at = comparison.index
    ulps = comparison.ulps()
    off = "finite and not" if not np.isfinite(comparison.worst) and not np.isfinite(ulps) else f"{number(ulps)} ulp"
    bound = float(comparison.bound[at])
    exactly = bound == 0
    limit = "exactly" if exactly else f"to within {number(bound)}"
    ratio = "where nothing is computed" if exactly else f"{number(comparison.worst)} times the bound"
    return [
        f"  what       {quantity(program, comparison)}",
        f"  got        {float(comparison.observed[at])!r} ({comparison.observed.dtype})",
        f"  should be  {float(comparison.exact.nearest[at])!r}, {limit}",
        f"  off by     {off}, {ratio}",
    ]


def with_diagnosis(message: str, text: str) -> str:
    """The message with a line that says what explains it, before the call or what else tells how to go on."""
    lines = message.split("\n")
    place = next((i for i, line in enumerate(lines) if line.startswith(("  the call", "  source"))), len(lines))
    return "\n".join([*lines[:place], f"  diagnosis  {text}", *lines[place:]])


def sources(requirement: Requirement) -> str:
    """Where the requirement comes from, in one line."""
    return "; ".join(f"{source.document}, {source.place}" for source in requirement.sources)


def message(requirement: Requirement, label: str, verdict: str, lines: list[str], call: str, replay: str) -> str:
    """The whole text of an outcome."""
    head = f"{requirement.id} ({requirement.level}) {verdict} by {label}: {requirement.title}"
    tail = [f"  the call   {call}"] if call else []
    tail += [f"  source     {sources(requirement)}", f"  replay     {replay}"]
    return "\n".join([head, *lines, *tail])


def replay_case(path: str, key: str, device: str) -> str:
    """The command that runs one case file again."""
    device_option = "" if device == "cpu" else f" --device {shlex.quote(device)}"
    return f"bnconform replay {shlex.quote(path)} --backend {shlex.quote(key)}{device_option}"


def replay_law(key: str, device: str, dtype: str, requirement: str) -> str:
    """The command that runs the checks of one requirement again."""
    device_option = "" if device == "cpu" else f" --device {shlex.quote(device)}"
    return f"bnconform --backend {shlex.quote(key)}{device_option} --dtype {dtype} --level may -k {requirement}-"
