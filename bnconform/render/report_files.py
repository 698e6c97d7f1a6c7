"""What becomes of a result besides its file: the page, the Markdown, the badge and the annotations.

Here the catalogue, the evidence and the tables are gathered and handed to `report` as plain data.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bnconform import backends
from bnconform.cases.probes import probes
from bnconform.judge.outcome import Outcome
from bnconform.judge.subject import Subject
from bnconform.render import badge, junit, markdown, porting_pages
from bnconform.render.annotations import SourcePlace, workflow_commands
from bnconform.results import kill_matrix
from bnconform.results.files import FileError, check_writable, write
from bnconform.results.observations import place_observation, point
from bnconform.results.result import VERDICTS, Declaration, Key, Observation, Result
from bnconform.spec import oracle
from bnconform.spec.behaviour import decision
from bnconform.spec.catalogue import Requirement, requirements
from bnconform.spec.error_bounds.error_model import error_model_of
from bnconform.spec.error_bounds.forward import ForwardErrors
from bnconform.spec.exact import arithmetic, exact, floats
from bnconform.spec.formats import parameter_dtype
from bnconform.tests import mutants

if TYPE_CHECKING:
    from bnconform.render.plots import Condition

KILL_MATRIX = Path(mutants.__file__).with_name("kill-matrix.json")
PORTING = Path(backends.__file__).with_name("porting.json")
EXTRA = ("jinja2", "matplotlib")
"""The packages of the extra `report`, without which there is no HTML."""

SHOWN = {
    "BN-TRAIN-NORM": ("rank4",),
    "BN-NUM-STABLE": ("ratio1e2", "ratio1e3", "ratio1e4", "ratio1e5"),
}
"""The observed batches whose errors are drawn over their condition numbers, by requirement: of alike size."""

DRAWN = ("float64", "float32")


@dataclass(frozen=True)
class Wanted:
    """What is asked for: a path for each file, or None; `kill_matrix` is read for the page.

    `level` and `known` are what JUnit's file calls no failure; see `junit`.
    """

    html: Path | None = None
    markdown: Path | None = None
    badge: Path | None = None
    annotations: bool = False
    kill_matrix: Path | None = None
    junit: Path | None = None
    level: str = "must"
    known: Mapping[Key, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.html or self.markdown or self.badge or self.annotations or self.junit)


def check(wanted: Wanted, *others: Path) -> None:
    """Refuse what cannot be written, before a run rather than after it.

    Args:
        others: further files that the run writes, or reads, and nothing here may take the place of.

    Raises:
        FileError: in one line, saying what to do.
    """
    if wanted.kill_matrix and not wanted.html:
        raise FileError("--kill-matrix is shown by the HTML page; give --html PATH, too")
    if wanted.html:
        check_extra("--html")
    if wanted.badge:
        badge.check(wanted.badge)
    taken = {os.path.realpath(path): path for path in others}
    files = (
        (wanted.html, "the page"), (wanted.markdown, "the Markdown"), (wanted.badge, "the badge"),
        (wanted.junit, "the JUnit file"),
    )  # fmt: skip
    for path, what in files:
        if path is None:
            continue
        if os.path.realpath(path) in taken:
            raise FileError(f"cannot write {what} {path}: it is another of the files given; give each its own path")
        taken[os.path.realpath(path)] = path
        check_writable(path, what)
    if wanted.kill_matrix:
        kill_matrix.read(wanted.kill_matrix)


def check_extra(what: str) -> None:
    """Raise FileError, in one line, where the packages are missing that HTML is made with.

    Args:
        what: the option or verb that needs them.
    """
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise FileError(f'{what} needs {" and ".join(missing)}; install them with pip install "bnconform[report]"')


def rules() -> list[dict[str, Any]]:
    """The catalogue as plain data, in its order."""
    return [_rule(rule) for rule in requirements().values()]


def produce(result: Result, wanted: Wanted, adapters: Mapping[str, SourcePlace] | None = None) -> list[str]:
    """Write what is wanted, each file whole; the annotations, as lines to print.

    Args:
        adapters: where the adapter of a backend is written, for the annotations; see `places`.

    Raises:
        FileError: where a file cannot be written.
    """
    titles = {name: rule.title for name, rule in requirements().items()}
    made: list[tuple[Path, str | bytes, str]] = []
    if wanted.html:
        made.append((wanted.html, html(result, wanted.kill_matrix), "the page"))
    if wanted.markdown:
        text = markdown.markdown(result, titles).encode()
        made.append((wanted.markdown, _before(wanted.markdown) + text, "the Markdown"))
    if wanted.badge:
        made.append((wanted.badge, badge.badge(result, wanted.badge), "the badge"))
    if wanted.junit:
        made.append((wanted.junit, junit.junit(result, wanted.level, wanted.known), "the JUnit file"))
    for path, content, what in made:
        write(path, content, what)
    return workflow_commands(result, adapters) if wanted.annotations else []


def properties(outcomes: Iterable[Outcome]) -> list[tuple[str, object]]:
    """What JUnit's file says of a check besides its text: the worst outcome in words, without the data that it kept."""
    found = sorted(outcomes, key=lambda outcome: VERDICTS.index(outcome.verdict))
    if not found:
        return []
    worst = found[0]
    told: list[tuple[str, object]] = [(name, getattr(worst, name)) for name in ("requirement", "level", "verdict")]
    shares = [outcome.bound_share for outcome in found if outcome.bound_share is not None]
    return [*told, ("bound_share", f"{max(shares):.3g}")] if shares else told


