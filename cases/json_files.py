"""Our JSON files: read and checked against their schema, or refused in one line that names the file and the place."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import jsonschema

from bnconform.spec.errors import UserError

LONGEST = 160
"""Characters of what a schema says of a fault; it may quote whole arrays."""


LARGEST = 256 << 20
"""Bytes of a file that is read: some thousand times as many as a run of one implementation writes."""

FAULTS = 50
"""Faults of which the one that says most is told; a file may have as many as it has entries."""


@dataclass(frozen=True)
class JsonForm:
    """A kind of file.

    Attributes:
        noun: what such a file is, such as "result". schema: the JSON Schema, as data or the path of its file.
        error: what is raised. maker: how to get such a file, in words after a semicolon, or "".
        constants: whether NaN and Infinity, which Python reads and JSON has not, are left for the caller to refuse.
    """

    noun: str
    schema: Path | dict[str, Any]
    error: type[UserError] = UserError
    maker: str = ""
    constants: bool = False

    @cached_property
    def _validator(self) -> jsonschema.Draft202012Validator:
        schema = self.schema
        return jsonschema.Draft202012Validator(
            json.loads(schema.read_text(encoding="utf-8")) if isinstance(schema, Path) else schema
        )

    def load(self, path: Path) -> Any:
        """The data of a file; `error`, naming it, where it is missing or not JSON."""
        maker = f"; {self.maker}" if self.maker else ""
        try:
            if path.is_file() and path.stat().st_size > LARGEST:
                raise self.error(f"{path} is larger than {LARGEST >> 20} MiB, which no {self.noun} is{maker}")
            text = path.read_text(encoding="utf-8")
            return json.loads(text, parse_constant=None if self.constants else _refuse_constant)
        except OSError as problem:
            reason = problem.strerror or problem
            raise self.error(f"cannot read the {self.noun} {path}: {reason}{maker}") from None
        except (ValueError, RecursionError) as problem:
            raise self.error(f"{path} is not JSON ({problem}){maker}") from None

    def check(self, data: Any) -> None:
        """`error`, naming the place, where the data do not fit the schema."""
        try:
            fault = jsonschema.exceptions.best_match(islice(self._validator.iter_errors(data), FAULTS))
        except RecursionError:
            raise self.error("at the top: it is nested too deeply") from None
        if fault is not None:
            raise self.error(f"at {_place(fault)}: {fault.message[:LONGEST]}")

    def refusal(self, path: Path, problem: object) -> UserError:
        """The error that says that a file is none of this kind, and why."""
        return self.error(f"{path} is not a {self.noun}: {problem}")

    def read(self, path: Path) -> Any:
        """The data of a file that fits the schema; `error`, naming file and place, for any other."""
        data = self.load(path)
        try:
            self.check(data)
        except self.error as problem:
            raise self.refusal(path, problem) from None
        return data


def _place(fault: jsonschema.ValidationError) -> str:
    parts = (str(part) for part in fault.absolute_path)
    return "/".join(part if part.isprintable() else repr(part) for part in parts) or "the top"


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")
