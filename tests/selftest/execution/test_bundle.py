"""The runner sent over standard input, and in an environment that has nothing of ours: the verdicts are the same."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from bnconform.execution import bundle
from bnconform.results.result import Row, read
from bnconform.spec.catalogue import requirements
from bnconform.tests.selftest.command import ADAPTERS, Answer, bnconform

PART = ("-k", "BN-RUN or BN-GRAD or BN-EDGE or BN-STATE", "--json", "result.json")
DTYPES = ("--dtype", "float32", "--dtype", "bfloat16")
"""A part of the suite with programs and facts of every kind, in a dtype of NumPy's and one of ml_dtypes."""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has NumPy and ml_dtypes and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "v")], check=True)
    (site,) = (folder / "v").glob("lib/python3.*/site-packages")
    for module in (np, ml_dtypes):
        place = Path(str(module.__file__)).parent
        for found in [place, *place.parent.glob(f"{place.name}.libs")]:
            (site / found.name).symlink_to(found)
    return folder / "v" / "bin" / "python"


def judge(folder: Path, *arguments: str) -> tuple[Answer, list[Row]]:
    """A run of a part, and its rows."""
    folder.mkdir(exist_ok=True)
    answer = bnconform(folder, *arguments, *PART)
    answer.assert_no_traceback()
    return answer, list(read(folder / "result.json").rows)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """NumPy's rows under this interpreter."""
    answer, rows = judge(tmp_path_factory.mktemp("plain"), "--backend", "numpy", *DTYPES)
    assert answer.status == 0 and len(rows) > 50
    return rows


def test_nothing_of_ours_is_in_the_bare_environment(bare: Path) -> None:
    """What the tests below rest on: it has NumPy and ml_dtypes, and none of what the judging side needs."""
    absent = ("gmpy2", "pytest", "hypothesis", "rich", "jsonschema", "psutil", "bnconform")
    code = f"import importlib.util as u, numpy, ml_dtypes; print([n for n in {absent} if u.find_spec(n)])"
    told = subprocess.run([bare, "-P", "-c", code], capture_output=True, text=True, check=True, env={})
    assert told.stdout.strip() == "[]"


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("how", ["sent to the bare", "bare", "sent"])
def test_verdicts_are_the_same_elsewhere(how: str, bare: Path, plain: list[Row], tmp_path: Path) -> None:
    """Every row is equal: under the bare interpreter, and where the runner comes over standard input.

    Behind `env -i` the process has no variables, neither PATH nor PYTHONPATH, so that nothing of ours can be found.
    """
    python = sys.executable if how == "sent" else str(bare)
    sent = () if how == "bare" else ("--run-in", "numpy=env -i")
    answer, rows = judge(tmp_path, "--backend", "numpy", "--python", f"numpy={python}", *sent, *DTYPES)
    assert answer.status == 0
    assert rows == plain


def test_whole_run_in_the_bare_environment(bare: Path, tmp_path: Path) -> None:
    """All of the suite can be asked there, and NumPy conforms."""
    options = ("--dtype", "float64", "--level", "must", "--json", "result.json")
    answer = bnconform(tmp_path, "--backend", "numpy", "--python", f"numpy={bare}", *options)
    assert answer.status == 0, answer.out + answer.err
    found = read(tmp_path / "result.json")
    none = {name for name, rule in requirements().items() if any("replicated" in word for word in rule.features)}
    musts = [row for row in found.rows if row.level == "must" and row.requirement not in none]  # NumPy has no replicas
    assert {row.verdict for row in musts} == {"conforms"}
    assert sum(row.level == "must" for row in found.rows) > 60


@pytest.mark.thorough
def test_adapter_file_is_sent_along(bare: Path, tmp_path: Path) -> None:
    """An adapter that is a file here need not be one there: its fault is told as everywhere."""
    given = f"{ADAPTERS / 'subjects.py'}:RemembersBiased"
    sent = ("--python", f"{given}={bare}", "--run-in", f"{given}=env -i")
    runs = [
        judge(tmp_path / name, "--backend", given, "--dtype", "float32", *more)
        for name, more in (("here", ()), ("there", sent))
    ]
    assert [answer.status for answer, _ in runs] == [1, 1]
    here, there = ([(row.requirement, row.verdict, row.diagnosis) for row in rows] for _, rows in runs)
    assert here == there
    assert ("BN-RUN-VAR", "violates") in [row[:2] for row in here]


