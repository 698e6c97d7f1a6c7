"""Which implementations, devices and dtypes a run judges, and the sessions in which they run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bnconform.backends import registry
from bnconform.backends.registry import BackendError
from bnconform.backends.runner import loading
from bnconform.execution.recording import PREFIX, RecordedSession
from bnconform.execution.sessions import Description, InProcess, Session, describe_here, describe_object
from bnconform.execution.worker_pool import WorkerPool
from bnconform.judge.subject import Subject
from bnconform.results.visible import cut_names
from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.formats import DTYPES

TOOLS = "deployments"
"""What --backend takes for the everyday selection of tools that deploy models, asked in single precision."""

EVERY = {
    "all": registry.BUILTIN,
    TOOLS: {name: registry.DEPLOYMENTS[name] for name in registry.EVERYDAY},
    f"{TOOLS}:all": registry.DEPLOYMENTS,
}
"""What --backend takes for many: all layers of this package and of others, everyday tools, and all tools."""

MOST = 8
"""Backends whose devices a refusal lists."""


@dataclass
class Selection:
    """The backends that a run may judge.

    Attributes:
        pool: the processes in which they live. in_process: whether they live in this process instead.
        thorough: whether the subjects are asked every row of the covering array; recordings have the everyday ones.
        objects: adapters that are there already, by the key of each; they live in this process.
    """

    pool: WorkerPool = field(default_factory=WorkerPool)
    in_process: bool = False
    thorough: bool = False
    _recordings: dict[str, RecordedSession] = field(default_factory=dict)
    objects: dict[str, Any] = field(default_factory=dict)
    _subjects: dict[object, tuple[Subject, ...]] = field(default_factory=dict)
    _keys: dict[tuple[str, ...], tuple[list[str], dict[str, str]]] = field(default_factory=dict)
    _everyday: set[str] = field(default_factory=set)

    def keys(self, given: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """What --backend was given as single backends, and the ones of `all` that cannot run here, with the reason.

        Raises:
            BackendError: for a backend that was named and cannot be loaded.
        """
        if tuple(given) not in self._keys:
            self._keys[tuple(given)] = self._expand(given or ["numpy"])
        return self._keys[tuple(given)]

    def _expand(self, given: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        keys: list[str] = []
        left_out: dict[str, str] = {}
        for key in given:
            if key not in EVERY:
                keys.append(self._complete(key))
                continue
            for name, entry in EVERY[key].items():
                reason = "" if self.pool.settings.is_elsewhere(name) else registry.missing(entry)
                if reason:
                    left_out[name] = reason
                else:
                    keys.append(name)
            keys.extend(registry.find_entry_points() if key == "all" else ())
        if TOOLS in given:
            others = {name for key in given if key != TOOLS for name in EVERY.get(key, (key,))}
            self._everyday |= {*EVERY[TOOLS]} - others
        keys = list(dict.fromkeys(keys))
        if self.in_process:
            return keys, left_out
        away = [key for key in keys if key not in self.objects and not key.startswith(PREFIX)]
        self.pool.describe(away, registry.group)
        refused = {key: str(self.pool.described[key]["refused"]) for key in away if self.pool.is_refused(key)}
        for key, reason in refused.items():
            if key in map(self._complete, given):
                raise BackendError(reason)
            left_out[key] = reason
        return [key for key in keys if key not in refused], left_out

    def check_settings(self, given: Sequence[str]) -> None:
        """BackendError where an interpreter or a command is named for what is none of the backends that are given."""
        asked: list[str] = []
        for key in given:
            asked.extend(EVERY[key] if key in EVERY else [self._complete(key)])
            asked.extend(registry.find_entry_points() if key == "all" else ())
        self.pool.settings.check_names(asked)

    def _complete(self, key: str) -> str:
        return key if key in self.objects or key.startswith(PREFIX) else registry.complete_name(key)

    def description(self, key: str) -> Description:
        """What an adapter says of itself; BackendError where it cannot be loaded, or declares what does not exist."""
        if key.startswith(PREFIX):
            found = self.recording(key).description
        elif key in self.objects:
            found = describe_object(self.objects[key], key)
        elif self.in_process:
            found = describe_here(key)
            refusal = loading.find_refusal(key, found.devices()[0])
            if refusal:
                raise BackendError(refusal)
        else:
            if key not in self.pool.described:
                self.pool.describe([key], registry.group)
            found = self.pool.description(key)
        try:
            SPECIFIED.but(**found.deviations)
        except ValueError as problem:
            raise BackendError(f"the backend {key} declares a deviation that does not exist: {problem}") from None
        return found

    def recording(self, key: str) -> RecordedSession:
        """The recording that a key names."""
        return self._recordings.setdefault(key, RecordedSession(Path(key.removeprefix(PREFIX))))

    def session(self, key: str, device: str) -> Session:
        """What runs programs on a backend's layers."""
        if key.startswith(PREFIX):
            return self.recording(key)
        if key in self.objects:
            return InProcess(self.objects[key], device)
        return InProcess(loading.adapter(key), device) if self.in_process else self.pool.session(key, device)

    def subjects(self, keys: Sequence[str], devices: Sequence[str], dtypes: Sequence[str]) -> tuple[Subject, ...]:
        """Every subject of a run; BackendError for a device or dtype that does not exist."""
        place = tuple(map(self._complete, keys)), tuple(devices), tuple(dtypes)
        if place not in self._subjects:
            self._subjects[place] = self._choose(*place)
        return self._subjects[place]

    def _choose(self, keys: tuple[str, ...], devices: tuple[str, ...], dtypes: tuple[str, ...]) -> tuple[Subject, ...]:
        for dtype in dtypes:
            if dtype not in DTYPES:
                raise BackendError(f"unknown dtype {dtype!r}; choose from {', '.join(DTYPES)}")
        found: list[Subject] = []
        names: dict[tuple[str, str], str] = {}
        offered: dict[str, list[str]] = {}
        for key in keys:
            backend = self.description(key)
            recorded = key.startswith(PREFIX)
            here = backend.devices()
            for device in here:
                # What has one name is told apart by its devices: a CPU here, and what another machine has.
                other = names.setdefault((backend.name, device), key)
                if other != key:
                    place = f"{backend.name} on {device}" if recorded else backend.name
                    raise BackendError(f"{key} and {other} are both called {place}; give one of them another name")
            offered.setdefault(backend.name, []).extend(here)
            present = self.recording(key).dtypes if recorded else list(DTYPES)
            for device in here:
                if device in devices or not devices:
                    session = self.session(key, device)
                    asked = (registry.EVERYDAY_DTYPE,) if key in self._everyday else DTYPES
                    chosen = [dtype for dtype in dtypes or asked if dtype in present]
                    more = self.thorough and not recorded
                    found += [Subject(key, backend, device, dtype, session, thorough=more) for dtype in chosen]
        if not found and not devices:
            raise BackendError(f"{' and '.join(keys)}: nothing was recorded in {' or '.join(dtypes)}")
        for device in devices:
            # Of many backends, those take part that have the device.
            if not any(subject.device == device for subject in found):
                has = "; ".join(f"{cut_names([name])} has {cut_names(its)}" for name, its in [*offered.items()][:MOST])
                raise BackendError(f"{cut_names([*offered])} has no device {device!r} here: {has}")
        return tuple(found)

    def close(self) -> None:
        """End every process that was started."""
        self.pool.close()


def once_each(subjects: Sequence[Subject]) -> list[Subject]:
    """One subject for each backend and device, in the first dtype that the backend has."""
    found: dict[tuple[str, str], Subject] = {}
    for subject in subjects:
        place = (subject.name, subject.device)
        before = found.get(place)
        if before is None or (before.dtype in before.unsupported and subject.dtype not in subject.unsupported):
            found[place] = subject
    return list(found.values())
