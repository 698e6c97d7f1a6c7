"""Environments of their own for released versions of a framework: made once, kept, and whole or absent."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.version import InvalidVersion, Version

from bnconform.errors import UserError

NEEDED = ("numpy", "ml_dtypes")
"""What the executing side needs besides the framework."""

READY = "ready"
"""The file in an environment that says that everything in it is installed."""

SECONDS = 1800.0
"""In which an environment must be made."""


class NotInstalled(UserError):
    """Packages that do not install; the message says what the installer said last, in one line."""


@dataclass(frozen=True)
class Environments:
    """Environments in one folder, each by the packages that were asked for.

    Attributes:
        folder: where they are. uv: the program `uv`, which makes them faster, or "" for pip.
    """

    folder: Path
    uv: str = ""

    @classmethod
    def of(cls, folder: Path) -> Environments:
        """In a folder, by `uv` where that is on the PATH."""
        return cls(folder, shutil.which("uv") or "")

    def interpreter(self, packages: Sequence[str]) -> Path:
        """The Python of an environment with these packages, which is made where there is none.

        Args:
            packages: requirements as pip takes them, such as "mlx==0.30.0".

        Raises:
            NotInstalled: where they cannot be installed together.
            UserError: where the environment cannot be made at all.
        """
        wanted = [*NEEDED, *packages]
        place = self.place(packages)
        python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        if (place / READY).exists():
            return python
        shutil.rmtree(place, ignore_errors=True)
        try:
            venv.create(place, with_pip=not self.uv, symlinks=os.name != "nt")
        except (OSError, subprocess.CalledProcessError) as problem:
            raise UserError(f"cannot make an environment in {self.folder}: {problem}") from None
        own = [self.uv, "pip", "install", "--python", str(python)] if self.uv else [str(python), "-m", "pip", "install"]
        try:
            done = subprocess.run(
                [*own, "--quiet", *wanted], capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            shutil.rmtree(place, ignore_errors=True)
            raise NotInstalled(f"{' '.join(packages)}: not installed within {SECONDS:g} s") from None
        if done.returncode:
            shutil.rmtree(place, ignore_errors=True)
            raise NotInstalled(f"{' '.join(packages)}: {_last(done.stderr or done.stdout)}")
        (place / READY).write_text("\n".join(wanted) + "\n")
        return python

    def place(self, packages: Sequence[str]) -> Path:
        """The folder of the environment with these packages, whether or not there is one."""
        name = hashlib.sha256("\n".join([sys.version, *sorted([*NEEDED, *packages])]).encode()).hexdigest()[:12]
        return self.folder / name

    def discard(self, packages: Sequence[str]) -> None:
        """Remove the environment with these packages, where there is one."""
        shutil.rmtree(self.place(packages), ignore_errors=True)


def _last(text: str) -> str:
    """What an installer complains of: the first line that names an error, or the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if line.lower().startswith("error") or "No solution" in line]
    return (named or lines[-1:] or ["it said nothing"])[0]


def list_releases(package: str) -> list[str]:
    """The final releases of a package that the index has, the oldest first.

    Raises:
        UserError: where the index does not know it, or does not answer.
    """
    command = [sys.executable, "-m", "pip", "index", "versions", package]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        raise UserError(f"the package index did not answer what releases of {package} there are") from None
    line = next((line for line in done.stdout.splitlines() if line.startswith("Available versions:")), "")
    if done.returncode or not line:
        raise UserError(f"the package index names no release of {package}: {_last(done.stderr)}; give --version")
    found = []
    for text in line.partition(":")[2].split(","):
        try:
            found.append(Version(text.strip()))
        except InvalidVersion:
            continue
    return [str(version) for version in sorted(found) if not version.is_prerelease]
