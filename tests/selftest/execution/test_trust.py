"""The page about trust: each promise names a test that there is, and no file that is read can be code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnconform import backends, cases, execution, spec

HERE = Path(__file__).parent
ROOMS = [Path(str(room.__file__)).parent for room in (backends, cases, spec, execution)]
PAGE = ROOMS[-1].parent / "TRUST.md"

EXECUTING = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "runpy", "imp", "yaml"}
"""Modules that make objects, or run code, of what they read."""

CALLS = {"eval", "exec", "compile", "__import__"}
"""Functions that run text."""

REPLICAS = "torch_replicas.py"
"""The adapter that pickles what it says to the processes of its own replicas: it reads no file."""

ADAPTERS = "registry.py"
"""The module that loads adapters, which are code."""


def _promises() -> Iterator[tuple[Path, str]]:
    """The tests that the page names: file and function."""
    for name in re.findall(r"`([\w/.:]*test_\w+)`", PAGE.read_text(encoding="utf-8")):
        file, _, function = name.rpartition("::")
        place = HERE / (file or "test_hostile.py")
        yield (HERE.parents[1] / file.removeprefix("tests/") if "/" in file else place), function


@pytest.mark.parametrize(("file", "function"), sorted(set(_promises())), ids=lambda value: Path(value).name)
def test_promise_has_its_test(file: Path, function: str) -> None:
    """Who looks for the test finds it."""
    assert f"def {function}(" in file.read_text(encoding="utf-8")


def test_every_row_names_a_test() -> None:
    """No promise is without one."""
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    promises = [row for row in rows if not row.startswith("| promise")]
    assert len(promises) > 10
    assert [row for row in promises if "test_" not in row] == []


def test_no_file_is_executed() -> None:
    """Nothing of ours unpickles what it reads, and only what loads adapters runs text."""
    package = ROOMS[-1].parent
    for file in {*package.rglob("*.py"), *(file for room in ROOMS for file in room.rglob("*.py"))}:
        if "tests" in file.relative_to(package.parent).parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            assert file.name == REPLICAS or not _imports(node) & EXECUTING, file
            if isinstance(node, ast.Call):
                is_run = isinstance(node.func, ast.Name) and node.func.id in CALLS and file.name != ADAPTERS
                assert not is_run, f"{file}, line {node.lineno}"
            pickles = isinstance(node, ast.keyword) and node.arg == "allow_pickle" and not _is_false(node.value)
            assert not pickles, file


def _is_false(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _imports(node: ast.AST) -> set[str]:
    """The packages that a statement imports."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    return {(node.module or "").partition(".")[0]} if isinstance(node, ast.ImportFrom) else set()
