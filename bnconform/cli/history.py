"""`bnconform history B`: what became of an implementation's faults over the released versions of its framework."""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import platformdirs
from packaging.version import InvalidVersion, Version
from rich.console import Console

from bnconform import api
from bnconform.cli.parser import Verbs, add_verb
from bnconform.errors import UserError
from bnconform.execution.environments import Environments, NotInstalled, list_releases
from bnconform.measure.history import Distribution, distribution, explore
from bnconform.render import history_text
from bnconform.results import files, history_file, result
from bnconform.results.history import History, Release
from bnconform.results.known_failures import suite
from bnconform.spec.catalogue import requirements

DTYPE = "float32"
"""In which versions are judged where no other is given."""

LONGEST = 100
"""Characters of the name of a folder; what is cut off is told apart by a sum."""


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
    parser.add_argument(
        "--leave-out", action="append", default=[], metavar="ID", help="not this requirement; may be repeated"
    )
    parser.add_argument("--dtype", action="append", default=[], metavar="T", help=f"may be repeated (default: {DTYPE})")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR",
        help="where environments and results are kept, and found again: remove its `results` to judge anew "
        "(default: the user's cache)",
    )  # fmt: skip
    parser.add_argument(
        "--discard", action="store_true", help="remove each environment when its version is judged (default: keep it)"
    )
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the table as Markdown, too")
    parser.add_argument(
        "--json", type=Path, metavar="PATH", help="write the verdicts of all versions, too; of one dtype alone"
    )


def run(known: argparse.Namespace) -> int:
    """Judge and print: 0 where at least two versions were judged.

    Raises:
        UserError: where there are no versions to judge, or fewer than two of them can be.
    """
    for path, what in ((known.markdown, "the table"), (known.json, "the history")):
        if path is not None:
            files.check_writable(path, what)
    if known.json is not None and len(known.dtype) > 1:
        raise UserError(f"--json writes a history in one dtype, and {len(known.dtype)} were given")
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    came_from = distribution(known.backend, known.package)
    history = History(known.backend, came_from.package, find_versions(known, came_from))
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
    if known.json is not None:
        history_file.write(known.json, keep(history, known))
    return 0


def keep(history: History, known: argparse.Namespace) -> history_file.KeptHistory:
    """The history on the first of its devices, with what was not asked for."""
    device, dtype = history_file.columns(history)[0]
    return history_file.KeptHistory(history, device, dtype, left_out(known, dtype))


def left_out(known: argparse.Namespace, dtype: str) -> tuple[str, ...]:
    """The requirements that have a check of layers in a dtype, and were not asked for, by id."""
    asked = find_requirements(known)
    every = suite()
    return tuple(sorted({*every.requirements[dtype], *every.once} - set(asked))) if asked else ()


def find_requirements(known: argparse.Namespace) -> list[str]:
    """The ids of the only requirements that are judged; [] for all. UserError for one that there is not."""
    for name in known.leave_out:
        if name not in requirements():
            raise UserError(f"there is no requirement {name}; `bnconform list` shows them")
    if not known.leave_out:
        return list(known.requirement)
    return [name for name in known.requirement or requirements() if name not in known.leave_out]


def find_versions(known: argparse.Namespace, came_from: Distribution) -> list[str]:
    """The versions to judge, oldest first; UserError where there are fewer than two, or one is no version."""
    try:
        since, until = (Version(text) if text else None for text in (known.since, known.until))
        given = sorted({Version(text) for text in known.versions or list_releases(came_from.package)})
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
        without = [f"not-{name}" for name in known.leave_out]
        asked = "-".join([*(known.dtype or [DTYPE]), *known.requirement, *without, *known.beside])
        name = "".join(c if c.isalnum() or c in ".+-_" else "_" for c in f"{known.backend}-{asked}")
        if len(name) > LONGEST:
            name = f"{name[:LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
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
        packages = self.came_from.requirements(version, self.known.beside)
        try:
            python = self.environments.interpreter(packages)
            found = api.judge(
                self.known.backend, dtypes=self.known.dtype or [DTYPE], python=python,
                requirements=find_requirements(self.known) or None,
            )  # fmt: skip
        except NotInstalled as problem:
            return Release(version, problem=str(problem))
        except UserError as problem:
            return Release(version, problem=f"it cannot run: {problem}")
        finally:
            if self.known.discard:
                self.environments.discard(packages)
        if reason := unfit(found):
            return Release(version, problem=reason)
        result.write(path, found)
        return Release(version, found)


def unfit(found: result.Result) -> str:
    """Why a result says nothing of a version: most of what was asked crashed; "" where it does.

    An adapter that an old version does not fit, or a package beside it that is too new, is no fault of the layer.
    """
    asked = [row for row in found.rows if row.verdict != "unsupported"]
    crashed = [row for row in asked if row.verdict == "crashed"]
    if 2 * len(crashed) <= len(asked):
        return ""
    return f"it crashes in {len(crashed)} of {len(asked)} requirements: {crashed[0].summary}"
