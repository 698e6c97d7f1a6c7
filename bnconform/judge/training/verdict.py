"""The verdict on a training: within the bound of the specified trajectory, of a declared one, or of none.

What explains a run that leaves the bound is looked for by training the reference again: with one decision changed, with
two, and, of a run in double precision, with options rounded to single precision, and by the bound of single precision
(where decisions differ as well, those that are declared). Only a few steps are tried with each, those up
to the first that is off; what fits there is confirmed on the whole run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bnconform.judge.outcome import CONFORMS, CRASHED, DEVIATES, UNSUPPORTED, VIOLATES
from bnconform.judge.training.bound import Growth
from bnconform.judge.training.norms import follow, singles
from bnconform.judge.training.session import TrainingRun
from bnconform.judge.training.trajectory import QUANTITIES, Experiment, Trajectory, reference
from bnconform.spec.behaviour import SPECIFIED, Behaviour

LIMIT = 1.0
"""The error ratio up to which a run is within the bound."""

MORE = 1
"""Steps that are tried beyond the first that is off."""

SEVERAL = 4
"""Single decisions to each of which a second one is tried; those that come nearest."""

SINGLE = "precision = single"
"""What is said of a run in float64 that lies within the bound of float32."""


@dataclass(frozen=True)
class Left:
    """Where a run left the bound first: the quantities that did so at that step, the worst first; steps from 1 on."""

    step: int
    quantities: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class TrainingVerdict:
    """The verdict on a run.

    Attributes:
        verdict: as everywhere. ratios: by quantity the distance from the specified trajectory over the bound, of each
            step. left: where it left that, None where it did not. explained: the decisions, or SINGLE, that explain
            it, () where nothing does. words: of a refusal. explanation_ratio: how far from that trajectory at most.
    """

    verdict: str
    ratios: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    left: Left | None = None
    explained: tuple[str, ...] = ()
    explanation_ratio: float = 0.0
    words: str = ""


@dataclass
class TrainingJudge:
    """What judges runs of one experiment; the reference's trajectories are kept.

    Attributes:
        say: is told what is being tried.
    """

    experiment: Experiment
    growth: Growth
    exact: Trajectory
    say: Callable[[str], None] = lambda _: None
    _known: dict[tuple[Behaviour, int], Trajectory] = field(default_factory=dict)

    def judge(self, run: TrainingRun, dtype: str) -> TrainingVerdict:
        """The verdict on a run in a dtype."""
        if run.trajectory is None:
            return TrainingVerdict(UNSUPPORTED if run.lacks else CRASHED, words=run.refused)
        ratios = self._ratios(run.trajectory, SPECIFIED, dtype)
        left = _left(ratios)
        plain = {name: tuple(map(float, value)) for name, value in ratios.items()}
        if run.refused:
            return TrainingVerdict(CRASHED, plain, left, words=run.refused)
        if left is None:
            return TrainingVerdict(CONFORMS, plain)
        declared = follow(SPECIFIED.but(**_decisions_that_show(run.deviations)))
        if declared != SPECIFIED:
            ratio = _largest(self._ratios(run.trajectory, declared, dtype))
            if ratio <= LIMIT:
                return TrainingVerdict(DEVIATES, plain, left, _words(declared), ratio)
        explained, ratio = self._explain(run.trajectory, dtype, left.step, declared)
        return TrainingVerdict(VIOLATES, plain, left, explained, ratio)

    def trajectory(self, behaviour: Behaviour, steps: int) -> Trajectory:
        """The reference's, of so many first steps."""
        if behaviour == SPECIFIED:
            return self.exact.first(steps)
        whole = (behaviour, self.experiment.steps)
        if whole in self._known:
            return self._known[whole].first(steps)
        if (behaviour, steps) not in self._known:
            self._known[behaviour, steps] = reference(self.experiment, behaviour, steps=steps)
        return self._known[behaviour, steps]

    def _ratios(self, seen: Trajectory, behaviour: Behaviour, dtype: str) -> dict[str, Any]:
        steps = seen.steps
        return self.trajectory(behaviour, steps).ratios(seen, self.growth.bound(dtype).first(steps))

    def _explain(self, seen: Trajectory, dtype: str, step: int, declared: Behaviour) -> tuple[tuple[str, ...], float]:
        """The decisions that explain a run, and how far off it is then at most; ((), 0) where none do.

        They are looked for beside what is declared first, then beside what is specified.
        """
        begun = seen.first(min(step + MORE, seen.steps))
        if dtype == "float64":
            found = self._confirm(seen, self._try_points(begun, _single_options(declared), dtype), dtype)
            if found is not None:
                return found
            for base in dict.fromkeys((declared, SPECIFIED)):
                ratio = _largest(self._ratios(seen, base, "float32"))
                if ratio <= LIMIT:
                    return (*_words(base), SINGLE), ratio
        for base in dict.fromkeys((declared, SPECIFIED)):
            tried = self._try_points(begun, _beside([base]), dtype)
            found = self._confirm(seen, tried, dtype)
            if found is None:
                pairs = _beside([near for near, _ in tried[:SEVERAL]])
                found = self._confirm(seen, self._try_points(begun, pairs, dtype), dtype)
            if found is not None:
                return found
        return (), 0.0

    def _try_points(self, begun: Trajectory, points: list[Behaviour], dtype: str) -> list[tuple[Behaviour, float]]:
        """Each point with how far the beginning of a run is from it, in decades beyond the bound; the nearest first."""
        found = []
        for point in points:
            self.say(f"explaining: {', '.join(_words(point))}")
            ratios = self._ratios(begun, point, dtype)
            beyond = sum(np.log10(np.clip(value, 1.0, 1e300)).sum() for value in ratios.values())
            found.append((point, float(beyond)))
        return sorted(found, key=lambda pair: pair[1])

    def _confirm(
        self, seen: Trajectory, tried: list[tuple[Behaviour, float]], dtype: str
    ) -> tuple[tuple[str, ...], float] | None:
        """The first point that the beginning fits and on which the whole run lies."""
        for point, beyond in tried:
            if beyond > 0:
                return None
            ratio = _largest(self._ratios(seen, point, dtype))
            if ratio <= LIMIT:
                return _words(point), ratio
        return None


