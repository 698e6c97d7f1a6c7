"""A baseline: the failures of a run that are known, each with its reason, in a file that people review and diff.

The file's form is `baseline.schema.json`. What a run comes to beside a baseline is in `baseline_check`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from bnconform.cases.json_files import JsonForm
from bnconform.results import files
from bnconform.results.files import FileError
from bnconform.results.result import FAILURES, Environment, Row, dtype_order

SCHEMA = "bnconform/baseline/1"

ANY = "*"
"""Every device, or every dtype."""

UNEXPLAINED = "not yet explained"
"""The reason of an entry that nobody has given one."""


class BaselineError(FileError):
    """A baseline that cannot be used; the message says why, in one line."""


FORM = JsonForm(
    "baseline", Path(__file__).parent / "baseline.schema.json", BaselineError, "`bnconform baseline update` writes one"
)


@dataclass(frozen=True)
class When:
    """Where an entry is in force; what is left empty holds everywhere.

    Attributes:
        versions: a specifier (PEP 440) by distribution; `python` is the interpreter.
        platform, device_name: patterns with * and ?, of the environment's platform and of what the device is.

    Raises:
        BaselineError: for a specifier that is none, or that no version fits.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    platform: str = ""
    device_name: str = ""

    def __post_init__(self) -> None:
        for name, text in self.versions.items():
            try:
                specifiers = SpecifierSet(text)
            except InvalidSpecifier:
                raise BaselineError(
                    f"{text!r} for {name} is no version specifier; write one such as '>=2.11,<2.14'"
                ) from None
            # Older releases of packaging cannot tell; there such an entry is never in force.
            if getattr(specifiers, "is_unsatisfiable", bool)():
                raise BaselineError(f"no version of {name} is {text}; correct the specifier")

    def fails(self, environment: Environment, device: str) -> str:
        """Which condition does not hold in an environment, in words; "" where all do."""
        versions = {canonicalize_name(name): version for name, version in environment.packages.items()}
        versions["python"] = environment.python  # type: ignore[index]
        for name, text in self.versions.items():
            version = versions.get(canonicalize_name(name))
            if version is None:
                return f"there is no {name}"
            if not _fits(version, text):
                return f"{name} {version} is not {text}"
        if self.platform and not fnmatchcase(environment.platform, self.platform):
            return f"the platform is not {self.platform}"
        name = environment.devices.get(device, device)
        if self.device_name and not fnmatchcase(name, self.device_name):
            return f"{device} is not {self.device_name}"
        return ""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready data; {} where it holds everywhere."""
        data = {
            "versions": dict(sorted(self.versions.items())),
            "platform": self.platform,
            "device_name": self.device_name,
        }
        return {name: value for name, value in data.items() if value}


@dataclass(frozen=True)
class BaselineEntry:
    """One known failure.

    Attributes:
        backend, requirement: by name. device: one, a kind such as `cuda`, or ANY. dtype: one, or ANY.
        verdict: one of FAILURES: the worst that is known.
        reason: why it is accepted. link: where that is discussed, or "".
        diagnosis: what explains it, "" where nothing did; None is not compared.
        share: the error over its bound when the entry was written; None is not compared.
        when: where it is in force.
    """

    backend: str
    device: str
    dtype: str
    requirement: str
    verdict: str
    reason: str
    link: str = ""
    diagnosis: str | None = None
    share: float | None = None
    when: When = field(default_factory=When)

    def __str__(self) -> str:
        """What it is about, in a few words."""
        return f"{self.requirement} {self.backend} {self.device} {self.dtype}"

    def on(self, backend: str, device: str) -> bool:
        """Whether it speaks of this backend and device."""
        return self.backend == backend and self.device in (ANY, device, device.partition(":")[0])

    def about(self, row: Row) -> bool:
        """Whether it speaks of this row, wherever that was judged."""
        return (
            self.requirement == row.requirement and self.on(row.backend, row.device) and self.dtype in (ANY, row.dtype)
        )

    def covers(self, verdict: str) -> bool:
        """Whether a failure is no worse than what is known."""
        return covers(self.verdict, verdict)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready data that fits the schema."""
        data: dict[str, Any] = {name: getattr(self, name) for line in _LINES for name in line}
        data["when"] = self.when.as_dict() or None
        return {name: value for name, value in data.items() if value is not None}


