"""What the judge keeps, and where."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

VARIABLE = "BNCONFORM_CACHE"
"""The environment variable that says where truths are kept between runs: `off`, or a folder."""

MEMORY = 64 * 2**20
"""Bytes of truths that a process keeps; some 50 bytes an element."""

DISK = 1024 * 2**20
"""Bytes that the file of truths may take. A column in single precision takes 100 MiB, and another behaviour as much
again; a file that holds less than a run asks for is of no use to the next run."""


@dataclass(frozen=True)
class CacheSettings:
    """How much is kept of what has been computed.

    Attributes:
        folder: where truths are kept between runs; None for nowhere.
        disk: bytes that they may take there. memory: bytes that they may take in a process.
    """

    folder: Path | None = None
    disk: int = DISK
    memory: int = MEMORY

    @staticmethod
    def of_environment(environment: Mapping[str, str] | None = None) -> CacheSettings:
        """The user's cache folder, unless BNCONFORM_CACHE says another or `off`.

        Args:
            environment: the variables; those of the process by default.
        """
        given = (os.environ if environment is None else environment).get(VARIABLE, "").strip()
        if given == "off":
            return CacheSettings()
        if not given:
            return CacheSettings(platformdirs.user_cache_path("bnconform"))
        with suppress(RuntimeError):  # the home of a user that there is not
            return CacheSettings(Path(given).expanduser())
        return CacheSettings(Path(given))
