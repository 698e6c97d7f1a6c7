"""`bnconform new-adapter`: what it writes runs as it is, and what it cannot write leaves nothing behind."""

from __future__ import annotations

import ast
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bnconform.backends import registry
from bnconform.backends.runner.smoke import smoke
from bnconform.cli.main import main
from bnconform.cli.new_adapter import FOLDER, NAMED, TEMPLATES, take_names
from bnconform.results.result import read
from bnconform.spec.formats import DTYPES
from bnconform.tests.selftest.command import Answer, bnconform
from bnconform.tests.selftest.rows import OF_METHODS, of_methods


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> Answer:
    """The command without a process of its own."""
    capsys.readouterr()
    status = main(["new-adapter", *arguments])
    return Answer(status, *capsys.readouterr())


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths are those of a folder of the test's own, which does not stay importable."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.thorough
def test_what_is_written_runs(tmp_path: Path) -> None:
    """The placeholder conforms in every dtype; the printed command, in single precision, is one of the README's too.

    That one asks all rows of combinations, too.
    """
    written = bnconform(tmp_path, "new-adapter", "my_adapter.py")
    assert written.status == 0
    [command] = [line.split() for line in written.lines if line.startswith("  bnconform ")]
    assert command == ["bnconform", "--backend", "my_adapter.py:MyBackend", "--dtype", "float32"]
    others = [word for dtype in DTYPES if dtype != "float32" for word in ("--dtype", dtype)]
    options = (*others, "--level", "should", "--json", "result.json", "-k", "not BN-PAIR")
    answer = bnconform(tmp_path, *command[1:3], *options)
    assert answer.status == 0, answer.out
    rows = read(tmp_path / "result.json").rows
    assert {row.backend for row in rows} == {"my_adapter"}
    besides = [row for row in rows if of_methods(row.requirement)]
    assert {row.verdict for row in rows if row not in besides} == {"conforms"}
    assert besides and all(row.verdict == "unsupported" for row in besides)
    assert all("has no method" in row.message for row in besides if row.requirement.startswith(OF_METHODS))
    assert {row.dtype for row in rows} == set(DTYPES) - {"float32"}


def test_fault_in_it_is_named(tmp_path: Path) -> None:
    """With one step of the placeholder made wrong, the suite names the fault."""
    bnconform(tmp_path, "new-adapter", "my_adapter.py")
    path = tmp_path / "my_adapter.py"
    source = path.read_text()
    assert source.count("ddof=1") == 1
    path.write_text(source.replace("ddof=1", "ddof=0"))
    answer = bnconform(tmp_path, "--backend", "my_adapter.py:MyBackend", "--dtype", "float32", "-k", "BN-RUN-VAR")
    assert answer.status == 1
    assert "running_variance = biased (explains " in answer.out


