"""Which numbers a failure depends on: the simplest law that fits where it shows and where it does not.

A law is one of a few words about one number: odd, a multiple of 8, from 257 on. One is told only where it fits every
number that was tried, those where the failure shows and those where it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

BLOCKS = (3, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Divisors that a law may name; blocks of kernels are powers of two."""

Shows = Mapping[int, bool]
"""By number, whether the failure shows there."""


@dataclass(frozen=True)
class Law:
    """At which numbers a failure shows.

    Attributes:
        least, most: the first and the last number at which it may show; None for no limit.
        divisor: of the numbers at which it shows, or, where `excluded`, of those at which it does not; 1 for neither.
    """

    least: int | None = None
    most: int | None = None
    divisor: int = 1
    excluded: bool = False

    def shows(self, number: int) -> bool:
        """Whether the failure shows at a number."""
        if (self.least is not None and number < self.least) or (self.most is not None and number > self.most):
            return False
        return self.divisor == 1 or (number % self.divisor == 0) is not self.excluded

    def words(self, one: str, many: str) -> str:
        """In words; `one` and `many` are the noun, such as "sample" and "samples"."""
        parts = []
        if self.divisor == 2:
            parts.append(f"only an {'odd' if self.excluded else 'even'} number of {many}")
        elif self.divisor > 1:
            no = "no" if self.excluded else "a"
            parts.append(f"only where the number of {many} is {no} multiple of {self.divisor}")
        if self.least is not None and self.least == self.most:
            parts.append(f"only {self.least} {one if self.least == 1 else many}")
        elif self.least is not None and self.most is not None:
            parts.append(f"only {self.least} to {self.most} {many}")
        elif self.least is not None:
            parts.append(f"from {self.least} {many} on")
        elif self.most is not None:
            parts.append(f"only up to {self.most} {one if self.most == 1 else many}")
        return ", ".join(parts)


def fitting(shows: Shows) -> Law | None:
    """The simplest law that fits all of the numbers; None where none does, or where nothing differs between them."""
    if len(set(shows.values())) < 2:
        return None
    return next((law for law in _laws(shows) if all(law.shows(n) is seen for n, seen in shows.items())), None)


def _laws(shows: Shows) -> Iterator[Law]:
    """Candidates, the simplest first."""
    least, most = (choose(n for n, seen in shows.items() if seen) for choose in (min, max))
    plain = (Law(least=least), Law(most=most))
    divided = [Law(divisor=k, excluded=excluded) for k in (2, *BLOCKS) for excluded in (True, False)]
    yield from plain
    yield from divided
    yield Law(least=least, most=most)
    for law in divided:
        yield replace(law, least=least)
        yield replace(law, most=most)


def sharpen(law: Law, shows: dict[int, bool], ask: Callable[[int], bool | None]) -> Law:
    """The law with its limits found by bisection.

    Args:
        shows: what is known; what is asked is added to it.
        ask: whether the failure shows at a number, None where that cannot be seen.
    """
    if law.least is not None:
        law = replace(law, least=_limit(law, shows, ask, law.least, max(_right(shows, below=law.least), default=None)))
    if law.most is not None:
        law = replace(law, most=_limit(law, shows, ask, law.most, min(_right(shows, above=law.most), default=None)))
    return law


def _right(shows: Shows, below: int | None = None, above: int | None = None) -> Iterator[int]:
    """The numbers at which it does not show, beyond a limit."""
    for number, seen in shows.items():
        if not seen and (number < below if below is not None else above is not None and number > above):
            yield number


def _limit(law: Law, shows: dict[int, bool], ask: Callable[[int], bool | None], wrong: int, right: int | None) -> int:
    """The number next to those at which it does not show; steps of the divisor where the law has one."""
    if right is None:
        return wrong
    step = law.divisor if law.divisor > 1 else 1
    while abs(right - wrong) > step:
        middle = (wrong + right) // 2
        if step > 1:
            middle = wrong - (wrong - middle) // step * step
            if middle in (wrong, right):
                break
        answer = shows.get(middle)
        if answer is None:
            answer = ask(middle)
        if answer is None:
            break
        shows[middle] = answer
        wrong, right = (middle, right) if answer else (wrong, middle)
    return wrong


def shortest(low: float, high: float) -> str:
    """The shortest decimal in an interval; of its middle, in 3 digits, where no short one lies there."""
    for digits in range(1, 17):
        for value in {0.5 * (low + high), low, high}:
            text = f"{value:.{digits}g}"
            if low <= float(text) <= high:
                return text
    return f"{0.5 * (low + high):.3g}"
