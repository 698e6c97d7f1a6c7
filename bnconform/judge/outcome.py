"""The outcome of one check, as it travels from the process that ran it to the one that reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from bnconform.results.failure import NUMBERS, Failure

NUMBER = "number"
"""The key of what stands for a number that JSON has not, as in a failure."""

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
        mutation: what was seen of an input that a call changed, where that is what it is about; aside: whether that was
            seen by a check of another requirement, which records each such change of a subject once.
        verdicts: those of the repetitions of the check, where it was made several times and they differ.
        vacuous: whether it is untrusted because its bounds admit any answer: then other checks of the requirement tell.
        observed: what it answered, number by number, where the probe is one whose results are kept; see `observations`.
        model: the number of the model that a tool was given; None of layers.
        folds: the wrong folds that reproduce what was predicted of it; see `diagnosis.folds.causes`.
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
    mutation: str = ""
    aside: bool = False
    verdicts: list[str] = field(default_factory=list)
    features: list[str] = field(default_factory=list)
    size: list[int] = field(default_factory=list)
    failure: Failure | None = None
    model: int | None = None
    folds: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if isinstance(self.failure, Mapping):
            self.failure = Failure.from_json(self.failure)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready data, which shares its lists with this."""
        return {**vars(self), "failure": self.failure.to_json() if self.failure else None}

    def record(self) -> dict[str, Any]:
        """The same for a file: without default values and what was observed, and in JSON's numbers alone."""
        plain = Outcome(self.backend, self.device, self.dtype, self.requirement, self.level, self.verdict)
        named = (field.name for field in fields(self) if field.default is MISSING and field.default_factory is MISSING)
        keep, usual = set(named), vars(plain)
        return {
            name: value if name == "failure" else _in_json(value)
            for name, value in self.as_dict().items()
            if name != "observed" and (name in keep or value != usual[name])
        }

    @classmethod
    def from_record(cls, data: Mapping[str, Any]) -> Outcome:
        """From what `record` gave."""
        return cls(**{name: value if name == "failure" else _from_json(value) for name, value in data.items()})


def _in_json(value: Any) -> Any:
    """The same with what stands for numbers that JSON has not."""
    if isinstance(value, float) and not math.isfinite(value):
        return {NUMBER: next(name for name, known in NUMBERS.items() if repr(known) == repr(value))}
    if isinstance(value, Mapping):
        return {name: _in_json(part) for name, part in value.items()}
    return [_in_json(part) for part in value] if isinstance(value, list | tuple) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.keys() == {NUMBER}:
            return NUMBERS[value[NUMBER]]
        return {name: _from_json(part) for name, part in value.items()}
    return [_from_json(part) for part in value] if isinstance(value, list) else value
