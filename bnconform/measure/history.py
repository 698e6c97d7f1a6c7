"""What became of an implementation's faults over the released versions of its framework.

The first and the last version are judged, and between two that differ the one in the middle, so that each change is
found between neighbours without judging all (`git bisect` does so). What came and went between two versions that are
alike is not seen; `every` judges all.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from packaging.version import Version

from bnconform.backends import registry
from bnconform.errors import UserError
from bnconform.results.history import History, Release

FILE = Path(__file__).with_name("releases.toml")


@dataclass(frozen=True)
class Distribution:
    """What is installed for a backend.

    Attributes:
        package: the distribution whose versions are judged. extra: of it, or "".
        beside: requirements for every version.
        until: (below, requirements): for versions below one, in place of `beside`; the lowest that fits.
    """

    package: str
    extra: str = ""
    beside: tuple[str, ...] = ()
    until: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def requirements(self, version: str, more: Sequence[str] = ()) -> list[str]:
        """What to install for a version; `more` takes the place of what is known."""
        known = next((beside for below, beside in self.until if Version(version) < Version(below)), self.beside)
        return [f"{self.package}{self.extra and f'[{self.extra}]'}=={version}", *(more or known)]


@cache
def distributions() -> dict[str, Distribution]:
    """The backends whose distribution is known, from `releases.toml`."""
    data = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return {
        name: Distribution(
            entry["package"], entry.get("extra", ""), tuple(entry.get("beside", ())),
            tuple((one["below"], tuple(one["beside"])) for one in entry.get("until", ())),
        )
        for name, entry in data.items()
    }  # fmt: skip


def distribution(key: str, package: str = "") -> Distribution:
    """What is installed for a backend, by its family where its variant has no entry; `package` where it is given.

    Raises:
        UserError: where the distribution is not known.
    """
    known = distributions().get(key) or distributions().get(key.partition("+")[0])
    if package:
        return known if known is not None and known.package == package else Distribution(package)
    if known is None:
        raise UserError(
            f"which distribution {key} comes from is not known; give --package, such as --package torch"
            + ("" if key in registry.BUILTIN or "." in key else "; `bnconform list` names the backends")
        )
    return known


def explore(history: History, judge: Callable[[str], Release], *, every: bool = False) -> History:
    """Judge as many versions as are needed to find every change; all of them where `every`.

    Args:
        judge: judges one version, or says why it cannot be.
    """

    def release(index: int) -> Release:
        version = history.versions[index]
        if version not in history.releases:
            history.releases[version] = judge(version)
        return history.releases[version]

    def judge_from(index: int, end: int, step: int) -> int:
        """The first version from `index` towards `end` that can be judged; `end` where there is none."""
        while index != end and release(index).result is None:
            index += step
        return index

    if every:
        for index in range(len(history.versions)):
            release(index)
        return history
    last = judge_from(len(history.versions) - 1, -1, -1)
    first = judge_from(0, max(last, 0), 1)
    waiting = [(first, last)]
    while waiting:
        low, high = waiting.pop()
        if high - low < 2 or release(low).answers() == release(high).answers():
            continue
        middle = judge_from((low + high) // 2, high, 1)
        if middle == high:
            middle = judge_from((low + high) // 2 - 1, low, -1) if (low + high) // 2 - 1 > low else low
        if low < middle < high:
            waiting += [(low, middle), (middle, high)]
    return history
