"""Each implementation in a process of its own, so that one that dies, hangs or eats memory costs its own checks only.

The process (`execution.worker`) may be of another interpreter, whose environment holds a framework that cannot share
one with others. A process that dies is started again for the next check; after too many deaths the rest of its checks
are not asked.
"""

from __future__ import annotations

import atexit
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bnconform
from bnconform.backends.registry import BackendError
from bnconform.judge.check import Check, Unsupported, Violation
from bnconform.judge.outcome import CRASHED, Outcome
from bnconform.render import messages
from bnconform.results.failure import VIOLATION, Failure

START = """
import importlib.machinery, importlib.util, json, sys
path, places = json.loads(sys.argv[1])
sys.path[:0] = path
spec = importlib.machinery.ModuleSpec("bnconform", None, is_package=True)
spec.submodule_search_locations = places
sys.modules["bnconform"] = importlib.util.module_from_spec(spec)
from bnconform.execution.worker import main
main()
"""
"""What the process runs. It is told where our packages are, so that nothing else of that place is importable there."""

LOADING = 300.0
"""Seconds in which an adapter must have loaded its framework and said what devices there are."""

SMOKING = 60.0
"""Seconds for the smoke check of one adapter; an implementation that takes longer is judged all the same."""

IN_A_ROW, DEATHS, HANGS = 5, 50, 3
"""How often an implementation's process may die, without an answer in between and in all, and how often it may run into
the time limit, before it is not asked any more."""

POLL = 0.25
"""Seconds between two looks at a silent process's memory."""


@dataclass
class Settings:
    """How implementations are run.

    Attributes:
        seconds: in which a check must be done. memory: bytes that the process may hold (on Linux, where it is read).
        pythons: the interpreter for a backend and its variants (NAME+...), by its name; others run under this one.
    """

    seconds: float = 300.0
    memory: float = 0.0
    pythons: Mapping[str, str] = field(default_factory=dict)


SETTINGS = Settings()


def settings(seconds: float, gibibytes: float, pythons: Iterable[str]) -> Settings:
    """The settings that the options give; BackendError for one that makes no sense."""
    if not seconds > 0 or not gibibytes >= 0:
        raise BackendError(f"--time-limit {seconds:g} --memory-limit {gibibytes:g}: give numbers above 0")
    named: dict[str, str] = {}
    for given in pythons:
        name, equals, path = given.partition("=")
        if not equals or not os.access(path, os.X_OK):
            raise BackendError(f"--python {given!r} is not B=PATH, a backend and the interpreter that runs it")
        named[name] = path
    return Settings(seconds, gibibytes * 2**30, named)


class Died(Exception):
    """The process is gone; the text says how, and whether it `hung`."""

    def __init__(self, text: str, *, hung: bool = False) -> None:
        super().__init__(text)
        self.hung = hung


class InternalError(Exception):
    """The suite is at fault; the text is the traceback from the other process."""


@dataclass(frozen=True)
class Described:
    """An adapter as it describes itself from its own process; stands for the backend in this one."""

    name: str
    deviations: Mapping[str, str]
    unsupported: Mapping[str, str]
    unsupported_on: Mapping[str, Mapping[str, str]]
    documented: Mapping[str, str]
    slow_to_start: bool
    offered: Mapping[str, str]
    packages: Mapping[str, str]

    def devices(self) -> list[str]:
        """The devices, the CPU first."""
        return list(self.offered)

    def describe_device(self, device: str) -> str:
        """What the device is."""
        return self.offered[device]


