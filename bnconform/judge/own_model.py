"""The judgement on what tools make of a user's own model: its own prediction in float64, and a bound by experiment.

The bound of a sample is SAFETY times the largest distance by which the prediction in float64 moved in the runs in which
each intermediate result was moved by what rounding in the model's dtype may move it
(`bnconform.backends.deployments.own_torch`), and the rounding of the result. It is no proof, as that of the suite's own
models is: so the model itself, as it is, is asked first, and where it is not within the bound nothing is judged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bnconform.diagnosis.bisection import Bisected, bisect
from bnconform.execution.printable import printable
from bnconform.execution.settings import Settings
from bnconform.execution.worker import CannotStart, Died, Worker
from bnconform.judge.deployments import LOWER
from bnconform.judge.outcome import CONFORMS, CRASHED, DEVIATES, UNSUPPORTED, UNTRUSTED, VIOLATES
from bnconform.spec.errors import UserError
from bnconform.spec.formats import DTYPES, format_of
from bnconform.spec.graph import Array

SAFETY = 8.0
"""How much further than in the experiment a right prediction may be off."""

OPERATIONS = 16
"""Roundings of the result itself."""

TOGETHER = 3
"""BatchNorms that may be to blame together where the tool has refused some of the trials."""

TRIALS = 60
"""Deployments of one tool that a search for the BatchNorm may take."""


@dataclass(frozen=True)
class Norm:
    """A BatchNorm of the model with what stands around it; words are "" and counts 1 where that is not known."""

    name: str
    kind: str
    shape: tuple[int, ...]
    before: str = ""
    after: str = ""
    calls: int = 1
    readers: int = 1
    before_calls: int = 1
    before_readers: int = 1

    @property
    def pattern(self) -> str:
        """It and its neighbours in words."""
        rank = f" of rank {len(self.shape)} {self.shape}" if self.shape else ""
        parts = [self.before, f"{self.kind} {self.name}{rank}", self.after]
        told = " -> ".join(part for part in parts if part)
        layer = self.before.partition(" ")[0]
        more = [
            f"the {layer} is called {self.before_calls} times" if self.before_calls > 1 else "",
            f"{self.before_readers} read what the {layer} gives" if self.before_readers > 1 else "",
            f"the BatchNorm is called {self.calls} times" if self.calls > 1 else "",
            f"{self.readers} read what the BatchNorm gives" if self.readers > 1 else "",
        ]
        return "; ".join([told, *(one for one in more if one)])


@dataclass(frozen=True)
class OwnModel:
    """What a model is.

    Attributes:
        dtype: of its parameters. shape: of the input. norms: its BatchNorms. traced: whether its graph could be had.
    """

    dtype: str
    shape: tuple[int, ...]
    norms: tuple[Norm, ...]
    traced: bool


@dataclass(frozen=True, eq=False)
class OwnReference:
    """What is due: y, (N, ...), and the bound of each sample, (N,)."""

    y: Array
    bound: Array

    @property
    def tells(self) -> bool:
        """Whether zero would not pass for the prediction of every sample."""
        return bool((self.bound < np.abs(self.y).reshape(len(self.y), -1).max(axis=1, initial=0.0)).any())

    def ratio(self, y: Array) -> float:
        """The largest distance over its bound; infinite for another shape, and for what is not finite."""
        if y.shape != self.y.shape:
            return np.inf
        with np.errstate(all="ignore"):
            off = np.abs(y.astype(np.float64) - self.y).reshape(len(y), -1).max(axis=1, initial=0.0)
            ratios = np.where(off == 0, 0.0, off / self.bound)
        return float(np.where(np.isnan(ratios), np.inf, ratios).max(initial=0.0))


@dataclass
class ToolResult:
    """What came of one tool.

    Attributes:
        verdict: conforms, deviates as declared, violates, unsupported, untrusted or crashed. words: of a refusal, a
            death, what is declared. ratio: the distance over the bound. off: the largest distance, and largest: the
            largest prediction. found: the BatchNorms to blame.
        seconds: all of it, the search included.
    """

    tool: str
    verdict: str
    words: str = ""
    ratio: float = 0.0
    off: float = 0.0
    largest: float = 0.0
    found: Bisected | None = None
    seconds: float = 0.0


class DeploymentRefused(Exception):
    """The other side could not do what it was asked; the message says why."""


@dataclass
class OwnModelSession:
    """A process with the user's model in it; another one where it died.

    Attributes:
        framework, place, given: the model, as `bnconform.backends.runner.own_models` takes it.
    """

    settings: Settings
    framework: str
    place: str
    given: Mapping[str, Any]
    key: str
    _worker: Worker | None = field(default=None, init=False)

    def facts(self) -> OwnModel:
        """What the model is.

        Raises:
            UserError: where it cannot be made.
        """
        try:
            return _model(self._open())
        except DeploymentRefused as problem:
            raise UserError(str(problem)) from None
        except (CannotStart, Died) as problem:
            raise UserError(f"{self.place} could not be loaded: {problem}") from None

    def reference(self, dtype: str, lower: str = "") -> OwnReference:
        """What is due; `lower` is a dtype to which a tool rounds besides.

        Raises:
            UserError: where the model cannot be evaluated in float64.
        """
        try:
            told = self._ask({"what": "reference", "lower": lower})
        except (DeploymentRefused, Died) as problem:
            raise UserError(f"{self.place} cannot be evaluated in float64: {problem}") from None
        y, spread = told["y"], told["spread"]
        largest = np.abs(y).reshape(len(y), -1).max(axis=1, initial=0.0)
        own = OPERATIONS * format_of(lower or dtype).unit_roundoff * largest
        if not np.isfinite(y).all() or not np.isfinite(spread).all():
            raise UserError(
                f"{self.place} predicts what is not finite; give an input of which it does: --input FILE.npy"
            )
        return OwnReference(y, SAFETY * spread + own)

    def deploy(self, tool: str, hidden: Sequence[str] = ()) -> tuple[Array, str]:
        """What a tool predicts, and the dtype to which it declares to round besides, or "".

        Raises:
            DeploymentRefused: where it cannot. Died: where the process ended.
        """
        told = self._ask({"what": "deploy", "tool": tool, "hidden": list(hidden)})
        found, lower = told["y"], told.get("lower", "")
        if not isinstance(found, np.ndarray):
            raise DeploymentRefused(f"a {type(found).__name__} where an array is due")
        return found, lower if lower in DTYPES else ""

    def close(self) -> None:
        """End the process."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _ask(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._worker is None:
            self._open()
        assert self._worker is not None
        try:
            return self._tell(request)
        except Died:
            self.close()
            raise

    def _open(self) -> Mapping[str, Any]:
        self._worker = Worker(self.settings, self.key)
        request = {"what": "open", "framework": self.framework, "place": self.place, "given": dict(self.given)}
        return self._tell(request)

    def _tell(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        assert self._worker is not None
        self._worker.ask({"do": "own_model", **request})
        reply = self._worker.reply()
        told = reply.get("own")
        if not isinstance(told, dict):
            raise DeploymentRefused(printable(reply.get("internal", "no answer")))
        if "refused" in told:
            raise DeploymentRefused(printable(told["refused"]))
        return told


def _model(told: Mapping[str, Any]) -> OwnModel:
    dtype = printable(told["dtype"])
    if dtype not in DTYPES:
        raise UserError(f"the model is in {dtype}; the suite judges {', '.join(DTYPES)}")
    return OwnModel(dtype, tuple(told["shape"]), tuple(map(_norm, told["norms"])), told["traced"] is True)


def _norm(told: Mapping[str, Any]) -> Norm:
    counts = [int(told.get(name, 1)) for name in ("calls", "readers", "before_calls", "before_readers")]
    words = [printable(told.get(name, "")) for name in ("name", "kind", "before", "after")]
    return Norm(words[0], words[1], tuple(map(int, told["shape"])), words[2], words[3], *counts)


@dataclass
class OwnModelRun:
    """Tools on one model.

    Attributes:
        control: the tool that is the model itself. lower: what is due of tools that round besides, by dtype.
    """

    session: OwnModelSession
    model: OwnModel
    reference: OwnReference
    control: str
    lower: dict[str, OwnReference] = field(default_factory=dict)

    def check_control(self) -> float:
        """How far the model itself is off, over the bound.

        Raises:
            UserError: where it is beyond it, so that nothing can be judged; or where it cannot be called.
        """
        try:
            ratio = self.reference.ratio(self.session.deploy(self.control)[0])
        except (DeploymentRefused, Died) as problem:
            raise UserError(f"the model itself cannot be called: {problem}") from None
        if ratio > 1:
            raise UserError(
                f"the model itself, in {self.model.dtype}, is {ratio:.3g} bounds off its own prediction in float64: "
                "the bound says nothing of such a model, and no tool is judged"
            )
        return ratio

    def judge(self, tool: str, say: Callable[[str], None] = lambda _: None) -> ToolResult:
        """What a tool makes of the model, and which BatchNorms are to blame where it predicts something else."""
        begin = time.perf_counter()
        try:
            y, lower = self.session.deploy(tool)
        except DeploymentRefused as problem:
            return ToolResult(tool, UNSUPPORTED, str(problem), seconds=time.perf_counter() - begin)
        except (Died, CannotStart) as problem:
            return ToolResult(tool, CRASHED, str(problem), seconds=time.perf_counter() - begin)
        found, reference = self._compare(tool, y, self.reference), self.reference
        if found.verdict == VIOLATES and lower:
            say(f"{tool} rounds to {lower}: how far may that move the prediction?")
            reference = self._reference_of(lower)
            found = self._compare(tool, y, reference)
            if found.verdict == CONFORMS and reference.tells:
                found.verdict, found.words = DEVIATES, f"as declared: {LOWER} = {lower}"
            elif found.verdict == CONFORMS:
                found.verdict = UNTRUSTED
                found.words = f"rounding to {lower}, as it declares, may move the prediction by as much as it is"
        if found.verdict == VIOLATES:
            say(f"{tool} differs: which BatchNorm?")
            self._blame(tool, found, reference)
        found.seconds = time.perf_counter() - begin
        return found

    def _reference_of(self, lower: str) -> OwnReference:
        """What is due of a tool that rounds to a lower dtype; found once."""
        if lower not in self.lower:
            self.lower[lower] = self.session.reference(self.model.dtype, lower)
        return self.lower[lower]

    def _compare(self, tool: str, y: Array, reference: OwnReference) -> ToolResult:
        due = reference.y
        if y.shape != due.shape:
            words = f"a prediction of shape {y.shape} where {due.shape} is due"
            return ToolResult(tool, VIOLATES, words, np.inf)
        ratio = reference.ratio(y)
        off, largest = float(np.abs(y.astype(np.float64) - due).max(initial=0.0)), float(np.abs(due).max(initial=0.0))
        return ToolResult(tool, VIOLATES if ratio > 1 else CONFORMS, "", ratio, off, largest)

    def _blame(self, tool: str, result: ToolResult, reference: OwnReference) -> None:
        """Search for the BatchNorms without which a tool is right.

        What it refuses it does not get wrong, as where nothing is left to be fused. Where refusals are in the way of
        the search, that is said instead.
        """
        refusals: list[str] = []

        def fails(hidden: frozenset[str]) -> bool:
            try:
                return reference.ratio(self.session.deploy(tool, sorted(hidden))[0]) > 1
            except (DeploymentRefused, Died, CannotStart) as problem:
                refusals.append(str(problem))
                return False

        found = bisect([norm.name for norm in self.model.norms], fails, TRIALS)
        if refusals and any(len(names) > TOGETHER for names in found.sets):
            result.words = f"which BatchNorm is to blame cannot be found: with some hidden, {refusals[0]}"
        else:
            result.found = found
