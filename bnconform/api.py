"""The public functions of `bnconform` that judge, measure and compare; `bnconform/__init__.py` offers them by name."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from os import PathLike, fspath
from pathlib import Path
from typing import NamedTuple

from bnconform.backends import Backend
from bnconform.backends.registry import BackendError
from bnconform.diagnosis import causes
from bnconform.errors import UserError
from bnconform.execution.selection import EVERY, Selection
from bnconform.execution.settings import Settings, settings
from bnconform.execution.worker_pool import WorkerPool
from bnconform.judge.declarations import stale
from bnconform.judge.outcome import CRASHED, UNTRUSTED, VIOLATES
from bnconform.judge.subject import AdapterError, Ended, Subject
from bnconform.judge.suite_run import SuiteRun, column, count_checks, plan_checks
from bnconform.measure import identify as measuring
from bnconform.measure.semantics_profile import SemanticsProfile
from bnconform.results import compare as comparing
from bnconform.results import completeness, run_result
from bnconform.results import result as results
from bnconform.results.comparison import ResultComparison
from bnconform.results.completeness import FINISHED, Completion
from bnconform.results.matching import check_choice, subjects
from bnconform.results.result import LEVELS, Result
from bnconform.spec.catalogue import requirement

BackendGiven = str | Backend | type[Backend]
"""A name, as --backend takes it, or an adapter, or its class."""

PathGiven = str | PathLike[str]


class JudgeProgress(NamedTuple):
    """How far a run has come.

    Attributes:
        done, total: checks. failed: how many of those that are done failed at the level that was asked for.
        check: the one that was done last, as BACKEND:DEVICE-DTYPE-REQUIREMENT.
    """

    done: int
    total: int
    failed: int
    check: str


@contextmanager
def user_errors() -> Iterator[None]:
    """Let everything that is said in one line be a UserError."""
    try:
        yield
    except BackendError as problem:
        raise UserError(str(problem)) from None


def judge(
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
    progress: Callable[[JudgeProgress], None] | None = None,
) -> Result:
    """Run the suite on one backend, with the diagnosis of what fails, as `bnconform --backend` does.

    Args:
        backend: what --backend takes: a name such as "torch.nn", "FILE.py:CLASS", "MODULE:CLASS" or "command:PROGRAM";
            it runs in a process of its own, which ends with this call. Or an adapter, or its class, by the contract of
            `bnconform.backends`: that cannot be sent, so it runs in this process, and one that dies or hangs takes
            this process with it.
        devices, dtypes: names of which to judge, all by default; a dtype is "float64", "float32", "float16" or
            "bfloat16".
        level: "must", "should" or "may": the requirements whose violation `progress` counts as failed. The result has
            the verdicts of all levels, whatever is given here.
        requirements: ids such as "BN-RUN-VAR", of the only requirements to judge. The result is then partial, says by
            what it was narrowed, and is a verdict on these alone. All by default.
        in_process: whether the backend runs in this process, for a debugger; a named one does not by default.
        time_limit: seconds in which each program must be done by a backend in a process of its own.
        memory_limit: GiB that its process and what that starts may hold (Linux); 0 for no limit.
        python: the interpreter, of another environment, that runs it.
        run_in: the command behind which its process starts, such as "ssh gpu-box"; `python` is then one of there.
        progress: called after each check.

    Returns:
        The rows of verdicts, one for each device, dtype and requirement, with `diagnoses`, and with what was selected
        and finished; `bnconform.read_result` reads the same from a file, and `bnconform.compare` takes it.

    Raises:
        UserError: where the request cannot be carried out; one line says why, and what to do.
    """
    if level not in LEVELS:
        raise UserError(f"unknown level {level!r}; a level is one of {', '.join(LEVELS)}")
    with user_errors(), choose(backend, in_process, time_limit, memory_limit, python, run_in) as (selection, key):
        return _judge(selection, key, devices, dtypes, level, requirements, progress)


def _judge(
    selection: Selection,
    key: str,
    devices: Sequence[str] | None,
    dtypes: Sequence[str] | None,
    level: str,
    requirements: Sequence[str] | None,
    progress: Callable[[JudgeProgress], None] | None,
) -> Result:
    """The suite run on one backend that was chosen; see `judge`."""
    started, begin = datetime.now(UTC), time.perf_counter()
    only = check_requirements(requirements)
    columns = select(selection, key, devices, dtypes)
    everything = plan_checks(columns)
    run = SuiteRun([check for check in everything if not only or check.test.rule.id in only])
    failed = 0
    for check, outcomes in run:
        failed += any(fails(outcome.verdict, outcome.level, level) for outcome in outcomes)
        if progress is not None:
            label = "-".join(check.place)
            progress(JudgeProgress(len(run.finished), len(run.checks), failed, label))
    plan, wanted, finished = count_checks(everything), count_checks(run.checks), count_checks(run.finished)
    asked = completeness.SelectionRecord(
        (key,), tuple(devices or ()), tuple(dtypes or ()),
        (f"requirements {', '.join(only)}",) if wanted.total() < plan.total() else (),
        tuple(column(subject, plan, wanted, finished) for subject in columns),
    )  # fmt: skip
    completion = Completion(FINISHED, plan.total(), wanted.total(), finished.total())
    declarations = stale(run.outcomes, columns, completion.complete and not dtypes)
    outcomes, diagnoses = causes.diagnose([*run.outcomes, *declarations])
    seconds = time.perf_counter() - begin
    return run_result.result(outcomes, diagnoses, columns, started, seconds, asked, completion)


def identify(
    backend: BackendGiven,
    *,
    device: str | None = None,
    dtype: str | None = None,
    in_process: bool | None = None,
    time_limit: float = 300.0,
    memory_limit: float = 0.0,
    python: PathGiven | None = None,
    run_in: str | Sequence[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> SemanticsProfile:
    """Measure what a backend does, whatever it declares: every decision, its defaults, its variance algorithm.

    Args:
        backend, in_process, time_limit, memory_limit, python, run_in: as of `judge`.
        device: where to measure; its first by default. dtype: in which; by default the first that it has of float32,
            float64, bfloat16 and float16.
        progress: called with what is done next, in words.

    Returns:
        A profile: `point` is the simplest behaviour that explains all that was seen, `findings` has each decision with
        its value and what refutes the others, `contradictions` what the adapter declares and does not do.

    Raises:
        UserError: where nothing can be measured; one line says why.
    """
    with user_errors(), choose(backend, in_process, time_limit, memory_limit, python, run_in) as (selection, key):
        offered = select(selection, key, device and [device], dtype and [dtype])
        first = {subject.dtype: subject for subject in reversed(offered)}  # on the first device
        lacking = offered[0].unsupported
        wanted = [name for name in measuring.PREFERRED if name in first and name not in lacking]
        try:
            profile = measuring.first_profile(first.__getitem__, wanted, progress or (lambda _: None))
        except (AdapterError, Ended) as problem:
            raise UserError(f"{offered[0].name} cannot be measured: {problem}") from None
        if profile is None:
            raise UserError(f"{offered[0].name} has no dtype to measure: {'; '.join(lacking.values())}")
        return profile


def compare(
    a: PathGiven | Result,
    b: PathGiven | Result,
    *,
    backends: Sequence[str] = (),
    dtypes: Sequence[str] = (),
    pairs: Sequence[str] = (),
) -> ResultComparison:
    """Compare two results: verdicts, conventions, and for each number which side is how far from the exact truth.

    Args:
        a, b: results, or the paths of result files.
        backends, dtypes: only these, where some are given.
        pairs: "A=B", a backend, or BACKEND:DEVICE, of the first with one of the other; those that are the same by
            default.

    Returns:
        The comparison: its `pairs` have `verdicts`, `conventions` and `numbers`; `status` is 0 where only rounding
        differs, 1 where more does, 2 where no number could be compared.

    Raises:
        UserError: where a file cannot be read or compared, or a choice chooses nothing.
    """
    one, other = _read(a, "the first result"), _read(b, "the other result")
    check_choice(backends, dtypes, [subject for _, result in (one, other) for subject in subjects(result)])
    return comparing.compare(one, other, backends=backends, dtypes=dtypes, chosen=pairs)


def read_result(path: PathGiven) -> Result:
    """The result in a file that --json of a run wrote.

    Raises:
        UserError: where the file is missing, or is no result; one line says why.
    """
    return results.read(Path(path))


def _read(given: PathGiven | Result, words: str) -> tuple[str, Result]:
    return (words, given) if isinstance(given, Result) else (fspath(given), read_result(given))


# -- what the functions share ------------------------------------------------------------------------------------------


@contextmanager
def choose(
    backend: BackendGiven,
    in_process: bool | None,
    time_limit: float,
    memory_limit: float,
    python: PathGiven | None,
    run_in: str | Sequence[str] | None,
) -> Iterator[tuple[Selection, str]]:
    """The selection of one backend, with its key; its processes end with it. UserError for what makes no sense."""
    selection, key = selection_of(backend, in_process, time_limit, memory_limit, python, run_in)
    try:
        yield selection, key
    finally:
        selection.close()


def selection_of(
    backend: BackendGiven,
    in_process: bool | None,
    time_limit: float,
    memory_limit: float,
    python: PathGiven | None,
    run_in: str | Sequence[str] | None,
) -> tuple[Selection, str]:
    """The same, to be closed by the caller."""
    if isinstance(backend, str):
        if backend in EVERY:
            raise UserError("one backend is judged at a time; give its name")
        place = _settings(backend, time_limit, memory_limit, python, run_in)
        return Selection(WorkerPool(place), in_process=bool(in_process)), backend
    if in_process is False or python is not None or run_in is not None:
        raise UserError(
            "an adapter that is an object runs in this process; give FILE.py:CLASS or MODULE:CLASS "
            "to have it run in another"
        )
    adapter, key = _adapter(backend)
    return Selection(objects={key: adapter}), key


def _adapter(backend: Backend | type[Backend]) -> tuple[Backend, str]:
    """The adapter itself, and what --backend would be given for it."""
    made = backend if isinstance(backend, type) else type(backend)
    key = f"{made.__module__}:{made.__qualname__}"
    if not isinstance(backend, type):
        return backend, key
    try:
        return backend(), key
    except (Exception, SystemExit) as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"the backend {key} cannot be made: {words}; its class takes no arguments") from error


def _settings(
    key: str, time_limit: float, memory_limit: float, python: PathGiven | None, run_in: str | Sequence[str] | None
) -> Settings:
    found = settings(time_limit, memory_limit)
    if run_in is not None:
        command = tuple(shlex.split(run_in)) if isinstance(run_in, str) else tuple(run_in)
        return replace(found, run_in={key: command}, pythons={} if python is None else {key: fspath(python)})
    if python is not None:
        settings(time_limit, memory_limit, [f"B={fspath(python)}"])  # which refuses what is no interpreter
        found = replace(found, pythons={key: fspath(python)})
    return found


def select(
    selection: Selection, key: str, devices: Sequence[str] | str | None, dtypes: Sequence[str] | str | None
) -> tuple[Subject, ...]:
    """The subjects of a backend."""
    for word, given in (("devices", devices), ("dtypes", dtypes)):
        if isinstance(given, str) and given:
            raise UserError(f"{word} is the text {given!r}; give a list of names")
    keys, _ = selection.keys([key])
    return selection.subjects(keys, tuple(devices or ()), tuple(dtypes or ()))


def check_requirements(given: Sequence[str] | None) -> tuple[str, ...]:
    """The ids that were given, each once; () for none. UserError for one that does not exist."""
    if given is None:
        return ()
    if isinstance(given, str) or not given:
        raise UserError(f"requirements is {given!r}; give a list of ids such as ['BN-RUN-VAR']")
    try:
        return tuple(dict.fromkeys(requirement(name).id for name in given))
    except ValueError as problem:
        raise UserError(str(problem)) from None


def fails(verdict: str, of: str, level: str) -> bool:
    """Whether a verdict on a requirement of one level fails a run at the level that is asked for."""
    return verdict in (VIOLATES, CRASHED, UNTRUSTED) and LEVELS.index(of) <= LEVELS.index(level)
