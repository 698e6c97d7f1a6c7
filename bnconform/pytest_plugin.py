"""The pytest plugin: a run of the conformance tests over backends, devices and dtypes, and what becomes of it."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bnconform.cases import golden, regression
from bnconform.cases.probes import Case, cases_of
from bnconform.cli import options
from bnconform.diagnosis import causes
from bnconform.errors import USER_ERRORS, UserError
from bnconform.execution import scheduling
from bnconform.execution.progress import Progress
from bnconform.execution.recording import PREFIX
from bnconform.execution.selection import Selection, once_each
from bnconform.execution.settings import settings
from bnconform.execution.worker import CannotStart
from bnconform.execution.worker_pool import WorkerPool
from bnconform.judge import declarations, sequences
from bnconform.judge.check import Check, conduct
from bnconform.judge.check_record import Unsupported, Violation
from bnconform.judge.marks import marks_of
from bnconform.judge.outcome import CRASHED, UNTRUSTED, Outcome
from bnconform.judge.repetition import repeat
from bnconform.judge.shard_set import shard_of
from bnconform.judge.subject import AdapterError, Subject
from bnconform.judge.suite import requirements_of_catalogue
from bnconform.judge.suite_run import AHEAD, plan_checks
from bnconform.pytest_fixtures import MARK
from bnconform.render import report_files, run_summary
from bnconform.results import known_failures, run_result
from bnconform.results.result import LEVELS
from bnconform.results.shard import Share
from bnconform.results.visible import visible
from bnconform.spec.catalogue import Requirement, chapter, requirement, requirements


def pytest_addoption(parser: pytest.Parser) -> None:
    """Our options."""
    options.pytest_addoption(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register the run and its mark, and refuse at once what cannot be carried out."""
    config.addinivalue_line("markers", "once: the check is made in the first dtype only, as it does not depend on it")
    # Threads that wait by spinning make calls on small arrays take a hundred times as long where cores are shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if hasattr(config, "workerinput"):
        # Several processes share the cores: without this each starts as many threads as there are, and they spin.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    elif config.option.help or getattr(config.option, "version", False):
        return
    Progress.register(config)
    try:
        config.pluginmanager.register(Run(config), "bnconform-run")
    except USER_ERRORS as problem:
        raise NotBegun(visible(str(problem)), 2) from None
    except KeyboardInterrupt:
        raise NotBegun("interrupted", 2) from None


NotBegun = type("bnconform", (pytest.exit.Exception,), {})
"""What ends pytest before it has begun, with a text and an exit status; pytest writes the class's name before them."""

CHECK = pytest.StashKey[Check]()

CYCLES = 100_000
"""Objects made since, at which Python looks for cycles while checks are made: it holds millions, most to the end."""

EMPTY = "[NOTSET]"
"""What pytest puts behind the name of a test that is given no value."""


