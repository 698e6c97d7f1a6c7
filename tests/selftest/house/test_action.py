"""The action that sets up bnconform: whole, and nothing that it is given is taken for a command but what is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "actions" / "setup" / "action.yml").read_text())


def test_every_input_is_described_and_used() -> None:
    """Each has a default, so that the action can be used without any."""
    steps = str(ACTION["runs"]["steps"])
    assert ACTION["runs"]["using"] == "composite"
    for name, details in ACTION["inputs"].items():
        assert details.keys() == {"description", "default"}
        assert f"inputs.{name}" in steps


def test_steps_are_of_one_kind() -> None:
    """A step runs or uses one thing; what runs says in which shell, as a composite action must."""
    for step in ACTION["runs"]["steps"]:
        assert ("run" in step) + ("uses" in step) == 1
        assert "uses" in step or step["shell"] == "bash"


def test_only_the_command_that_is_given_is_a_command() -> None:
    """The package travels as a variable; `install` alone is one."""
    scripts = [step["run"] for step in ACTION["runs"]["steps"] if "run" in step]
    assert [script for script in scripts if "${{" in script] == ["${{ inputs.install }}"]
    assert 'python -m pip install "$BNCONFORM"' in scripts
