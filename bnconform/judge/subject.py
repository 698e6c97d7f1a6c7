"""A subject: one implementation on one device in one dtype, as the suite runs against it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from bnconform.backends.runner.loading import is_deployment
from bnconform.cases.program import Program, build
from bnconform.execution.deployment_trace import DeploymentRequest, DeploymentTrace
from bnconform.execution.sessions import DeploymentSession, InProcess, Session
from bnconform.execution.trace import Trace
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.config import ALONE, Config
from bnconform.spec.formats import parameter_dtype


class AdapterError(Exception):
    """The adapter does not meet its contract, so that nothing can be judged; one line that says what to change."""


class Ended(Exception):
    """A program did not come to its end: its process died, or something else than an answer was raised."""


class NotRecorded(Ended):
    """A recording does not have the program; nothing is known of what it would have shown."""


@dataclass
class OwnCalls:
    """The implementation's own calls: how many, and the seconds inside them."""

    calls: int = 0
    seconds: float = 0.0


@dataclass
class Subject:
    """One column of the matrix.

    Attributes:
        key: what --backend was given, and what a replay command needs.
        backend: what the adapter says of itself, or the adapter.
        session: what runs programs on it; by default the adapter's layers are run in this process.
        assumed: the point to judge at instead of the declared one, to try an explanation.
        candidates: the points that explain what the distinguishing programs show; None before the search for them.
        is_partly_explained: whether they leave something of it, so that something else may be the cause.
        thorough: whether every row of the covering array is asked, however long that takes.
        brief: whether only the verdict matters: no search for the shortest failing program, no circumstances.
        conditional: points at which a failing check held where those show nothing wrong.
        searches: failing checks that were tried at every neighbour.
        steady: False once it was seen to answer differently from call to call.
        failing: the trace that a check failed on last, with the quality of its bounds, until it has been explained.
        findings: what experiments have found of it (`diagnosis.narrowing`); None before the first.
        mutations: what has been told of inputs that it changed.
        kept_sizes: how large the case files are that failures have written, by what they show alike.
        prepared: programs that are under way for a check to come, by its requirement and case; None for one that the
            implementation lacks.
    """

    key: str
    backend: Any
    device: str
    dtype: str
    session: Session | None = None
    clock: OwnCalls = field(default_factory=OwnCalls)
    assumed: Behaviour | None = None
    candidates: list[Behaviour] | None = None
    is_partly_explained: bool = False
    conditional: list[Behaviour] = field(default_factory=list)
    searches: int = 0
    steady: bool = True
    brief: bool = False
    thorough: bool = False
    failing: tuple[Trace, str] | None = None
    findings: Any = None
    mutations: list[str] = field(default_factory=list)
    kept_sizes: dict[object, list[tuple[int, int]]] = field(default_factory=dict)
    prepared: dict[tuple[str, str], list[Program | None]] = field(default_factory=dict)
    _deployed: dict[object, DeploymentTrace] = field(default_factory=dict)
    _counters: dict[bool, bool] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The implementation's name."""
        return str(self.backend.name)

    @property
    def is_deployment(self) -> bool:
        """Whether it is a tool that deploys models, and has no layers."""
        found = getattr(self.backend, "deployment", None)
        return is_deployment(self.backend) if found is None else bool(found)

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
        declared = self._declared_unsupported
        implied = {ALONE[name]: declared["affine"] for name in ALONE if "affine" in declared}
        if "backward" in declared:
            implied |= dict.fromkeys(
                ("vjp", "hvp", "third", "masked_backward", "recomputed", "jacrev", "replicated_vjp"),
                declared["backward"],
            )
            implied["masked_replicated_vjp"] = declared["backward"]
        for ability in ("masked", "replicated"):
            if ability in declared:
                implied |= dict.fromkeys(("masked_replicated", "masked_replicated_vjp"), declared[ability])
        if "masked" in declared:
            implied["masked_backward"] = declared["masked"]
        return {**implied, **declared}

    @property
    def not_asked(self) -> frozenset[str]:
        """What is unsupported because something else is: it is not declared, so whether it is refused is not asked."""
        return frozenset(self.unsupported) - frozenset(self._declared_unsupported)

    @property
    def _declared_unsupported(self) -> dict[str, str]:
        here = getattr(self.backend, "unsupported_on", {}).get(self.device.partition(":")[0], {})
        return {**getattr(self.backend, "unsupported", {}), **here}

    @property
    def deviations(self) -> dict[str, str]:
        """Decision -> the value that the adapter declares."""
        return dict(getattr(self.backend, "deviations", {})) if self.assumed is None else self.assumed.differences()

    @property
    def lower_precision(self) -> dict[str, str]:
        """Dtype of a model -> the one to which a tool that deploys it rounds by default, as its adapter declares."""
        return dict(getattr(self.backend, "lower_precision", {}))

    @property
    def slow(self) -> bool:
        """Whether each new configuration or shape costs time, so that a check takes the few cases that reuse them."""
        return bool(getattr(self.backend, "slow_to_start", False))

    @property
    def cost(self) -> str:
        """What costs time, and how much may be asked, as `bnconform.cases.probes.cases_of` takes it."""
        if getattr(self.backend, "takes_long", False):
            return "configurations" if self.thorough else "minutes"
        if self.slow:
            return "shapes" if self.thorough else "configurations"
        if self.thorough:
            return "thorough"
        return "shapes" if getattr(self.backend, "shapes_cost_time", False) else ""

    @property
    def runs(self) -> Session:
        """What runs programs on it."""
        if self.session is None:
            self.session = InProcess(self.backend, self.device)
        return self.session

    def run(self, program: Program) -> Trace:
        """Execute a program on a new layer.

        Raises:
            AdapterError: where the adapter does not meet its contract.
            Ended: where the program did not come to its end.
        """
        trace = self.runs.run(program)
        self.clock.calls += trace.calls
        self.clock.seconds += trace.seconds
        if trace.fault:
            raise AdapterError(trace.fault)
        if trace.missing:
            raise NotRecorded(trace.ended)
        if trace.ended:
            raise Ended(trace.ended)
        return trace

    def deploy(self, place: object, request: DeploymentRequest) -> DeploymentTrace:
        """What the tool makes of a model.

        Args:
            place: what the request is found by, where it was made before.

        Raises:
            Ended: where the process died.
        """
        if place not in self._deployed:
            session = cast("DeploymentSession", self.runs)
            found = self._deployed[place] = session.deploy(request)
            self.clock.calls += found.calls
            self.clock.seconds += found.seconds
        if self._deployed[place].ended:
            raise Ended(self._deployed[place].ended)
        return self._deployed[place]

    def forget_deployed(self) -> None:
        """Let every model be deployed anew."""
        self._deployed.clear()

    def deploy_tool(self, place: object) -> DeploymentTrace | None:
        """What the tool made of a model that it was asked before; None where it was not."""
        return self._deployed.get(place)

    def shows_counter(self, config: Config) -> bool:
        """Whether a layer of this configuration, or the like, shows how many batches it has seen."""
        tracked = config.track_running_stats
        if tracked not in self._counters:
            trace = self.run(Program(config, (build(),)))
            self._counters[tracked] = bool(trace.steps) and trace.steps[0].after["num_batches_tracked"] is not None
        return self._counters[tracked]
