"""Changes of history that a project itself tells of, in its release notes or threads: the file that lists them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnconform.results.files import FileError

FILE = "confirmed.toml"
"""Its name, beside the histories."""


class ConfirmationError(FileError):
    """A file of confirmations that cannot be used; the message says why, in one line."""


@dataclass(frozen=True)
class Citation:
    """Where something is told: a link, and what it leads to in a few words."""

    link: str
    words: str


@dataclass(frozen=True)
class Confirmation:
    """A change that was found and is told of.

    Attributes:
        backend: the row. before, after: the versions that follow each other, between which it lies.
        words: what became of it, as a VerdictChange says it. requirements: whose verdicts changed.
        told: what the project says of it, in our words. sources: where.
    """

    backend: str
    before: str
    after: str
    words: str
    requirements: tuple[str, ...]
    told: str
    sources: tuple[Citation, ...]


def read(path: Path) -> list[Confirmation]:
    """Those in a file, in its order; ConfirmationError, naming it, where it is not of its form."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return [_confirmation(entry) for entry in data.get("change", [])]
    except (OSError, tomllib.TOMLDecodeError, TypeError, KeyError) as problem:
        raise ConfirmationError(f"{path} is no list of confirmed changes: {problem}") from None


def _confirmation(entry: dict[str, Any]) -> Confirmation:
    sources = tuple(Citation(**one) for one in entry.pop("sources"))
    requirements = tuple(entry.pop("requirements"))
    if not sources or not requirements:
        raise KeyError("a change without a source or a requirement")
    return Confirmation(**entry, requirements=requirements, sources=sources)
