"""The measured semantics of an implementation, as `bnconform.measure.identify` finds them, and as data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from bnconform.backends.runner.loading import version
from bnconform.measure.defaults import Defaults
from bnconform.spec.behaviour import SPECIFIED, Behaviour, decision

PLAIN = ("training", "evaluation", "training gradient", "evaluation gradient")
"""The distinguishing programs that are one pass of an ordinary layer."""


@dataclass(frozen=True)
class MeasuredDecision:
    """One decision.

    Attributes:
        values: the values that the evidence allows, the simplest first; more than one where it cannot tell.
        declared: the value that the adapter declares, or "".
        refuted: of the values that the evidence refutes, the one that comes closest, or "".
        evidence: by what it is refuted, or why nothing fixes the decision.
    """

    decision: str
    values: tuple[str, ...]
    declared: str
    refuted: str
    evidence: str

    @property
    def decided(self) -> bool:
        """Whether the evidence leaves one value."""
        return len(self.values) == 1

    @property
    def differs(self) -> bool:
        """Whether the evidence refutes the specified value."""
        return str(getattr(SPECIFIED, self.decision)) not in self.values

    @property
    def contradicted(self) -> bool:
        """Whether the adapter declares what the evidence refutes."""
        return bool(self.declared) and self.declared not in self.values


@dataclass
class SemanticsProfile:
    """The measured semantics of one implementation on one device.

    Attributes:
        dtype: of the input with which the point was found. point: the simplest that explains it.
        findings: one for each decision that shows in a pass which it has.
        unexplained: observations that the point does not explain, in words.
        seen: how many of the distinguishing programs ran.
        refused: what it would not do, by the distinguishing program, with its words.
        ended: the programs of those at which its process died or was ended.
        share: the largest error over its bound of all that they show.
        steady: whether it answers the same to the same.
        defaults: None where there are none, with `no_defaults` saying why.
        algorithm: which variance it computes, in words. growth: (mean over deviation, relative error of the variance).
        dtypes: dtype of the input -> (that of y, that of the running statistics or "none"), or why there is none.
    """

    backend: str
    device: str
    dtype: str
    point: Behaviour
    findings: list[MeasuredDecision]
    unexplained: list[str]
    seen: int
    refused: dict[str, str]
    steady: bool
    share: float = 0.0
    defaults: Defaults | None = None
    no_defaults: str = ""
    algorithm: str = ""
    ended: list[str] = field(default_factory=list)
    growth: list[tuple[float, float]] = field(default_factory=list)
    dtypes: dict[str, tuple[str, str] | str] = field(default_factory=dict)

    @property
    def unanswered(self) -> list[str]:
        """The passes that every layer has, and this one says that it has, and yet never answered."""
        return [name for name in PLAIN if name in self.refused]

    @property
    def contradictions(self) -> list[str]:
        """Each declaration that the measurement refutes, in words."""
        return [
            f"declares {one.decision} = {one.declared}, and was measured as {' or '.join(one.values)}: {one.evidence}"
            for one in self.findings
            if one.contradicted
        ]


def _number(value: float | None) -> float | None:
    """A number that JSON knows."""
    return value if value is not None and math.isfinite(value) else None


def _specification_of(name: str) -> str:
    return str(getattr(SPECIFIED, name))


def as_data(profile: SemanticsProfile) -> dict[str, Any]:
    """The profile as JSON-ready data."""
    defaults = profile.defaults
    return {
        "schema": "bnconform/card/1",
        "bnconform": version("bnconform") or "a clone",
        "backend": profile.backend, "device": profile.device, "dtype": profile.dtype,
        "coordinates": [
            {
                "coordinate": one.decision, "values": list(one.values), "specified": _specification_of(one.decision),
                "declared": one.declared or None, "refuted": one.refuted or None, "evidence": one.evidence,
                "meaning": decision(one.decision)(one.values[0]).meaning if one.decided else None,
            }
            for one in profile.findings
        ],
        "defaults": None if defaults is None else {
            "eps": _number(defaults.eps), "momentum": _number(defaults.momentum), "cumulative": defaults.cumulative,
        },
        "algorithm": profile.algorithm,
        "growth": [{"mean_over_deviation": r, "relative_error": e if e < 1e300 else None} for r, e in profile.growth],
        "dtypes": {
            dtype: {"output": shown[0], "statistics": shown[1]} if isinstance(shown, tuple) else {"reason": shown}
            for dtype, shown in profile.dtypes.items()
        },
        "share": _number(profile.share), "steady": profile.steady,
        "unexplained": profile.unexplained, "refused": profile.refused,
        "contradictions": profile.contradictions,
    }  # fmt: skip
