"""How implementations are run: limits, interpreters, and commands behind which their processes start."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from bnconform.backends.registry import BackendError
from bnconform.results.visible import cut_names

Named = TypeVar("Named")


@dataclass(frozen=True)
class Settings:
    """How implementations are run.

    Attributes:
        seconds: in which a program must be done. memory: bytes that a process and its children may hold.
        pythons: the interpreter for a backend and its variants (NAME+...), by its name; others run under this one.
        run_in: the command behind which a backend's process starts, by its name: ssh, a container, another environment.
    """

    seconds: float = 300.0
    memory: float = 0.0
    pythons: Mapping[str, str] = field(default_factory=dict)
    run_in: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def interpreter(self, key: str) -> str:
        """The interpreter under which a backend runs: the one named for it, or for what it is a variant of."""
        return _find_named(self.pythons, key) or ("python3" if self.command(key) else sys.executable)

    def command(self, key: str) -> tuple[str, ...]:
        """The command behind which a backend's process starts; () for none."""
        return _find_named(self.run_in, key) or ()

    def is_elsewhere(self, key: str) -> bool:
        """Whether a backend runs in an environment that was named for it."""
        return bool(self.command(key)) or self.interpreter(key) != sys.executable

    def check_names(self, keys: Iterable[str]) -> None:
        """BackendError where an interpreter or a command is named for none of these backends, and so would be lost."""
        asked = list(keys)
        known = {name for key in asked for name in _names_of(key)}
        for option, given in (("--python", self.pythons), ("--run-in", self.run_in)):
            for name in given:
                if name not in known:
                    raise BackendError(
                        f"{option} {name}=... is for a backend that is not asked here; asked: {cut_names(asked)}"
                    )


def _names_of(key: str) -> tuple[str, str, str]:
    """What a backend may be called where something is named for it: itself, what it is a variant of, its file."""
    return key, key.partition("+")[0], key.rpartition(":")[0]


def _find_named(given: Mapping[str, Named], key: str) -> Named | None:
    return next((given[name] for name in _names_of(key) if name in given), None)


def _pairs(option: str, what: str, given: Iterable[str]) -> dict[str, str]:
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not value or not name:
            raise BackendError(f"{option} {text!r} is not B={what}")
        found[name] = value
    return found


def settings(seconds: float, gibibytes: float, pythons: Iterable[str] = (), run_in: Iterable[str] = ()) -> Settings:
    """The settings that the options give; BackendError for one that makes no sense."""
    if not seconds > 0 or not gibibytes >= 0:
        raise BackendError(f"--time-limit {seconds:g} --memory-limit {gibibytes:g}: give numbers above 0")
    commands: dict[str, tuple[str, ...]] = {}
    for name, text in _pairs("--run-in", "COMMAND, a backend and what its process is started behind", run_in).items():
        try:
            commands[name] = tuple(shlex.split(text))
        except ValueError as problem:
            raise BackendError(f"--run-in {name}={text}: no command ({problem}); quote it as for a shell") from None
    named = _pairs("--python", "PATH, a backend and the interpreter that runs it", pythons)
    for name, path in named.items():
        if name not in commands and not os.access(path, os.X_OK):
            given = f"{name}={path}"
            raise BackendError(f"--python {given!r} is not B=PATH, a backend and the interpreter that runs it")
    return Settings(seconds, gibibytes * 2**30, named, commands)
