"""What checks that crash share: the feature that each of them asks for, and that no check asks for which was answered.

It is what an adapter may declare in `unsupported`, and so it is told by that name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bnconform.judge.outcome import CONFORMS, CRASHED, DEVIATES, VIOLATES, Outcome

ANSWERED = (CONFORMS, DEVIATES, VIOLATES)
"""The verdicts of checks in which the implementation answered."""


@dataclass(frozen=True)
class SharedCrash:
    """Crashed checks of one kind.

    Attributes:
        features: each of them is asked for by all of these checks, and by none that was answered.
        group: the numbers of the outcomes.
    """

    features: tuple[str, ...]
    group: list[int]

    @property
    def sentence(self) -> str:
        """What is shared, and what to do about it."""
        names = " and ".join(self.features)
        declared = " or ".join(f"`{name}`" for name in self.features)
        many = f"all {len(self.group)} checks" if len(self.group) > 1 else "the only check"
        return f"crashes with {names} ({many} with it): support it, or declare {declared} in `unsupported`"


def common_crash(outcomes: Sequence[Outcome], rest: Sequence[int], every: Sequence[int]) -> SharedCrash | None:
    """The feature that most crashed checks share, or all of several that as many share; None where there is none.

    A feature that a check was answered with explains nothing; where nothing was answered at all, none can be told from
    another.

    Args:
        rest: the numbers of the failing checks that nothing has explained. every: of all checks of the backend.
    """
    answered = [outcomes[i].features for i in every if outcomes[i].verdict in ANSWERED and outcomes[i].features]
    if not answered:
        return None
    fine = {name for names in answered for name in names}
    counts = Counter(
        name for i in rest if outcomes[i].verdict == CRASHED for name in outcomes[i].features if name not in fine
    )
    if not counts:
        return None
    most = max(counts.values())
    first = min(name for name, count in counts.items() if count == most)
    group = [i for i in rest if outcomes[i].verdict == CRASHED and first in outcomes[i].features]
    shared = (name for name, count in counts.items() if count == most)
    return SharedCrash(tuple(sorted(n for n in shared if all(n in outcomes[i].features for i in group))), group)
