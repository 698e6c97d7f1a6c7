"""bnconform/FIRST_STEPS.md: every command of the walk is run, one after the other, and prints what is shown."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from bnconform.tests.selftest.command import COMMAND, PACKAGE, environment
from bnconform.tests.selftest.house.test_readme import appears

PAGE = PACKAGE / "FIRST_STEPS.md"
TEXT = PAGE.read_text(encoding="utf-8")
FAULT = "s/ddof=1/ddof=0/"


def steps() -> list[tuple[str, list[str]]]:
    """The commands in their order, each with the lines that it is said to print."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", TEXT, re.S):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line.removeprefix("$ "), []))
            else:
                found[-1][1].append(line)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the walk, with the command on its path."""
    folder = tmp_path_factory.mktemp("walk")
    (folder / "bin").mkdir()
    command = folder / "bin" / "bnconform"
    command.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    command.chmod(0o755)
    return folder


def test_the_walk(folder: Path) -> None:
    """Each command prints its lines; what fails is what has the fault, with exit status 1."""
    variables = {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}
    faulty = False
    for command, wanted in steps():
        done = subprocess.run(
            command, shell=True, cwd=folder, env=environment() | variables, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        faulty = FAULT in command or (faulty and not command.startswith("sed"))
        judges = command.startswith("bnconform --backend")
        assert done.returncode == int(faulty and judges), command + done.stdout + done.stderr
        missing = list(appears([line for line in wanted if line], done.stdout.splitlines()))
        assert missing == [], f"{command} prints\n{done.stdout}"
    assert json.loads((folder / "known.json").read_text(encoding="utf-8"))["entries"] == []
    assert (folder / "public" / "implementations" / "my_norm.html").is_file()
    assert "<svg" in (folder / "badge.svg").read_text(encoding="utf-8")
    assert json.loads((folder / "result.json").read_text(encoding="utf-8"))["results"]


def test_the_walk_goes_all_the_way() -> None:
    """A new adapter, a verdict, its cause, mended, the baseline, the badge, the site and the way to elsewhere."""
    commands = [command for command, _ in steps()]
    due = [
        "bnconform new-adapter", "bnconform --backend", "bnconform explain", "bnconform baseline update",
        "bnconform --backend", "bnconform report", "bnconform site", "bnconform porting",
    ]  # fmt: skip
    found = iter(commands)
    assert all(any(command.startswith(start) for command in found) for start in due)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", TEXT))))
def test_links_lead_somewhere(target: str) -> None:
    """Every link into the repository has a target."""
    assert (PAGE.parent / target).exists()
