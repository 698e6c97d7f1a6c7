"""The requirement catalogue: what a BatchNorm layer must, should and may do, read from `spec/requirements/*.toml`.

One file a chapter. The notation of the statements is that of `spec.behaviour`: x of shape (N, C, *S), n = N * prod(S)
values a channel, z the normalised value, g the upstream gradient, means and sums per channel unless said otherwise.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bnconform.spec.behaviour import decisions
from bnconform.spec.config import FEATURES
from bnconform.spec.errors import UserError

LEVELS = ("must", "should", "may")
"""`must`: fixed by the documents and the frameworks' documentation; `should`: quality; `may`: a policy left open."""

CHAPTERS = (
    "training",
    "evaluation",
    "running",
    "flags",
    "gradients",
    "recorded",
    "derivatives",
    "masks",
    "recomputation",
    "transforms",
    "virtual",
    "saved",
    "frozen",
    "replicas",
    "invariances",
    "layout",
    "dtypes",
    "edges",
    "errors",
    "state",
    "combinations",
    "folding",
    "quality",
)
"""The chapters' files, without their ending, in the order in which they are reported."""

FOLDING = "Folding"
"""The title of the chapter about tools that deploy models; all others are about layers."""

IDENTIFIER = re.compile(r"^BN-[A-Z0-9-]+$")
FOLDER = Path(__file__).parent / "requirements"
DOCUMENTS = Path(__file__).parent / "documents.toml"

_TEXTS = ("id", "level", "title", "statement", "formula", "breaks")
_LISTS = ("decisions", "features", "sources")


class CatalogueError(UserError):
    """A catalogue that cannot be used; the message names the file, the requirement and the key."""


@dataclass(frozen=True)
class Source:
    """Where a requirement comes from.

    Attributes:
        document: a key of `spec/documents.toml`. place: the section, parameter or line in it.
        title: what the document is. link: where it can be read, "" where it is not published.
    """

    document: str
    place: str
    title: str
    link: str = ""

    def __str__(self) -> str:
        return f"{self.document}, {self.place}"


@dataclass(frozen=True)
class Requirement:
    """One thing that a BatchNorm layer does.

    Attributes:
        id: a stable name, BN-...; never renumbered. chapter: the title of its chapter. level: one of LEVELS.
        title: one sentence, the headline of a failure. statement: the requirement, with shapes.
        formula: plain-text mathematics, one formula a line.
        decisions: the decisions of `bnconform.spec.behaviour` that it fixes, and no other requirement does.
        features: what a layer must support for it to be judged, in the words of `features`.
        breaks: what usually breaks it, with public threads. sources: at least one.
    """

    id: str
    chapter: str
    level: str
    title: str
    statement: str
    formula: str
    decisions: tuple[str, ...]
    features: frozenset[str]
    breaks: str
    sources: tuple[Source, ...]

    @property
    def is_of_deployments(self) -> bool:
        """Whether it is about tools that deploy models, and not about layers."""
        return self.chapter == FOLDING


def load(folder: Path = FOLDER, documents: Path = DOCUMENTS) -> Mapping[str, Requirement]:
    """Read and check a catalogue: requirements by id, in the order of the chapters and of their files.

    Raises:
        CatalogueError: for a file that is missing, unknown or not TOML; a key that is missing, unknown or of the wrong
            type; an id, level, decision, feature or document that does not exist; an id given twice; a decision
            that no requirement fixes, or two do.
    """
    titles = _documents(documents)
    unknown = sorted({path.stem for path in folder.glob("*.toml")} - set(CHAPTERS))
    if unknown:
        raise CatalogueError(f"{folder / unknown[0]}.toml is not a chapter; the chapters are {', '.join(CHAPTERS)}")
    found: dict[str, Requirement] = {}
    fixed: dict[str, str] = {}
    for stem in CHAPTERS:
        path = folder / f"{stem}.toml"
        data = _read(path)
        chapter, entries = data.pop("title", None), data.pop("requirement", None)
        if data:
            raise CatalogueError(f"{path}: unknown key {sorted(data)[0]!r}; a chapter has title and [[requirement]]")
        if not isinstance(chapter, str) or not chapter.strip():
            raise CatalogueError(f"{path}: title: must be the chapter's title")
        if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
            raise CatalogueError(f"{path}: requirement: must be one or more tables [[requirement]]")
        for number, entry in enumerate(entries, 1):
            one = _requirement(path, number, entry, chapter, titles)
            if one.id in found:
                raise CatalogueError(f"{path}: {one.id}: id: given twice")
            found[one.id] = one
            for name in one.decisions:
                if name in fixed:
                    raise CatalogueError(f"{path}: {one.id}: decisions: {fixed[name]} fixes {name!r} already")
                fixed[name] = one.id
    missing = [name for name in decisions() if name not in fixed]
    if missing:
        raise CatalogueError(f"{folder}: decisions: no requirement fixes {', '.join(missing)}")
    return MappingProxyType(found)


