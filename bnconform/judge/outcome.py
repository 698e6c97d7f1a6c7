"""The outcome of one check, as it travels from the process that ran it to the one that reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bnconform.results.failure import Failure

CONFORMS, DEVIATES, VIOLATES = "conforms", "deviates", "violates"
UNSUPPORTED, CRASHED, UNTRUSTED = "unsupported", "crashed", "untrusted"


@dataclass
class Outcome:
    """One check of one requirement on one backend, device and dtype.

    Attributes:
        verdict: one of the six words above.
        checks: how many elements and refusals were compared.
        bound_share: the largest error over its bound, or None where nothing was measured against a bound.
        ulp: the same error in units in the last place.
        diagnosis: decisions that explain a verdict other than conforms.
        headline: one line; message: all of it.
        case: the path of the case file, or None.
        features: what the programs of the check ask for; see `bnconform.spec.config.FEATURES`.
        size: how much there is to look at in the program that was judged last (`Program.size`).
        failure: why it failed, of which `message` is the text; None where it did not. Data of one is taken, too.
        explained: the points at which the check holds, each as [decision, value] pairs; see `diagnosis.causes`.
        conditional: whether those points hold for this check and not for the implementation as a whole.
        narrowed: what an experiment found of it, as `diagnosis.narrowing.ExperimentResult.record` gives it; empty where
            none was made.
        is_cut_short: whether the search for decisions that explain it ended before all were tried.
        judged_quantities: what was seen under which circumstances; see `failure_conditions`.
        died: whether a program of it ended its process, or hung: to run it again would cost another one.
        steady: False where the implementation was seen to answer differently from call to call.
        about_declaration: whether it is about what the adapter declares instead of what the implementation does.
        needed, contradicted: declared decisions that this check bears out, or that it refutes.
        calls, seconds: the implementation's own calls.
        vacuous: whether it is untrusted because its bounds admit any answer: then other checks of the requirement tell.
        observed: what it answered, number by number, where the probe is one whose results are kept; see `observations`.
    """

    backend: str
    device: str
    dtype: str
    requirement: str
    level: str
    verdict: str
    checks: int = 0
    bound_share: float | None = None
    ulp: float | None = None
    diagnosis: list[dict[str, str]] = field(default_factory=list)
    headline: str = ""
    message: str = ""
    case: str | None = None
    explained: list[list[list[str]]] = field(default_factory=list)
    conditional: bool = False
    narrowed: dict[str, Any] = field(default_factory=dict)
    is_cut_short: bool = False
    judged_quantities: list[dict[str, Any]] = field(default_factory=list)
    died: bool = False
    steady: bool = True
    about_declaration: bool = False
    needed: list[str] = field(default_factory=list)
    contradicted: list[str] = field(default_factory=list)
    calls: int = 0
    seconds: float = 0.0
    observed: list[dict[str, Any]] = field(default_factory=list)
    vacuous: bool = False
    features: list[str] = field(default_factory=list)
    size: list[int] = field(default_factory=list)
    failure: Failure | None = None

    def __post_init__(self) -> None:
        if isinstance(self.failure, Mapping):
            self.failure = Failure.from_json(self.failure)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready data, which shares its lists with this."""
        return {**vars(self), "failure": self.failure.to_json() if self.failure else None}
