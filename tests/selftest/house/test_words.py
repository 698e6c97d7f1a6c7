"""One word for one thing: no two classes of one name, and none of the words that the vocabulary has replaced."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnconform.tests.selftest.house.test_layout import modules, name_of

REPLACED = {
    "allowance": "error model",
    "coordinate": "decision",
    "course": "possible state",
    "faces": "cli",
    "guard guarded": "instrumented layer",
    "host isolation": "worker, session, transport",
    "pairing": "matching",
    "pipe wire": "line process, array encoding",
    "puppet": "oracle layer",
    "reach": "reachable results",
    "sides": "operands",
    "sighting": "judged quantity",
    "spelling": "parameter names",
    "survey": "distinguishing programs",
    "unfixed": "unspecified",
}
"""Words that name nothing any more, and what is said in their place. The keys of files keep them."""

WORDS = {word: instead for words, instead in REPLACED.items() for word in words.split()}

PARTICIPLES = {"asked", "carried", "made", "told"}
"""What acts is called by a verb; these say neither what is done nor what is returned."""

MIRRORED = {"AdapterError", "LacksAbility", "Misfit", "Raised"}
"""What the runner raises, and the judge reads in a trace: one thing on two sides, which share no code."""

CONTRACT = {"Layer"}
"""The contract's own name, which whoever writes an implementation may use."""

FAULTS = re.compile(r"(wrong|right)_\w+")
"""The modules of wrong and right implementations, whose classes are named for what they do."""

ROOMS = ("spec", "cases", "backends", "bnconform", "tests/conformance", "tests/mutants")
SOURCES = [path for path in modules(*ROOMS) if not FAULTS.match(path.stem)]


def definitions(source: str) -> Iterator[ast.ClassDef | ast.FunctionDef]:
    """Every class, function and method of a source text, but those in functions."""
    waiting: list[ast.stmt] = list(ast.parse(source).body)
    for node in waiting:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node
        if isinstance(node, ast.ClassDef):
            waiting += node.body


def words_of(name: str) -> set[str]:
    """The words of a name, in the singular where it is one of the replaced ones: Sightings, _sighting, ofSightings."""
    found = {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}
    return found | {word.removesuffix("s") for word in found}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_names_are_words_of_the_vocabulary(path: Path) -> None:
    """No module, class, function or method is named by a word that was replaced, and none of these by a participle."""
    defined = list(definitions(path.read_text(encoding="utf-8")))
    for name in (path.stem, *(node.name for node in defined)):
        assert not words_of(name) & set(WORDS), f"{name}: {[WORDS.get(word) for word in words_of(name) & set(WORDS)]}"
    assert [node.name for node in defined if isinstance(node, ast.FunctionDef) and node.name in PARTICIPLES] == []


def test_classes_have_names_of_their_own() -> None:
    """No two classes that others may import are called alike."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in SOURCES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name_of(path))
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert {name: found for name, found in twice.items() if name not in MIRRORED | CONTRACT} == {}
    assert set(twice) == MIRRORED | CONTRACT


@pytest.mark.parametrize("name", ["Sightings", "_sighting", "TheSurvey", "PipeHTTP", "is_unfixed"])
def test_words_of_names_are_found(name: str) -> None:
    """The helper finds them in names of every form."""
    assert words_of(name) & set(WORDS)
