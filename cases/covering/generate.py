"""Writes the tables: `python -m bnconform.cases.covering.generate`.

One row at a time, as AETG does (Cohen, Dalal, Fredman and Patton 1997): of some candidates, each grown from a pair that
is still missing by the levels that cover most, the best is taken. `covertable` and `allpairspy` were tried first: with
these constraints neither came to an end in the minutes that this takes. The tables are committed, and a
self-test proves what they cover without this module. Where a constraint is added, `--mend` replaces the rows that break
it, and where a level is added it adds rows that have it; the committed tables were mended so.
"""

from __future__ import annotations

import csv
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations, product

from bnconform.cases.covering.factors import (
    COARSE,
    CONSTRAINTS,
    COUNTS,
    FACTORS,
    FEW_CONFIGURATIONS,
    FEW_SHAPES,
    HIDING,
    ORDERS,
    SELDOM,
    TRIPLES,
    Constraint,
    Levels,
    cost,
    elements,
    is_allowed,
    showing,
    shows,
    trains,
)
from bnconform.cases.covering.tables import FOLDER, table

TABLES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "shown": {},
    "other_dtypes": {},
    "triples": {},
    "orders": ORDERS,
    "few_shapes": FEW_SHAPES,
    "few_configurations": FEW_CONFIGURATIONS,
}
"""The levels of each table where they are not all."""

WHOLE = ("shown", "triples", "orders")
"""The tables in whose rows nothing hides a part of what is to meet."""

CANDIDATES = 8
"""How many rows are grown for each that is taken."""

CHEAP = 150
"""Elements that a row may have without a second thought: of two rows that gain alike, one of twice as many more counts
half. Large sizes then meet each other once, and everything else in small rows."""

SMALL = 2
"""The length of an axis that may be taken without a second thought."""

SIZES = ("rank", "positions", "samples", "channels")
"""The factors that the budget and the layouts join."""

RARE = 0.25
"""How much less often a level that hides something is taken than others that cover as much."""

ATTEMPTS = 2_000
FEW_ATTEMPTS = 50
"""After how many dead ends a row is given up; and where the plainest one of the sort cannot be."""

Row = dict[str, str]
Meeting = tuple[tuple[str, str], ...]
"""Levels that are to stand in one row, in the order of their factors: two of them, or three."""


class Generator:
    """Grows rows over given levels.

    Attributes:
        levels: factor -> its levels. missing: the meetings that no row holds yet. strength: of how many levels each is.
        whole: whether a row must show all of a meeting, where there can be such a row.
        constraints: what a row must obey. cost: what a row costs.
    """

    def __init__(
        self,
        levels: Mapping[str, tuple[str, ...]],
        wanted: Iterable[Meeting],
        *,
        whole: bool,
        constraints: Sequence[Constraint] = CONSTRAINTS,
        cost: Callable[[Levels], int] = cost,
        seed: int = 1,
    ) -> None:
        self.levels, self.whole = levels, whole
        self.constraints, self.cost = constraints, cost
        self.missing: dict[Meeting, None] = dict.fromkeys(wanted)
        self.strength = len(next(iter(self.missing)))
        self._factors = {factor for meeting in self.missing for factor, _ in meeting}
        self._place = {name: place for place, name in enumerate(levels)}
        self._rules: dict[str, list[Constraint]] = {}
        self._random = random.Random(seed)
        self._dead_ends, self._attempts = 0, ATTEMPTS

    def rows(self) -> Iterator[Row]:
        """Rows until nothing is missing that a row can hold; one that shows all of it, if there can be such a row."""
        while self.missing:
            first = next(iter(self.missing))
            names = tuple(factor for factor, _ in first)
            strict = self._best(first, (*self.constraints, *showing(names))) if self.whole else None
            best = strict or self._best(first, self.constraints)
            if best is not None:
                for pair in self.show(best):
                    self.missing.pop(pair, None)
                yield best
            self.missing.pop(first, None)  # where none is found the constraints forbid it; the self-test looks again

    def _best(self, pair: Meeting, rules: Sequence[Constraint]) -> Row | None:
        self._rules = {name: [rule for rule in rules if name in rule.factors] for name in self.levels}
        plain = self._plainest(pair, rules)
        attempts = FEW_ATTEMPTS if plain is None else ATTEMPTS
        grown = [row for row in (self._grow(pair, attempts) for _ in range(CANDIDATES)) if row is not None]
        if not grown:
            grown = [] if plain is None else [plain]
        return max(grown, key=lambda row: self._gain(row) / (1 + self.cost(row) / CHEAP), default=None)

    def show(self, row: Row) -> Iterator[Meeting]:
        """The meetings of a row of which it shows all that it can."""
        items = [(name, level) for name, level in row.items() if name in self._factors]
        for meeting in combinations(items, self.strength):
            if not self.whole or shows(row, tuple(factor for factor, _ in meeting)):
                yield meeting

    def _gain(self, row: Row) -> int:
        return sum(pair in self.missing for pair in self.show(row))

    def _plainest(self, pair: Meeting, rules: Sequence[Constraint]) -> Row | None:
        """The smallest row of the pair whose other levels are the plainest; each combination of sizes is tried."""
        plain = {name: levels[0] for name, levels in self.levels.items()} | dict(pair)
        if plain["history"] == "counted_40000" and "momentum" not in dict(pair):
            plain["momentum"] = "None"
        if not trains(plain) and "begins" not in dict(pair):
            plain["begins"] = "evaluation"
        free = [name for name in SIZES if name not in dict(pair)]
        choices = product(*(self.levels[name] for name in free))
        every = ({**plain, **dict(zip(free, choice, strict=True))} for choice in choices)
        return min((row for row in every if all(rule.holds(row) for rule in rules)), key=elements, default=None)

    def _grow(self, pair: Meeting, attempts: int) -> Row | None:
        row = dict(pair)
        if not all(self._fits(row, name) for name in row):
            return None
        rest = [name for name in self.levels if name not in row]
        self._random.shuffle(rest)
        self._dead_ends, self._attempts = 0, attempts
        grown = self._complete(row, rest)
        return None if grown is None else {name: grown[name] for name in self.levels}

    def _complete(self, row: Row, rest: list[str]) -> Row | None:
        """The row with the rest filled in, going back where nothing fits."""
        if not rest:
            return row
        name, *others = rest
        for level in self._by_gain(row, name):
            extended = {**row, name: level}
            if self._fits(extended, name):
                found = self._complete(extended, others)
                if found is not None:
                    return found
            self._dead_ends += 1
            if self._dead_ends > self._attempts:
                return None
        return None

    def _by_gain(self, row: Row, name: str) -> list[str]:
        others = sorted((item for item in row.items() if item[0] in self._factors), key=self._order)
        groups = combinations(others, self.strength - 1) if name in self._factors else ()
        place = self._place[name]
        split = [
            (tuple(i for i in group if self._order(i) < place), tuple(i for i in group if self._order(i) > place))
            for group in groups
        ]

        def gain(level: str) -> int:
            return sum((*before, (name, level), *after) in self.missing for before, after in split)

        def size(level: str) -> int:
            return COUNTS[level] if name == "positions" else int(level) if name in ("samples", "channels") else 0

        def worth(level: str) -> float:
            hides = not self.whole and level in HIDING.get(name, ())
            rare = RARE if hides or level in SELDOM.get(name, ()) else 1.0
            return rare * gain(level) / (1 + size(level) / SMALL)

        levels = list(self.levels[name])
        self._random.shuffle(levels)
        return sorted(levels, key=lambda level: (-worth(level), size(level)))

    def _order(self, item: tuple[str, str]) -> int:
        return self._place[item[0]]

    def _fits(self, row: Row, name: str) -> bool:
        return all(c.holds(row) for c in self._rules[name] if all(factor in row for factor in c.factors))