_LINES = (
    ("backend", "device", "dtype", "requirement"),
    ("verdict", "diagnosis", "share"),
    ("reason",),
    ("link",),
    ("when",),
)
"""What stands together on one line of the file."""


def covers(known: str, verdict: str) -> bool:
    """Whether a failure is no worse than a known one: what crashes may also violate, and not the other way round."""
    return verdict in FAILURES and FAILURES.index(verdict) >= FAILURES.index(known)


def explanation(row: Row) -> str:
    """What explains a row, in words; "" where nothing does."""
    return " and ".join(f"{part.coordinate} = {part.value}" for part in row.diagnosis)


def in_order(entries: Iterable[BaselineEntry]) -> tuple[BaselineEntry, ...]:
    """The entries by backend, device, dtype and requirement."""
    return tuple(
        sorted(entries, key=lambda e: (e.backend, e.device, dtype_order(e.dtype), e.requirement, _condition(e)))
    )


def to_text(entries: Iterable[BaselineEntry]) -> str:
    """The file: sorted, a few lines an entry, the same for the same entries."""
    blocks = ["  {" + ",\n   ".join(_lines(entry)) + "}" for entry in in_order(entries)]
    inside = "\n" + ",\n".join(blocks) + "\n " if blocks else ""
    return f'{{"schema": {json.dumps(SCHEMA)},\n "entries": [{inside}]}}\n'


def write(path: Path, entries: Iterable[BaselineEntry]) -> None:
    """Write the baseline whole, or leave what was there and raise FileError."""
    files.write(path, to_text(entries), "the baseline")


def read(path: Path, requirements: Collection[str]) -> tuple[BaselineEntry, ...]:
    """The entries of a file; BaselineError, naming file and place, where it is missing or says what cannot be.

    Args:
        requirements: the ids that exist.
    """
    data = FORM.load(path)
    if isinstance(data, dict) and str(data.get("schema")).startswith("bnconform/result/"):
        raise BaselineError(
            f"{path} is a result, not a baseline; make one of it: bnconform baseline update BASELINE {path}"
        )
    try:
        return from_json(data, requirements)
    except BaselineError as problem:
        raise FORM.refusal(path, problem) from None


def from_json(data: Any, requirements: Collection[str]) -> tuple[BaselineEntry, ...]:
    """The entries from JSON data; BaselineError, naming the place, where they cannot be."""
    FORM.check(data)
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError as problem:
        raise BaselineError(f"it has a character that is none ({problem.reason})") from None
    entries: list[BaselineEntry] = []
    seen: dict[tuple[str, ...], int] = {}
    for index, values in enumerate(data["entries"]):
        try:
            entry = BaselineEntry(**values | {"when": When(**values.get("when", {}))})
        except BaselineError as problem:
            raise BaselineError(f"at entries/{index}/when/versions: {problem}") from None
        if entry.requirement not in requirements:
            raise BaselineError(
                f"at entries/{index}: there is no requirement {entry.requirement}; `bnconform list` shows them"
            )
        key = (entry.backend, entry.device, entry.dtype, entry.requirement, _condition(entry))
        if seen.setdefault(key, index) != index:
            raise BaselineError(
                f"at entries/{index}: {entry} is at entries/{seen[key]} already; "
                "leave one of them, or give them conditions (`when`) that differ"
            )
        entries.append(entry)
    return in_order(entries)


def _lines(entry: BaselineEntry) -> Iterator[str]:
    data = entry.as_dict()
    for names in _LINES:
        parts = [f'"{name}": {json.dumps(data[name], ensure_ascii=False)}' for name in names if name in data]
        if parts:
            yield ", ".join(parts)


def _condition(entry: BaselineEntry) -> str:
    return json.dumps(entry.when.as_dict())


def _fits(version: str, specifiers: str) -> bool:
    try:
        # A nightly build is a version like others; its own number says on which side of a limit it is.
        return SpecifierSet(specifiers).contains(version, prereleases=True)
    except InvalidVersion:
        return False
