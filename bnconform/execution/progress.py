"""A pytest plugin that notes which checks a run selects, which of them finish, and how the run ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest

from bnconform.execution.scheduling import SUBJECT
from bnconform.judge.subject import Subject
from bnconform.judge.suite_run import Checks, PlannedCheck, column, count_checks
from bnconform.results.completeness import (
    CRASHED,
    FINISHED,
    INTERRUPTED,
    STOPPED,
    Completion,
    SelectionRecord,
)
from bnconform.spec.catalogue import requirements

ENDS = ("teardown", "???")
"""The phases after which a check is finished; the second is pytest-xdist's word for a check that took its worker."""


class Progress:
    """What a run selected and finished.

    Attributes:
        selected, finished: the ids of checks, which are those of pytest. ended: one of `completeness.ENDINGS`.
    """

    NAME = "bnconform-progress"

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.selected: set[str] = set()
        self.finished: set[str] = set()
        self.ended = FINISHED

    @classmethod
    def register(cls, config: pytest.Config) -> None:
        """Note what becomes of this run."""
        config.pluginmanager.register(cls(config), cls.NAME)

    @classmethod
    def of(cls, config: pytest.Config) -> Progress:
        """What was noted."""
        found = config.pluginmanager.get_plugin(cls.NAME)
        assert isinstance(found, Progress)
        return found

    # -- hooks -------------------------------------------------------------------------------------------------------

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note what was selected."""
        self.selected.update(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """The same, where worker processes collect."""
        self.selected.update(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what is finished."""
        if report.when in ENDS:
            self.finished.add(report.nodeid)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Note that the run was ended, by somebody or by pytest itself."""
        self.ended = STOPPED if isinstance(excinfo.value, pytest.Session.Interrupted) else INTERRUPTED

    def pytest_internalerror(self) -> None:
        """Note that the run broke off."""
        self.ended = CRASHED

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Note that the run was stopped by a failure, as asked."""
        if self.ended == FINISHED and (session.shouldfail or session.shouldstop):
            self.ended = STOPPED

    # -- what it comes to ----------------------------------------------------------------------------------------------

    def counts(self, plan: Sequence[PlannedCheck]) -> tuple[Checks, Checks, Checks]:
        """How many checks were planned, selected and finished, by place."""
        return count_checks(plan), _count(self.selected), _count(self.finished)

    def summary(
        self, subjects: Sequence[Subject], backends: Sequence[str], plan: Sequence[PlannedCheck]
    ) -> tuple[SelectionRecord, Completion]:
        """What was asked for and how far it came, of the checks of these subjects, which `backends` were given for.

        Args:
            plan: all checks of the suite, of these subjects.
        """
        planned, selected, finished = self.counts(plan)
        option = self.config.option
        narrowed: list[str] = []
        if selected.total() < planned.total():
            narrowed = list(_narrowing(self.config)) or ["a choice of checks"]
        selection = SelectionRecord(
            tuple(backends), tuple(option.device), tuple(option.dtype), tuple(narrowed),
            tuple(column(subject, planned, selected, finished) for subject in subjects),
        )  # fmt: skip
        ended = self.ended
        if ended == FINISHED and finished.total() < selected.total():
            ended = CRASHED  # a worker process that was not replaced
        return selection, Completion(ended, planned.total(), selected.total(), finished.total())


def _count(ids: Iterable[str]) -> Checks:
    """The checks by what their ids say; what is no check is not counted."""
    found: Checks = Counter()
    names = sorted(requirements(), key=len, reverse=True)
    for one in ids:
        subject = SUBJECT.search(one)
        if subject is not None:
            rest = one[subject.end(1) + 1 :]
            name = next((name for name in names if rest.startswith(f"{name}-")), None)
            if name is not None:
                found[subject[1], name] += 1
    return found


def _narrowing(config: pytest.Config) -> Iterator[str]:
    """The options and arguments that leave out checks, as they were given."""
    option: Any = config.option
    for word, value in (("-k", option.keyword), ("-m", option.markexpr)):
        if value:
            yield f"{word} {value}"
    for value in option.chapter:
        yield f"--chapter {value}"
    for value in getattr(option, "deselect", None) or ():
        yield f"--deselect {value}"
    for value in config.args:
        if "::" in str(value) or str(value).endswith(".py"):
            yield str(value).rpartition("/")[2]
    if option.shard:
        yield f"--shard {option.shard}"