class Run:
    """One run, in the process that reports or in one of its workers.

    Attributes:
        selection: the implementations. known: what is known to fail.
        outcomes: of all checks, in the process that reports; nodes: the id of the test of each.
        has_others: whether there were tests that are no checks.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config, self.option = config, config.option
        self.started, self.begin = datetime.now(UTC), time.perf_counter()
        self.outcomes: list[Outcome] = []
        self.nodes: list[str] = []
        self.order: dict[str, int] = {}
        self.items: list[pytest.Item] = []
        self.summary: run_summary.RunSummary | None = None
        self.has_others = False
        option = self.option
        pool = WorkerPool(settings(option.time_limit, option.memory_limit, option.python, option.run_in))
        in_process = bool(option.in_process or option.usepdb or option.trace)
        self.selection = Selection(pool, in_process=in_process, thorough=bool(option.thorough))
        self.chapters = frozenset(map(chapter, option.chapter))
        self.share = Share.parse(option.shard) if option.shard else None
        self.is_worker = hasattr(config, "workerinput")
        if self.is_worker:
            given: dict[str, Any] = config.workerinput  # type: ignore[attr-defined]  # pytest-xdist's
            pool.described.update(given["bnconform"])
            pool.mark = given["bnconform_mark"]
            self.known = known_failures.KnownFailures(given["bnconform_baseline"])
            return
        self.selection.check_settings(options.backends(option) or ["numpy"])
        requirements()
        golden.documents()
        regression.cases()
        sequences.effort()
        self.known = known_failures.KnownFailures([])
        if option.baseline is not None:
            self.known = known_failures.load(Path(option.baseline), self.subjects, option.bnconform_json)
        else:
            assert self.subjects is not None
        if option.repeat > 1 and any(one.key.startswith(PREFIX) for one in self.subjects):
            raise UserError("--repeat asks an implementation again, and a recording answers the same; leave it out")
        run_summary.check(option)

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """The subjects that the options choose."""
        keys, _ = self.selection.keys(options.backends(self.option))
        return self.selection.subjects(keys, self.option.device, self.option.dtype)

    @property
    def has_workers(self) -> bool:
        """Whether other processes, of pytest-xdist, make the checks of this one."""
        return not self.is_worker and bool(self.config.getoption("numprocesses", None))

    # -- which checks, and where ------------------------------------------------------------------------------------

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker process what the adapters said of themselves, so that each is asked once, and what is known."""
        node.workerinput["bnconform"] = self.selection.pool.described
        node.workerinput["bnconform_baseline"] = self.known.force
        node.workerinput["bnconform_mark"] = self.selection.pool.mark

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrise a conformance test: backend:device-dtype-REQUIREMENT[-case]."""
        if "check" not in metafunc.fixturenames or metafunc.definition.get_closest_marker(MARK):
            return  # `bnconform.parametrize` has its own
        marks = marks_of(metafunc.function)
        if marks is None:
            raise pytest.UsageError(f"{metafunc.function.__name__} names no requirement")
        named = (marks.requirement,) if marks.requirement else requirements_of_catalogue()
        rules = [requirement(name) for name in named]
        values: list[tuple[Subject, Requirement, Case | None]] = []
        ids: list[str] = []
        for subject in once_each(self.subjects) if marks.once else self.subjects:
            for rule in (one for one in rules if one.is_of_deployments == subject.is_deployment):
                if self.chapters and rule.chapter not in self.chapters:
                    continue
                label = f"{subject.label}-{rule.id}"
                if not marks.over_cases:
                    values.append((subject, rule, None))
                    ids.append(f"{label}-{metafunc.function.__name__.removeprefix('test_').replace('_', '-')}")
                    continue
                for case in cases_of(rule.id, subject.dtype, subject.cost):
                    values.append((subject, rule, case))
                    ids.append(f"{label}-{case.name}")
        # For -m; the tests themselves have no marks of pytest's.
        marked = [pytest.mark.once] if marks.once else []
        parameters = [pytest.param(value, marks=marked) for value in values]
        metafunc.parametrize("check", parameters, ids=ids, indirect=True)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """One subject after the other, so that each implementation's process is started once; of a shard its share.

        A test that no subject is asked, of tools where there are layers alone, is no check: pytest would skip it.
        """
        items[:] = [item for item in items if not item.nodeid.endswith(EMPTY)]
        scheduling.order(items)
        if self.share is not None:
            items[:], others = scheduling.share_of(items, self.share)
            if others and not items and not self.is_worker:
                raise pytest.UsageError(
                    f"--shard {self.share} has none of the {len(others)} checks; give no more shards than checks"
                )
            self.config.hook.pytest_deselected(items=others)
        self.items, self.order = items, {item.nodeid: number for number, item in enumerate(items)}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, Any, Any]:
        """Look for cycles seldom, and no more in what was collected: that takes a seventh of the time otherwise.

        Not where an implementation runs in this process, as its memory may hang on cycles.
        """
        before = gc.get_threshold()
        if not self.selection.in_process:
            gc.freeze()
            gc.set_threshold(CYCLES, *before[1:])
        try:
            return (yield)
        finally:
            gc.set_threshold(*before)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Give the checks of one subject to one worker process, for the same reason, or more or fewer.

        Whoever chooses a distribution with --dist has it.
        """
        if config.option.dist not in ("no", "load"):
            return None
        return scheduling.scheduler(config, log, self.subjects)

    # -- one check --------------------------------------------------------------------------------------------------

    @pytest.fixture
    def check(self, request: pytest.FixtureRequest) -> Generator[Check, None, None]:
        """One requirement on one subject; what it finds is attached to the test's report."""
        subject, rule, case = request.param
        folder = Path(self.option.cases) if self.option.cases else None
        calls, seconds = subject.clock.calls, subject.clock.seconds
        made = Check(subject, rule, case, folder)
        request.node.stash[CHECK] = made
        self._send_ahead(request.node, made)
        yield made
        if made.outcomes:
            made.outcomes[0].calls = subject.clock.calls - calls
            made.outcomes[0].seconds = subject.clock.seconds - seconds
        for outcome in made.outcomes:
            request.node.user_properties.append(("bnconform", outcome.as_dict()))

    def _send_ahead(self, item: pytest.Item, made: Check) -> None:
        """Let the programs of this check and of the next ones be under way while this one is judged."""
        if made.case is None:
            return
        programs = made.ahead()
        here = self.order.get(item.nodeid, len(self.items))
        for other in self.items[here + 1 : here + 1 + AHEAD]:
            callspec = getattr(other, "callspec", None)
            if callspec is None or "check" not in callspec.params:
                break
            subject, rule, case = callspec.params["check"]
            if subject is not made.subject or case is None:
                break
            programs = [*programs, *Check(subject, rule, case).ahead()]
        made.subject.runs.ahead(programs)

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        """Make a check as often as was asked for; the first repetition is the one that takes what is under way."""
        __tracebackhide__ = True
        made = pyfuncitem.stash.get(CHECK, None)
        if made is None or self.option.repeat == 1:
            return None
        worst = repeat(self.option.repeat, lambda: replace(made, outcomes=[]), pyfuncitem.obj)
        made.outcomes += worst.outcomes
        if worst.problem is not None:
            raise worst.problem
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Turn what a check came to into pytest's words, according to the level that was asked for."""
        __tracebackhide__ = True
        made = item.stash.get(CHECK, None)
        try:
            answer = yield
        except Unsupported as reason:
            self._fail_for_noted(made)
            raise pytest.skip.Exception(f"unsupported: {reason}", _use_item_location=True) from None
        except (Violation, AdapterError) as problem:
            if made is None:
                raise
            if isinstance(problem, AdapterError):
                made.note_adapter_error(problem)
            elif not made.outcomes[-1].verdicts:  # what comes and goes, no decision explains
                self._explain(item, made)
            self._fail(made, problem)
        except CannotStart as problem:  # nothing can be judged any more, and no implementation is to blame
            pytest.exit(f"bnconform: {visible(str(problem))}", returncode=2)
        except Exception as error:
            if made is not None:
                made.note_internal_error(error)
            raise
        if made is None:
            return answer
        if not made.outcomes:
            outcome = made._outcome(UNTRUSTED, headline="the check compared nothing")
            outcome.message = outcome.headline
            made._add(outcome)
            raise Violation(f"{made.requirement.id}: the check compared nothing, so it can be trusted in nothing")
        noted = made.find_noted()
        if noted is not None:
            self._let_pass(noted)
            raise Violation(noted.message)
        return answer

    def _fail(self, made: Check, problem: Exception) -> None:
        """Fail the test, unless its level or the baseline lets it pass, and all else that was noted, too."""
        __tracebackhide__ = True
        self._fail_for_noted(made)
        self._let_pass(made.outcomes[-1])
        raise problem

    def _fail_for_noted(self, made: Check | None) -> None:
        """Fail the test for what was noted of another requirement, where nothing lets that pass."""
        __tracebackhide__ = True
        noted = made.find_noted() if made is not None else None
        if noted is None or LEVELS.index(noted.level) > LEVELS.index(self.option.level):
            return
        if self.known.reason(noted) is None:
            raise Violation(noted.message)

    def _let_pass(self, worst: Outcome) -> None:
        """End the test as an expected failure, where its level or the baseline says so."""
        __tracebackhide__ = True
        if LEVELS.index(worst.level) > LEVELS.index(self.option.level):
            pytest.xfail(f"{worst.requirement} (level {worst.level}) {worst.verdict}")
        accepted = self.known.reason(worst)
        if accepted is not None:
            pytest.xfail(f"{worst.requirement} {worst.verdict}, as known: {accepted}")

    def _explain(self, item: pytest.Item, made: Check) -> None:
        """Note at which points of the behaviour space a check that failed would have held."""
        assert isinstance(item, pytest.Function)

        def rerun(subject: Subject) -> list[Outcome]:
            return conduct(item.obj, Check(subject, made.requirement, made.case))

        try:
            causes.note(made.outcomes[-1], made.subject, rerun)
        except AdapterError:  # an explanation is none; the verdict stands without one
            return
        except USER_ERRORS:
            raise
        except Exception as error:  # it would fail the test without a word at the end of the run
            made.note_internal_error(error)
            raise

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
        """A failed check shows its message and no traceback of ours."""
        report = yield
        if call.excinfo is not None and isinstance(call.excinfo.value, Violation | AdapterError):
            report.longrepr = str(call.excinfo.value)
        return report

    # -- all of them ------------------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the outcomes, in the process that reports; JUnit's file, which comes after, gets them in words."""
        if self.is_worker or report.when != "teardown":
            return
        found = run_result.from_properties(report.user_properties)
        self.has_others = self.has_others or not found
        self.outcomes += found
        self.nodes += [report.nodeid] * len(found)
        others = [entry for entry in report.user_properties if entry[0] != "bnconform"]
        report.user_properties = [*others, *report_files.properties(found)]

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport, sched: Any) -> None:
        """A worker process that died takes one check with it: that check crashed."""
        if "[" not in crashitem:
            return
        identifier = crashitem[crashitem.index("[") + 1 : -1]
        for subject in self.subjects:
            rest = identifier.removeprefix(f"{subject.label}-")
            fitting = [rule for rule in requirements().values() if rest.startswith(f"{rule.id}-")]
            if rest == identifier or not fitting:
                continue
            rule = max(fitting, key=lambda rule: len(rule.id))
            text = f"{rule.id} not answered by {subject.label}: the process died while running {crashitem}"
            outcome = Outcome(
                subject.name, subject.device, subject.dtype, rule.id, rule.level, CRASHED,
                checks=1, headline=text, message=text,
            )  # fmt: skip
            self.nodes.append(crashitem)
            self.outcomes.append(outcome)
            reason = self.known.reason(outcome)
            if reason is not None:
                report.outcome, report.wasxfail = "skipped", f"reason: {rule.id} crashed, as known: {reason}"
            return

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """End the processes, judge the declarations, write the result file, and set the exit status."""
        self.selection.close()
        outcomes = self.outcomes
        if self.is_worker or not outcomes:
            return
        subjects = self.subjects
        progress, plan = Progress.of(self.config), plan_checks(subjects)
        asked, completion = progress.summary(subjects, options.backends(self.option), plan)
        shard = None
        if self.share is not None:
            recorded = zip(self.nodes, outcomes, strict=True)
            shard = shard_of(self.share, subjects, plan, progress.counts(plan), recorded)
        stale = declarations.stale(outcomes, subjects, completion.complete and not self.option.dtype)
        outcomes, diagnoses = causes.diagnose([*outcomes, *stale])
        self._tell(outcomes)
        self._show_cards_only()
        wrong = any(
            LEVELS.index(outcome.level) <= LEVELS.index(self.option.level) and self.known.reason(outcome) is None
            for outcome in stale
        )
        seconds = time.perf_counter() - self.begin
        found = run_result.result(outcomes, diagnoses, subjects, self.started, seconds, asked, completion, shard)
        if self.has_others:
            self.option.xmlpath = None  # pytest has written its own file, of all tests
        self.summary = closed = run_summary.RunSummary.of(self.option, found, self.known, subjects)
        if (wrong or (closed.judged and closed.judged.fails)) and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if closed.unwritten:
            session.exitstatus = 2

    def _tell(self, outcomes: list[Outcome]) -> None:
        """Let pytest's own report of a failure say what explains it, which is known only now that all have run."""
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None:
            return
        explained = dict(zip(self.nodes, outcomes, strict=False))
        for report in reporter.stats.get("failed", ()):
            outcome = explained.get(report.nodeid)
            if outcome is not None and outcome.message and isinstance(report.longrepr, str):
                report.longrepr = outcome.message

    def _show_cards_only(self) -> None:
        """Let pytest not repeat what the cards say of failing checks, unless more words were asked for."""
        option = self.option
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or option.verbose > 0 or option.tbstyle != "auto" or reporter.stats.get("error"):
            return
        if all(isinstance(report.longrepr, str) for report in reporter.stats.get("failed", ())):
            option.tbstyle, reporter.reportchars = "no", ""

    def pytest_terminal_summary(self, terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:
        """Print what became of the run."""
        closed = self.summary
        if closed is None:
            return
        terminalreporter.ensure_newline()
        terminalreporter.flush()
        writer = terminalreporter._tw
        console = Console(
            file=writer._file, width=max(writer.fullwidth, 60), force_terminal=writer.hasmarkup, highlight=False
        )
        _, left_out = self.selection.keys(options.backends(self.option))
        for line in closed.annotations:  # before the rest: the last lines are the verdict
            terminalreporter.write_line(line)
        closed.show(console, self.subjects, left_out)

    def pytest_keyboard_interrupt(self) -> None:
        """End the implementations at once: a worker process of pytest's that waits for one would not end itself."""
        if self.has_workers:
            self.selection.pool.keep_sweeping()

    def pytest_unconfigure(self) -> None:
        """End what is still running, however the run ended: also what a worker process of pytest's has left."""
        self.selection.close()
        if self.has_workers:
            self.selection.pool.sweep()
