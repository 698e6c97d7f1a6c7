"""Backends that another installed package offers are found by name and listed, with what is wrong with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bnconform.results.result import read
from bnconform.tests.selftest.command import COMMAND, Answer, environment

PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "acme-norms"
version = "1.0"

[project.entry-points."bnconform.backends"]
"acme.batch_norm" = "acme_norms.conformance:BatchNormBackend"
"acme.broken" = "acme_norms.broken:Broken"
"acme.absent" = "acme_norms.conformance:Absent"
"acme.contract" = "acme_norms.conformance:NoMode"

[tool.setuptools]
packages = ["acme_norms"]
"""

BROKEN = "import acme_driver\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a package with backends is installed; nothing is downloaded."""
    folder = tmp_path_factory.mktemp("entry_points")
    package = folder / "source" / "acme_norms"
    package.mkdir(parents=True)
    (folder / "source" / "pyproject.toml").write_text(PROJECT)
    (package / "__init__.py").touch()
    subprocess.run(
        [*COMMAND, "new-adapter", str(package / "conformance.py"), "--name", "acme.batch_norm",
         "--class", "BatchNormBackend"],
        env=environment(), check=True, capture_output=True,
    )  # fmt: skip
    with (package / "conformance.py").open("a") as file:
        file.write(
            "\n\nclass Deaf(Layer):\n    def forward(self, x):\n        return self.module(x, True)\n"
            "\n\nclass NoMode(BatchNormBackend):\n    name = 'acme.contract'\n\n"
            "    def build(self, config, device):\n        return Deaf(super().build(config, device).module)\n"
        )
    (package / "broken.py").write_text(BROKEN)
    target = folder / "installed"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-build-isolation", "--no-deps",
         "--disable-pip-version-check", "--target", str(target), str(folder / "source")],
        check=True, capture_output=True,
    )  # fmt: skip
    return target


def bnconform(installed: Path, folder: Path, *arguments: str) -> Answer:
    """The command where that package is installed, in another folder."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment(installed, COLUMNS="200"),
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("processes", [(), ("-n", "2"), ("--in-process",)], ids=["alone", "workers", "in-process"])
def test_judged_by_its_name(processes: tuple[str, ...], installed: Path, tmp_path: Path) -> None:
    """A backend of another package is judged in a process of its own, in workers and in the command's process."""
    options = ("--dtype", "float32", "-k", "BN-RUN-VAR or BN-TRAIN-NORM", "--json", "result.json")
    answer = bnconform(installed, tmp_path, "--backend", "acme.batch_norm", *options, *processes)
    assert answer.status == 0, answer.out + answer.err
    rows = read(tmp_path / "result.json").rows
    assert {(row.backend, row.verdict) for row in rows} == {("acme.batch_norm", "conforms")}


@pytest.fixture(scope="module")
def listed(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """The rows of `bnconform list`, word by word."""
    answer = bnconform(installed, tmp_path_factory.mktemp("list"), "list")
    assert answer.status == 0, answer.err
    return [line.split() for line in answer.out.splitlines()]


def test_listed_with_its_devices(listed: list[list[str]]) -> None:
    """What can run is listed with its devices, as a backend of this package is."""
    assert ["acme.batch_norm", "cpu"] in listed


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("acme.broken", "does not load: ModuleNotFoundError: No module named 'acme_driver'"),
        ("acme.absent", "does not load: AttributeError"),
        ("acme.contract", "forward(x) cannot be called as the contract does"),
    ],
)
def test_listed_with_what_is_wrong(name: str, words: str, listed: list[list[str]], installed: Path) -> None:
    """What cannot run is listed with the reason, and refused by name with the same."""
    start = next(index for index, row in enumerate(listed) if row[:1] == [name])
    assert listed[start][1] == "no:"
    text = " ".join(word for row in listed[start : start + 8] for word in row)
    assert words in text
    bnconform(installed, installed, "--backend", name).assert_refused(name, words)


def test_unknown_name_tells_them(installed: Path, tmp_path: Path) -> None:
    """The names that are offered are among those that a misspelt one may have been meant for."""
    answer = bnconform(installed, tmp_path, "--backend", "acme.batchnorm")
    answer.assert_refused("did you mean acme.batch_norm", "bnconform list")
