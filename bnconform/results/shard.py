"""One share of a run whose checks were divided among several machines; with the others of its set it is the whole run.

A shard's file keeps what each check recorded and not the rows alone, so that what is made of all of them together is
what one run makes of its own checks. `bnconform.judge.shard_set` does that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bnconform.results.completeness import Column

MOST = 10_000
"""Shards of a set; more than a run has checks in any column."""


@dataclass(frozen=True)
class Share:
    """Which part of the checks a run makes: `number` of `of`, counted from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Share:
        """The share that "K/N" names; ValueError, saying what to give, for any other text."""
        found = re.fullmatch(r"([1-9]\d{0,4})/([1-9]\d{0,4})", text)
        if not found or not int(found[1]) <= int(found[2]) <= MOST:
            raise ValueError(f"{text!r} is no shard; give K/N, the shard K of N, such as 3/8")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def has(self, place: int) -> bool:
        """Whether the check at this place, counted from 0, is in it."""
        return place % self.of == self.number - 1


@dataclass(frozen=True)
class CheckCounts:
    """How many checks of one requirement a column has: in a run of the whole suite, selected here, and finished."""

    planned: int
    selected: int
    finished: int


@dataclass(frozen=True)
class RecordedCheck:
    """What one check recorded.

    Attributes:
        place: of the check among those of the whole suite, from 0. outcome: `bnconform.judge.outcome.Outcome` as data,
            without what has its default value, and without the observations, which the result has.
    """

    place: int
    outcome: Mapping[str, Any]


@dataclass(frozen=True)
class Shard:
    """What the file of a shard has besides a result.

    Attributes:
        share: which part it is. plan: SHA-256 of the names of all checks of the whole run, in their order.
        keys: what --backend was given for each backend, by its name.
        counts: by column and requirement. recorded: what the checks of the share recorded, in the order of the plan.
    """

    share: Share
    plan: str
    keys: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[Column, Mapping[str, CheckCounts]] = field(default_factory=dict)
    recorded: tuple[RecordedCheck, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The key `shard` of a result file."""
        return {
            "number": self.share.number,
            "of": self.share.of,
            "plan": self.plan,
            "keys": dict(self.keys),
            "columns": [
                {
                    **dict(zip(("backend", "device", "dtype"), column, strict=True)),
                    "checks": {name: list(asdict(one).values()) for name, one in counts.items()},
                }
                for column, counts in self.counts.items()
            ],
            "recorded": [{"place": one.place, "outcome": dict(one.outcome)} for one in self.recorded],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Shard:
        """From what `to_json` gave, and the schema admits."""
        columns = {
            (one["backend"], one["device"], one["dtype"]): {
                name: CheckCounts(*numbers) for name, numbers in one["checks"].items()
            }
            for one in data["columns"]
        }
        recorded = tuple(RecordedCheck(one["place"], one["outcome"]) for one in data["recorded"])
        return cls(Share(data["number"], data["of"]), data["plan"], data["keys"], columns, recorded)
