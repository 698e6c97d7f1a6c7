"""The worker pool: each implementation in a process of its own, so that one that dies costs its own programs only.

Of the workers that run programs one is kept at a time, since frameworks are large. A worker that dies is replaced for
the next program.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bnconform.backends.registry import BackendError
from bnconform.cases.program import Program
from bnconform.execution import bundle
from bnconform.execution.deaths import Deaths
from bnconform.execution.deployment_trace import DeploymentRequest, DeploymentTrace, deployment_trace
from bnconform.execution.printable import printable
from bnconform.execution.process_tree import end_marked
from bnconform.execution.sessions import LONGEST, Description, plain
from bnconform.execution.settings import Settings
from bnconform.execution.trace import Trace, UnreadableTrace, from_data, lose_trace
from bnconform.execution.worker import CannotStart, Died, Worker

SMOKING = 60.0
"""Seconds for the smoke check of one adapter, at most; an implementation that takes longer is judged all the same."""

SWEEPING = 0.1
"""Seconds between two looks for what is left of a run that was interrupted."""

AHEAD, BYTES_AHEAD = 6, 2**22
"""Programs, and bytes of their inputs, that may be under way before they are asked for."""


@dataclass
class WorkerPool:
    """The workers of one run.

    Attributes:
        described: what each adapter said of itself, or {"refused": why}, by what --backend was given; JSON-ready.
        mark: of everything that the run starts, in all of its processes; `sweep` ends what bears it.
    """

    settings: Settings = field(default_factory=Settings)
    described: dict[str, dict[str, Any]] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    _starting: set[Worker] = field(default_factory=set)
    _is_ended: bool = False
    _swept: threading.Event = field(default_factory=threading.Event)
    _workers: dict[str, Worker] = field(default_factory=dict)
    _deaths: dict[str, Deaths] = field(default_factory=dict)
    _sessions: dict[tuple[str, str], WorkerSession] = field(default_factory=dict)

    def describe(self, keys: Iterable[str], group: Callable[[str], str]) -> None:
        """Ask adapters what they are; those of one group are loaded by one process."""
        groups: dict[tuple[object, ...], list[str]] = {}
        for key in keys:
            if key not in self.described:
                place = self.settings.command(key), self.settings.interpreter(key), group(key)
                groups.setdefault(place, []).append(key)
        if len(groups) < 2:
            for keys_of_one in groups.values():
                self.described.update(self._describe(keys_of_one))
            return
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            try:
                for found in pool.map(self._describe, groups.values()):
                    self.described.update(found)
            except BaseException as problem:  # an interrupt waits for nobody
                self._is_ended = not isinstance(problem, RuntimeError)
                for worker in list(self._starting):
                    worker.close()
                pool.shutdown(wait=False, cancel_futures=True)
                if self._is_ended:
                    raise
        for keys_of_one in groups.values():  # where no thread could be started
            if keys_of_one[0] not in self.described:
                self.described.update(self._describe(keys_of_one))

    def _describe(self, keys: list[str]) -> dict[str, dict[str, Any]]:
        worker: Worker | None = None
        found: dict[str, dict[str, Any]] = {}
        try:
            worker = self._start(keys[0])
            worker.ask({"do": "describe", "keys": keys})
            told: Any = worker.reply().get("described")
            for key in keys:
                try:
                    found[key] = plain(told[key])
                except (KeyError, TypeError, ValueError) as problem:
                    text = f"the backend {key} cannot be loaded: what it says of itself is no description: {problem}"
                    found[key] = {"refused": printable(text)}
                if "refused" not in found[key]:
                    worker = self._smoke(worker, key, found[key])
            return found
        except CannotStart as problem:
            return {key: {"refused": str(problem).replace(keys[0], key, 1)} for key in keys} | found
        except Died as how:
            if len(keys) > 1 and not self._is_ended:  # one of them is to blame: each by itself
                return {name: told for key in keys for name, told in self._describe([key]).items()}
            return {key: {"refused": self._why_not(key, worker, how)} for key in keys}
        finally:
            if worker is not None:
                self._close(worker)

    def _start(self, key: str) -> Worker:
        """A process for a while; `_close` ends it."""
        worker = Worker(self.settings, key, self.mark)
        self._starting.add(worker)
        if self._is_ended:
            worker.close()
        return worker

    def _close(self, worker: Worker) -> None:
        worker.close()
        self._starting.discard(worker)

    def _smoke(self, worker: Worker, key: str, description: dict[str, Any]) -> Worker:
        """Make the smoke check and enter its refusal; the worker that goes on."""
        try:
            worker.ask({"do": "smoke", "key": key, "device": next(iter(description["devices"]))})
            refused = worker.reply(min(SMOKING, self.settings.seconds)).get("refused")
            if refused:
                description["refused"] = printable(refused)
        except Died:  # for the suite to tell: it is no fault of an adapter
            self._close(worker)
            return self._start(key)
        return worker

    def _why_not(self, key: str, worker: Worker | None, how: Died) -> str:
        python = self.settings.interpreter(key)
        if worker is not None and worker.status == bundle.LACKING:
            needs = (worker.last_words(1) or ["packages"])[0]
            packages = " ".join(bundle.NEEDS)
            return f"the backend {key} cannot run: {python} lacks {needs}; run {python} -m pip install {packages}"
        return f"the backend {key} cannot be loaded: {how}"

    def is_refused(self, key: str) -> bool:
        """Whether an adapter could not be loaded."""
        return "refused" in self.described.get(key, {})

    def description(self, key: str) -> Description:
        """The adapter that a key names, as it described itself; BackendError where it could not be loaded."""
        if self.is_refused(key):
            raise BackendError(str(self.described[key]["refused"]))
        return Description.of(self.described[key])

    def session(self, key: str, device: str) -> WorkerSession:
        """A backend on a device."""
        return self._sessions.setdefault((key, device), WorkerSession(self, key, device))

    def deaths(self, key: str) -> Deaths:
        """What a backend's processes have died of."""
        return self._deaths.setdefault(key, Deaths())

    def worker(self, key: str) -> Worker:
        """The process of a backend; the one of another is ended for it. CannotStart where there can be none."""
        if key not in self._workers:
            self.close()
            self._workers[key] = Worker(self.settings, key, self.mark)
        return self._workers[key]

    def close(self) -> None:
        """End every worker."""
        while self._workers:
            self._workers.popitem()[1].close()
        for session in self._sessions.values():
            session.forget()

    def keep_sweeping(self) -> None:
        """End whatever the run has started, in other processes too, and what these start still, until `sweep`."""

        def end_all() -> None:
            while not self._swept.wait(SWEEPING):
                end_marked(self.mark)

        end_marked(self.mark)
        with suppress(RuntimeError):  # no thread is left
            threading.Thread(target=end_all, daemon=True).start()

    def sweep(self) -> None:
        """End whatever the run has left, in processes that could not end it themselves."""
        self._swept.set()
        self.close()
        end_marked(self.mark)


