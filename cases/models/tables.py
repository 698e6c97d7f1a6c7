"""The generated table of models, as it was committed."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from bnconform.cases.covering.factors import Levels

FILE = Path(__file__).with_name("models.csv")


@cache
def table() -> tuple[Levels, ...]:
    """The rows of the table."""
    with FILE.open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))