@pytest.mark.parametrize(
    ("arguments", "key", "name"),
    [
        (("a.py",), "a.py:MyBackend", "a"),
        (("./my adapter.py",), "./my adapter.py:MyBackend", "my_adapter"),
        (("a.py", "--name", "mine+fast"), "a.py:MyBackend", "mine+fast"),
        (("a.py", "--class", "Acme"), "a.py:Acme", "a"),
    ],
    ids=["plain", "space", "name", "class"],
)
def test_options(arguments: tuple[str, ...], key: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The row's name and the class are as asked for, and the printed command can be pasted."""
    answer = ask(capsys, *arguments)
    assert answer.status == 0
    shown = subprocess.run(
        ["sh", "-c", answer.out.split("\n\n")[1].strip().replace("bnconform", "printf '%s\\n'")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout.splitlines() == ["--backend", key, "--dtype", "float32"]
    backend = registry.load(key)
    assert (backend.name, type(backend).__name__) == (name, key.rpartition(":")[2])
    smoke(backend, key, "cpu", unsupported={}, slow=False)
    assert f"bnconform --backend {Path(key).name}" in (Path(key.rpartition(":")[0])).read_text()


REFUSED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "nothing": ((), ("new-adapter: the following arguments are required: PATH",)),
    "unknown option": (("a.py", "--force"), ("does not take '--force'",)),
    "two paths": (("a.py", "b.py"), ("does not take 'b.py'",)),
    "half an option": (("a.py", "--name"), ("--name",)),
    "for nothing known": (("a.py", "--for", "caffe"), ("--for", "'caffe'", "torch")),
    "no C": (("a.py", "--for", "command"), ("a.py", "let its name end in .c")),
    "class is another's in torch": (("a.py", "--for", "torch", "--class", "to_tensor"), ("'to_tensor'", "MyBackend")),
    "no Python file": (("a.txt",), ("a.txt", "let its name end in .py")),
    "no folder": (("nowhere/a.py",), ("nowhere", "not a folder")),
    "a folder": (("folder.py",), ("folder.py", "it exists")),
    "there already": (("old.py",), ("old.py", "it exists", "another path")),
    "leads nowhere": (("link.py",), ("link.py", "it exists")),
    "name of two words": (("a.py", "--name", "my layer"), ("'my layer'", "letters, digits")),
    "name is empty": (("a.py", "--name", ""), ("''", "letters, digits")),
    "name of several lines": (("a.py", "--name", "a\nb"), (r"'a\nb'",)),
    "name is taken": (("a.py", "--name", "torch.nn"), ("torch.nn is taken", "--name")),
    "name is all": (("all.py",), ("all is taken", "--name")),
    "class is no name": (("a.py", "--class", "my-class"), ("'my-class'", "MyBackend")),
    "class is a keyword": (("a.py", "--class", "class"), ("'class'", "MyBackend")),
    "class is another's": (("a.py", "--class", "Layer"), ("'Layer'", "MyBackend")),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=list(REFUSED))
def test_refused(arguments: tuple[str, ...], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be written is refused in one line, and every file is as before."""
    Path("folder.py").mkdir()
    Path("old.py").write_text("mine = 1\n")
    Path("link.py").symlink_to("gone.py")
    before = sorted(path.name for path in Path().iterdir())
    ask(capsys, *arguments).assert_refused(*words)
    assert sorted(path.name for path in Path().iterdir()) == before
    assert Path("old.py").read_text() == "mine = 1\n"


PYTHON = [framework for framework in TEMPLATES if framework != "command"]


def template(framework: str) -> str:
    """The source of a template."""
    return (FOLDER / TEMPLATES[framework]).read_text(encoding="utf-8")


SOME = "BN-RUN-VAR or BN-GRAD-INPUT or BN-FLAG-WEIGHT or BN-STATE-ALIAS or BN-STATE-PARAMS or BN-ERR-LOAD"
NEEDS = {"torch": "torch", "jax": "jax", "keras": "tensorflow"}


@pytest.mark.parametrize("framework", NEEDS)
def test_what_is_written_for_a_framework_runs(framework: str, tmp_path: Path) -> None:
    """Its placeholder holds every must that is asked here, in single precision and in bfloat16, with no class named."""
    pytest.importorskip(NEEDS[framework])
    assert bnconform(tmp_path, "new-adapter", "mine.py", "--for", framework).status == 0
    dtypes = ("--dtype", "f32", "--dtype", "bf16")
    answer = bnconform(tmp_path, "--backend", "mine.py", *dtypes, "-k", SOME, "--json", "result.json")
    assert answer.status == 0, answer.out + answer.err
    rows = read(tmp_path / "result.json").rows
    assert {row.backend for row in rows} == {"mine"} and {row.dtype for row in rows} == {"float32", "bfloat16"}
    holds = {"conforms", "deviates"} if framework == "keras" else {"conforms"}
    assert {row.verdict for row in rows if row.level == "must"} <= holds


def test_what_is_written_for_a_command_runs(tmp_path: Path) -> None:
    """The two printed commands build the program and judge it under its name."""
    if shutil.which("cc") is None and "CI" not in os.environ:
        pytest.skip("there is no C compiler here")
    written = bnconform(tmp_path, "new-adapter", "my program.c", "--for", "command", "--name", "mine")
    build, judge = (shlex.split(line) for line in written.lines if line.startswith("  "))
    subprocess.run(build, cwd=tmp_path, check=True)
    answer = bnconform(tmp_path, *judge[1:], "-k", "BN-RUN-VAR", "--json", "result.json")
    assert answer.status == 0, answer.out + answer.err
    assert {row.backend for row in read(tmp_path / "result.json").rows} == {"mine"}


@pytest.mark.parametrize("framework", PYTHON)
def test_template_is_whole(framework: str) -> None:
    """What is filled in stands in it, the names that it defines are refused as the class's, and its lines are short."""
    source = template(framework)
    assert (source.count("FILE:MyBackend"), source.count('"mine"')) == (1, 1)
    assert {"Layer", "np"} <= take_names(source) and "MyBackend" not in take_names(source)
    assert max(map(len, source.splitlines())) <= 120


def test_template_in_c_says_its_name_once() -> None:
    """So it can be given another."""
    assert template("command").count(NAMED) == 1


@pytest.mark.parametrize("framework", PYTHON)
def test_the_adapter_in_it_computes_nothing(framework: str) -> None:
    """The layer and the backend only call the placeholder."""
    parts = [ast.unparse(node) for node in ast.parse(template(framework)).body if isinstance(node, ast.ClassDef)]
    [layer, backend] = [part for part in parts if part.startswith(("class Layer", "class MyBackend"))]
    words = {".mean(", ".var(", "sqrt", ".sum(", "astype"}
    assert not [word for word in words if word in layer + backend]
