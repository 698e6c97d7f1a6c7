"""Running the command `bnconform` as a user does: in a process and a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bnconform import cli
from bnconform.cli.main import ROOT

COMMAND = (sys.executable, "-P", "-m", "bnconform")
PACKAGE = Path(cli.__file__).resolve().parents[1]
CLONE = None if ROOT == PACKAGE else ROOT
"""The folder in which the package lies beside its rooms; None where the package is installed."""
ADAPTERS = Path(__file__).parent / "adapters"
FOREIGN = (
    "PYTHONPATH",
    "PYTHONSAFEPATH",
    "PYTEST_ADDOPTS",
    "PYTEST_PLUGINS",
    "PYTEST_CURRENT_TEST",
    "FORCE_COLOR",
    "PY_COLORS",
    "PYTEST_XDIST_WORKER",
    "CI",
)
"""What an outer pytest, or its caller, may have set for itself."""


@dataclass(frozen=True)
class Answer:
    """What the command said, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Every line of both streams that is not empty."""
        return [line for line in (self.out + "\n" + self.err).splitlines() if line.strip()]

    def assert_no_traceback(self) -> None:
        """Nothing of our inside is shown."""
        assert not [line for line in self.lines if "Traceback" in line or "INTERNALERROR" in line], self.out + self.err

    def assert_refused(self, *words: str) -> None:
        """The request was not carried out, and one line, the only one, says why with all of `words`."""
        self.assert_no_traceback()
        assert self.status == 2
        assert len(self.lines) == 1, self.out + self.err
        assert self.lines[0].startswith("bnconform: ")
        assert [word for word in words if word not in self.lines[0]] == []


def environment(*places: Path, package: Path | None = CLONE, **variables: str) -> dict[str, str]:
    """The environment of a user who has no settings of pytest's.

    Args:
        places: folders whose modules can be imported besides what is installed.
        package: the folder with the package `bnconform` to run; None for the installed one.
        variables: what is set besides.
    """
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    path = [str(place) for place in (package, *places) if place is not None]
    return kept | ({"PYTHONPATH": os.pathsep.join(path)} if path else {}) | variables


def bnconform(folder: Path, *arguments: str, package: Path | None = CLONE, columns: int = 100) -> Answer:
    """Run the command in `folder`, on a terminal of so many columns that has no colours; `package` as above."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment(package=package, COLUMNS=str(columns)),
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)