class Host:
    """A running process of `bnconform.execution.worker`."""

    def __init__(self, python: str) -> None:
        path = [] if python != sys.executable else [place for place in sys.path if place]
        # What the command sets for pytest-xdist is not for programs of the user's, which find what lies beside them.
        ours = ("PYTHONSAFEPATH", "bnconform")
        self.said = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the process
        self.process = subprocess.Popen(
            [python, "-P", "-c", START, json.dumps([path, list(bnconform.__path__)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            encoding="utf-8",
            env=dict(item for item in os.environ.items() if item != ours),
            start_new_session=True,  # an interrupt from the keyboard is for the process that reports
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("")

    def send(self, request: Mapping[str, Any]) -> None:
        """Ask."""
        assert self.process.stdin is not None
        with suppress(OSError):  # a process that is gone is noticed by its silence
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()

    def receive(self, seconds: float) -> dict[str, Any]:
        """The next answer; Died where none comes in time."""
        end = time.monotonic() + seconds
        while True:
            try:
                line = self.lines.get(timeout=max(min(POLL, end - time.monotonic()), 0.001))
            except queue.Empty:
                self._look(end, seconds)
                continue
            if line:
                answer: dict[str, Any] = json.loads(line)
                if "lost" in answer:
                    raise Died(answer["lost"], hung=answer["hung"])
                return answer
            raise Died(self._last_words())

    def _look(self, end: float, seconds: float) -> None:
        if time.monotonic() > end:
            self.close()
            raise Died(f"no answer within {seconds:g} s (--time-limit)", hung=True)
        held = resident(self.process.pid)
        if SETTINGS.memory and held > SETTINGS.memory:
            self.close()
            limit = f"--memory-limit {SETTINGS.memory / 2**30:g}"
            raise Died(f"the process held {held / 2**30:.1f} GiB of memory ({limit})")

    def _last_words(self) -> str:
        status = self.process.wait()
        how = f"the process ended with status {status}"
        if status < 0:
            with suppress(ValueError):
                how = f"the process died of {signal.Signals(-status).name}"
        self.said.seek(0, os.SEEK_END)
        self.said.seek(max(self.said.tell() - 2000, 0))
        lines = [line.strip() for line in self.said.read().decode(errors="replace").splitlines() if line.strip()]
        return f"{how}; its last words: {lines[-1][:300]}" if lines else how

    def close(self) -> None:
        """End the process, and what it has started."""
        if self.process.poll() is None:
            with suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.reader.join(5)
        for stream in (self.process.stdin, self.process.stdout, self.said):
            if stream is not None:
                with suppress(OSError):  # what could not be written to a process that is gone
                    stream.close()


def resident(pid: int) -> int:
    """The bytes of memory that a process holds; 0 where the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


# -- descriptions -----------------------------------------------------------------------------------------------------

DESCRIBED: dict[str, dict[str, Any]] = {}
"""What each adapter said of itself, or {"refused": why}, by what --backend was given; JSON-ready."""


def describe(keys: Iterable[str], group: Callable[[str], str]) -> None:
    """Fill DESCRIBED for these keys; those of one group are loaded by one process."""
    groups: dict[tuple[str, str], list[str]] = {}
    for key in keys:
        if key not in DESCRIBED:
            groups.setdefault((interpreter(key), group(key)), []).append(key)
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for told in pool.map(_described, groups, groups.values()):
            DESCRIBED.update(told)


def _described(place: tuple[str, str], keys: list[str]) -> dict[str, dict[str, Any]]:
    try:
        host = Host(place[0])
    except OSError as problem:
        return {key: {"refused": f"the backend {key} cannot run: {place[0]}: {problem.strerror}"} for key in keys}
    try:
        host.send({"do": "describe", "keys": keys})
        told = host.receive(LOADING)
        for key in keys:
            if "refused" not in told[key]:
                host.send({"do": "smoke", "key": key, "device": next(iter(told[key]["devices"]))})
                try:
                    told[key].update(host.receive(SMOKING))
                except Died:  # for the suite to tell: it is no fault of an adapter
                    host.close()
                    host = Host(place[0])
        return told
    except Died as how:
        if len(keys) > 1:  # one of them is to blame: each by itself
            return {name: told for key in keys for name, told in _described(place, [key]).items()}
        return {keys[0]: {"refused": f"the backend {keys[0]} cannot be loaded: {how}"}}
    finally:
        host.close()


def refused(key: str) -> bool:
    """Whether an adapter could not be loaded."""
    return "refused" in DESCRIBED.get(key, {})


def described(key: str) -> Described:
    """The adapter that a key names, as it described itself."""
    told = dict(DESCRIBED[key])
    return Described(offered=told.pop("devices"), **told)


def interpreter(key: str) -> str:
    """The interpreter under which a backend runs: the one named for it, or for what it is a variant of."""
    return SETTINGS.pythons.get(key) or SETTINGS.pythons.get(key.partition("+")[0], sys.executable)


def interpreted_elsewhere(key: str) -> bool:
    """Whether a backend runs under an interpreter that was named for it."""
    return interpreter(key) != sys.executable


def ask(key: str, request: Mapping[str, Any], seconds: float = LOADING) -> dict[str, Any]:
    """One question to a backend in a process that is started for it; {"reason": how it died} where it did."""
    host = Host(interpreter(key))
    try:
        host.send({"key": key, **request})
        return host.receive(seconds)
    except Died as how:
        return {"reason": str(how)}
    finally:
        host.close()


# -- checks -----------------------------------------------------------------------------------------------------------

_RUNNING: dict[str, Host] = {}
_DEATHS: Counter[str] = Counter()
_HANGS: Counter[str] = Counter()
_IN_A_ROW: Counter[str] = Counter()
_UNEXPLAINED: set[str] = set()


def _host(key: str) -> Host:
    """The process of this backend; only one is kept, since frameworks are large."""
    if key not in _RUNNING:
        close()
        _RUNNING[key] = Host(interpreter(key))
    return _RUNNING[key]


@atexit.register
def close() -> None:
    """End the process that is running."""
    while _RUNNING:
        _RUNNING.popitem()[1].close()


def conduct(made: Check, module: str, test: str) -> None:
    """Run a check in its backend's process and take over what it recorded.

    Raises Violation or Unsupported as the check did, and InternalError where the suite itself failed.
    """
    __tracebackhide__ = True
    key = made.subject.key
    if _DEATHS[key] >= DEATHS or _HANGS[key] >= HANGS or _IN_A_ROW[key] >= IN_A_ROW:
        _crashed(made, f"not asked, because the process has died {_DEATHS[key]} times before")
    host = _host(key)
    # In a clone pytest calls a module by its folder alone, tests.conformance.test_x.
    module = f"bnconform.{module.removeprefix('bnconform.')}"
    host.send(
        {
            "do": "check", "key": key, "device": made.subject.device, "dtype": made.subject.dtype, "module": module,
            "test": test, "requirement": made.requirement.id, "case": made.case.name if made.case else None,
            "folder": str(made.folder) if made.folder else None, "explain": key not in _UNEXPLAINED,
        }
    )  # fmt: skip
    try:
        told = host.receive(SETTINGS.seconds)
        for outcome in told["outcomes"]:
            if outcome["backend"] != made.subject.name:
                raise Died(f"it calls itself {outcome['backend']} here, and {made.subject.name} when first asked")
    except Died as how:
        _bury(key, how)
        _crashed(made, str(how))
    _IN_A_ROW[key] = 0
    made.outcomes = [Outcome(**outcome) for outcome in told["outcomes"]]
    made.subject.clock.calls += told["calls"]
    made.subject.clock.seconds += told["seconds"]
    if told["ended"] == "violation" and key not in _UNEXPLAINED:
        try:
            made.outcomes[-1] = Outcome(**host.receive(SETTINGS.seconds)["outcome"])
        except Died as how:
            # It died, or took too long, in what the search for an explanation asked; the verdict stands without one.
            _bury(key, how)
            _UNEXPLAINED.add(key)
    if told["ended"] == "unsupported":
        raise Unsupported(told["text"])
    if told["ended"] == "internal":
        raise InternalError(told["text"])
    if told["ended"] != "held":
        raise Violation(made.outcomes[-1].message)


def _bury(key: str, how: Died) -> None:
    _DEATHS[key] += 1
    _IN_A_ROW[key] += 1
    _HANGS[key] += how.hung
    close()


def _crashed(made: Check, how: str) -> None:
    __tracebackhide__ = True
    subject, rule = made.subject, made.requirement
    case = f" ({made.case.name})" if made.case else ""
    failure = Failure(
        VIOLATION, CRASHED, rule.id, rule.level, rule.title, messages.sources(rule),
        subject.name, subject.device, subject.dtype, subject.key, problems=(f"{how}{case}",),
    )  # fmt: skip
    text = messages.message(failure)
    made.outcomes = [
        Outcome(
            subject.name, subject.device, subject.dtype, rule.id, rule.level, CRASHED,
            checks=1, headline=how, message=text, failure=failure,
        )
    ]  # fmt: skip
    raise Violation(text)
