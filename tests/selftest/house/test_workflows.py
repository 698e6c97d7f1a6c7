"""The workflow that tries the newest versions: it pins nothing, fails nothing, and judges rows that there are."""

from __future__ import annotations

import tomllib
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.utils import canonicalize_name

from bnconform.backends import registry

ROOT = Path(__file__).parents[3]
FLOW: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "newest.yml").read_text())
[JOB] = FLOW["jobs"].values()
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_is_named_as_every_pip_knows_it(extra: str) -> None:
    """The pip that comes with Python 3.11 does not find an extra whose name is not normalised, and only warns."""
    assert canonicalize_name(extra) == extra


def machines() -> list[dict[str, str]]:
    """What each machine of the matrix gets: a combination, with what `include` adds to those that it fits."""
    matrix = dict(JOB["strategy"]["matrix"])
    included = matrix.pop("include")
    found = []
    for values in product(*matrix.values()):
        row = dict(zip(matrix, values, strict=True))
        added = [one for one in included if all(row[name] == one[name] for name in matrix if name in one)]
        found.append({name: value for one in (row, *added) for name, value in one.items()})
    return found


def steps() -> str:
    """All that the job runs."""
    return "\n".join(step["run"] for step in JOB["steps"] if "run" in step)


@pytest.mark.parametrize("machine", machines(), ids=lambda one: f"{one['extra']}-{one['which']}")
def test_machine_judges_what_there_is(machine: dict[str, str]) -> None:
    """Its extra is one of ours, its rows need what the extra brings, and only one of the two takes pre-releases."""
    assert machine["extra"] in EXTRAS
    assert (machine["option"] == "--pre") == (machine["which"] == "pre")
    for row in machine["rows"].split():
        assert machine["extra"] in registry.BUILTIN[row].extra.split(",")


def test_nothing_is_pinned_and_nothing_fails() -> None:
    """It warns: by annotations, and with the page and the result to look at; it has no rights but to read."""
    assert JOB["continue-on-error"] is True and JOB["strategy"]["fail-fast"] is False
    assert "constraints" not in steps() and "--upgrade-strategy eager" in steps() and "--annotations" in steps()
    assert FLOW["permissions"] == {"contents": "read"} and "timeout-minutes" in JOB
    assert "schedule" in FLOW[True] and "pull_request" not in FLOW[True]
