"""Nothing in the README and in the guide is untrue: their commands are run, their tables are compared with what they
are about.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnconform.backends import registry
from bnconform.cases.golden import Erratum, errata
from bnconform.cases.models.tables import table
from bnconform.cli.main import VERBS, tree
from bnconform.cli.new_adapter import skeleton
from bnconform.judge.truths.cache_settings import VARIABLE, CacheSettings
from bnconform.tests.mutants.catalogue import all_right, hand_made, neighbours
from bnconform.tests.selftest.command import CLONE, COMMAND, environment
from bnconform.tests.selftest.public.test_parametrize import PLUGIN

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "bnconform" / "GUIDE.md").read_text(encoding="utf-8")
PAGES = {"README.md": README, "bnconform/GUIDE.md": GUIDE}
BACKENDS = (ROOT / "backends" / "BACKENDS.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def consoles() -> list[tuple[str, list[str]]]:
    """Every command of both pages with the lines that it is said to print."""
    blocks = re.findall(r"```console\n\$ (.*?)\n(.*?)```", README + GUIDE, re.S)
    return [(command, printed.splitlines()) for command, printed in blocks]


def console(beginning: str) -> tuple[str, list[str]]:
    """The first command that begins so, with the lines that it is said to print."""
    return next((command, printed) for command, printed in consoles() if command.startswith(beginning))


def adapter_source() -> str:
    """The adapter that `bnconform new-adapter my_adapter.py` writes."""
    return skeleton("my_adapter.py", "my_adapter", "MyBackend")


def comparable(line: str) -> str:
    """A line without what differs from run to run: numbers, and how far titles are cut."""
    return re.sub(r"\d[\d.e+-]*", "#", re.sub(r"\s+", " ", line)).strip()


def appears(wanted: list[str], printed: list[str]) -> Iterator[str]:
    """The wanted lines that do not appear, in order, among the printed ones; a line of `...` stands for any lines."""
    rest = iter([comparable(line) for line in printed])
    for line in wanted:
        if line != "..." and not any(_same(comparable(line), one) for one in rest):
            yield line


def _same(due: str, got: str) -> bool:
    """Whether a printed line is the one that is due; either may be cut short with dots."""
    if due.endswith("...") or got.endswith("..."):
        shortest = min(len(due.removesuffix("...")), len(got.removesuffix("...")))
        return due[:shortest] == got[:shortest]
    return due == got


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """The command bnconform, at 100 columns; it finds the truths and the bytecode that are kept."""
    kept = {VARIABLE: str(CacheSettings.of_environment().folder or "off")}
    if sys.pycache_prefix is not None:
        kept["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        env={"PATH": "", "COLUMNS": "100", "HOME": str(folder), "PYTHONPATH": str(CLONE or ""), **kept},
    )


def test_judging_torch(tmp_path: Path) -> None:
    """The first command sets up with the constraints, judges PyTorch, and prints what the README shows.

    It fails, as PyTorch violates two musts; the findings that the README names say which.
    """
    pytest.importorskip("torch")
    command, wanted = console('pip install -c constraints.txt ".[torch]"')
    install, judge = command.split(" && ")
    assert install == 'pip install -c constraints.txt ".[torch]"'
    program, *arguments = judge.split()
    assert program == "bnconform"
    found = run(arguments, tmp_path)
    assert found.returncode == 1, found.stdout + found.stderr
    assert not list(appears(wanted, found.stdout.splitlines()))


def test_own_tests_are_what_ci_runs() -> None:
    """The second command is the one that CI runs, with the extras that the project has."""
    command, _ = console("pip install -c constraints.txt -e")
    install, tests = command.split(" && ")
    assert install == 'pip install -c constraints.txt -e ".[torch,dev]"'
    assert f"{tests}\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8").replace(
        '"$work/clone/bin/pytest"', "pytest"
    )
    assert install.replace('"', "") in CONTRIBUTING.replace('"', "")


def test_wrong_implementation(tmp_path: Path) -> None:
    """The example adapter with a fault fails with the message that the README shows."""
    _, (command, wanted) = [pair for pair in consoles() if "MyBackend" in pair[0]]
    source = adapter_source()
    assert source.count("ddof=1") == 1
    (tmp_path / "my_adapter.py").write_text(source.replace("ddof=1", "ddof=0"))
    found = run(command.split()[1:], tmp_path)
    assert found.returncode == 1, found.stdout + found.stderr
    assert not list(appears(wanted, found.stdout.splitlines()))


def test_identify(tmp_path: Path) -> None:
    """The profile of an implementation is what the README shows."""
    pytest.importorskip("torch")
    command, wanted = console("bnconform identify")
    found = run(command.split()[1:], tmp_path)
    assert found.returncode == 0, found.stdout + found.stderr
    assert not list(appears(wanted, found.stdout.splitlines()))


def scripts() -> list[list[list[str]]]:
    """The commands that print nothing worth showing, as words, block by block."""
    blocks = re.findall(r"```sh\n(.*?)```", README + GUIDE, re.S)
    return [[shlex.split(line) for line in block.splitlines()] for block in blocks]


def test_right_implementation_gate_and_comparison(tmp_path: Path) -> None:
    """The example adapter conforms as the README shows; the commands for CI run one after the other, and write what
    they say.
    """
    (tmp_path / "my_adapter.py").write_text(adapter_source())
    (command, wanted), _ = [pair for pair in consoles() if "MyBackend" in pair[0]]
    printed = []
    for program, *arguments in scripts()[0]:
        assert program == "bnconform"
        found = run(arguments, tmp_path)
        assert found.returncode == 0, found.stdout + found.stderr
        printed.append(found.stdout.splitlines())
    # The first of them is the README's, which keeps its result besides.
    assert shlex.join(["bnconform", *scripts()[0][0][1:]]) == f"{command} --json cpu.json"
    assert not list(appears(wanted, printed[0]))
    written = {path.name for path in tmp_path.iterdir()}
    assert {"cpu.json", "known.json", "later.json", "cpu.html", "cpu.md", "cpu.svg"} <= written


def test_outside_python(tmp_path: Path) -> None:
    """The commands for other languages run, with the example in C built as its first lines say."""
    cc, node = shutil.which("cc"), shutil.which("node")
    if (cc is None or node is None) and "CI" not in os.environ:
        pytest.skip("there is no C compiler or no Node.js here")
    assert cc is not None and node is not None, "CI needs a C compiler and Node.js"
    source = ROOT / "backends" / "examples" / "batchnorm.c"
    subprocess.run([cc, "-O2", "-std=c99", "-o", str(tmp_path / "batchnorm"), str(source), "-lm"], check=True)
    for program, *arguments in scripts()[1]:
        if program == "node":
            read = subprocess.run([node, *arguments], cwd=tmp_path, capture_output=True, text=True)
        else:
            read = run(arguments, tmp_path)
        assert read.returncode == 0, read.stdout + read.stderr


def test_own_pytest_suite(tmp_path: Path) -> None:
    """The test of eight lines passes in a project of its own, and fails, naming the fault, when the fault is made."""
    [source] = re.findall(r"```python\n(# tests/test_batchnorm\.py\n.*?)```", README, re.S)
    assert len(source.splitlines()) == 8
    file = tmp_path / source.splitlines()[0].removeprefix("# ")
    file.parent.mkdir()
    file.write_text(source)
    adapter = tmp_path / "my_adapter.py"
    for text, status, words, part in (
        (adapter_source(), 0, " passed", ()),
        (adapter_source().replace("ddof=1", "ddof=0"), 1, "running_variance = biased (explains", ("-k", "BN-RUN-VAR")),
    ):
        adapter.write_text(text)
        command = [sys.executable, "-m", "pytest", *PLUGIN, "-p", "no:cacheprovider", "-W", "error", *part]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert words in done.stdout


def test_kill_matrix_is_what_tox_runs() -> None:
    """The command that shows that the suite can fail is one of those of tox, with the counts of the catalogue."""
    command, printed = console("python -m bnconform.tests.mutants")
    assert command in (ROOT / "tox.ini").read_text(encoding="utf-8")
    wrong = len(neighbours()) + len(hand_made())
    text = " ".join(printed)
    assert f"{wrong} of {wrong} wrong implementations killed" in text
    assert f"0 of {len(all_right())} right ones accused" in text
    assert f"and {len(hand_made())} implementations written by hand" in README


@pytest.mark.parametrize("name", registry.BUILTIN)
def test_table_of_backends(name: str) -> None:
    """Every backend stands in the table, with the deviations that it declares."""
    [row] = [line for line in BACKENDS.splitlines() if line.startswith(f"| `{name}` |")]
    declared = ", ".join(f"`{key} = {value}`" for key, value in registry.adapter_class(name).deviations.items())
    assert row.split("|")[3].strip() == declared


def test_no_backend_too_many() -> None:
    """The table lists no backend that does not exist."""
    assert set(re.findall(r"^\| `([^`]+)` \|", BACKENDS, re.M)) == set(registry.BUILTIN)
    assert f"There are {len(registry.BUILTIN)} built-in ones" in GUIDE


def test_table_of_deployments() -> None:
    """The page of the tools that deploy models lists those that there are, and says how many models there are."""
    page = (ROOT / "backends" / "DEPLOYMENTS.md").read_text(encoding="utf-8")
    # A second table has what some of them cost, and what the selection does.
    assert [*dict.fromkeys(re.findall(r"^\| `([^`-][^`]*)` \|", page, re.M))] == [*registry.DEPLOYMENTS]
    assert f"{len(table())} small models" in page and f"{len(table())} small models" in GUIDE


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_exist(verb: str) -> None:
    """Every command stands in the guide's table and in --help, and is there."""
    assert f"`bnconform {verb}" in GUIDE or verb == "run"
    module, summary = VERBS[verb]
    assert f"\n    {verb}" in tree().format_help() and summary.split()[0] in tree().format_help()
    assert callable(importlib.import_module(f"bnconform.cli.{module}").run)


def errata_row(erratum: Erratum) -> str:
    """The row of the table in CONTRIBUTING.md."""
    cells = (erratum.document, erratum.place, erratum.printed, erratum.right, erratum.explanation)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


@pytest.mark.parametrize("erratum", list(errata()), ids=lambda erratum: f"{erratum.document[:3]}-{erratum.id}")
def test_errata_are_listed(erratum: Erratum) -> None:
    """Every erratum stands in the table of CONTRIBUTING.md."""
    assert errata_row(erratum) in CONTRIBUTING.splitlines()


def test_no_erratum_too_many() -> None:
    """The table lists no erratum that the data do not have."""
    section = CONTRIBUTING.split("## Errata of the source documents")[1]
    assert len(re.findall(r"^\| \d{3}_", section, re.M)) == len(list(errata()))


LINKS = [(page, target) for page, text in PAGES.items() for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)]


@pytest.mark.parametrize(("page", "target"), sorted(set(LINKS)))
def test_links_lead_somewhere(page: str, target: str) -> None:
    """Every link into the repository has a target."""
    assert ((ROOT / page).parent / target).exists()


def test_front_page_is_short() -> None:
    """The README fits three screens."""
    assert len(README.splitlines()) <= 3 * 45
