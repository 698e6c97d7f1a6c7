"""Running the two programs that carry a layer from one framework to another, and judging what they show.

Each runs under the interpreter of its framework, in a folder where the first leaves `carried.npz` for the second. What
both evaluate, and what one more batch makes of the statistics, is compared with the exact answer, within the bound that
is derived for it; what a program prints is kept as it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnconform import reference
from bnconform.backends import registry
from bnconform.results.porting_list import ARRAYS, Scripts
from bnconform.spec.behaviour import SPECIFIED, Behaviour

Array = NDArray[Any]
Floats = NDArray[np.float64]

SHOW = """
np.savez("arrived.npz", y=y, **{f"later_{name}": value for name, value in later.items()})
"""
"""What is added to the second program, so that more of it is seen than it prints."""

DRIVER = """\
import contextlib, io, json, os, sys, traceback
jobs, place = json.load(sys.stdin), sys.argv[1]
said = []
for folder, text in jobs:
    os.chdir(folder)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(text, "<the program>", "exec"), {"__name__": "__main__"})
    except BaseException as problem:
        said.append({"reason": traceback.format_exception_only(problem)[-1].strip().splitlines()[0]})
    else:
        said.append({"printed": printed.getvalue()})
with open(place, "w") as file:
    json.dump(said, file)
