"""bnconform/RECIPES.md: every recipe can be read, and each command of ours in it is run."""

from __future__ import annotations

import configparser
import itertools
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from bnconform.cli.main import VERBS
from bnconform.results.result import read
from bnconform.tests.selftest.command import COMMAND, PACKAGE, bnconform, environment

PAGE = PACKAGE / "RECIPES.md"
RECIPES = PAGE.read_text(encoding="utf-8")
OURS = re.compile(r"^ *bnconform ")
HERE = {"mps": "cpu", "cuda:0": "cpu"}
"""What stands for the devices that a machine of CI does not have."""

SELECTED = "-k 'BN-RUN-VAR-2-values or BN-TRAIN-NORM'"
"""The part of the suite that the recipes run here."""


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", RECIPES, re.S)


def files_by_name() -> dict[str, Any]:
    """The YAML of the page by the file that it is meant for."""
    return {block.splitlines()[0].removeprefix("# "): yaml.safe_load(block) for block in blocks("yaml")}


YAML = files_by_name()
WORKFLOWS = {Path(name).stem: flow for name, flow in YAML.items() if name.startswith(".github/workflows/")}
JOBS = {f"{flow}-{job}": made for flow, whole in WORKFLOWS.items() for job, made in whole["jobs"].items()}


def expand(text: str, row: Mapping[str, Any], index: int, total: int = 1) -> str:
    """A step's text as one machine of the matrix gets it."""
    text = re.sub(r"\$\{\{ matrix\.(\w+) \}\}", lambda found: str(row[found[1]]), text)
    text = text.replace("${{ strategy.job-index }}", str(index)).replace("${{ github.run_number }}", "7")
    text = text.replace("${{ strategy.job-total }}", str(total))
    assert "${{" not in text
    return text


