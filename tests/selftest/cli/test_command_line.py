"""The command line: what a person at a terminal gets of each command, and what a run leaves behind."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bnconform.backends import registry
from bnconform.cases.golden import errata
from bnconform.cli import options
from bnconform.cli.main import VERBS, main, tree
from bnconform.render.matrix import LETTERS
from bnconform.results import result as results
from bnconform.results.result import Row, dtype_order, read
from bnconform.spec.catalogue import requirements
from bnconform.tests.selftest.command import ADAPTERS, CLONE, PACKAGE, Answer, bnconform, environment

SUBJECTS = ADAPTERS / "subjects.py"
DECLARATIONS = ADAPTERS / "declarations.py"
BIASED = ("--backend", f"{SUBJECTS}:RemembersBiased")


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every way to ask for help shows every verb and the exit statuses, in 100 columns."""
    assert main([word]) == 0
    out = capsys.readouterr().out
    assert [verb for verb in VERBS if not re.search(rf"^    {verb}\b", out, re.MULTILINE)] == []
    assert max(map(len, out.splitlines())) <= 100
    assert "exit status: 0" in out


LEAVES = [verb for verb in VERBS if verb != "baseline"] + ["baseline update", "baseline check"]


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("verb", [*LEAVES, "baseline"])
def test_help_of_a_verb(verb: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each verb has a help of its own, which ends with an example and changes nothing."""
    assert main([*verb.split(), option]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: bnconform {verb} ")
    assert f"\nexample:\n  bnconform {verb} " in out


@pytest.mark.parametrize("verb", LEAVES)
def test_example_is_one(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The example of a verb's help is what the verb takes."""
    main([*verb.split(), "--help"])
    example = capsys.readouterr().out.partition("\nexample:\n  bnconform ")[2].splitlines()[0]
    known, unknown = tree(verb.split()[0]).parse_known_args(shlex.split(example))
    assert unknown == []
    assert known.run.__module__.startswith("bnconform.cli.")


def test_a_verb_loads_no_other() -> None:
    """The module of a verb is imported where that verb is used, and no framework ever."""
    code = "import sys; from bnconform.cli.main import main; main(['explain', 'BN-RUN-VAR']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "bnconform.cli.explain" in loaded
    assert {f"bnconform.cli.{module}" for module, _ in VERBS.values()} & set(loaded) == {"bnconform.cli.explain"}
    assert not {"torch", "jax", "tensorflow", "bnconform.execution.worker_pool"} & set(loaded)


class _Recorder:
    """A parser that notes what it is given."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def getgroup(self, *words: str) -> _Recorder:
        return self

    def addoption(self, name: str, **details: Any) -> None:
        self.names.append(name)


def test_help_of_a_run_names_every_option_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    """An option that pytest would list and we would not is an option that nobody finds."""
    recorder = _Recorder()
    options.pytest_addoption(recorder)  # type: ignore[arg-type]
    assert recorder.names
    assert main(["run", "--help"]) == 0
    out = capsys.readouterr().out
    assert [name for name in recorder.names if f"\n  {name} " not in f"{out} "] == []
    assert "Every option of pytest is accepted too" in out


@pytest.mark.parametrize("words", [(), ("run",)], ids=["without a verb", "run"])
def test_run_is_what_happens_without_a_verb(words: tuple[str, ...], tmp_path: Path) -> None:
    """With the verb and without it the same is judged, with pytest's own options."""
    part = ("--dtype", "float32", "-k", "BN-RUN-VAR-2-values", "-x", "--durations=1", "--json", "result.json")
    answer = bnconform(tmp_path, *words, *part)
    assert answer.status == 0
    assert [row.verdict for row in read(tmp_path / "result.json").rows] == ["conforms"]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The version is one line."""
    assert main(["--version"]) == 0
    assert re.fullmatch(r"bnconform (\d+\.\d+\S*|\(a clone\))\n", capsys.readouterr().out)


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Answer:
    """What `bnconform list` says."""
    return bnconform(tmp_path_factory.mktemp("list"), "list")


@pytest.mark.parametrize("name", [*registry.BUILTIN, *registry.DEPLOYMENTS])
def test_list_has_every_backend(name: str, listed: Answer) -> None:
    """Each stands with its devices, or with the reason why it cannot run here and the command that mends it."""
    line = next(line for line in listed.lines if line.split()[0] == name)
    assert re.search(r"^\S+ +(cpu\b|no: )", line)


def test_list_has_every_requirement(listed: Answer) -> None:
    """Each stands with its level and its title, in the catalogue's order, and nothing is wider than 100 columns."""
    assert listed.status == 0
    rows = [line.split() for line in listed.lines if line.startswith("BN-")]
    assert [(row[0], row[1]) for row in rows] == [(rule.id, rule.level) for rule in requirements().values()]
    text = " ".join(" ".join(listed.lines).split())
    assert [rule.id for rule in requirements().values() if " ".join(rule.title.split()[:4]) not in text] == []
    assert max(map(len, listed.lines)) <= 100


def test_list_of_requirements_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """With --requirements there are only these."""
    assert main(["list", "--requirements"]) == 0
    out = capsys.readouterr().out
    assert "Backends" not in out and "Errata" not in out
    assert [line.split()[0] for line in out.splitlines() if line.startswith("BN-")] == list(requirements())


def test_list_of_errata(capsys: pytest.CaptureFixture[str]) -> None:
    """With --errata each erratum says what is printed, what is right and what explains it."""
    assert main(["list", "--errata"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert list(errata())
    wanted = [text for e in errata() for text in (f"{e.document}, {e.place}", e.printed, e.right, e.explanation)]
    assert [text for text in wanted if " ".join(text.split()) not in out] == []


@pytest.mark.parametrize("identifier", requirements())
def test_explain(identifier: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every requirement is explained."""
    assert main(["explain", identifier]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{identifier}  ")
    assert "Statement" in out and "Sources" in out and "What usually breaks it" in out


CHECKS = "BN-RUN-VAR or BN-RUN-MEAN or BN-RUN-COUNT or BN-FLAG-DEFAULTS"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Answer, Path]:
    """A run over three backends and two dtypes, of which one fails, and its folder."""
    folder = tmp_path_factory.mktemp("run")
    backends = (*BIASED, "--backend", "numpy", "--backend", f"{DECLARATIONS}:CountsEverything")
    options = ("--dtype", "float32", "--dtype", "float64", "-k", CHECKS, "--json", "result.json")
    return bnconform(folder, *backends, *options), folder


def rows_of(run: tuple[Answer, Path]) -> tuple[Row, ...]:
    """The rows of a run's file."""
    return read(run[1] / "result.json").rows


def test_the_file_fits_its_schema(run: tuple[Answer, Path]) -> None:
    """The result is what its schema says, and says who was judged where."""
    data = json.loads((run[1] / "result.json").read_text())
    schema = json.loads((Path(results.__file__).parent / "result.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(data)
    assert data["environment"]["devices"].keys() == {"cpu"}
    assert data["environment"]["backends"].keys() == {"numpy", "remembers-biased", "CountsEverything"}
    assert all(used["calls"] > 0 for used in data["environment"]["backends"].values())
    assert data["environment"]["packages"].keys() >= {"numpy", "pytest", "gmpy2"}


def test_the_verdicts_are_those_of_the_backends(run: tuple[Answer, Path]) -> None:
    """Of all that was judged, the known faults alone fail."""
    failing = {(row.backend, row.requirement, row.dtype) for row in rows_of(run) if row.verdict != "conforms"}
    assert failing == {
        ("remembers-biased", "BN-RUN-VAR", "float32"),
        ("remembers-biased", "BN-RUN-VAR", "float64"),
        ("CountsEverything", "BN-RUN-COUNT", "float32"),
        ("CountsEverything", "BN-RUN-COUNT", "float64"),
    }
    assert run[0].status == 1


def test_the_matrix_shows_the_rows_of_the_file(run: tuple[Answer, Path]) -> None:
    """Each cell of the terminal's matrix has the letter of its row, small where no `must` is concerned."""
    rows = {row.key: row for row in rows_of(run)}
    columns = sorted({key[:3] for key in rows}, key=lambda key: (key[0], key[1], dtype_order(key[2])))
    lines = [line for line in run[0].lines if re.match(r"BN-[A-Z-]+ ", line)]
    assert [line.split()[0] for line in lines] == ["BN-RUN-MEAN", "BN-RUN-VAR", "BN-RUN-COUNT", "BN-FLAG-DEFAULTS"]
    for line in lines:
        name = line.split()[0]
        due = []
        for column in columns:
            row = rows.get((*column, name))
            if row is not None:
                letter = LETTERS[row.verdict]
                due.append(letter if row.level == "must" else letter.lower())
        shown = re.sub(r"^\S+( \((should|may)\))?", "", line).split()
        assert shown[: len(due)] == due, line


def test_the_matrix_is_readable_at_100_columns(run: tuple[Answer, Path]) -> None:
    """Nothing but a command to copy is wider, and there are no escapes where there is no terminal."""
    wide = [line for line in run[0].out.splitlines() if len(line) > 100 and "bnconform replay" not in line]
    assert wide == []
    assert "\x1b" not in run[0].out
    run[0].assert_no_traceback()
    assert "The result is in result.json" in run[0].lines


def test_a_should_fails_a_run_that_asks_for_it(tmp_path: Path) -> None:
    """What misses a recommendation passes by default and fails with --level should."""
    options = ("--backend", f"{DECLARATIONS}:CountsEverything", "--dtype", "float32", "-k", "BN-RUN-COUNT")
    assert bnconform(tmp_path, *options).status == 0
    assert bnconform(tmp_path, *options, "--level", "should").status == 1


LET_PASS = {
    "a should": ("CountsEverythingAndChangesX", "float32", "BN-RUN-COUNT", "violates"),
    "unsupported": ("NoKernelForWhatItChanges", "float16", "BN-TRAIN-AFFINE", "unsupported"),
}


@pytest.mark.parametrize(("backend", "dtype", "asked", "verdict"), LET_PASS.values(), ids=list(LET_PASS))
def test_a_changed_input_fails_what_else_passes(
    backend: str, dtype: str, asked: str, verdict: str, tmp_path: Path
) -> None:
    """A `must` that is seen broken in passing fails the run, whatever becomes of the requirement that is checked."""
    options = ("--backend", f"{DECLARATIONS}:{backend}", "--dtype", dtype, "-k", asked)
    assert bnconform(tmp_path, *options, "--json", "r.json").status == 1
    verdicts = {row.requirement: row.verdict for row in read(tmp_path / "r.json").rows}
    assert verdicts == {asked: verdict, "BN-STATE-INPUT": "violates"}


@pytest.fixture(scope="module")
def failing(run: tuple[Answer, Path]) -> Row:
    """A check that failed, with its case, as the result keeps it."""
    rows = (check.row for check in read(run[1] / "result.json").failed)
    return next(row for row in rows if row.requirement == "BN-RUN-VAR" and row.verdict == "violates")


def test_replay_fails_again(run: tuple[Answer, Path], failing: Row) -> None:
    """The command that the message gives, run where the run was, fails with the same numbers."""
    command = shlex.split(failing.message.partition("  replay     ")[2])
    assert command[0] == "bnconform"
    answer = bnconform(run[1], *command[1:])
    answer.assert_no_traceback()
    assert answer.status == 1
    for label in ("what", "got", "should be", "off by", "the call", "source"):
        line = next(line for line in failing.message.splitlines() if line.startswith(f"  {label}  "))
        assert line in answer.out.splitlines()


def test_replay_gives_a_command_that_works(
    run: tuple[Answer, Path], failing: Row, capsys: pytest.CaptureFixture[str]
) -> None:
    """A replay that fails says how to replay it, and names the case that exists."""
    assert failing.case is not None
    path = str(run[1] / failing.case)
    assert main(["replay", path, *BIASED]) == 1
    line = capsys.readouterr().out.partition("  replay     ")[2].splitlines()[0]
    assert shlex.split(line) == ["bnconform", "replay", path, *BIASED]


def test_replay_of_another_backend(run: tuple[Answer, Path], failing: Row, capsys: pytest.CaptureFixture[str]) -> None:
    """A backend that has no such fault conforms to the same case."""
    assert failing.case is not None
    assert main(["replay", str(run[1] / failing.case), "--backend", "numpy"]) == 0
    assert capsys.readouterr().out.startswith(f"BN-RUN-VAR conforms: numpy:cpu-{failing.dtype}, case ")


def test_replay_of_a_declared_deviation(
    run: tuple[Answer, Path], failing: Row, capsys: pytest.CaptureFixture[str]
) -> None:
    """What deviates as declared is no failure."""
    assert failing.case is not None
    assert main(["replay", str(run[1] / failing.case), "--backend", f"{DECLARATIONS}:Declared"]) == 0
    assert "BN-RUN-VAR deviates" in capsys.readouterr().out


def test_several_processes_give_the_same_verdicts(run: tuple[Answer, Path], tmp_path: Path) -> None:
    """With -n 2 every row has the verdict, the checks and the measures that it has without."""
    backends = (*BIASED, "--backend", "numpy", "--backend", f"{DECLARATIONS}:CountsEverything")
    options = ("--dtype", "float32", "-k", CHECKS, "--json", "result.json", "-n", "2")
    answer = bnconform(tmp_path, *backends, *options)
    assert answer.status == run[0].status

    def say(rows: tuple[Row, ...]) -> list[tuple[object, ...]]:
        return [
            (*row.key, row.level, row.verdict, row.checks, row.bound_share, row.ulp)
            for row in rows
            if row.dtype == "float32"
        ]

    assert say(rows_of((answer, tmp_path))) == say(rows_of(run))


def left(folder: Path) -> set[str]:
    """Every file below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_run_that_conforms_leaves_nothing(tmp_path: Path) -> None:
    """The current folder is as it was, even after random programs."""
    answer = bnconform(tmp_path, "--dtype", "float32", "-k", "BN-RUN-SEQUENCE or BN-RUN-VAR-2-values")
    assert answer.status == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "folder"),
    [((), "bnconform-cases"), (("--cases", "kept/here"), "kept/here"), (("--cases", ""), None)],
    ids=["by default", "as asked for", "nowhere"],
)
def test_a_run_that_fails_leaves_its_cases_alone(options: tuple[str, ...], folder: str | None, tmp_path: Path) -> None:
    """Failing cases are written where they are asked for, one file each, and nothing else is."""
    selected = "BN-RUN-VAR-2-values or BN-RUN-VAR-3-values or BN-RUN-MEAN-2-values"
    answer = bnconform(tmp_path, *BIASED, "--dtype", "float32", "-k", selected, *options)
    assert answer.status == 1
    files = left(tmp_path)
    assert len(files) == (0 if folder is None else 3)
    cases = rf"{folder}/(\.gitignore|remembers-biased-cpu-float32-BN-RUN-VAR-[23]-values-\w+\.json)"
    assert all(re.fullmatch(cases, name) for name in files)


def test_cases_are_ignored_by_git_and_forgotten_once_they_hold(tmp_path: Path) -> None:
    """The folder has an ignore file of its own; a run removes the cases that it asks again, and no others."""
    adapter = tmp_path / "adapter.py"
    adapter.write_text(SUBJECTS.read_text())
    asked = ("--backend", "adapter.py:RemembersBiased", "--dtype", "float32", "-k")
    assert bnconform(tmp_path, *asked, "BN-RUN-VAR-2-values or BN-RUN-VAR-3-values").status == 1
    folder = tmp_path / "bnconform-cases"
    assert (folder / ".gitignore").read_text() == "*\n"
    assert sorted(path.name.partition("-VAR-")[2][:8] for path in folder.glob("*.json")) == ["2-values", "3-values"]
    source = adapter.read_text()
    fault = "class RemembersBiased"
    assert fault in source
    adapter.write_text(f"{source}\n\nfrom bnconform.backends.numpy_layer import NumpyBackend\n"
                       "class RemembersBiased(NumpyBackend):\n    name = 'remembers-biased'\n")  # fmt: skip
    assert bnconform(tmp_path, *asked, "BN-RUN-VAR-2-values").status == 0
    assert [path.name.partition("-VAR-")[2][:8] for path in folder.glob("*.json")] == ["3-values"]


def test_cases_that_cannot_be_written_are_done_without(tmp_path: Path) -> None:
    """Where the folder cannot be made, the verdict stands and the requirement is replayed instead."""
    (tmp_path / "taken").write_text("a file")
    answer = bnconform(tmp_path, *BIASED, "--dtype", "float32", "-k", "BN-RUN-VAR-2-values", "--cases", "taken")
    answer.assert_no_traceback()
    assert answer.status == 1
    assert "--dtype float32 --level may -k BN-RUN-VAR-" in answer.out
    assert left(tmp_path) == {"taken"}


ROOMS = ("tests", "spec", "cases", "backends", "report")
"""Ours, by the names that they have in a clone, and what they once were."""

SHADOWS = ("json", "re", "types", "numpy", "execnet", "pytest", "hypothesis", "sitecustomize")
"""Modules that we use, or that Python looks for."""

TELLS = "open({log!r}, 'a').write(__name__ + '\\n')\n"
"""A module that tells when it is imported, and imports nothing to do so."""

HOSTILE = {
    "conftest.py": "raise RuntimeError('conftest of the user')",
    "pytest.ini": "[pytest]\naddopts = --no-such-option\ntestpaths = nowhere\npython_functions = nothing\n",
    "pyproject.toml": '[tool.pytest.ini_options]\naddopts = "--no-such-option"\nfilterwarnings = ["error"]\n',
    "setup.cfg": "[tool:pytest]\naddopts = --no-such-option\n",
    "tox.ini": "[pytest]\naddopts = --no-such-option\n",
    **{f"{room}/__init__.py": f"raise RuntimeError('{room} of the user')" for room in (*ROOMS, "bnconform")},
    **{f"{name}.py": f"raise RuntimeError('{name} of the user')" for name in SHADOWS},
    "tests/conformance/test_mine.py": "def test_mine(): assert False",
    "test_mine.py": "def test_mine(): assert False",
    "result.json": "of the run before",
    "failing/conftest.py": "raise RuntimeError('conftest of the user')",
}


@pytest.fixture
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the modules of a user's repository tell that they were imported; it exists once one has."""
    return tmp_path_factory.mktemp("told") / "imported.txt"


def furnish(folder: Path, told: Path) -> None:
    """Make the folder a repository whose every name is one of ours or of what we use, and whose every module tells."""
    for name, text in HOSTILE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(TELLS.format(log=str(told)) + text if name.endswith(".py") else text)


@pytest.mark.parametrize("processes", [(), ("-n", "2")], ids=["one process", "two processes"])
def test_a_repository_of_the_same_names_does_not_leak_in(
    processes: tuple[str, ...], told: Path, tmp_path: Path
) -> None:
    """A user's own packages, tests and settings of pytest are neither imported nor run, nor do they change anything."""
    furnish(tmp_path, told)
    (tmp_path / "adapter.py").write_text(
        "from bnconform.backends.numpy_layer import NumpyBackend\n\nclass Mine(NumpyBackend):\n    name = 'mine'\n"
    )
    before = left(tmp_path)
    part = ("--dtype", "float32", "-k", "BN-RUN-VAR-2-values or BN-RUN-SEQUENCE")
    written = ("--json", "result.json", "--cases", "failing")  # both exist: they are no place of tests, though
    answer = bnconform(tmp_path, "--backend", "adapter.py:Mine", *part, *written, *processes)
    assert answer.status == 0, answer.out + answer.err
    assert not told.exists(), told.read_text()
    assert {(row.backend, row.requirement, row.verdict) for row in read(tmp_path / "result.json").rows} == {
        ("mine", "BN-RUN-VAR", "conforms"),
        ("mine", "BN-RUN-SEQUENCE", "conforms"),
    }
    new = {name for name in left(tmp_path) - before if not name.startswith("__pycache__/adapter.")}
    assert new == set()


@pytest.mark.parametrize("words", [("list", "--requirements"), ("explain", "BN-RUN-VAR")], ids=" ".join)
def test_verbs_in_a_repository_of_the_same_names(words: tuple[str, ...], told: Path, tmp_path: Path) -> None:
    """The verbs, too, find our packages and not the user's."""
    furnish(tmp_path, told)
    answer = bnconform(tmp_path, *words)
    assert answer.status == 0
    assert not told.exists(), told.read_text()
    assert "BN-RUN-VAR" in answer.out


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """A folder in which our package lies alone, as where packages are installed; None where it is installed."""
    if CLONE is None:
        return None
    folder = tmp_path_factory.mktemp("alone")
    (folder / "bnconform").symlink_to(PACKAGE)  # the package finds the clone that it belongs to
    return folder


OWN = """\
import json, re, types
import numpy
{imports}
from bnconform.backends.numpy_layer import NumpyBackend

class Mine(NumpyBackend):
    name = "mine"
    packages = {{"{rooms}": "1"}}
    assert [room.OWNER for room in ({rooms})] == {count} * ["user"]
"""
"""An adapter that uses its project's own packages."""


@pytest.mark.parametrize("processes", [(), ("-n", "2"), ("--in-process",)], ids=["alone", "workers", "in-process"])
def test_an_adapter_has_its_own_packages_of_the_same_names(
    processes: tuple[str, ...], alone: Path | None, told: Path, tmp_path: Path
) -> None:
    """A project's own `tests`, `spec` and others are what its adapter imports, by their names; the rest is left alone.

    Modules of the standard library and installed ones stay what they are for it.
    """
    furnish(tmp_path, told)
    for room in ROOMS:
        (tmp_path / room / "__init__.py").write_text(TELLS.format(log=str(told)) + "OWNER = 'user'\n")
    imports = "\n".join(f"import {room}" for room in ROOMS)
    (tmp_path / "adapter.py").write_text(OWN.format(imports=imports, rooms=", ".join(ROOMS), count=len(ROOMS)))
    part = ("--dtype", "float32", "-k", "BN-RUN-VAR-2-values or BN-RUN-SEQUENCE", "--json", "result.json")
    answer = bnconform(tmp_path, "--backend", "adapter.py:Mine", *part, *processes, package=alone)
    assert answer.status == 0, answer.out + answer.err
    assert {(row.backend, row.verdict) for row in read(tmp_path / "result.json").rows} == {("mine", "conforms")}
    assert set(told.read_text().split()) == set(ROOMS)


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("processes", [(), ("-n", "2")], ids=["one process", "two processes"])
def test_a_program_finds_what_lies_beside_it(processes: tuple[str, ...], tmp_path: Path) -> None:
    """What keeps the user's folder out of our processes does not reach a program in Python that is judged."""
    shutil.copy(ADAPTERS / "program.py", tmp_path / "beside.py")
    (tmp_path / "main.py").write_text("import beside\nbeside.main()\n")
    command = ("--backend-command", shlex.join([sys.executable, "main.py", "none"]))
    part = ("--dtype", "float32", "-k", "BN-RUN-COUNT", "--json", "result.json")
    answer = bnconform(tmp_path, *command, *part, *processes)
    answer.assert_no_traceback()
    assert {row.backend for row in read(tmp_path / "result.json").rows} == {"echo"}, answer.out


def test_a_folder_with_blanks_and_brackets(tmp_path: Path) -> None:
    """Paths are taken as they are: nothing is a pattern or markup."""
    folder = tmp_path / "my [bold] adapters"
    folder.mkdir()
    shutil.copy(SUBJECTS, folder)
    answer = bnconform(
        folder,
        "--backend",
        "./subjects.py:RemembersBiased",
        "--dtype",
        "float32",
        "-k",
        "BN-RUN-VAR-2-values",
        "--json",
        "[red].json",
    )
    assert answer.status == 1
    assert "The result is in [red].json" in answer.out
    command = shlex.split(next(line for line in answer.lines if "bnconform replay" in line).partition("replay     ")[2])
    assert bnconform(folder, *command[1:]).status == 1
