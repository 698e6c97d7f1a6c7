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
        diagnosis: coordinates that explain a verdict other than conforms.
        headline: one line; message: all of it.
        case: the path of the case file, or None.
        failure: why it failed, of which `message` is the text; None where it did not. Data of one is taken, too.
        explained: the points at which the check holds, each as [coordinate, value] pairs; see `diagnosis.causes`.
        conditional: whether those points hold for this check and not for the implementation as a whole.
        sightings: what was seen under which circumstances; see `failure_conditions`.
        steady: False where the implementation was seen to answer differently from call to call.
        about_declaration: whether it is about what the adapter declares instead of what the implementation does.
        needed, contradicted: declared coordinates that this check bears out, or that it refutes.
        calls, seconds: the implementation's own calls.
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
    sightings: list[dict[str, Any]] = field(default_factory=list)
    steady: bool = True
    about_declaration: bool = False
    needed: list[str] = field(default_factory=list)
    contradicted: list[str] = field(default_factory=list)
    calls: int = 0
    seconds: float = 0.0
    observed: list[dict[str, Any]] = field(default_factory=list)
    failure: Failure | None = None

    def __post_init__(self) -> None:
        if isinstance(self.failure, Mapping):
            self.failure = Failure.from_json(self.failure)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready data, which shares its lists with this."""
        return {**vars(self), "failure": self.failure.to_json() if self.failure else None}