def rows(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The machines of a job's matrix."""
    matrix = dict(job.get("strategy", {}).get("matrix", {}))
    included = matrix.pop("include", [])
    product = [dict(zip(matrix, values, strict=True)) for values in itertools.product(*matrix.values())]
    return included or product


def commands(job: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """What a job's machines run of ours, step by step, with the machine's number."""
    for index, row in enumerate(rows(job)):
        for step in job["steps"]:
            if "run" in step and "bnconform" in step["run"].replace("$RUNNER_TEMP/conformance", ""):
                yield index, expand(step["run"], row, index, len(rows(job)))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with an adapter that has a known fault, a baseline that knows it, and the command on its path."""
    folder = tmp_path_factory.mktemp("project")
    assert bnconform(folder, "new-adapter", "conformance.py", "--name", "mine").status == 0
    adapter = folder / "conformance.py"
    adapter.write_text(adapter.read_text().replace("ddof=1", "ddof=0"))
    (folder / "bin").mkdir()
    command = folder / "bin" / "bnconform"
    command.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    command.chmod(0o755)
    return folder


def run(script: str, folder: Path, project: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A step, as the runner runs it; what it gives to the summary is in summary.txt."""
    for device, here in HERE.items():
        script = re.sub(rf"--device {re.escape(device)}\b", f"--device {here}", script)
    given = environment() | {
        "PATH": f"{project / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTEST_ADDOPTS": SELECTED,
        "GITHUB_STEP_SUMMARY": str(folder / "summary.txt"),
        "COLUMNS": "100",
        **{name: HERE.get(value, value) for name, value in variables.items()},
    }
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script], cwd=folder, env=given, capture_output=True,
        encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture
def folder(project: Path, baseline: Path, tmp_path: Path) -> Path:
    """A checkout of the project."""
    for path in (project / "conformance.py", baseline):
        shutil.copy(path, tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def baseline(project: Path) -> Path:
    """The baseline that the page's first commands make, in every dtype."""
    done = run(blocks("sh")[0], project, project)
    assert done.returncode == 0, done.stdout + done.stderr
    return project / "baseline.json"


def test_the_first_baseline_knows_the_fault(baseline: Path) -> None:
    """What fails is in it, with the reason that was given."""
    text = baseline.read_text()
    assert "BN-RUN-VAR" in text
    assert "as of the first run" in text


@pytest.mark.parametrize("flow", WORKFLOWS.values(), ids=list(WORKFLOWS))
def test_workflow_is_whole(flow: Mapping[Any, Any]) -> None:
    """A workflow says when, with what rights and how long at most; its steps do one thing each."""
    assert flow[True]  # YAML 1.1 reads the word `on` so, and GitHub does not mind
    assert flow["permissions"] == {"contents": "read"}
    for job in flow["jobs"].values():
        assert {"runs-on", "steps", "timeout-minutes"} <= set(job)
        assert job.get("needs", next(iter(flow["jobs"]))) in flow["jobs"]
        for step in job["steps"]:
            assert ("run" in step) + ("uses" in step) == 1
            assert re.fullmatch(r"actions/[a-z-]+@v\d", step.get("uses", "actions/checkout@v4"))
        variables = flow.get("env", {}) | job.get("env", {})
        assert "BNCONFORM" in variables
        [install] = [step["run"] for step in job["steps"] if "pip install" in step.get("run", "")]
        assert install.endswith('"$BNCONFORM"')
        if any("--html" in step.get("run", "") for step in job["steps"]):
            assert "[report]" in variables["BNCONFORM"]


@pytest.mark.parametrize("name", JOBS)
def test_files_are_passed_on(name: str) -> None:
    """What a step uploads is what a command of ours has written, and what is downloaded was uploaded."""
    job = JOBS[name]
    text = "\n".join(step.get("run", "") for step in job["steps"])
    for step in job["steps"]:
        for path in step.get("with", {}).get("path", "").split() if "upload" in step.get("uses", "") else []:
            assert path in text
    flow = WORKFLOWS[name.rpartition("-")[0]]
    uploads = [s["with"]["name"] for j in flow["jobs"].values() for s in j["steps"] if "upload" in s.get("uses", "")]
    for step in job["steps"]:
        if "download" in step.get("uses", ""):
            assert any(upload.startswith(step["with"]["pattern"].rstrip("*")) for upload in uploads)


FIRST = [name for name, job in JOBS.items() if "needs" not in job]


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("name", FIRST)
def test_job_runs(name: str, folder: Path, project: Path) -> None:
    """Every command of a job runs and succeeds; then the jobs that need it, with the files that it left."""
    job = JOBS[name]
    flow = WORKFLOWS[name.rpartition("-")[0]]
    variables = {key: expand(str(value), {}, 0) for key, value in {**flow.get("env", {}), **job.get("env", {})}.items()}
    variables |= {"BNCONFORM_EXAMPLES": "1"} if "BNCONFORM_EXAMPLES" in variables else {}
    nightly = name.startswith("conformance-nightly")  # which has no baseline
    ran = list(commands(job))
    assert ran
    for _, script in ran:
        done = run(script, folder, project, **variables)
        assert done.returncode == int(nightly), done.stdout + done.stderr
    for later in (other for other in flow["jobs"].values() if "needs" in other):
        [download] = [step["with"]["path"] for step in later["steps"] if "download" in step.get("uses", "")]
        written = [path for path in folder.glob("*.json") if path.name != "baseline.json"]
        assert len(written) == len(rows(job)) > 1
        (folder / download).mkdir()
        for path in written:
            path.rename(folder / download / path.name)
        [script] = [step["run"] for step in later["steps"] if OURS.match(step.get("run", ""))]
        done = run(script, folder, project)
        assert done.returncode == 0, done.stdout + done.stderr
    uploads = [step["with"]["path"] for step in job["steps"] if "upload" in step.get("uses", "")]
    if not rows(job)[0]:
        assert [path for text in uploads for path in text.split() if not (folder / path).exists()] == []
    if "GITHUB_STEP_SUMMARY" in str(flow):
        assert (folder / "summary.txt").read_text()


@pytest.fixture
def worse(folder: Path) -> Path:
    """The checkout with another fault, which no baseline knows."""
    adapter = folder / "conformance.py"
    source = adapter.read_text()
    assert source.count(".reshape(along) * normalized\n") == 1
    adapter.write_text(source.replace(".reshape(along) * normalized\n", ".reshape(along) * normalized * 1.01\n"))
    return folder


def test_gate_of_a_push_fails(worse: Path, project: Path) -> None:
    """A new violation fails the job that a push starts."""
    [script] = [script for _, script in commands(JOBS["conformance-conformance"]) if "--baseline" in script]
    done = run(script, worse, project)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BN-TRAIN-NORM" in done.stdout


@pytest.mark.thorough
def test_gate_of_shards_fails(worse: Path, project: Path) -> None:
    """A new violation fails no shard, and the job that judges them."""
    scripts = [script for _, script in commands(JOBS["conformance-sharded-shard"])]
    (worse / "shards").mkdir()
    [gate] = [script for _, script in commands(JOBS["conformance-sharded-gate"])]
    for number, script in enumerate(scripts, start=1):
        assert run(script, worse, project).returncode == 0
        (worse / f"shard-{number}.json").rename(worse / "shards" / f"shard-{number}.json")
        if number in (1, len(scripts)):
            done = run(gate, worse, project)
            assert done.returncode == 1, done.stdout + done.stderr
            assert ("missing" in done.stdout) == (number == 1)
    assert "BN-TRAIN-NORM" in done.stdout


def test_hook_runs(folder: Path, project: Path) -> None:
    """The hook before a push is one that pre-commit knows how to run, and its command succeeds."""
    [repository] = YAML[".pre-commit-config.yaml"]["repos"]
    [hook] = repository["hooks"]
    assert repository["repo"] == "local"
    assert {"id", "name", "entry", "language", "pass_filenames", "files", "stages"} == set(hook)
    pattern = re.compile(hook["files"])
    assert [name for name in ("conformance.py", "src/norms/batch.py", "README.md") if not pattern.search(name)] == [
        "README.md"
    ]
    done = run(hook["entry"], folder, project)
    assert done.returncode == 0, done.stdout + done.stderr


def test_tox_runs(folder: Path, project: Path) -> None:
    """The environment of tox has a command that succeeds, with tox's own words filled in."""
    parser = configparser.ConfigParser()
    parser.read_string(blocks("ini")[0])
    command = parser["testenv:conformance"]["commands"]
    command = command.replace("{env_tmp_dir}{/}", f"{folder}/").replace("{posargs}", "")
    assert "{" not in command
    done = run(command, folder, project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert read(folder / "result.json").rows


def test_on_one_machine(folder: Path, project: Path) -> None:
    """The command for several processes runs; it has no baseline, and so it fails for the known fault."""
    assert run(blocks("sh")[1], folder, project).returncode == 1


def test_every_verb_of_the_page_exists() -> None:
    """The page names no verb that the command does not have."""
    used = set(re.findall(r"\bbnconform ([a-z][a-z-]+)\b(?! takes)", " ".join(blocks("(?:sh|yaml|ini)")) + RECIPES))
    assert {"report", "compare", "baseline"} <= used <= set(VERBS)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", RECIPES))))
def test_links_lead_somewhere(target: str) -> None:
    """Every link into the repository has a target."""
    assert (PAGE.parent / target).exists()
