"""The house: what lies where, what may import what, and that the installed package has all of it."""

from __future__ import annotations

import ast
import fnmatch
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("backends", "cases", "report", "spec", "tests")

TOP_LEVEL = {
    *ROOMS,
    ".ci",
    ".github",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "bnconform/pytest_plugin.py",
    "constraints.txt",
    "pyproject.toml",
    "tox.ini",
}

OURS = {*ROOMS, "bnconform", "conftest"}
ARROWS = {
    "spec": {"numpy", "gmpy2", "ml_dtypes"},
    "cases": {"spec", "numpy", "gmpy2", "ml_dtypes", "hypothesis", "jsonschema"},
    "report": {"rich", "jsonschema", "packaging", "jinja2", "markupsafe", "markdown_it", "matplotlib"},
}
"""What the files of a room may import, besides the standard library and their own room."""

IGNORED = tuple(line for line in (ROOT / ".gitignore").read_text().split() if not line.startswith("#"))


def is_ours(path: Path) -> bool:
    """Whether a path belongs to the project, rather than being something that a tool left behind."""
    return not any(fnmatch.fnmatch(part, pattern) for part in path.relative_to(ROOT).parts for pattern in IGNORED)


def files(*rooms: str) -> list[Path]:
    """The project's files in these rooms."""
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*") if path.is_file() and is_ours(path))


def modules(*rooms: str) -> list[Path]:
    """The project's Python files in these rooms."""
    return [path for path in files(*rooms) if path.suffix == ".py"]


def name_of(path: Path) -> str:
    """The path from the root, for ids and messages."""
    return path.relative_to(ROOT).as_posix()


def imports(source: str) -> Iterator[str]:
    """The modules that a source text imports absolutely, wherever in it; relative imports as dots and name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def imported(path: Path) -> set[str]:
    """The top-level names that a file imports, without the standard library."""
    names = {name.split(".")[0] for name in imports(path.read_text(encoding="utf-8")) if not name.startswith(".")}
    return names - set(sys.stdlib_module_names)


def setuptools() -> dict[str, Any]:
    """The packaging part of pyproject.toml."""
    settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    return settings


def test_top_level_is_fixed() -> None:
    """Nothing lies at the top but what the design names, and all of that does."""
    assert {path.name for path in ROOT.iterdir() if is_ours(path)} == TOP_LEVEL


def test_root_is_no_package() -> None:
    """An `__init__.py` at the root would turn plain imports between folders into imports of another copy."""
    assert not (ROOT / "__init__.py").exists()


def test_packages_are_those_of_the_tree() -> None:
    """The list of packages names every folder with Python files, and no other."""
    folders = {path.parent.relative_to(ROOT) for path in modules(*ROOMS)}
    wanted = {"bnconform", *(".".join(["bnconform", *folder.parts]) for folder in folders)}
    listed = setuptools()["packages"]
    assert sorted(listed) == sorted(wanted)


@pytest.mark.parametrize("folder", sorted({path.parent for path in modules(*ROOMS)}), ids=name_of)
def test_folders_are_packages(folder: Path) -> None:
    """Every folder with Python files has an `__init__.py`: without one, it would be found or missed by chance."""
    assert (folder / "__init__.py").is_file()


@pytest.mark.parametrize("path", [path for path in files(*ROOMS) if path.suffix != ".py"], ids=name_of)
def test_data_is_packaged(path: Path) -> None:
    """Every file that is not Python is covered by a pattern of the package data of its nearest package."""
    package = path.parent
    while not (package / "__init__.py").exists():
        package = package.parent
    patterns = setuptools()["package-data"].get(".".join(["bnconform", *package.relative_to(ROOT).parts]), [])
    assert any(path in package.glob(pattern) for pattern in patterns)


@pytest.mark.parametrize("path", modules(*ARROWS), ids=name_of)
def test_arrows(path: Path) -> None:
    """A room imports only what its row in the table of rooms allows."""
    room = path.relative_to(ROOT).parts[0]
    assert imported(path) <= ARROWS[room] | {room}


@pytest.mark.parametrize("path", modules("backends"), ids=name_of)
def test_backends_import_nothing_of_ours(path: Path) -> None:
    """An adapter imports its framework and nothing of the suite that judges it."""
    assert not imported(path) & OURS - {"backends"}


@pytest.mark.parametrize("path", modules("backends"), ids=name_of)
def test_backends_import_frameworks_where_needed(path: Path) -> None:
    """At the top of an adapter's file stand only NumPy and the like, so that listing backends imports no framework."""
    top = ast.parse(path.read_text(encoding="utf-8")).body
    source = "\n".join(ast.unparse(node) for node in top if isinstance(node, ast.Import | ast.ImportFrom))
    names = {name.split(".")[0] for name in imports(source) if not name.startswith(".")}
    assert names - set(sys.stdlib_module_names) <= {"numpy", "ml_dtypes"}


@pytest.mark.parametrize("path", modules(*ROOMS), ids=name_of)
def test_imports_work_in_clone_and_installed(path: Path) -> None:
    """No relative import leaves its room, and none goes by the installed name, of which a clone knows nothing."""
    depth = len(path.relative_to(ROOT).parts) - 1
    for name in imports(path.read_text(encoding="utf-8")):
        assert len(name) - len(name.lstrip(".")) <= depth, f"{name} reaches beyond the folder"
        assert name.split(".")[0] != "bnconform", f"{name} is not there in a clone"


def test_imports_are_seen_wherever_they_stand() -> None:
    """The helper of these tests finds imports in functions, of every form, and tells relative ones."""
    source = "import a.b\nfrom c.d import e\nfrom . import f\nfrom ..g import h\ndef i():\n    import j, k as l\n"
    assert set(imports(source)) == {"a.b", "c.d", ".", "..g", "j", "k"}
