"""`bnconform history B`: what became of an implementation's faults over the released versions of its framework."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import platformdirs
from packaging.version import InvalidVersion, Version
from rich.console import Console

from bnconform import api
from bnconform.cli.parser import Verbs, add_verb
from bnconform.errors import UserError
from bnconform.execution.environments import Environments, NotInstalled, released
from bnconform.measure.history import Distribution, distribution, explore
from bnconform.render import history_text
from bnconform.results import files, result
from bnconform.results.history import History, Release

DTYPE = "float32"
"""In which versions are judged where no other is given."""


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs, "history", summary,
        example="bnconform history mlx --since 0.25 --requirement BN-RUN-VAR --markdown history.md", run=run,
    )  # fmt: skip
    parser.add_argument("backend", metavar="B", help="a name that `bnconform list` shows, or FILE.py:CLASS")
    parser.add_argument("--package", default="", metavar="P", help="the distribution whose versions are judged")
    parser.add_argument(
        "--version", action="append", default=[], dest="versions", metavar="V",
        help="judge this version; may be repeated (default: every final release that the index has)",
    )  # fmt: skip
    parser.add_argument("--since", metavar="V", help="no version before this one")
    parser.add_argument("--until", metavar="V", help="no version after this one")
    parser.add_argument(
        "--with", action="append", default=[], dest="beside", metavar="REQ",
        help='install this beside each version, such as "jax<0.5"; may be repeated',
    )  # fmt: skip
    parser.add_argument("--every", action="store_true", help="judge every version (default: those between changes)")
    parser.add_argument(
        "--requirement", action="append", default=[], metavar="ID", help="only this one (default: all); may be repeated"
    )
    parser.add_argument("--dtype", action="append", default=[], metavar="T", help=f"may be repeated (default: {DTYPE})")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR",
        help="where environments and results are kept, and found again: remove its `results` to judge anew "
        "(default: the user's cache)",
    )  # fmt: skip
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the table as Markdown, too")


def run(known: argparse.Namespace) -> int:
    """Judge and print: 0 where at least two versions were judged.

    Raises:
        UserError: where there are no versions to judge, or fewer than two of them can be.
    """
    if known.markdown is not None:
        files.check_writable(known.markdown, "the table")
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    came_from = distribution(known.backend, known.package)
    history = History(known.backend, came_from.package, wanted(known, came_from))
    folder = known.folder or platformdirs.user_cache_path("bnconform") / "history"
    judge = Judge(known, came_from, folder, console)
    explore(history, judge.release, every=known.every)
    if len(history.judged) < 2:
        first = next(iter(history.problems), None)
        why = f"; {first.version}: {first.problem}" if first is not None else ""
        raise UserError(f"{len(history.judged)} of {len(history.versions)} versions could be judged{why}")
    console.print(history_text.table(history))
    console.print()
    for release in history.problems:
        console.print(f"not judged: {release.version}: {release.problem}", markup=False)
    console.print(history_text.summary(history), markup=False)
    console.print(f"The results are in {judge.results}", markup=False)
    if known.markdown is not None:
        files.write(known.markdown, "\n".join(history_text.markdown(history)) + "\n", "the table")
    return 0


def wanted(known: argparse.Namespace, came_from: Distribution) -> list[str]:
    """The versions to judge, oldest first; UserError where there are fewer than two, or one is no version."""
    try:
        since, until = (Version(text) if text else None for text in (known.since, known.until))
        given = sorted({Version(text) for text in known.versions or released(came_from.package)})
    except InvalidVersion as problem:
        raise UserError(f"{problem}; give a version such as 0.30.1") from None
    chosen = [str(one) for one in given if (since is None or one >= since) and (until is None or one <= until)]
    if len(chosen) < 2:
        raise UserError(f"a history needs two versions of {came_from.package}, and {len(chosen)} were chosen")
    return chosen


class Judge:
    """Judges versions, or finds their results among those that are kept.

    Attributes:
        results: the folder of the result files.
    """

    def __init__(self, known: argparse.Namespace, came_from: Distribution, folder: Path, console: Console) -> None:
        self.known, self.came_from, self.console = known, came_from, console
        self.environments = Environments.of(folder / "environments")
        asked = "-".join([*(known.dtype or [DTYPE]), *known.requirement, *known.beside])
        name = "".join(c if c.isalnum() or c in ".+-_" else "_" for c in f"{known.backend}-{asked}")
        self.results = folder / "results" / name
        try:
            self.results.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise UserError(f"cannot write into {folder}: {problem.strerror or problem}; give --folder") from None

    def release(self, version: str) -> Release:
        """A version judged."""
        path, name = self.results / f"{version}.json", f"{self.came_from.package} {version}"
        if path.exists():
            kept = result.read(path)
            self.console.print(f"{name}: the result of {kept.environment.started[:16]}", markup=False)
            return Release(version, kept)
        self.console.print(name, markup=False)
        try:
            python = self.environments.interpreter(self.came_from.requirements(version, self.known.beside))
            found = api.judge(
                self.known.backend, dtypes=self.known.dtype or [DTYPE], python=python,
                requirements=self.known.requirement or None,
            )  # fmt: skip
        except NotInstalled as problem:
            return Release(version, problem=str(problem))
        except UserError as problem:
            return Release(version, problem=f"it cannot run: {problem}")
        result.write(path, found)
        return Release(version, found)
