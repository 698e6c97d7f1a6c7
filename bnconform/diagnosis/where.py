"""Where the failing checks of one cause fail, in words: by experiment where one was made, or else by correlation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bnconform.diagnosis.failure_conditions import narrowest
from bnconform.judge.outcome import Outcome


def common_circumstances(failing: Sequence[Outcome], every: Sequence[Outcome], cause: str = "") -> str:
    """The circumstances that checks of one cause share.

    Args:
        failing: those of one cause. cause: the relation that explains them, in words, or "".
        every: all checks of the backend, for what can only be correlated.
    """
    made = [outcome.narrowed for outcome in failing if outcome.narrowed]
    if any(not outcome.steady for outcome in failing):
        return "it differs from run to run"
    if not made:
        return narrowest(failing, every)
    if not all(one["can_ask"] for one in made):
        seen = narrowest(failing, every)
        return f"as far as a recording tells, which can only be correlated: {seen}" if seen else ""
    return ", ".join([*_parts(made, failing, every, cause), *_cut(made)])


ALTERNATIVES = 3
"""Sets of circumstances that are told, the shortest first, where experiments on several checks found several."""


def _parts(
    made: Sequence[dict[str, Any]], failing: Sequence[Outcome], every: Sequence[Outcome], cause: str
) -> list[str]:
    """What all of the experiments found, or what each did."""
    parts = []
    quantities = sorted({name for one in made for name in one["quantities"]})
    if quantities and not cause and all(one["quantities"] for one in made):
        parts.append(f"only {', '.join(quantities)}")
    parts += _environment(failing, every)
    wheres = list(dict.fromkeys(tuple(one["where"]) for one in made))
    if () in wheres:
        return parts
    shared = [words for words in wheres[0] if all(words in where for where in wheres)]
    rest = [", ".join(words for words in where if words not in shared) for where in wheres]
    parts += shared
    if len(wheres) > 1 and all(rest):
        several = sorted(dict.fromkeys(rest), key=len)
        more = len(several) - ALTERNATIVES
        others = [f"in {more} more way{'' if more == 1 else 's'}"] if more > 0 else []
        parts.append("; or ".join([*several[:ALTERNATIVES], *others]))
    return parts


def _environment(failing: Sequence[Outcome], every: Sequence[Outcome]) -> list[str]:
    """The dtype or device, which no experiment changes: told where checks of the same requirements hold in others."""
    asked = {outcome.requirement for outcome in failing}
    parts = []
    for name, phrase in (("dtype", "only {}"), ("device", "only on {}")):
        wrong = {str(getattr(outcome, name)) for outcome in failing}
        all_of_them = {str(getattr(outcome, name)) for outcome in every if outcome.requirement in asked}
        if wrong < all_of_them:
            parts.append(phrase.format(" or ".join(sorted(wrong))))
    return parts


def _cut(made: Sequence[dict[str, Any]]) -> list[str]:
    asked = max(int(one["cut"]) for one in made)
    return [f"the search was cut short after {asked} programs"] if asked else []
