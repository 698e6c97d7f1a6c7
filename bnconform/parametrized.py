"""The suite as tests in somebody's own pytest suite: `bnconform.parametrize`, and what its tests do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from bnconform.api import BackendGiven, PathGiven, check_requirements, fails, select, selection_of, user_errors
from bnconform.diagnosis import causes
from bnconform.errors import UserError
from bnconform.execution.selection import Selection
from bnconform.judge.declarations import stale
from bnconform.judge.outcome import CRASHED, UNSUPPORTED, UNTRUSTED, VIOLATES, Outcome
from bnconform.judge.suite_run import PlannedCheck, SuiteRun, plan_checks
from bnconform.pytest_fixtures import MARK
from bnconform.results.result import LEVELS

SHOWN = 3
"""Causes of one test of which a failure is shown, the first."""


@dataclass(frozen=True, eq=False)
class SuiteOptions:
    """What a test function was decorated with; see `parametrize`."""

    backend: BackendGiven
    level: str
    devices: Sequence[str] | None
    dtypes: Sequence[str] | None
    requirements: Sequence[str] | None
    in_process: bool | None
    time_limit: float
    memory_limit: float
    python: PathGiven | None
    run_in: str | Sequence[str] | None


def parametrize(
    backend: BackendGiven,
    *,
    devices: Sequence[str] | None = None,
    dtypes: Sequence[str] | None = None,
    level: str = "must",
    requirements: Sequence[str] | None = None,
    in_process: bool | None = None,
    time_limit: float = 300.0,
    memory_limit: float = 0.0,
    python: PathGiven | None = None,
    run_in: str | Sequence[str] | None = None,
) -> pytest.MarkDecorator:
    """Decorate a test function that takes `check`, to make it one test for each requirement, device and dtype.

        @bnconform.parametrize("my_adapter.py:MyBackend", dtypes=["float32"])
        def test_batchnorm(check):
            check()

    The ids are such as `cpu-float32-BN-RUN-VAR`. `check()` makes all checks of the requirement. It fails with what was
    got, what it should be, what explains it and how to replay it; it skips what the adapter declares unsupported and
    was seen to refuse, with the reason; and it is an expected failure (xfail) where what fails is of a level below
    `level`. A declared deviation that some check refutes fails there; that one is not needed is only seen by a whole
    run, `bnconform.judge` or the command.

    Args:
        backend: as of `bnconform.judge`. The path of a FILE.py is looked for in the current folder, in pytest's root
            folder, and beside the test.
        level: "must", "should" or "may": up to which level a violation fails.
        devices, dtypes, requirements, in_process, time_limit, memory_limit, python, run_in: as of `bnconform.judge`.

    A request that cannot be carried out is an error of collection, in one line. The tests need the pytest plugin that
    comes with an installed bnconform; it works with pytest-xdist, where each worker process starts the backend.
    """
    suite = SuiteOptions(
        backend, level, devices, dtypes, requirements, in_process, time_limit, memory_limit, python, run_in
    )
    mark: pytest.MarkDecorator = getattr(pytest.mark, MARK)
    return mark.with_args(suite)


def generate(metafunc: pytest.Metafunc, suite: SuiteOptions, used: dict[Any, Selection]) -> None:
    """Parametrise a decorated function; the processes of the suite are added to those in use."""
    name = metafunc.function.__name__
    if "check" not in metafunc.fixturenames:
        raise pytest.Collector.CollectError(f"bnconform: {name} takes no `check`; write def {name}(check): check()")
    try:
        tests = _tests(suite, used, _places(metafunc))
    except UserError as problem:
        raise pytest.Collector.CollectError(f"bnconform: {problem}") from None
    metafunc.parametrize("check", tests, ids=map(repr, tests))


def _places(metafunc: pytest.Metafunc) -> list[Path]:
    return [Path.cwd(), metafunc.config.rootpath, metafunc.definition.path.parent]


def _tests(suite: SuiteOptions, used: dict[Any, Selection], places: Sequence[Path]) -> list[RequirementCheck]:
    if suite.level not in LEVELS:
        raise UserError(f"unknown level {suite.level!r}; a level is one of {', '.join(LEVELS)}")
    given = _find_key(suite.backend, places) if isinstance(suite.backend, str) else suite.backend
    with user_errors():
        selection, key = selection_of(
            given, suite.in_process, suite.time_limit, suite.memory_limit, suite.python, suite.run_in
        )
        selection = used.setdefault(suite, selection)
        subjects = select(selection, key, suite.devices, suite.dtypes)
        checks = plan_checks(subjects, check_requirements(suite.requirements))
    return [RequirementCheck(suite.level, tuple(mine)) for _, mine in groupby(_gather(checks), lambda one: one.place)]


def _gather(checks: Sequence[PlannedCheck]) -> list[PlannedCheck]:
    """Those of one place beside each other, places in the order of their first ones."""
    order: dict[tuple[str, str], int] = {}
    for check in checks:
        order.setdefault(check.place, len(order))
    return sorted(checks, key=lambda check: order[check.place])


def _find_key(key: str, places: Sequence[Path]) -> str:
    """What --backend is given, the path of a file being the first place where it is."""
    file, colon, attribute = (key, "", "") if key.endswith(".py") else key.rpartition(":")
    if not file.endswith(".py"):
        return key
    existing = next((place / file for place in places if (place / file).is_file()), Path(file))
    path = existing.relative_to(places[0]) if existing.is_relative_to(places[0]) else existing
    return f"{path}{colon}{attribute}"


@dataclass(eq=False, repr=False)
class RequirementCheck:
    """One requirement on one device in one dtype; calling it makes all checks.

    Attributes:
        level: up to which level a violation fails. checks: what is made.
    """

    level: str
    checks: tuple[PlannedCheck, ...]

    def __repr__(self) -> str:
        subject = self.checks[0].subject
        return f"{subject.device}-{subject.dtype}-{self.requirement}"

    @property
    def requirement(self) -> str:
        """Its id."""
        return self.checks[0].test.rule.id

    def __call__(self) -> None:
        """Pass, fail with what is wrong, skip what is unsupported, or xfail where only a lesser level is violated."""
        __tracebackhide__ = True
        run = SuiteRun(self.checks)
        for _ in run:
            pass
        declarations = stale(run.outcomes, [self.checks[0].subject], whole=False)
        outcomes, _ = causes.diagnose([*run.outcomes, *declarations])
        failing = [outcome for outcome in outcomes if fails(outcome.verdict, outcome.level, self.level)]
        if failing:
            pytest.fail(_text(failing), pytrace=False)
        lesser = [
            outcome for outcome in outcomes if outcome.verdict in (VIOLATES, CRASHED, UNTRUSTED) and not outcome.vacuous
        ]
        if lesser:
            worst = lesser[0]
            pytest.xfail(f"{worst.requirement} (level {worst.level}) {worst.verdict}: {worst.headline}")
        if all(outcome.verdict == UNSUPPORTED for outcome in outcomes):
            raise pytest.skip.Exception(f"unsupported: {outcomes[0].message}", _use_item_location=True)


def _text(failing: Sequence[Outcome]) -> str:
    """The first failure of each cause, and how many more failures there are."""
    by_cause: dict[str, Outcome] = {}
    for outcome in failing:
        by_cause.setdefault(outcome.failure.cause if outcome.failure else outcome.message, outcome)
    shown = [outcome.message or outcome.headline for outcome in by_cause.values()][:SHOWN]
    more = len(failing) - len(shown)
    rest = [f"and {more} more failing check{'s' * (more > 1)} of this requirement"] if more else []
    return "\n\n".join([*shown, *rest])
