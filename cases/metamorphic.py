"""Relations that need no reference: two programs whose results must be one and the same after a simple map.

The map carries the first program's observations to where the second's must be. Where x and its image are both
representable, the two exact results are equal at the specified point; the two bounds add up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bnconform.cases.program import Program
from bnconform.spec.formats import DTYPES


def same(values: Any) -> Any:
    """The map that changes nothing."""
    return values


@dataclass(frozen=True)
class MetamorphicRelation:
    """Two programs and the map from what the first shows to what the second must show.

    Attributes:
        requirement: its id. name: words that a person can type.
        statement: the relation in one line.
        first, second: programs in float64 with equally many observations, in the same order; `at` rounds them.
        maps: observable -> map of an array (numbers of any kind); linear, with no rounding of its own.
    """

    requirement: str
    name: str
    statement: str
    first: Program
    second: Program
    maps: tuple[tuple[str, Callable[[Any], Any]], ...]
    dtypes: tuple[str, ...] = DTYPES

    def at(self, dtype: str, param_dtype: str) -> tuple[Program, Program]:
        """The two programs for a dtype."""
        return self.first.cast(dtype, param_dtype), self.second.cast(dtype, param_dtype)
