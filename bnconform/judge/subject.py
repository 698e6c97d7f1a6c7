"""A subject: one implementation on one device in one dtype, as the suite runs against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bnconform.backends.registry import BackendError
from bnconform.cases.program import Program
from bnconform.execution.instrumented import Clock, Guarded, Raised
from bnconform.execution.trace import Trace, execute
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.config import Config
from bnconform.spec.formats import parameter_dtype

BACKEND_METHODS = ("devices", "build", "build_default")


@dataclass
class Subject:
    """One column of the matrix.

    Attributes:
        key: what --backend was given, and what a replay command needs. backend: the adapter.
        assumed: the point to judge at instead of the declared one, to try an explanation.
        candidates: the points that explain what it shows in the survey; None before they have been searched for.
        brief: whether only the verdict matters: no search for the shortest failing program, no circumstances.
        conditional: points at which a failing check held where the survey shows nothing wrong.
        searches: failing checks that were tried at every neighbour.
        isolated: whether it lives in a process of its own, and `backend` only describes it; see `worker_pool`.
        steady: False once it was seen to answer differently from call to call.
    """

    key: str
    backend: Any
    device: str
    dtype: str
    clock: Clock = field(default_factory=Clock)
    assumed: Behaviour | None = None
    candidates: list[Behaviour] | None = None
    conditional: list[Behaviour] = field(default_factory=list)
    searches: int = 0
    isolated: bool = False
    steady: bool = True
    brief: bool = False

    @property
    def name(self) -> str:
        """The implementation's name."""
        return str(self.backend.name)

    @property
    def label(self) -> str:
        """The words of a test's id."""
        return f"{self.name}:{self.device}-{self.dtype}"

    @property
    def param_dtype(self) -> str:
        """The dtype of parameters and statistics that goes with the subject's dtype."""
        return parameter_dtype(self.dtype)

    @property
    def declared(self) -> Behaviour:
        """The point that the adapter declares."""
        return self.assumed or SPECIFIED.but(**self.deviations)

    @property
    def unsupported(self) -> dict[str, str]:
        """Feature -> the reason why the implementation does not have it, at all or on this device."""
        here = getattr(self.backend, "unsupported_on", {}).get(self.device.partition(":")[0], {})
        return {**getattr(self.backend, "unsupported", {}), **here}

    @property
    def deviations(self) -> dict[str, str]:
        """Coordinate -> the value that the adapter declares."""
        return dict(getattr(self.backend, "deviations", {})) if self.assumed is None else self.assumed.differences()

    @property
    def slow(self) -> bool:
        """Whether each new configuration or shape costs time, so that a check takes the few cases that reuse them."""
        return bool(getattr(self.backend, "slow_to_start", False))

    def build(self, config: Config) -> Guarded:
        """A layer; Raised where the implementation refuses, AdapterError where it is no layer."""
        try:
            layer = self.clock.run(lambda: self.backend.build(config, self.device))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise Raised("build", error) from error
        return Guarded(layer, config, self.clock)

    def build_default(self, num_features: int) -> Guarded:
        """A layer with the implementation's own defaults, for float32 input of rank 4."""
        try:
            layer = self.clock.run(lambda: self.backend.build_default(num_features, self.device))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise Raised("build_default", error) from error
        return Guarded(layer, Config(num_features), self.clock)

    def run(self, program: Program) -> Trace:
        """Execute a program on a new layer."""
        return execute(lambda: self.build(program.config), program)


def check_adapter(backend: Any, given: str) -> None:
    """Raise BackendError, saying what to change, where an adapter lacks a part of its contract; nothing is called yet.

    `execution.selection` calls it.
    """
    where = f"the backend {given}"
    name = _asked(where, "say its name", lambda: getattr(backend, "name", None))
    if not isinstance(name, str) or not name:
        raise BackendError(f"{where} has no name; give its class a string `name`")
    for method in BACKEND_METHODS:
        if not callable(getattr(backend, method, None)):
            raise BackendError(f"{where} has no method {method}(); add it (see backends/__init__.py for the contract)")
    declared = {}
    for mapping in ("deviations", "unsupported"):
        value = declared[mapping] = _asked(where, f"say its {mapping}", partial(getattr, backend, mapping, {}))
        if not isinstance(value, Mapping) or not all(
            isinstance(k, str) and isinstance(v, str) and v for k, v in value.items()
        ):
            raise BackendError(
                f"{where} has a `{mapping}` that is no dict of words to words; write `{mapping} = {{}}` for none"
            )
    try:
        SPECIFIED.but(**declared["deviations"])
    except ValueError as problem:
        raise BackendError(f"{where} declares a deviation that does not exist: {problem}") from None
    devices_of(backend, given)


def devices_of(backend: Any, given: str) -> list[str]:
    """The devices that a backend lists; BackendError where it lists none."""
    where = f"the backend {given}"
    devices = _asked(where, "list its devices", backend.devices)
    if not isinstance(devices, list | tuple) or not devices or not all(isinstance(device, str) for device in devices):
        raise BackendError(f"{where} lists {devices!r} as its devices; return a list of names such as ['cpu']")
    return list(devices)


def _asked(where: str, what: str, function: Callable[[], Any]) -> Any:
    """What an adapter answers; BackendError, in one line, where it raises."""
    try:
        return function()
    except (Exception, SystemExit) as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise BackendError(f"{where} cannot {what}: {text[:200]}") from error