@cache
def requirements() -> Mapping[str, Requirement]:
    """The project's catalogue: every requirement by id, chapter by chapter."""
    return load()


def requirement(identifier: str) -> Requirement:
    """The requirement called `identifier`; UserError, with the nearest ids, where there is none."""
    known = requirements()
    if identifier not in known:
        near = difflib.get_close_matches(identifier.upper(), known, n=3, cutoff=0.6)
        hint = f"did you mean {', '.join(near)}?" if near else f"ids read like {next(iter(known))}"
        raise UserError(f"unknown requirement {identifier!r}; {hint}")
    return known[identifier]


def chapter(given: str) -> str:
    """The title of the chapter of this title or file; UserError, with all of them, where there is none."""
    titles = dict.fromkeys(one.chapter for one in requirements().values())
    words = dict(zip(CHAPTERS, titles, strict=True))
    found = words.get(given.lower()) or next((title for title in titles if title.lower() == given.lower()), None)
    if found is None:
        raise UserError(f"unknown chapter {given!r}; the chapters are {', '.join(CHAPTERS)}")
    return found


def fixing(decision: str) -> Requirement:
    """The one requirement that fixes `decision`; ValueError where the space has no such decision."""
    for one in requirements().values():
        if decision in one.decisions:
            return one
    raise ValueError(f"unknown decision {decision!r}; the decisions are {', '.join(sorted(decisions()))}")


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise CatalogueError(f"cannot read {path}: {problem.strerror or problem}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise CatalogueError(f"{path} is not TOML: {problem}") from None


def _documents(path: Path) -> dict[str, tuple[str, str]]:
    """(title, link) of every document that may be cited."""
    titles = {}
    for key, entry in _read(path).items():
        if not isinstance(entry, dict) or not _is_text(entry.get("title")) or set(entry) - {"title", "link"}:
            raise CatalogueError(f"{path}: {key}: must have a title, may have a link, and nothing else")
        link = entry.get("link", "")
        if not isinstance(link, str):
            raise CatalogueError(f"{path}: {key}: link: must be a string")
        titles[key] = (entry["title"], link)
    return titles


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _requirement(
    path: Path, number: int, entry: dict[str, Any], chapter: str, titles: Mapping[str, tuple[str, str]]
) -> Requirement:
    """One table of a chapter, checked."""
    where = f"{path}: {entry.get('id', f'requirement {number}')}"
    for key in (*_TEXTS, *_LISTS):
        if key not in entry:
            raise CatalogueError(f"{where}: {key}: missing")
    for key in entry:
        if key not in (*_TEXTS, *_LISTS):
            raise CatalogueError(f"{where}: {key}: unknown key")
    for key in _TEXTS:
        if not _is_text(entry[key]):
            raise CatalogueError(f"{where}: {key}: must be a string that is not empty")
    for key in _LISTS:
        if not isinstance(entry[key], list):
            raise CatalogueError(f"{where}: {key}: must be a list")
    if not IDENTIFIER.match(entry["id"]):
        raise CatalogueError(f"{where}: id: must match {IDENTIFIER.pattern}")
    if entry["level"] not in LEVELS:
        raise CatalogueError(f"{where}: level: {entry['level']!r} is none of {', '.join(LEVELS)}")
    if "\n" in entry["title"] or entry["title"].endswith("."):
        raise CatalogueError(f"{where}: title: must be one line without a full stop at its end")
    for key, known in (("decisions", set(decisions())), ("features", FEATURES)):
        for name in entry[key]:
            if not isinstance(name, str) or name not in known:
                raise CatalogueError(f"{where}: {key}: {name!r} is none of {', '.join(sorted(known))}")
    if not entry["sources"]:
        raise CatalogueError(f"{where}: sources: at least one is needed")
    return Requirement(
        id=entry["id"],
        chapter=chapter,
        level=entry["level"],
        title=entry["title"],
        statement=" ".join(entry["statement"].split()),
        formula=entry["formula"].strip(),
        decisions=tuple(entry["decisions"]),
        features=frozenset(entry["features"]),
        breaks=" ".join(entry["breaks"].split()),
        sources=tuple(_source(where, source, titles) for source in entry["sources"]),
    )


def _source(where: str, entry: object, titles: Mapping[str, tuple[str, str]]) -> Source:
    if not isinstance(entry, dict) or set(entry) != {"document", "place"} or not all(map(_is_text, entry.values())):
        raise CatalogueError(f"{where}: sources: each is {{document = ..., place = ...}}, neither empty; got {entry!r}")
    if entry["document"] not in titles:
        raise CatalogueError(f"{where}: sources: {entry['document']!r} is none of the documents in {DOCUMENTS.name}")
    title, link = titles[entry["document"]]
    return Source(entry["document"], entry["place"], title, link)
