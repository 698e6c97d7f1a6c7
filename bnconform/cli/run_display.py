"""What the command shows while the suite runs, in the place of pytest's letters: a plugin of pytest's."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import pytest

from bnconform.execution.scheduling import SUBJECT
from bnconform.judge.subject import Subject
from bnconform.render.progress_display import ProgressDisplay, has_bar
from bnconform.results.result import dtype_order
from bnconform.results.visible import cut_names

ASKS = ("-v", "--verbose", "--tb")
"""How whoever wants pytest's own words begins the option that asks for them."""


def asks_for_pytests_words(given: Sequence[str]) -> bool:
    """Whether options ask for what pytest itself shows of each check."""
    return any(word.partition("=")[0] in ASKS or word.startswith("-vv") for word in given)


def lists_only(given: Sequence[str]) -> bool:
    """Whether options ask for the checks that there are, and for none to be run."""
    return any(word in ("--collect-only", "--co") for word in given)


class RunDisplay:
    """Shows how far the run has come, and leaves what became of it to the summary."""

    def __init__(self) -> None:
        self.display: ProgressDisplay | None = None

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Begin, where the checks are made in this process."""
        if session.items:
            self._begin(session.config, len(session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        """Begin, where worker processes have found the checks."""
        if self.display is None and ids:
            self._begin(node.config, len(ids))

    def _begin(self, config: pytest.Config, total: int) -> None:
        reporter, run = (config.pluginmanager.get_plugin(name) for name in ("terminalreporter", "bnconform-run"))
        if reporter is None or run is None or config.option.collectonly:
            return
        stream = reporter._tw._file
        self.display = ProgressDisplay(stream, bar=has_bar(stream))
        self.display.begin(total, introduction(run.subjects, total, default=not run.option.backend))

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> Generator[None, Any, Any]:
        """No letter and no word of a check; what is no check's outcome, an error of the machinery, keeps its own."""
        category, letter, word = yield
        return (category, letter, word) if category == "error" else (category, "", "")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One check more is done."""
        if self.display is None or report.when != "call":
            return
        found = SUBJECT.search(report.nodeid)
        self.display.advance(found[1] if found else "", failed=report.failed)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Make room for the summary."""
        if self.display is not None:
            self.display.end()


def introduction(subjects: Sequence[Subject], total: int, *, default: bool) -> str:
    """What is about to be judged, in a line.

    Args:
        default: whether nobody has said what, so that it is to be said how.
    """
    names = list(dict.fromkeys(subject.name for subject in subjects))
    devices = list(dict.fromkeys(subject.device for subject in subjects))
    dtypes = sorted({subject.dtype for subject in subjects}, key=dtype_order)
    head = f"Judging {cut_names(names)} on {cut_names(devices)} in {', '.join(dtypes)}: {total} checks"
    other = "; --backend NAME or FILE.py judges another (`bnconform list` shows the names)"
    return head + (other if default else "")
