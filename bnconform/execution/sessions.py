"""Sessions: what runs programs on one backend's layers on one device, and gives traces.

`InProcess` runs them here, for a debugger and for implementations that are the suite's own; the others speak with a
process (`bnconform.execution.worker_pool`) or look into a recording (`bnconform.execution.recording`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from bnconform.backends.registry import BackendError
from bnconform.backends.runner import deployments, loading, programs
from bnconform.cases.program import Program
from bnconform.execution.deployment_trace import DeploymentRequest, DeploymentTrace, deployment_trace
from bnconform.execution.printable import printable
from bnconform.execution.trace import Trace, from_data, lose_trace


@dataclass(frozen=True)
class Description:
    """What an adapter says of itself.

    Attributes:
        name: the implementation's. deviations, unsupported, unsupported_on, documented: as the contract has them.
        slow_to_start: whether each new configuration or shape costs time. shapes_cost_time: whether a new shape does.
        offered: what each device is, by its name, the CPU first.
        packages: version by distribution, in the environment where it runs.
        deployment: whether it deploys models (`bnconform.backends.deployments`), and has no layers.
        takes_long: whether each model takes such a tool ten seconds and more.
        lower_precision: to which dtype such a tool rounds by default, by that of the model.
    """

    name: str
    deviations: Mapping[str, str] = field(default_factory=dict)
    unsupported: Mapping[str, str] = field(default_factory=dict)
    unsupported_on: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    documented: Mapping[str, str] = field(default_factory=dict)
    slow_to_start: bool = False
    shapes_cost_time: bool = False
    offered: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    deployment: bool = False
    takes_long: bool = False
    lower_precision: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Description:
        """From what the other side says (`bnconform.backends.runner.loading.description`)."""
        words = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        return cls(**words, offered=data["devices"])

    def devices(self) -> list[str]:
        """The devices, the CPU first."""
        return list(self.offered)


class Session(Protocol):
    """One backend on one device."""

    def run(self, program: Program) -> Trace:
        """What a program shows on a new layer."""
        ...

    def ahead(self, programs: Iterable[Program]) -> None:
        """Let these be under way, as they will be asked for, in this order; nothing where that cannot be."""
        ...


class DeploymentSession(Protocol):
    """A tool that deploys models, on one device."""

    def deploy(self, request: DeploymentRequest) -> DeploymentTrace:
        """What it makes of a model, and what that predicts."""
        ...


@dataclass
class InProcess:
    """An adapter's layers, or its deployments, in this very process."""

    backend: Any
    device: str = "cpu"

    def run(self, program: Program) -> Trace:
        """What a program shows; arrays may be the implementation's own copies."""
        return from_data(program, programs.execute(self.backend, self.device, program.message()))

    def ahead(self, programs: Iterable[Program]) -> None:
        """Nothing: here one thing is done after the other."""

    def deploy(self, request: DeploymentRequest) -> DeploymentTrace:
        """What a tool makes of a model."""
        return deployment_trace(request, deployments.deploy(self.backend, self.device, request.message()))


@dataclass
class Gone:
    """A backend that cannot be asked any more, whatever the reason."""

    how: str

    def run(self, program: Program) -> Trace:
        """Nothing, and why."""
        return lose_trace(program, self.how)

    def ahead(self, programs: Iterable[Program]) -> None:
        """Nothing."""


WORDS = ("deviations", "unsupported", "documented", "devices", "packages", "lower_precision")
"""What a description has as words to words, by name."""

LONGEST = 200
"""Characters of a name."""


def plain(told: Any) -> dict[str, Any]:
    """A description as the other side sent it, of plain values and printable texts only; or {"refused": why}.

    Raises:
        KeyError, TypeError, ValueError: where it is none.
    """
    if not isinstance(told, dict):
        raise TypeError(f"a {type(told).__name__}")
    if "refused" in told:
        return {"refused": printable(told["refused"])}
    found: dict[str, Any] = {name: _words(name, told.get(name, {})) for name in WORDS}
    here = told.get("unsupported_on", {})
    if not isinstance(here, dict):
        raise TypeError("unsupported_on is no dict")
    found["unsupported_on"] = {printable(kind): _words("unsupported_on", value) for kind, value in here.items()}
    for name in ("name", "python", "platform"):
        if not isinstance(told[name], str) or not (text := printable(told[name])):
            raise ValueError(f"{name} is no text")
        found[name] = text[:LONGEST]
    if not found["devices"]:
        raise ValueError("no devices")
    for name in ("slow_to_start", "shapes_cost_time", "takes_long", "deployment"):
        found[name] = told.get(name) is True
    return found


def _words(name: str, given: Any) -> dict[str, str]:
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise TypeError(f"{name} is no dict of words to words")
    return {printable(key): printable(value) for key, value in given.items()}


def describe_here(key: str) -> Description:
    """What an adapter says of itself, loaded into this process; BackendError where it cannot be."""
    return Description.of(loading.description(loading.adapter(key), key))


def describe_object(backend: Any, key: str) -> Description:
    """The same of an adapter that is there already; BackendError where it breaks its contract."""
    loading.check_adapter(backend, key)
    found = Description.of(loading.description(backend, key))
    refusal = loading.smoke_check(backend, key, found.devices()[0])
    if refusal:
        raise BackendError(refusal)
    return found