ENCODED = {
    "latin-1": ("# -*- coding: latin-1 -*-\nclass Mine: name = '\N{LATIN SMALL LETTER A WITH DIAERESIS}'\n", "latin-1"),
    "a mark at its beginning": ("class Mine: name = '\N{LATIN SMALL LETTER A WITH DIAERESIS}'\n", "utf-8-sig"),
}


@pytest.mark.parametrize(("text", "encoding"), ENCODED.values(), ids=list(ENCODED))
def test_adapter_file_is_read_in_its_encoding(text: str, encoding: str, tmp_path: Path) -> None:
    """A source is what Python reads in it; what is no Python file is nothing that could be sent."""
    path = tmp_path / "mine.py"
    path.write_bytes(text.encode(encoding))
    assert bundle.adapter_files(f"{path}:Mine") == {str(path): text}
    assert bundle.adapter_files("numpy") == bundle.adapter_files(f"{tmp_path / 'none.py'}:Mine") == {}


@pytest.mark.parametrize(
    "content", [b"# \xe4\nclass Mine: pass\n", b"# -*- coding: klingon -*-\n"], ids=["no text", "no encoding"]
)
def test_adapter_file_that_is_no_text_is_refused(content: bytes, tmp_path: Path) -> None:
    """One line says so where it is to be sent, and where it is to be packed."""
    (tmp_path / "mine.py").write_bytes(content)
    given = "mine.py:Mine"
    bnconform(tmp_path, "--backend", given, "--run-in", f"{given}=env").assert_refused(given)
    bnconform(tmp_path, "runner", "out.pyz", "--backend", given).assert_refused(given)


@pytest.mark.parametrize("sent", [(), ("--run-in", "numpy=env -i")], ids=["local", "sent"])
def test_environment_that_lacks_numpy(sent: tuple[str, ...], tmp_path: Path) -> None:
    """One line says all that is missing and how to get it, exit status 2."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "v")], check=True)
    python = tmp_path / "v" / "bin" / "python"
    answer = bnconform(tmp_path, "--backend", "numpy", "--python", f"numpy={python}", *sent)
    answer.assert_refused(f"{python} lacks numpy and ml_dtypes; run {python} -m pip install numpy ml_dtypes")


def test_command_that_says_nothing_of_ours(tmp_path: Path) -> None:
    """A command that runs something else is refused with what it said."""
    answer = bnconform(tmp_path, "--backend", "numpy", "--run-in", "numpy=sh -c 'echo no route to host >&2; exit 3'")
    answer.assert_refused("the backend numpy cannot be loaded", "status 3", "no route to host")


def test_what_is_sent_is_the_executing_side() -> None:
    """Every module of `backends` is sent, each as it stands here, and imports nothing of ours that is not."""
    sent = dict(bundle.modules())
    assert {"bnconform", "bnconform.backends", "bnconform.backends.runner", "bnconform.backends.runner.serve"} <= set(
        sent
    )
    for name, (package, source) in sent.items():
        module = importlib.import_module("bnconform.backends" if name == "bnconform" else name)
        assert package is hasattr(module, "__path__")
        for node in ast.walk(ast.parse(source)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert [other for other in names if other.startswith("bnconform") and other not in sent] == [], name


def test_first_bytes_say_how_many_come() -> None:
    """What comes first over standard input is the length of the rest, in as many digits as are read."""
    start = bundle.remote_start({"my_adapter.py": "class Mine: 'ü'"})
    assert int(start[: bundle.FIRST]) == len(start) - bundle.FIRST
    compile(start[bundle.FIRST :].decode(), "start", "exec")
    assert "my_adapter.py" in start.decode()
