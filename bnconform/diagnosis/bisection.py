"""Which of many things a failure needs: smallest sets of them, found by leaving out halves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Fails = Callable[[frozenset[str]], bool]
"""Whether the failure shows with these left out."""


@dataclass(frozen=True)
class Bisected:
    """What a failure needs.

    Attributes:
        sets: each by itself is enough, and none of its members can be left out. needs_none: whether it shows without
            any. is_whole: False where the search was cut short, and more may be to blame.
    """

    sets: tuple[tuple[str, ...], ...]
    needs_none: bool = False
    is_whole: bool = True


def bisect(names: Sequence[str], fails: Fails, most: int) -> Bisected:
    """The smallest sets of names with which alone something fails, until it fails no more without all of them.

    Args:
        fails: asked at most about `most` times. The failure shows with nothing left out.
    """
    trials = 0

    def shows(left_out: frozenset[str]) -> bool:
        nonlocal trials
        trials += 1
        return fails(left_out)

    every = frozenset(names)
    if not names or shows(every):
        return Bisected((), needs_none=True)
    found: list[tuple[str, ...]] = []
    blamed: frozenset[str] = frozenset()
    while trials < most:
        rest = [name for name in names if name not in blamed]
        if blamed and (not rest or not shows(blamed)):
            return Bisected(tuple(found))
        needed = _smallest_set(rest, lambda kept: shows(every - frozenset(kept)))
        found.append(tuple(needed))
        blamed |= frozenset(needed)
    return Bisected(tuple(found), is_whole=False)


def _smallest_set(names: Sequence[str], fails_with: Callable[[Sequence[str]], bool]) -> list[str]:
    """A smallest set with which something fails, of names with which it does: halves, then one by one."""
    kept = list(names)
    while len(kept) > 1:
        half = len(kept) // 2
        for part in (kept[:half], kept[half:]):
            if fails_with(part):
                kept = part
                break
        else:
            break
    for name in list(kept) if len(kept) > 1 else []:
        without = [other for other in kept if other != name]
        if without and fails_with(without):
            kept = without
    return kept