@dataclass
class WorkerSession:
    """One backend on one device, in a worker; see `bnconform.execution.sessions.Session`."""

    pool: WorkerPool
    key: str
    device: str
    _under_way: list[Program] = field(default_factory=list)
    _ready: list[tuple[Program, Trace]] = field(default_factory=list)

    def run(self, program: Program) -> Trace:
        """What a program shows on a new layer; a process that dies of it is in the trace."""
        found = self._take(program)
        if found is not None:
            return found
        refusal = self.pool.deaths(self.key).refusal(program)
        if refusal:
            return lose_trace(program, refusal)
        try:
            if all(program is not other for other in self._under_way):
                self._send(program)
            while (found := self._take(program)) is None:
                self._receive()
        except Died as how:
            if self._under_way:
                culprit = self._under_way[0]
                self._bury(culprit, how)
                if culprit is not program:
                    self._ready.append((culprit, lose_trace(culprit, str(how))))
                    return self.run(program)
            return lose_trace(program, str(how))
        return found

    def ahead(self, programs: Iterable[Program]) -> None:
        """Let these be under way, as far as they are few and small."""
        deaths = self.pool.deaths(self.key)
        programs = list(programs)
        # What was sent for a check that another process has made will not be asked for.
        self._ready = [(other, trace) for other, trace in self._ready if any(other is one for one in programs)]
        with suppress(Died, CannotStart):  # what it is, whoever needs an answer hears
            for program in programs:
                known = [*self._under_way, *(other for other, _ in self._ready)]
                size = sum(other.nbytes for other in (*known, program))
                if len(known) >= AHEAD or size > BYTES_AHEAD:
                    return
                if all(program is not other for other in known) and not deaths.refusal(program):
                    self._send(program)

    def deploy(self, request: DeploymentRequest) -> DeploymentTrace:
        """What a tool makes of a model; a process that dies of it is in the trace."""
        try:
            worker = self.pool.worker(self.key)
            worker.ask({"do": "deploy", "key": self.key, "device": self.device, **request.message()})
            message = worker.reply()
            self._check_name(message)
            try:
                return deployment_trace(request, message.get("deployed"))
            except UnreadableTrace as problem:
                raise Died(str(problem), "sent what is no trace", breach=True) from None
        except Died as how:
            self.pool.close()
            return DeploymentTrace(ended=str(how))

    def forget(self) -> None:
        """Drop what was under way: its worker is gone."""
        self._under_way.clear()

    def _send(self, program: Program) -> None:
        worker = self.pool.worker(self.key)
        self._under_way.append(program)
        worker.ask({"do": "run", "key": self.key, "device": self.device, "program": program.message()})

    def _receive(self) -> None:
        """Take the reply to the program that is longest under way."""
        worker = self.pool.worker(self.key)
        message = worker.reply()
        program = self._under_way[0]
        self._check_name(message)
        try:
            trace = from_data(program, message.get("trace"))
        except UnreadableTrace as problem:
            raise Died(str(problem), "sent what is no trace", breach=True) from None
        self._under_way.pop(0)
        self.pool.deaths(self.key).note_answer(program)
        self._ready.append((program, trace))

    def _check_name(self, message: Mapping[str, Any]) -> None:
        """Died where the other side calls itself otherwise than it did at first."""
        name, before = printable(message.get("name"))[:LONGEST], self.pool.described.get(self.key, {}).get("name")
        if before not in (None, name):
            text = f"it calls itself {name} here, and {before} when first asked"
            raise Died(text, "another name than at first", breach=True)

    def _bury(self, culprit: Program, how: Died) -> None:
        self.pool.deaths(self.key).note_death(culprit, how)
        self.pool.close()

    def _take(self, program: Program) -> Trace | None:
        for place, (other, trace) in enumerate(self._ready):
            if other is program:
                del self._ready[place]
                return trace
        return None
