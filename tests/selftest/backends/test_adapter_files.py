"""The files of the adapters: what they import, and that none of them computes what it is to show."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from bnconform.backends import registry

ROOT = Path(registry.__file__).parent.parent
OURS = {"backends", "bnconform", "cases", "conftest", "report", "spec", "tests"}
FILES = sorted((ROOT / "backends").glob("*.py"))
ADAPTERS = [path for path in FILES if path.stem not in ("__init__", "registry")]
HAND_WRITTEN = {"numpy_layer", "documents"}
FORMULA = {"mean", "var", "std", "sqrt", "rsqrt", "var_mean", "std_mean", "square", "pow", "sum", "native_batch_norm"}


def names(path: Path) -> set[str]:
    """Every name and attribute that a file uses, but `.sum()` over everything, of which a gradient is taken."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    calls = [node for node in nodes if isinstance(node, ast.Call) and not node.args and not node.keywords]
    totals = {id(call.func) for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "sum"}
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute) and id(node) not in totals}
    imported = {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    return attributes | imported | {node.id for node in nodes if isinstance(node, ast.Name)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_of_ours_is_imported(path: Path) -> None:
    """A file in backends/ imports frameworks and its neighbours, and none of the rooms of the suite."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= 1, "a relative import that leaves the folder"
            found |= {(node.module or "").partition(".")[0]} if node.level == 0 else set()
    assert not found & OURS


@pytest.mark.parametrize("path", [p for p in ADAPTERS if p.stem not in HAND_WRITTEN], ids=lambda path: path.stem)
def test_an_adapter_computes_nothing_itself(path: Path) -> None:
    """No adapter of a framework uses a name from which statistics or a normalization could be made."""
    assert not names(path) & FORMULA


def test_the_search_for_formulas_finds_one() -> None:
    """The hand-written layer, which does compute, would fail the check above."""
    assert {"mean", "sqrt", "sum"} <= names(ROOT / "backends" / "numpy_layer.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_importing_imports_no_framework(path: Path) -> None:
    """Listing the backends imports their modules, and no framework with them."""
    module = "backends" if path.stem == "__init__" else f"backends.{path.stem}"
    frameworks = ("torch", "jax", "flax", "tensorflow", "keras", "onnx", "onnxruntime")
    code = f"import sys, {module}; print([name for name in {frameworks} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")
