"""On which numbers of samples, positions, values and channels a failure depends, and in which channels it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from bnconform.cases.program import PASSES, SPREAD, Program
from bnconform.diagnosis.experiments import variations as vary
from bnconform.diagnosis.experiments.circumstances import Circumstance
from bnconform.diagnosis.experiments.numeric_laws import Law, fitting, sharpen
from bnconform.diagnosis.experiments.trials import Trials

FIRST_LENGTHS = (1, 2, 3, 4, 8)
FURTHER_LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 32, 33, 64, 65, 128, 257)
"""Lengths that are tried first; and where the failure goes away at one of those."""

MOST = 4
"""Numbers that are told where no law fits."""

ROUNDS = 4
"""Questions that may decide between numbers that explain the same."""

Shape = tuple[int, int]
"""Samples and positions."""

NUMBERS: Mapping[str, tuple[str, str, Callable[[Shape], int]]] = {
    "samples": ("sample", "samples", lambda shape: shape[0]),
    "positions": ("position", "positions", lambda shape: shape[1]),
    "values": ("value a channel", "values a channel", lambda shape: shape[0] * shape[1]),
}
"""What may matter of a shape, by name: in words, and which number it is."""


def shapes(trials: Trials, base: Program) -> Iterator[Circumstance]:
    """Samples, positions, values a channel; then channels."""
    if vary.last(base).op not in PASSES or not vary.samples(base):
        return
    found = list(Lengths(trials, base).circumstances())
    if found and base.config.ndim == 2:
        # Where positions can be changed, too, samples are told from values a channel.
        lifted = next(vary.with_rank(base, 3))
        found = (list(Lengths(trials, lifted).circumstances()) if trials.show(lifted) else []) or found
    yield from found
    yield from _channels(trials, base)
    yield from _channel_index(trials, base)


@dataclass
class Lengths:
    """What was seen at which numbers of samples and positions."""

    trials: Trials
    base: Program
    seen: dict[Shape, bool] = field(default_factory=dict)

    def ask(self, shape: Shape) -> bool | None:
        """Whether the failure shows over so many samples and positions."""
        if shape not in self.seen:
            program = vary.with_samples(self.base, shape[0])
            if program is not None and shape[1] != vary.positions(self.base):
                program = vary.with_positions(program, shape[1])
            answer = self.trials.show(program)
            if answer is None:
                return None
            self.seen[shape] = answer
        return self.seen[shape]

    @property
    def here(self) -> Shape:
        """The shape of the failing program."""
        return vary.samples(self.base), vary.positions(self.base)

    def circumstances(self) -> Iterator[Circumstance]:
        """The laws of the numbers that matter."""
        count, size = self.here
        self.seen[self.here] = True
        can_move = self.base.config.ndim > 2
        for lengths in (FIRST_LENGTHS, FURTHER_LENGTHS):
            for length in dict.fromkeys((*lengths, count - 1, count + 1, 2 * count)):
                if length > 0:
                    self.ask((length, size))
            for length in dict.fromkeys((*lengths, size - 1, size + 1, 2 * size)) if can_move else ():
                if length > 0:
                    self.ask((count, length))
            if all(self.seen.values()):
                return
        single = self._single()
        if single is not None:
            yield self._tell(*single)
            return
        for name, line in (("samples", self._line(1, size)), ("positions", self._line(0, count))):
            law = fitting(line)
            right = sorted(length for length, seen in line.items() if not seen)
            if law is not None:
                yield self._tell(name, law)
            elif right:
                yield Circumstance(f"not with every number of {name} (right with {', '.join(map(str, right[:MOST]))})")

    def _line(self, axis: int, length: int) -> dict[int, bool]:
        """What was seen where one of the two lengths is given, by the other."""
        return {shape[1 - axis]: seen for shape, seen in self.seen.items() if shape[axis] == length}

    def _single(self) -> tuple[str, Law] | None:
        """The one number that explains everything, where there is one."""
        laws = self._laws()
        for _ in range(ROUNDS):
            if len(laws) < 2 or not self._decide(laws):
                break
            laws = self._laws()
        return next(iter(laws.items()), None)

    def _laws(self) -> dict[str, Law]:
        found = {}
        for name, (_, _, number) in NUMBERS.items():
            shows: dict[int, bool] = {}
            consistent = all(shows.setdefault(number(shape), seen) is seen for shape, seen in self.seen.items())
            law = fitting(shows) if consistent else None
            if law is not None:
                found[name] = law
        return found

    def _decide(self, laws: Mapping[str, Law]) -> bool:
        """Ask at a shape of which the laws say different things; False where there is none."""
        for shape in ((n, p) for n in (2, 1, 3, 4, 16, 40, 300) for p in (1, 2, 3, 4, 5, 16, 65, 300)):
            told = {law.shows(NUMBERS[name][2](shape)) for name, law in laws.items()}
            if len(told) > 1 and shape not in self.seen and self.ask(shape) is not None:
                return True
        return False

    def _tell(self, name: str, law: Law) -> Circumstance:
        count, size = self.here
        one, many, number = NUMBERS[name]

        def ask(length: int) -> bool | None:
            if name == "positions":
                return self.ask((count, length))
            if name == "samples" or self.base.config.ndim == 2:
                return self.ask((length, size))
            return self.ask((length, 1))

        shows: dict[int, bool] = {}
        for shape, seen in self.seen.items():
            shows[number(shape)] = seen
        law = sharpen(law, shows, ask)
        return Circumstance(
            law.words(one, many), lambda program: law.shows(number((vary.samples(program), vary.positions(program))))
        )


def _channels(trials: Trials, base: Program) -> Iterator[Circumstance]:
    """The number of channels, whichever of them are wrong."""
    here = base.config.num_features
    shows: dict[int, bool] = {here: True}

    def ask(count: int) -> bool | None:
        return trials.show(vary.with_channels(base, count))

    for counts in (FIRST_LENGTHS, FURTHER_LENGTHS):
        for count in dict.fromkeys((*counts, here - 1, here + 1, 2 * here)):
            if count > 0 and count not in shows:
                answer = ask(count)
                if answer is not None:
                    shows[count] = answer
        if all(shows.values()):
            return
    law = fitting(shows)
    if law is not None:
        law = sharpen(law, shows, ask)
        if not _is_index(trials, vary.with_channels(base, here), law):
            yield Circumstance(law.words("channel", "channels"), lambda program: law.shows(program.config.num_features))


def _is_index(trials: Trials, base: Program | None, law: Law) -> bool:
    """Whether a limit on the number of channels is that of the channels that are wrong: told as their index."""
    wrong = None if base is None else wrong_channels(trials, base)
    return bool(wrong) and law.least is not None and law.divisor == 1 and min(wrong or (0,)) == law.least - 1 > 0


def wrong_channels(trials: Trials, program: Program) -> list[int] | None:
    """The channels that are wrong in a program that was run; None where that cannot be said."""
    call = trials.call(program)
    if call is None or program.config.num_features < 2:
        return None
    found: set[int] = set()
    for one in call.comparisons:
        axis = 1 if one.name in SPREAD else 0
        if one.error_ratio.ndim <= axis:
            return None
        others = tuple(a for a in range(one.error_ratio.ndim) if a != axis)
        found |= {int(channel) for channel in np.flatnonzero((one.error_ratio > 1).any(axis=others))}
    return sorted(found)


def _channel_index(trials: Trials, base: Program) -> Iterator[Circumstance]:
    """Which channels are wrong, where only some are, and where it is their place and not their values that decides."""
    wide = vary.with_channels(base, base.config.num_features + 4)
    rolled = None if wide is None else vary.roll_channels(wide)
    if wide is None or rolled is None or not trials.show(wide) or not trials.show(rolled):
        return
    wrong, moved = wrong_channels(trials, wide), wrong_channels(trials, rolled)
    count = wide.config.num_features
    if not wrong or wrong != moved or len(wrong) == count:
        return
    least = wrong[0]
    if wrong == [count - 1] and wrong_channels(trials, base) == [base.config.num_features - 1]:
        yield Circumstance("only the last channel")
    elif wrong == list(range(least, count)):
        first = "the second channel" if least == 1 else f"channel {least}, counted from 0,"
        yield Circumstance(f"only {first} and those after it", lambda program: program.config.num_features > least)
    elif wrong == [0]:
        yield Circumstance("only the first channel")
    elif wrong == list(range(least, count, 2)):
        yield Circumstance(f"only every second channel, from channel {least} on, counted from 0")
    else:
        names = f"channel{'s' if len(wrong) > 1 else ''} {', '.join(map(str, wrong[:6]))}"
        yield Circumstance(f"only {names}, counted from 0")
