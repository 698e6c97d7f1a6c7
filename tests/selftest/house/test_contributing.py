"""The map at the head of CONTRIBUTING.md leads to files and functions that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PLACES = sorted(set(re.findall(r"`([\w/]+\.py):([\w.]+)`", TEXT)))
PATHS = sorted(set(re.findall(r"`((?:backends|bnconform|cases|spec|tests)/[\w./*-]*)`", TEXT)))
WAYS = (
    "The way of a probe to a letter in the matrix",
    "The way of a failure to its diagnosis",
    "The way of a result to a page",
)


def definitions(source: str) -> set[str]:
    """What a module defines, and what its classes do: "judge", "Check", "Check.run"."""
    found: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
            if isinstance(node, ast.ClassDef):
                found |= {f"{node.name}.{one.name}" for one in node.body if isinstance(one, ast.FunctionDef)}
    return found


@pytest.mark.parametrize(("file", "name"), PLACES, ids=[f"{file}-{name}" for file, name in PLACES])
def test_places_are_there(file: str, name: str) -> None:
    """Each file has the function, the class or the method that is named."""
    assert name in definitions((ROOT / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", PATHS)
def test_paths_are_there(path: str) -> None:
    """Each file and folder that is named is there."""
    assert list(ROOT.glob(path.rstrip("/")))


@pytest.mark.parametrize("way", WAYS)
def test_ways_have_steps(way: str) -> None:
    """Each step of a way names where it happens."""
    section = TEXT.split(f"## {way}\n")[1].split("\n## ")[0]
    steps = re.split(r"^\d+\. ", section, flags=re.M)[1:]
    assert len(steps) >= 6
    assert all(re.search(r"`[\w/]+\.py:[\w.]+`", step) for step in steps)


def test_the_search_finds_what_is_defined() -> None:
    """Functions, classes, and methods under their class."""
    assert definitions("def a(): ...\nclass B:\n    def c(self): ...\n    d = 1\n") == {"a", "B", "B.c"}
