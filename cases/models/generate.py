"""Writes the table of models: `python -m bnconform.cases.models.generate`.

It holds every three levels of what a fold is about (TRIPLES); every pair of levels in a model whose prediction is that
of evaluation (SHOWING), where there can be such a model; and every other pair that the constraints allow. The rows are
grown by the generator of the covering array; a self-test proves what the table covers without it.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence

from bnconform.cases.covering.factors import Constraint
from bnconform.cases.covering.generate import Generator, Meeting, Row, meetings
from bnconform.cases.models.factors import CONSTRAINTS, FACTORS, SHOWING, TRIPLES
from bnconform.cases.models.tables import FILE

LEVELS: Mapping[str, tuple[str, ...]] = {factor.name: factor.levels for factor in FACTORS}


class ModelGenerator(Generator):
    """The generator over the factors of models, whose rows all cost the same."""

    def _plainest(self, pair: Meeting, rules: Sequence[Constraint]) -> Row | None:
        """A row by trying what is joined to what is chosen first; None where the constraints forbid the pair."""
        found = self._plain(dict(pair), rules)
        return None if found is None else {name: found[name] for name in self.levels}

    def _plain(self, row: Row, rules: Sequence[Constraint]) -> Row | None:
        if not all(rule.holds(row) for rule in rules if all(name in row for name in rule.factors)):
            return None
        rest = [name for name in self.levels if name not in row]
        if not rest:
            return row
        joined = [rule for rule in rules if any(name in row for name in rule.factors)]
        name = max(rest, key=lambda name: sum(name in rule.factors for rule in joined))
        tried = (self._plain({**row, name: level}, rules) for level in self.levels[name])
        return next((found for found in tried if found is not None), None)


def rows() -> list[Row]:
    """The rows: those for the threes, then the pairs that these leave, first in models that show them."""
    found: list[Row] = []
    threes = meetings({name: LEVELS[name] for name in TRIPLES}, 3)
    shown = (*CONSTRAINTS, *SHOWING)
    for wanted, rules in ((threes, shown), (meetings(LEVELS), shown), (meetings(LEVELS), CONSTRAINTS)):
        generator = ModelGenerator(LEVELS, wanted, whole=False, constraints=rules, cost=lambda _: 0)
        for row in found:
            for meeting in generator.show(row):
                generator.missing.pop(meeting, None)
        found += generator.rows()
    return found


def main() -> None:
    """Write the table."""
    made = rows()
    with FILE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(LEVELS), lineterminator="\n")
        writer.writeheader()
        writer.writerows(made)
    sys.stderr.write(f"{FILE.name}: {len(made)} rows\n")


if __name__ == "__main__":
    main()
