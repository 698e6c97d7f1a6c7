"""The pytest plugin: options, parametrisation over backend x device x dtype, collection of the results."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bnconform.cases import golden, regression
from bnconform.cases.metamorphic import Relation
from bnconform.cases.probes import cases_of, few_of
from bnconform.cases.program import Probe
from bnconform.cli import options
from bnconform.diagnosis import causes
from bnconform.errors import USER_ERRORS
from bnconform.execution import scheduling, selection, worker_pool
from bnconform.execution.instrumented import AdapterError
from bnconform.execution.progress import Progress
from bnconform.judge import sequences
from bnconform.judge.check import Check, Unsupported, Violation, conduct
from bnconform.judge.declarations import stale
from bnconform.judge.outcome import CRASHED, UNTRUSTED, Outcome
from bnconform.judge.subject import Subject
from bnconform.render import report_files, run_summary
from bnconform.results import known_failures, run_result
from bnconform.results.result import LEVELS
from bnconform.spec.catalogue import Requirement, requirement, requirements

STARTED = pytest.StashKey[tuple[datetime, float]]()
GATE = pytest.StashKey[known_failures.KnownFailures]()
COLLECTED = pytest.StashKey[list[Outcome]]()
NODES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Our options."""
    options.pytest_addoption(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register markers, and refuse at once what cannot be carried out."""
    config.addinivalue_line("markers", "requirement(id): the requirement that a conformance test checks")
    config.addinivalue_line("markers", "cases: the test runs once for each probe and relation of its requirement")
    config.addinivalue_line("markers", "once: the test does not depend on the dtype, and runs in the first one only")
    config.stash[STARTED] = datetime.now(UTC), time.perf_counter()
    config.stash[COLLECTED] = []
    config.stash[NODES] = []
    Progress.register(config)
    # Threads that wait by spinning make calls on small arrays take a hundred times as long where cores are shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    option = config.option
    if hasattr(config, "workerinput"):
        worker_pool.SETTINGS = worker_pool.settings(option.time_limit, option.memory_limit, option.python)
        worker_pool.DESCRIBED.update(config.workerinput["bnconform"])
        config.stash[GATE] = known_failures.KnownFailures(config.workerinput["bnconform_baseline"])
        # Several processes share the cores: without this each starts as many threads as there are, and they spin.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        return
    if config.option.help or getattr(config.option, "version", False):
        return
    try:
        worker_pool.SETTINGS = worker_pool.settings(option.time_limit, option.memory_limit, option.python)
        requirements()
        golden.documents()
        regression.cases()
        sequences.effort()
        subjects = chosen_subjects(config)
        config.stash[GATE] = known_failures.KnownFailures([])
        if option.baseline is not None:
            config.stash[GATE] = known_failures.load(Path(option.baseline), subjects, option.bnconform_json)
        run_summary.check(option)
    except USER_ERRORS as problem:
        pytest.exit(f"bnconform: {problem}", returncode=2)


def chosen_subjects(config: pytest.Config) -> tuple[Subject, ...]:
    """The subjects that the options choose."""
    option = config.option
    keys, _ = chosen_backends(config)
    return selection.subjects(tuple(keys), tuple(option.device), tuple(option.dtype), isolate=_isolates(config))


def chosen_backends(config: pytest.Config) -> tuple[list[str], dict[str, str]]:
    """The backends that the options choose, and those of `all` that were left out, with the reason."""
    return (selection.isolated if _isolates(config) else selection.chosen)(options.backends(config.option))


def _isolates(config: pytest.Config) -> bool:
    return not (config.option.in_process or config.option.usepdb or config.option.trace)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker process what the adapters said of themselves, so that each is asked once, and what is known."""
    node.workerinput["bnconform"] = worker_pool.DESCRIBED
    node.workerinput["bnconform_baseline"] = node.config.stash[GATE].force


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise a conformance test: backend:device-dtype-REQUIREMENT[-case]."""
    if "check" not in metafunc.fixturenames:
        return
    mark = metafunc.definition.get_closest_marker("requirement")
    if mark is None:
        raise pytest.UsageError(f"{metafunc.function.__name__} names no requirement")
    rule = requirement(mark.args[0])
    over_cases = metafunc.definition.get_closest_marker("cases") is not None
    once = metafunc.definition.get_closest_marker("once") is not None
    values: list[tuple[Subject, Requirement, Probe | Relation | None]] = []
    ids: list[str] = []
    for subject in selection.once_each(chosen_subjects(metafunc.config)) if once else chosen_subjects(metafunc.config):
        label = f"{subject.label}-{rule.id}"
        if not over_cases:
            values.append((subject, rule, None))
            ids.append(f"{label}-{metafunc.function.__name__.removeprefix('test_').replace('_', '-')}")
            continue
        for case in (few_of if subject.slow else cases_of)(rule.id, subject.dtype):
            values.append((subject, rule, case))
            ids.append(f"{label}-{case.name}")
    metafunc.parametrize("check", values, ids=ids, indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One subject after the other, so that each implementation's process is started once."""
    scheduling.order(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give the checks of one subject to one worker process, for the same reason, or more or fewer; see `scheduling`.

    Whoever chooses a distribution with --dist has it.
    """
    if config.option.dist not in ("no", "load"):
        return None
    return scheduling.scheduler(config, log, chosen_subjects(config))


@pytest.fixture
def check(request: pytest.FixtureRequest) -> Generator[Check, None, None]:
    """One requirement on one subject; what it finds is attached to the test's report."""
    subject, rule, case = request.param
    folder = Path(request.config.option.cases) if request.config.option.cases else None
    calls, seconds = subject.clock.calls, subject.clock.seconds
    made = Check(subject, rule, case, folder)
    request.node.stash[MADE] = made
    yield made
    if made.outcomes:
        made.outcomes[0].calls = subject.clock.calls - calls
        made.outcomes[0].seconds = subject.clock.seconds - seconds
    for outcome in made.outcomes:
        request.node.user_properties.append(("bnconform", outcome.as_dict()))


MADE = pytest.StashKey[Check]()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a check in its implementation's own process."""
    __tracebackhide__ = True
    made = pyfuncitem.stash.get(MADE, None)
    if made is None or not made.subject.isolated:
        return None
    worker_pool.conduct(made, pyfuncitem.function.__module__, pyfuncitem.function.__name__)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Turn what a check came to into pytest's words, according to the level that was asked for."""
    __tracebackhide__ = True
    try:
        answer = yield
    except Unsupported as reason:
        raise pytest.skip.Exception(f"unsupported: {reason}", _use_item_location=True) from None
    except (Violation, AdapterError) as problem:
        made = item.stash.get(MADE, None)
        if made is None:
            raise
        if isinstance(problem, AdapterError):
            made.note_adapter_error(problem)
        elif not made.subject.isolated:
            _explain(item, made)
        worst = made.outcomes[-1]
        if LEVELS.index(worst.level) > LEVELS.index(item.config.option.level):
            pytest.xfail(f"{worst.requirement} (level {worst.level}) {worst.verdict}")
        accepted = item.config.stash[GATE].reason(worst)
        if accepted is not None:
            pytest.xfail(f"{worst.requirement} {worst.verdict}, as known: {accepted}")
        raise
    except Exception as error:
        made = item.stash.get(MADE, None)
        if made is not None and not isinstance(error, worker_pool.InternalError):
            made.note_internal_error(error)
        raise
    made = item.stash.get(MADE, None)
    if made is not None and not made.outcomes:
        made._add(made._outcome(UNTRUSTED, headline="the check compared nothing", message="the check compared nothing"))
        raise Violation(f"{made.requirement.id}: the check compared nothing, so it can be trusted in nothing")
    return answer


def _explain(item: pytest.Item, made: Check) -> None:
    """Note at which points of the behaviour space a check that failed would have held."""
    assert isinstance(item, pytest.Function)

    def rerun(subject: Subject) -> list[Outcome]:
        return conduct(item.obj, Check(subject, made.requirement, made.case))

    causes.note(made.outcomes[-1], made.subject, rerun)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """A failed check shows its message and no traceback of ours."""
    report = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, Violation | AdapterError):
        report.longrepr = str(call.excinfo.value)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect the outcomes, in the process that reports; JUnit's file, which comes after it, gets them in words."""
    config = _RUN.get("config")
    if config is None:
        return
    if report.when == "teardown":
        found = run_result.from_properties(report.user_properties)
        config.stash[COLLECTED] += found
        config.stash[NODES] += [report.nodeid] * len(found)
        others = [entry for entry in report.user_properties if entry[0] != "bnconform"]
        report.user_properties = [*others, *report_files.properties(found)]


_RUN: dict[str, Any] = {}


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, report: pytest.TestReport, sched: Any) -> None:
    """A worker process that died takes one check with it: that check crashed."""
    config = _RUN.get("config")
    if config is None or "[" not in crashitem:
        return
    identifier = crashitem[crashitem.index("[") + 1 : -1]
    for subject in chosen_subjects(config):
        rest = identifier.removeprefix(f"{subject.label}-")
        if rest == identifier:
            continue
        rule = max(
            (r for r in requirements().values() if rest.startswith(f"{r.id}-")), key=lambda r: len(r.id), default=None
        )
        if rule is not None:
            text = f"{rule.id} not answered by {subject.label}: the process died while running {crashitem}"
            outcome = Outcome(
                subject.name, subject.device, subject.dtype, rule.id, rule.level, CRASHED,
                checks=1, headline=text, message=text,
            )  # fmt: skip
            config.stash[NODES].append(crashitem)
            config.stash[COLLECTED].append(outcome)
            reason = config.stash[GATE].reason(outcome)
            if reason is not None:
                report.outcome, report.wasxfail = "skipped", f"reason: {rule.id} crashed, as known: {reason}"
            return


