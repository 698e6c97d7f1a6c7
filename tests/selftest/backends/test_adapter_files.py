"""The files of the adapters: what they import, and that none of them computes what it is to show."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from bnconform.backends import registry
from bnconform.tests.selftest.command import environment
from bnconform.tests.selftest.house.test_layout import ROOMS, imports, packages_imported

FOLDER = Path(registry.__file__).parent
FILES = sorted(FOLDER.rglob("*.py"))
ADAPTERS = [
    path for path in FILES if path.parent.name in ("backends", "external") and path.stem not in ("__init__", "registry")
]
HAND_WRITTEN = {"numpy_layer", "documents"}
FORMULA = {"mean", "var", "std", "sqrt", "rsqrt", "var_mean", "std_mean", "square", "pow", "sum", "native_batch_norm"}
SUBJECTS = {"torch_functional": {"native_batch_norm"}}
"""The names among them that are what an adapter is about."""


def names(path: Path) -> set[str]:
    """Every name and attribute that a file uses, but `.sum()` over everything, of which a gradient is taken."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    calls = [node for node in nodes if isinstance(node, ast.Call) and not node.args and not node.keywords]
    totals = {id(call.func) for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "sum"}
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute) and id(node) not in totals}
    imported = {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    return attributes | imported | {node.id for node in nodes if isinstance(node, ast.Name)}


def name_of(path: Path) -> str:
    """The path within the folder, for ids."""
    return path.relative_to(FOLDER).with_suffix("").as_posix()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_of_ours_is_imported(path: Path) -> None:
    """A file in backends/ imports frameworks and its neighbours, and none of the rooms of the suite."""
    source = path.read_text("utf-8")
    assert {name for name in packages_imported(source) if name.startswith("bnconform")} <= {"bnconform.backends"}
    assert not packages_imported(source) & {*ROOMS, "conftest", "report"}
    assert not [name for name in imports(source) if name.startswith(".")]


@pytest.mark.parametrize("path", [p for p in ADAPTERS if p.stem not in HAND_WRITTEN], ids=name_of)
def test_an_adapter_computes_nothing_itself(path: Path) -> None:
    """No adapter of a framework uses a name from which statistics or a normalization could be made."""
    assert not names(path) & (FORMULA - SUBJECTS.get(path.stem, set()))


def test_the_search_for_formulas_finds_one() -> None:
    """The hand-written layer, which does compute, would fail the check above."""
    assert {"mean", "sqrt", "sum"} <= names(FOLDER / "numpy_layer.py")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_importing_imports_no_framework(path: Path) -> None:
    """Listing the backends imports their modules, and no framework with them."""
    module = ".".join(("bnconform.backends", *name_of(path).removesuffix("__init__").split("/"))).rstrip(".")
    frameworks = ("torch", "jax", "flax", "tensorflow", "keras", "onnx", "onnxruntime")
    code = f"import sys, {module}; print([name for name in {frameworks} if name in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment(), capture_output=True, text=True, check=False
    )
    assert (run.stdout.strip(), run.stderr) == ("[]", "")
