"""A check made several times, each on new layers: the worst of what it comes to counts, and whether all agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bnconform.judge.check import Check
from bnconform.judge.check_record import Unsupported, Violation
from bnconform.judge.outcome import UNTRUSTED, Outcome
from bnconform.results.result import VERDICTS


@dataclass
class Attempt:
    """One repetition: what it recorded, and what it raised."""

    outcomes: list[Outcome]
    requirement: str
    problem: Violation | Unsupported | None = None

    @property
    def own(self) -> list[Outcome]:
        """What it recorded of its own requirement."""
        return [one for one in self.outcomes if one.requirement == self.requirement and not one.aside]

    @property
    def verdict(self) -> str:
        """The worst of them; a check that compares nothing can be trusted in nothing."""
        return min((one.verdict for one in self.own), key=VERDICTS.index, default=UNTRUSTED)

    @property
    def case(self) -> str | None:
        """The case that replays it."""
        return next((one.case for one in self.own if one.case), None)


@dataclass
class Repetition:
    """All repetitions of one check, at least one."""

    attempts: list[Attempt] = field(default_factory=list)

    def worst(self) -> Attempt:
        """The worst one, with the largest error of all, what the others saw aside, and the verdicts where they differ.

        Of those with one verdict it is the one that wrote its case, or else the first.
        """
        worst = min(self.attempts, key=lambda one: (VERDICTS.index(one.verdict), one.case is None))
        others = [one for one in self.attempts if one is not worst]
        worst.outcomes[:0] = [outcome for one in others for outcome in one.outcomes if outcome not in one.own]
        if worst.own:
            last = worst.own[-1]
            every = [outcome for one in self.attempts for outcome in one.own]
            last.bound_share = max((o.bound_share for o in every if o.bound_share is not None), default=None)
            last.ulp = max((o.ulp for o in every if o.ulp is not None), default=None)
            verdicts = [one.verdict for one in self.attempts]
            if len(set(verdicts)) > 1:
                last.verdicts, last.steady = verdicts, False
        return worst


def repeat(times: int, make: Callable[[], Check], test: Callable[[Check], object]) -> Attempt:
    """Make a check several times, and return the worst repetition.

    Once a failing case has been written, the repetitions that follow write none, and do not take it away.

    Raises:
        AdapterError: where the adapter does not meet its contract; that is told at once.
    """
    made = Repetition()
    for _ in range(times):
        check = make()
        if any(attempt.case for attempt in made.attempts):
            check.folder = None
        check.subject.forget_deployed()
        problem: Violation | Unsupported | None = None
        try:
            test(check)
        except (Violation, Unsupported) as found:
            problem = found
        made.attempts.append(Attempt(check.outcomes, check.requirement.id, problem))
    return made.worst()