def meetings(levels: Mapping[str, tuple[str, ...]], strength: int = 2) -> list[Meeting]:
    """Every meeting of so many levels of different factors, the factors in their order."""
    return [
        tuple(zip(factors, chosen, strict=True))
        for factors in combinations(levels, strength)
        for chosen in product(*(levels[factor] for factor in factors))
    ]


def meetings_of(name: str) -> list[Meeting]:
    """What is to meet in a table, as far as the constraints allow."""
    if name == "triples":
        return meetings(TRIPLES, 3)
    levels = {factor.name: TABLES[name].get(factor.name, factor.levels) for factor in FACTORS}
    if name == "orders":
        return [meeting for meeting in meetings(levels, 3) if "x_layout" in dict(meeting)]
    if name != "other_dtypes":
        return meetings(levels)
    coarse = {factor: COARSE.get(factor, of) for factor, of in levels.items()}
    begun = [pair for pair in meetings(levels) if "begins" in (pair[0][0], pair[1][0])]
    return [*meetings(coarse), *begun]


def rows_of(name: str, *, mended: bool = False) -> list[Row]:
    """The rows of a table; `mended`: those of the committed one that break no constraint, and what they lack."""
    levels = {factor.name: TABLES[name].get(factor.name, factor.levels) for factor in FACTORS}
    generator = Generator(levels, meetings_of(name), whole=name in WHOLE)
    kept = [dict(row) for row in table(name) if is_allowed(row)] if mended else []
    if mended:  # what the whole table does not hold cannot be, as its self-test shows, and is not searched for again
        held = {meeting for row in table(name) for meeting in generator.show(dict(row))}
        still = {meeting for row in kept for meeting in generator.show(row)}
        known = {item for row in table(name) for item in row.items()}
        generator.missing = {
            meeting: None
            for meeting in generator.missing
            if meeting not in still and (meeting in held or not known.issuperset(meeting))
        }
    return [*kept, *generator.rows()]


def main() -> None:
    """Write every table, or those that are named; with --mend, what new constraints leave of them, completed."""
    for name in [word for word in sys.argv[1:] if word != "--mend"] or TABLES:
        rows = rows_of(name, mended="--mend" in sys.argv)
        with (FOLDER / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [factor.name for factor in FACTORS], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        sys.stderr.write(f"{name}.csv: {len(rows)} rows\n")


if __name__ == "__main__":
    main()
