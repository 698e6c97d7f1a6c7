"""The kill matrix, as `python -m bnconform.tests.mutants --json` writes it: what each requirement fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnconform.cases.json_files import JsonForm
from bnconform.results.files import FileError

SCHEMA = "bnconform/kill-matrix/1"

_SCHEMA = {
    "type": "object",
    "required": ["schema", "date", "bnconform", "summary", "verdicts"],
    "properties": {
        "schema": {"const": SCHEMA},
        "date": {"type": "string"},
        "bnconform": {"type": "string"},
        "summary": {"type": "string"},
        "verdicts": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["implementation", "says", "thread", "wrong", "named_by", "dtype", "killed"],
                "properties": {
                    "implementation": {"type": "string"},
                    "says": {"type": "string"},
                    "thread": {"type": "string"},
                    "wrong": {"type": "boolean"},
                    "named_by": {"type": "array", "items": {"type": "string"}},
                    "dtype": {"type": "string"},
                    "killed": {"type": "object", "additionalProperties": {"type": ["number", "null"]}},
                },
            },
        },
    },
}


class KillsError(FileError):
    """A kill matrix that cannot be read; the message says why, in one line."""


FORM = JsonForm("kill matrix", _SCHEMA, KillsError, "python -m bnconform.tests.mutants --json PATH writes one")


@dataclass(frozen=True)
class Wrong:
    """A wrong implementation.

    Attributes:
        says: what is wrong with it. thread: a public report that it is modelled on, or "".
        named_by: the requirements that name its fault, and must fail it.
        killed: requirement -> the largest distance from the truth over the bound; None for what is no number.
        dtypes: those in which it was judged.
    """

    name: str
    says: str
    thread: str
    named_by: tuple[str, ...]
    killed: Mapping[str, float | None]
    dtypes: tuple[str, ...]

    @property
    def alone(self) -> str:
        """The one requirement that fails it, or "" where several do."""
        return next(iter(self.killed)) if len(self.killed) == 1 else ""


@dataclass(frozen=True)
class KillMatrix:
    """The whole matrix; `wrong` in the order of the catalogue, `right` the number of right implementations in it."""

    date: str
    version: str
    summary: str
    wrong: tuple[Wrong, ...]
    right: int

    def killers_of(self, requirement: str) -> list[Wrong]:
        """What a requirement fails, first what it must."""
        found = [one for one in self.wrong if requirement in one.killed]
        return sorted(found, key=lambda one: requirement not in one.named_by)


def read(path: Path) -> KillMatrix:
    """Read a kill matrix; KillsError, naming the file, where it is missing or is none."""
    return _matrix(FORM.read(path))


def _matrix(data: Mapping[str, Any]) -> KillMatrix:
    verdicts: dict[str, list[Mapping[str, Any]]] = {}
    for verdict in data["verdicts"]:
        verdicts.setdefault(verdict["implementation"], []).append(verdict)
    wrong = tuple(_wrong(name, mine) for name, mine in verdicts.items() if mine[0]["wrong"])
    return KillMatrix(data["date"], data["bnconform"], data["summary"], wrong, len(verdicts) - len(wrong))


def _wrong(name: str, mine: list[Mapping[str, Any]]) -> Wrong:
    killed: dict[str, float | None] = {}
    for verdict in mine:
        for requirement, margin in verdict["killed"].items():
            before = killed.get(requirement, margin)
            # What is no number (an exception, NaN, another dtype) is further off than any that is one.
            killed[requirement] = None if before is None or margin is None else max(before, margin)
    first = mine[0]
    dtypes = tuple(verdict["dtype"] for verdict in mine)
    return Wrong(name, first["says"], first["thread"], tuple(first["named_by"]), killed, dtypes)