"""
"""Runs programs one after the other, so that a framework is imported once."""


@dataclass(frozen=True)
class Ran:
    """What came of both programs.

    Attributes:
        printed: by the second. evaluation, continued: the worst error of both frameworks' evaluations, and of their
            statistics after one more batch, over the bound; 1 is the limit. reason: why there are none, or "".
    """

    printed: str = ""
    evaluation: float = 0.0
    continued: float = 0.0
    reason: str = ""

    def as_data(self) -> dict[str, Any]:
        """As JSON-ready data."""
        if self.reason:
            return {"reason": self.reason}
        return {"printed": self.printed, "evaluation": self.evaluation, "continued": self.continued}


def execute(interpreter: str, jobs: Sequence[tuple[Path, str]], place: Path, seconds: float) -> list[Mapping[str, str]]:
    """Run programs, each in its folder: {"printed": ...} or {"reason": ...} of each.

    Args:
        place: a file that does not exist yet, for what they say. seconds: in which all of them must be done.
    """
    given = json.dumps([(str(folder), text) for folder, text in jobs])
    # What lies in the folder of the user is not to be imported; what is warned of is not printed.
    command = [interpreter, "-P", "-W", "ignore", "-c", DRIVER, str(place)]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONWARNINGS")}
    try:
        done = subprocess.run(
            command, input=given, env=environment | {"TF_CPP_MIN_LOG_LEVEL": "3"}, capture_output=True, text=True,
            timeout=seconds, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as problem:
        why = f"not done in {seconds:g} s" if isinstance(problem, subprocess.TimeoutExpired) else str(problem)
        return [{"reason": why}] * len(jobs)
    if not place.exists():
        last = next(iter(done.stderr.strip().splitlines()[-1:]), "")
        return [{"reason": f"{interpreter} ended with status {done.returncode}: {last}"}] * len(jobs)
    said: list[Mapping[str, str]] = json.loads(place.read_text(encoding="utf-8"))
    return said


def run(scripts: Scripts, interpreters: tuple[str, str], folder: Path, seconds: float) -> Ran:
    """Run both programs in a folder that is empty, and judge them."""
    [saved] = execute(interpreters[0], [(folder, scripts.save)], folder / "save.json", seconds)
    if "reason" in saved:
        return Ran(reason=f"the first program: {saved['reason']}")
    [loaded] = execute(interpreters[1], [(folder, scripts.load + SHOW)], folder / "load.json", seconds)
    return _ran(scripts, loaded, folder)


def run_all(
    scripts: Mapping[str, Mapping[str, Scripts]], interpreters: Mapping[str, str], folder: Path, seconds: float
) -> dict[str, dict[str, Ran]]:
    """Run the programs of many pairs: the first of each source once, the second ones of each target in one process.

    Args:
        scripts: by source and target. interpreters: by either. folder: an empty one. seconds: for each process.
    """
    found: dict[str, dict[str, Ran]] = {source: {} for source in scripts}
    for number, (source, targets) in enumerate(scripts.items()):
        (folder / str(number)).mkdir()
        first = next(iter(targets.values()))
        [saved] = execute(
            interpreters[source], [(folder / str(number), first.save)], folder / f"{number}.json", seconds
        )
        if "reason" in saved:
            found[source] = {target: Ran(reason=f"the first program: {saved['reason']}") for target in targets}
    places = {source: folder / str(number) for number, source in enumerate(scripts)}
    for target in dict.fromkeys(target for targets in scripts.values() for target in targets):
        sources = [source for source in scripts if target in scripts[source] and target not in found[source]]
        jobs = [(places[source], scripts[source][target].load + SHOW) for source in sources]
        said = execute(interpreters[target], jobs, folder / f"into-{len(list(folder.iterdir()))}.json", seconds)
        for source, loaded in zip(sources, said, strict=True):
            # The next target writes over it only if it comes that far.
            found[source][target] = _ran(scripts[source][target], loaded, places[source])
            (places[source] / "arrived.npz").unlink(missing_ok=True)
    return found


def _ran(scripts: Scripts, loaded: Mapping[str, str], folder: Path) -> Ran:
    """What both programs showed, judged."""
    if "reason" in loaded:
        return Ran(reason=f"the second program: {loaded['reason']}")
    try:
        with np.load(folder / "carried.npz") as file:
            carried = dict(file)
        with np.load(folder / "arrived.npz") as file:
            arrived = dict(file)
        evaluation, continued = judge(carried, arrived, scripts)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as problem:
        return Ran(reason=f"what the programs saved cannot be used: {problem}")
    return Ran(loaded["printed"], evaluation, continued)


def judge(carried: Mapping[str, Array], arrived: Mapping[str, Array], scripts: Scripts) -> tuple[float, float]:
    """The worst error of both evaluations, and of the statistics after one more batch, over the bound.

    The exact answers are those of the state that was carried, for x in single precision, at the behaviour that each
    adapter declares, but with the variance that each was seen to remember; an average goes on from what was loaded.
    """
    state: dict[str, Any] = {name: carried[name] for name in ARRAYS}
    evaluations, continuations = [], []
    for row, remembered, shown in zip(scripts.rows, scripts.remembered, (carried, arrived), strict=True):
        behaviour = _behaviour(row, remembered)
        evaluated, trained = (
            reference.forward(
                carried["x"],
                **state,
                training=training,
                momentum=scripts.momentum,
                eps=scripts.eps,
                behaviour=behaviour,
            )
            for training in (False, True)
        )
        evaluations.append(_ratio(shown["y"], evaluated.y, evaluated.bound))
        after = trained.state
        continuations += [
            _ratio(shown["later_running_mean"], after.running_mean, after.running_mean_bound),
            _ratio(shown["later_running_var"], after.running_var, after.running_var_bound),
        ]
    return max(evaluations), max(continuations)


def _behaviour(row: str, remembered: str) -> Behaviour:
    """What the adapter of a framework declares, with the variance that it remembers, and an average that goes on."""
    declared = dict(registry.adapter_class(row).deviations)
    if remembered in ("biased", "unbiased"):
        declared["running_variance"] = remembered
    return SPECIFIED.but(**{**declared, "averaging": "exponential"})


def _ratio(shown: Array, exact: Floats | None, bound: Floats | None) -> float:
    """The largest error over its bound; infinite for what has another shape, is no number, or misses an exact value."""
    assert exact is not None and bound is not None
    if shown.shape != exact.shape:
        return float("inf")
    off = np.abs(shown.astype(np.float64) - exact)
    ratios = np.divide(off, bound, out=np.where(off > 0, np.inf, 0.0), where=bound > 0)
    return float(np.where(np.isnan(ratios), np.inf, ratios).max(initial=0.0))
