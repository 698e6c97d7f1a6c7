"""The generated tables, as they were committed."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from bnconform.cases.covering.factors import Levels

FOLDER = Path(__file__).parent


@cache
def table(name: str) -> tuple[Levels, ...]:
    """The rows of a table: "shown", "triples", "orders", "other_dtypes", "few_shapes" or "few_configurations"."""
    with (FOLDER / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))
