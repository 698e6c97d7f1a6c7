"""A history in a file: each verdict once, with the version since which it holds, and what could not be judged.

The file's form is `history.schema.json`. What is kept of a verdict is what the regression gate compares: the verdict,
what explains it, and its error over the bound. A row that is the same in versions that follow each other is kept once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from bnconform.cases.json_files import JsonForm
from bnconform.results import files
from bnconform.results.files import FileError
from bnconform.results.history import History, Release
from bnconform.results.result import FAILURES, Difference, Environment, Result, Row

SCHEMA = "bnconform/history/1"

GONE = "absent"
"""The verdict of a requirement that has no row."""

DIGITS = 2
"""Significant digits of an error over its bound, as a baseline keeps them."""


class HistoryFileError(FileError):
    """A file of a history that cannot be used; the message says why, in one line."""


FORM = JsonForm(
    "history",
    Path(__file__).parent / "history.schema.json",
    HistoryFileError,
    "`bnconform history B --json` writes one",
)


@dataclass(frozen=True)
class KeptHistory:
    """A history as a file has it.

    Attributes:
        history: every release's result has the rows alone, and the day.
        device, dtype: of every row. left_out: requirements that were not asked for.
    """

    history: History
    device: str
    dtype: str
    left_out: tuple[str, ...] = ()


def read(path: Path) -> KeptHistory:
    """The history in a file; HistoryFileError, naming file and place, for what is none."""
    data = FORM.read(path)
    try:
        return from_json(data)
    except HistoryFileError as problem:
        raise FORM.refusal(path, problem) from None


def read_all(folder: Path) -> list[KeptHistory]:
    """Those in a folder, by backend."""
    return sorted((read(path) for path in folder.glob("*.json")), key=lambda kept: kept.history.backend)


def write(path: Path, kept: KeptHistory) -> None:
    """Write the file whole, or leave what was there and raise FileError."""
    files.write(path, to_text(kept), "the history")


def columns(history: History) -> list[tuple[str, str]]:
    """The pairs of device and dtype in which there are rows, in order."""
    return sorted({(row.device, row.dtype) for one in history.judged for row in _rows(one)})


def to_text(kept: KeptHistory) -> str:
    """The file: a line a version, and a line a verdict; the same for the same history."""
    history = kept.history
    head = {"schema": SCHEMA, "backend": history.backend, "package": history.package}
    place = {"device": kept.device, "dtype": kept.dtype, "left_out": list(kept.left_out)}
    verdicts = _stretches(kept)
    lines = [
        "{" + _inside(head) + ",",
        " " + _inside(place) + ",",
        ' "versions": [',
        ",\n".join(f"  {_line(_version(version, history.releases.get(version)))}" for version in history.versions),
        " ],",
        ' "verdicts": {',
        ",\n".join(
            f"  {json.dumps(name)}: [\n" + ",\n".join(f"   {_line(one)}" for one in found) + "]"
            for name, found in sorted(verdicts.items())
        ),
        " }}",
    ]
    return "\n".join(lines) + "\n"


def from_json(data: Any) -> KeptHistory:
    """The history from data that fit the schema; HistoryFileError, naming the place, where they cannot be so."""
    versions = [one["version"] for one in data["versions"]]
    _check_order(versions)
    judged = [one["version"] for one in data["versions"] if "judged" in one]
    rows: dict[str, list[Row]] = {version: [] for version in judged}
    for name, stretches in data["verdicts"].items():
        for version, stretch in _spread(name, stretches, judged):
            if stretch["verdict"] != GONE:
                rows[version].append(_row(data, name, stretch))
    history = History(data["backend"], data["package"], versions)
    for one in data["versions"]:
        version, problem = one["version"], one.get("problem", "")
        if not problem and version not in rows:
            continue
        found = None if problem else Result(_environment(one, data), tuple(rows[version]))
        history.releases[version] = Release(version, found, problem)
    return KeptHistory(history, data["device"], data["dtype"], tuple(data["left_out"]))


def _rows(release: Release) -> Sequence[Row]:
    return release.result.rows if release.result is not None else ()


def _version(version: str, release: Release | None) -> dict[str, str]:
    if release is None:
        return {"version": version}
    if release.result is None:
        return {"version": version, "problem": release.problem}
    return {"version": version, "judged": release.result.environment.started[:10]}


def _stretches(kept: KeptHistory) -> dict[str, list[dict[str, Any]]]:
    """By requirement, each verdict where it is another one than before."""
    judged = kept.history.judged
    by_version = [
        {row.requirement: row for row in _rows(one) if (row.device, row.dtype) == (kept.device, kept.dtype)}
        for one in judged
    ]
    found: dict[str, list[dict[str, Any]]] = {}
    for name in {name for rows in by_version for name in rows}:
        level = next(rows[name].level for rows in by_version if name in rows)
        told = [
            {"since": release.version, **_row_record(rows.get(name), level)}
            for release, rows in zip(judged, by_version, strict=True)
        ]
        same = [False, *(_answer(before) == _answer(after) for before, after in pairwise(told))]
        found[name] = [one for one, repeated in zip(told, same, strict=True) if not repeated]
    return found


def _row_record(row: Row | None, level: str) -> dict[str, Any]:
    if row is None:
        return {"level": level, "verdict": GONE}
    told: dict[str, Any] = {"level": row.level, "verdict": row.verdict}
    if row.diagnosis:
        told["diagnosis"] = {part.coordinate: part.value for part in row.diagnosis}
    if row.verdict in FAILURES:
        if row.bound_share is not None:
            told["share"] = float(f"{row.bound_share:.{DIGITS}g}")
        if row.summary:
            told["summary"] = row.summary
    return told


def _answer(told: dict[str, Any]) -> tuple[str, str, dict[str, str]]:
    return told["level"], told["verdict"], told.get("diagnosis", {})


def _inside(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False)[1:-1]


def _line(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False)


def _check_order(versions: Sequence[str]) -> None:
    try:
        numbers = [Version(text) for text in versions]
    except InvalidVersion as problem:
        raise HistoryFileError(f"at versions: {problem}") from None
    for before, after in pairwise(numbers):
        if not before < after:
            raise HistoryFileError(f"at versions: {after} comes after {before}")


def _spread(
    name: str, stretches: Iterable[dict[str, Any]], judged: Sequence[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each judged version with the verdict that holds in it."""
    began = {one["since"]: one for one in stretches}
    strange = [version for version in began if version not in judged]
    if strange or not judged or judged[0] not in began:
        raise HistoryFileError(f"at verdicts/{name}: {strange[0] if strange else 'the first version'} was not judged")
    current = began[judged[0]]
    for version in judged:
        current = began.get(version, current)
        yield version, current


def _row(data: Any, name: str, stretch: dict[str, Any]) -> Row:
    return Row(
        data["backend"], data["device"], data["dtype"], name, stretch["level"], stretch["verdict"],
        bound_share=stretch.get("share"), message=stretch.get("summary", ""),
        diagnosis=tuple(Difference(*part) for part in stretch.get("diagnosis", {}).items()),
    )  # fmt: skip


def _environment(one: dict[str, str], data: Any) -> Environment:
    return Environment("", "", "", {data["package"]: one["version"]}, {}, one["judged"], 0.0)
