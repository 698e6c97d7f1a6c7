"""Columns that are kept with the sources: of each implementation on each device one file, small enough to be committed.

It is a result file (`result.schema.json`) that `bnconform compare` and every other command takes, less what only a
person looks up once: the words of what is unsupported (the declarations have them), the evidence of failures, paths,
and the packages and the machine that the column has nothing to do with. Numbers have three digits. `columns.toml`
beside the files says which of them the page shows, and what each is compared with.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bnconform.backends import registry
from bnconform.backends.runner.loading import PACKAGES
from bnconform.results import files, result
from bnconform.results.completeness import SelectionRecord
from bnconform.results.files import FileError
from bnconform.results.result import Environment, Result, Row

DIGITS = 3
"""Significant digits of an error over its bound, and of a count of ulps."""

PLACES = "columns.toml"

Name = tuple[str, str]
"""(backend, device) of a column; all its dtypes are in one file."""


@dataclass(frozen=True)
class TableRow:
    """A row of the page.

    Attributes:
        column: what it is of. beside: the column that it is compared with; two empty texts for none. made: how to get
            the device, in Markdown.
    """

    column: Name
    beside: Name
    made: str


def columns_of(whole: Result) -> dict[Name, Result]:
    """Each column of a result, as it is kept."""
    names = dict.fromkeys((row.backend, row.device) for row in whole.rows)
    return {name: _select_columns(whole, name) for name in names}


def file_name(name: Name) -> str:
    """The file of a column: letters, digits and a few signs, whatever the backend is called."""
    return (
        "-".join("".join(char if char.isalnum() or char in "._+" else "_" for char in part) for part in name) + ".json"
    )


def write(folder: Path, whole: Result) -> list[Path]:
    """Write each column of a result into the folder; the files. Raises FileError where that cannot be done."""
    made = []
    for name, column in columns_of(whole).items():
        path = folder / file_name(name)
        files.write(path, to_text(column), "the column")
        made.append(path)
    return made


def read_all(folder: Path) -> dict[Name, Result]:
    """The columns that are kept in a folder; ResultError, naming the file, for what is none."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        column = result.read(path)
        found[column.rows[0].backend, column.rows[0].device] = column
    return found


def places(folder: Path) -> list[TableRow]:
    """What the page shows, in order; FileError where the file cannot be used."""
    path = folder / PLACES
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))["column"]
        return [TableRow(_name(one["column"]), _name(one["beside"] or ":"), str(one["made"])) for one in told]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise FileError(f"{path} is no list of columns: {problem}") from None


def to_text(column: Result) -> str:
    """The file: a line for each row and each observation; the same for the same column."""
    data = result.to_json(column)
    heads = [f" {json.dumps(name)}: {_line(value)}" for name, value in data.items() if not isinstance(value, list)]
    lists = [
        f" {json.dumps(name)}: [" + "".join(f"\n  {_line(one)}," for one in value).removesuffix(",") + "]"
        for name, value in data.items()
        if isinstance(value, list)
    ]
    return "{\n" + ",\n".join([*heads, *lists]) + "\n}\n"


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _name(text: str) -> Name:
    backend, _, device = text.partition(":")
    return backend, device


def _select_columns(whole: Result, name: Name) -> Result:
    rows = tuple(_row(row) for row in whole.rows if (row.backend, row.device) == name)
    selection = whole.selection
    if selection is not None:
        columns = tuple(replace(one, requirements=()) for one in selection.columns if (one.backend, one.device) == name)
        selection = SelectionRecord((), (), selection.dtypes, selection.narrowed_by, columns, selection.missing)
    return Result(
        _environment(whole.environment, name), rows,
        observations=tuple(one for one in whole.observations if (one.backend, one.device) == name),
        declarations=tuple(one for one in whole.declarations if (one.backend, one.device) == name),
        selection=selection, completion=whole.completion,
    )  # fmt: skip


def _row(row: Row) -> Row:
    words = "" if row.verdict == "unsupported" else row.summary
    return replace(
        row, message=words, case=None, failure=None, bound_share=_round(row.bound_share), ulp=_round(row.ulp)
    )


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")


def _environment(whole: Environment, name: Name) -> Environment:
    """Without what the column has nothing to do with: other frameworks, the machine's own name, seconds."""
    backend, device = name
    own = registry.distributions(backend)

    def concerns(package: str) -> bool:
        # What an adapter or a program names by itself is its own; of the others, the backend's and their kinds.
        return package not in PACKAGES or any(package == one or package.startswith(f"{one}-") for one in own)

    packages = {package: version for package, version in whole.packages.items() if concerns(package)}
    system = whole.platform.partition("-")[0]
    devices = {device: whole.devices[device]} if device in whole.devices else {}
    return Environment(whole.python, system, whole.bnconform, packages, devices, whole.started[:10], 0.0)
