"""Which implementations, devices and dtypes a run judges."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from backends import registry
from backends.registry import BackendError
from spec.formats import DTYPES

from .subject import Subject, check_adapter, devices_of


@cache
def adapter(given: str) -> Any:
    """The adapter that `given` names, checked against its contract; loaded once a process."""
    backend = registry.load(given)
    check_adapter(backend, given)
    return backend


def chosen(given: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """What --backend was given as single backends, and the ones of `all` that cannot run here, with the reason."""
    keys: list[str] = []
    left_out: dict[str, str] = {}
    for key in given or ["numpy"]:
        if key != "all":
            keys.append(key)
            continue
        for name, entry in registry.BUILTIN.items():
            reason = registry.missing(entry)
            if reason:
                left_out[name] = reason
            else:
                keys.append(name)
        keys.extend(registry.offered())
    return list(dict.fromkeys(keys)), left_out


@cache
def subjects(keys: tuple[str, ...], devices: tuple[str, ...], dtypes: tuple[str, ...]) -> tuple[Subject, ...]:
    """Every subject of a run; BackendError for a device or dtype that does not exist."""
    for dtype in dtypes:
        if dtype not in DTYPES:
            raise BackendError(f"unknown dtype {dtype!r}; choose from {', '.join(DTYPES)}")
    found = []
    names: dict[str, str] = {}
    for key in keys:
        backend = adapter(key)
        if names.setdefault(backend.name, key) != key:
            raise BackendError(
                f"{key} and {names[backend.name]} are both called {backend.name}; give one of them another name"
            )
        offered = devices_of(backend, key)
        unknown = [device for device in devices if device not in offered]
        if unknown:
            raise BackendError(f"{backend.name} has no device {unknown[0]!r} here; it has {', '.join(offered)}")
        for device in devices or offered:
            for dtype in dtypes or DTYPES:
                found.append(Subject(key, backend, device, dtype))
    return tuple(found)
