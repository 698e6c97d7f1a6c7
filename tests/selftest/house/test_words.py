"""One word for one thing: no two classes of one name, and none of the words that the vocabulary has replaced."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnconform.backends import LayerAbilities
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

IRREGULAR = {
    "begun", "bent", "born", "bought", "broken", "brought", "built", "caught", "chosen", "dealt", "done", "drawn",
    "driven", "eaten", "fallen", "felt", "flown", "forgotten", "found", "frozen", "given", "gone", "grown", "heard",
    "held", "hidden", "hung", "kept", "known", "laid", "learnt", "led", "lent", "lost", "made", "meant", "met",
    "paid", "proven", "said", "seen", "sent", "shaken", "shown", "sold", "sought", "spent", "spoken", "stood",
    "struck", "sung", "swept", "taken", "taught", "thought", "thrown", "told", "torn", "understood", "won", "worn",
    "woven", "written",
}  # fmt: skip
"""Participles that do not end in -ed."""

VERBS = {"embed", "exceed", "feed", "need", "seed", "shed", "speed"}
"""Words that end in -ed and are no participles."""

ABILITIES = {name for name in vars(LayerAbilities) if not name.startswith("_")}
"""Calls that the contract names; steps and layers are named after them."""

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
    """No module, class, function or method is named by a word that was replaced."""
    defined = list(definitions(path.read_text(encoding="utf-8")))
    for name in (path.stem, *(node.name for node in defined)):
        assert not words_of(name) & set(WORDS), f"{name}: {[WORDS.get(word) for word in words_of(name) & set(WORDS)]}"


def participle(name: str) -> bool:
    """Whether a function's name begins with a participle, which says neither what is done nor what is returned."""
    first = name.strip("_").split("_")[0]
    return first in IRREGULAR or (first.endswith("ed") and first not in VERBS)


def is_value(node: ast.FunctionDef) -> bool:
    """Whether a function is used as a value: a property, or a fixture of pytest."""
    decorators = [ast.unparse(one) for one in node.decorator_list]
    return any("property" in one or "setter" in one or "fixture" in one for one in decorators)


@pytest.mark.parametrize("path", modules(*ROOMS, "tests/selftest"), ids=name_of)
def test_what_acts_is_called_by_a_verb(path: Path) -> None:
    """No function or method, of the wrong implementations and the tests neither, is named by a participle."""
    functions = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef)
    ]
    named = [node.name for node in functions if participle(node.name) and not is_value(node)]
    assert set(named) - ABILITIES == set()


@pytest.mark.parametrize(("name", "says"), [("_told", True), ("asked_for", True), ("seed", False), ("feed_all", False)])
def test_participles_are_found(name: str, says: bool) -> None:
    """By their form; not what only ends so."""
    assert participle(name) is says


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
