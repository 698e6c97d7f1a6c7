"""The workflow that publishes the site: what it judges is there, and its commands run."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from bnconform.backends import registry
from bnconform.execution.selection import EVERY
from bnconform.results import result as results
from bnconform.tests.selftest.command import COMMAND, environment
from bnconform.tests.selftest.rows import row, run

ROOT = Path(__file__).parents[3]
FLOW: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "site.yml").read_text(encoding="utf-8"))
JUDGE, SITE = FLOW["jobs"]["judge"], FLOW["jobs"]["site"]
MACHINES = JUDGE["strategy"]["matrix"]["include"]


def script(job: dict[str, Any], machine: dict[str, str] | None = None) -> str:
    """What a job runs of ours, as one machine of its matrix gets it."""
    [text] = [step["run"] for step in job["steps"] if "bnconform " in step.get("run", "")]
    return re.sub(r"\$\{\{ matrix\.(\w+) \}\}", lambda found: (machine or {})[found[1]], text)


def shell(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a step as the runner does, with the command on its path."""
    (folder / "bin").mkdir(exist_ok=True)
    command = folder / "bin" / "bnconform"
    command.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    command.chmod(0o755)
    given = environment(PYTEST_ADDOPTS="-k BN-RUN-VAR-2-values", COLUMNS="100")
    given["PATH"] = f"{folder / 'bin'}:{given['PATH']}"
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", text], cwd=folder, env=given, capture_output=True, encoding="utf-8",
        timeout=300, check=False,
    )  # fmt: skip


def test_it_runs_each_night_and_on_demand() -> None:
    """And may write pages only where they are published."""
    assert {"schedule", "workflow_dispatch"} == set(FLOW[True])
    assert FLOW["permissions"] == {"contents": "read"} and "permissions" not in JUDGE
    assert SITE["permissions"] == {"contents": "read", "pages": "write", "id-token": "write"}
    for job in (JUDGE, SITE):
        assert {"runs-on", "timeout-minutes"} <= set(job)
        assert all(("run" in step) + ("uses" in step) == 1 for step in job["steps"])


@pytest.mark.parametrize("machine", MACHINES, ids=[machine["name"] for machine in MACHINES])
def test_what_is_judged_is_there(machine: dict[str, str]) -> None:
    """Its backends, the extra that brings all that they need, and the package whose version names the result."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(machine["extra"].split(",")) <= set(extras)
    names = [name for given in machine["backends"].split() for name in EVERY.get(given, [given])]
    for name in names:
        needed = {extra for extra in registry.find_known(name).extra.split(",") if extra}
        assert needed <= set(machine["extra"].split(","))
    assert machine["package"] == "numpy" or any(machine["package"] in registry.distributions(name) for name in names)


def test_a_machine_judges(tmp_path: Path) -> None:
    """Its command runs, and leaves a result that is named for the version."""
    machine = next(machine for machine in MACHINES if machine["name"] == "numpy")
    done = shell(script(JUDGE, machine), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = (tmp_path / "judged").iterdir()
    assert re.fullmatch(r"numpy-[\d.]+\.json", path.name) and results.read(path).rows


def test_the_site_is_made(tmp_path: Path) -> None:
    """From what was judged tonight and what is kept of other versions."""
    for folder, name in (("judged", "torch-2.13.0"), ("kept", "torch-2.12.0")):
        (tmp_path / folder).mkdir()
        results.write(tmp_path / folder / f"{name}.json", run(row(backend="torch.nn")))
    done = shell(script(SITE), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.stem for path in (tmp_path / "kept").iterdir()} == {"torch-2.13.0", "torch-2.12.0"}
    paths = [step["with"]["path"] for step in SITE["steps"] if "upload" in step.get("uses", "")]
    assert paths == ["public"] and (tmp_path / "public" / "index.html").is_file()


def test_files_are_passed_on() -> None:
    """What the machines upload is what is downloaded, and what is kept is restored from where it was saved."""
    [up] = [step["with"] for step in JUDGE["steps"] if "upload" in step.get("uses", "")]
    [down] = [step["with"] for step in SITE["steps"] if "download" in step.get("uses", "")]
    assert up["name"].startswith(down["pattern"].rstrip("*")) and up["path"] == down["path"] == "judged"
    kept = [step["with"] for step in SITE["steps"] if "cache" in step.get("uses", "")]
    assert [one["path"] for one in kept] == ["kept", "kept"] and kept[0]["key"] == kept[1]["key"]
    assert kept[0]["key"].startswith(kept[0]["restore-keys"])
