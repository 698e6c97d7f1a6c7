"""Which implementations, devices and dtypes a run judges, and which of them run in a process of their own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from bnconform.backends import registry
from bnconform.backends.registry import BackendError
from bnconform.execution import worker_pool
from bnconform.execution.smoke import smoke
from bnconform.judge.subject import Subject, check_adapter, devices_of
from bnconform.spec.formats import DTYPES


@cache
def adapter(given: str) -> Any:
    """The adapter that `given` names, checked against its contract; loaded once a process."""
    backend = registry.load(given)
    check_adapter(backend, given)
    return backend


@cache
def smoked(given: str, device: str) -> None:
    """Make the smoke check of a backend's adapter, once a process; BackendError where the adapter is broken."""
    subject = Subject(given, adapter(given), device, DTYPES[0])
    smoke(subject.backend, given, device, unsupported=subject.unsupported, slow=subject.slow)


def chosen(given: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """What --backend was given as single backends, and the ones of `all` that cannot run here, with the reason."""
    keys: list[str] = []
    left_out: dict[str, str] = {}
    for key in given or ["numpy"]:
        if key != "all":
            keys.append(key)
            continue
        for name, entry in registry.BUILTIN.items():
            reason = "" if worker_pool.interpreted_elsewhere(name) else registry.missing(entry)
            if reason:
                left_out[name] = reason
            else:
                keys.append(name)
        keys.extend(registry.offered())
    return list(dict.fromkeys(keys)), left_out


def isolated(given: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The same for a run in processes of their own: what cannot be loaded there is left out of `all`, too.

    Raises BackendError for a backend that was named and cannot be loaded.
    """
    keys, left_out = chosen(given)
    worker_pool.describe((key for key in keys if registry.is_foreign(key)), registry.group)
    refused = {key: worker_pool.DESCRIBED[key]["refused"] for key in keys if worker_pool.refused(key)}
    for key, reason in refused.items():
        if key in given:
            raise BackendError(reason)
        left_out[key] = reason
    return [key for key in keys if key not in refused], left_out


@cache
def subjects(
    keys: tuple[str, ...], devices: tuple[str, ...], dtypes: tuple[str, ...], *, isolate: bool = False
) -> tuple[Subject, ...]:
    """Every subject of a run; BackendError for a device or dtype that does not exist.

    Args:
        isolate: whether those that are not this package's own code run in another process; see `isolated`.
    """
    for dtype in dtypes:
        if dtype not in DTYPES:
            raise BackendError(f"unknown dtype {dtype!r}; choose from {', '.join(DTYPES)}")
    found = []
    names: dict[str, str] = {}
    offered: dict[str, list[str]] = {}
    for key in keys:
        elsewhere = isolate and registry.is_foreign(key)
        backend = worker_pool.described(key) if elsewhere else adapter(key)
        if names.setdefault(backend.name, key) != key:
            raise BackendError(
                f"{key} and {names[backend.name]} are both called {backend.name}; give one of them another name"
            )
        offered[backend.name] = devices_of(backend, key)
        if not elsewhere:  # the others have been through it in their own process
            smoked(key, offered[backend.name][0])
        for device in offered[backend.name]:
            if device in devices or not devices:
                found += [Subject(key, backend, device, dtype, isolated=elsewhere) for dtype in dtypes or DTYPES]
    for device in devices:
        # Of many backends, those take part that have the device.
        if not any(subject.device == device for subject in found):
            has = "; ".join(f"{name} has {', '.join(its)}" for name, its in offered.items())
            raise BackendError(f"{' and '.join(offered)} has no device {device!r} here: {has}")
    return tuple(found)


def once_each(subjects: Sequence[Subject]) -> list[Subject]:
    """One subject for each backend and device, in the first dtype that the backend has."""
    found: dict[tuple[str, str], Subject] = {}
    for subject in subjects:
        place = (subject.name, subject.device)
        before = found.get(place)
        if before is None or (before.dtype in before.unsupported and subject.dtype not in subject.unsupported):
            found[place] = subject
    return list(found.values())