def pytest_sessionstart(session: pytest.Session) -> None:
    """Only the process that reports collects."""
    if not hasattr(session.config, "workerinput"):
        _RUN["config"] = session.config


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Judge the declarations, write the result file, and set the exit status."""
    config = session.config
    outcomes = config.stash[COLLECTED]
    if hasattr(config, "workerinput") or not outcomes:
        return
    option = config.option
    subjects = chosen_subjects(config)
    asked, completion = Progress.of(config).summary(subjects, options.backends(option))
    declarations = stale(outcomes, subjects, completion.complete and not option.dtype)
    outcomes, diagnoses = causes.diagnosed([*outcomes, *declarations])
    _tell(config, outcomes)
    known = config.stash[GATE]
    wrong = any(
        LEVELS.index(outcome.level) <= LEVELS.index(option.level) and known.reason(outcome) is None
        for outcome in declarations
    )
    started, begin = config.stash[STARTED]
    found = run_result.result(outcomes, diagnoses, subjects, started, time.perf_counter() - begin, asked, completion)
    config.stash[CLOSING] = closed = run_summary.RunSummary.of(option, found, known, subjects)
    if (wrong or (closed.judged and closed.judged.fails)) and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if closed.unwritten:
        session.exitstatus = 2


def _tell(config: pytest.Config, outcomes: list[Outcome]) -> None:
    """Let pytest's own report of a failure say what explains it, which is known only now that all checks have run."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    nodes: list[str] = config.stash[NODES]
    told = dict(zip(nodes, outcomes, strict=False))
    for report in reporter.stats.get("failed", ()):
        outcome = told.get(report.nodeid)
        if outcome is not None and outcome.message and isinstance(report.longrepr, str):
            report.longrepr = outcome.message


CLOSING = pytest.StashKey[run_summary.RunSummary]()


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:
    """Print what became of the run."""
    closed = config.stash.get(CLOSING, None)
    if closed is None:
        return
    terminalreporter.ensure_newline()
    terminalreporter.flush()
    writer = terminalreporter._tw
    console = Console(
        file=writer._file, width=max(writer.fullwidth, 60), force_terminal=writer.hasmarkup, highlight=False
    )
    closed.show(console, chosen_subjects(config), chosen_backends(config)[1])
    for line in closed.annotations:
        terminalreporter.write_line(line)