def _single_options(base: Behaviour) -> list[Behaviour]:
    """A point with epsilon, momentum or both rounded to single precision."""
    momenta = [base.but(momentum_value=value) for value in ("single_precision", "single_precision_batch")]
    return [
        *momenta, *(point.but(epsilon_value="single_precision") for point in (base, *momenta)),
    ]  # fmt: skip


def _beside(points: Sequence[Behaviour]) -> list[Behaviour]:
    """Every point that differs from one of these in a further decision."""
    return list(
        dict.fromkeys(
            point.but(**{name: value})
            for point in points
            for name, value in singles()
            if name not in point.differences()
        )
    )


def _decisions_that_show(deviations: Mapping[str, str]) -> dict[str, str]:
    """Those declared deviations that are decisions which show in a training; what does not exist is left out."""
    known = set(singles())
    return {name: value for name, value in deviations.items() if (name, value) in known}


def _words(behaviour: Behaviour) -> tuple[str, ...]:
    return tuple(f"{name} = {value}" for name, value in behaviour.differences().items())


def _largest(ratios: Mapping[str, Any]) -> float:
    return float(max(value.max(initial=0.0) for value in ratios.values()))


def _left(ratios: Mapping[str, Any]) -> Left | None:
    """Where a run leaves the bound first."""
    beyond = {name: np.flatnonzero(value > LIMIT) for name, value in ratios.items()}
    first = min((places[0] for places in beyond.values() if len(places)), default=None)
    if first is None:
        return None
    there = [name for name in QUANTITIES if ratios[name][first] > LIMIT]
    return Left(int(first) + 1, tuple(sorted(there, key=lambda name: -ratios[name][first])))