def is_job_summary(path: Path) -> bool:
    """Whether a file is the summary of a step of GitHub Actions."""
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    return bool(summary) and os.path.realpath(path) == os.path.realpath(str(summary))


def _before(path: Path) -> bytes:
    """What a step has said in its job summary already, which is added to; any other file is replaced."""
    if not is_job_summary(path):
        return b""
    try:
        said = path.read_bytes() if path.exists() else b""
    except OSError as problem:
        raise FileError(f"cannot read the job summary {path}: {problem.strerror or problem}") from None
    return said if not said or said.endswith(b"\n\n") else said.rstrip(b"\n") + b"\n\n"


def places(subjects: Iterable[Subject]) -> dict[str, SourcePlace]:
    """Where the adapters that were given as FILE.py:CLASS are written, from the folder in which the command runs."""
    found = {}
    for subject in subjects:
        file, _, name = subject.key.rpartition(":")
        if file.endswith(".py"):
            with suppress(OSError, ValueError, SyntaxError):
                path = Path(file).resolve()
                nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                line = next((node.lineno for node in nodes if isinstance(node, ast.ClassDef) and node.name == name), 1)
                here = Path(os.environ.get("GITHUB_WORKSPACE") or Path.cwd()).resolve()
                found[subject.name] = SourcePlace(path.relative_to(here).as_posix(), line)
    return found


def html(result: Result, kills: Path | None = None) -> str:
    """The page about a result, with the kill matrix in that file, or the one that the package has, if it has one."""
    # Where it keeps its caches is nothing that whoever asks for a page needs to hear.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from bnconform.render.page import PageData, page

    chosen = kills or (KILL_MATRIX if KILL_MATRIX.is_file() else None)
    points, problems = conditions(result)
    porting = json.loads(PORTING.read_text(encoding="utf-8"))
    judged = [name for name in dict.fromkeys(row.backend for row in result.rows) if name in porting["cards"]]
    shown = PageData(
        rules=rules(),
        conditioning=points,
        problems=problems,
        kills=kill_matrix.read(chosen) if chosen else None,
        porting=porting_pages.some(porting, judged) if judged else "",
    )
    return page(result, shown)


def _rule(rule: Requirement) -> dict[str, Any]:
    """A requirement as plain data."""
    decisions = [
        {"name": name, "entries": [(str(value), value.meaning) for value in decision(name)]} for name in rule.decisions
    ]
    return {**asdict(rule), "decisions": decisions, "features": sorted(rule.features)}


def conditions(result: Result) -> tuple[list[Condition], list[str]]:
    """The error of each observed output over its condition number, and what could not be read, in words."""
    declared = {(one.backend, one.device): one for one in result.declarations}
    points, problems = [], []
    for one in result.observations:
        if one.name != "y" or one.dtype not in DRAWN or one.case not in SHOWN.get(one.requirement, ()):
            continue
        try:
            found = _condition(one, declared.get((one.backend, one.device)))
        except ValueError as problem:
            problems.append(f"{one.backend} {one.device} {one.dtype} {one.requirement} {one.case}: {problem}")
            continue
        if found is not None:
            points.append(found)
    return points, problems


def _condition(one: Observation, declaration: Declaration | None) -> Condition | None:
    """One observed output, where it is furthest off; None where this version has no such program."""
    from bnconform.render.plots import Condition

    compared = place_observation(one, declaration)
    if compared is None or compared.unspecified:
        return None
    probe = next(probe for probe in probes()[one.requirement] if probe.name == one.case)
    program = probe.at(one.dtype, parameter_dtype(one.dtype))
    program = program.without(frozenset(declaration.unsupported)) if declaration else program
    step, behaviour = program.steps[one.step], point(declaration)
    assert step.x is not None
    with arithmetic():
        before = oracle.initial_state(program.config, behaviour)
        for earlier in program.steps[: one.step]:
            loaded: dict[str, Any] = {name: exact(value) for name, value in earlier.state.items() if value is not None}
            before = replace(before, **loaded)
        record = oracle.forward(program.config, behaviour, before, exact(step.x), training=True)
        two_pass, one_pass = (
            ForwardErrors(record, error_model_of(program.config, behaviour, quality=quality)).output
            for quality in ("stable", "")
        )
        finite = np.isfinite(compared.observed.astype(np.float64))
        off = np.abs(floats(exact(np.where(finite, compared.observed, 0).astype(np.float64)) - compared.exact.exact()))
        scale = np.ones_like(off)
        if before.weight is not None:
            # The error of the normalised value, whatever the layer multiplies it by.
            scale = np.abs(
                np.broadcast_to(floats(before.weight).reshape((1, -1) + (1,) * (step.x.ndim - 2)), off.shape)
            )
        error = np.where(finite, off / scale, np.inf)
        bounds = [np.broadcast_to(bound, off.shape) / scale for bound in (two_pass, one_pass)]
        assert record.moments is not None
        variance = floats(record.moments.squares) / record.moments.count
        condition = float(np.sqrt(floats(record.moments.mean_square) / variance).max())
    return Condition(
        one.backend, one.device, one.dtype, f"{one.requirement} {one.case}", condition, float(error.max()),
        float(bounds[0].max()), float(bounds[1].max()), *(bool((error > bound).any()) for bound in bounds),
    )  # fmt: skip
