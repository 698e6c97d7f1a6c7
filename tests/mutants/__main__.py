"""`python -m bnconform.tests.mutants`: run the kill matrix, and fail where the suite does not tell right from wrong."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, track

from bnconform.backends.runner.loading import version
from bnconform.results import kill_matrix
from bnconform.results.files import FileError, check_writable, write
from bnconform.spec.behaviour import Behaviour
from bnconform.tests.mutants import matrix, pairs, tables
from bnconform.tests.mutants.catalogue import every


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0: all that is wrong is killed and named, nothing right accused; 1 otherwise; 2 for a bad request."""
    parser = argparse.ArgumentParser(
        prog="python -m bnconform.tests.mutants",
        description="Judge every wrong and every right implementation of the catalogue with the whole suite.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="implementations to judge (default: the catalogue)")
    parser.add_argument("--list", action="store_true", help="list the catalogue and stop")
    parser.add_argument("--workers", type=_count, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the whole matrix as a Markdown page")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the whole matrix as JSON")
    parser.add_argument("--thorough", action="store_true", help="whole rows in every dtype (about four times as long)")
    parser.add_argument("--pairs", type=_count, metavar="N", help="diagnose N faults of two coordinates instead")
    parser.add_argument("--brief", action="store_true", help="print no table of implementations")
    asked = parser.parse_args(arguments)
    console = Console()
    catalogue = every()
    if asked.list:
        for mutant in catalogue.values():
            kind = ", ".join(mutant.killers) or "right"
            console.print(f"{mutant.name}: {mutant.says} ({kind})", highlight=False, markup=False, soft_wrap=True)
        return 0
    unknown = [name for name in asked.names if name not in catalogue]
    if unknown:
        parser.error(f"there is no implementation {unknown[0]!r}; --list shows them all")
    for path in (asked.markdown, asked.json):
        if path is not None:
            try:
                check_writable(path)
            except FileError as problem:
                parser.error(str(problem))
    if asked.pairs is not None:
        try:
            points = pairs.sample(asked.pairs)
        except ValueError:
            parser.error(f"--pairs is {asked.pairs}, and there are not so many faults of two coordinates")
        return _pairs(points, asked.workers, console)
    todo = matrix.tasks(dict.fromkeys(asked.names or catalogue), asked.thorough)
    verdicts, seconds = _run(todo, min(asked.workers, len(todo)), console)
    failures = _failures(verdicts, whole=not asked.names)
    summary = _summary(verdicts, seconds)
    if not asked.brief:
        console.print(tables.by_implementation(verdicts))
        console.print()
    console.print(tables.by_requirement(verdicts))
    console.print()
    if asked.markdown is not None:
        write(asked.markdown, tables.markdown(verdicts, summary), "the kill matrix")
    if asked.json is not None:
        data = {
            "schema": kill_matrix.SCHEMA,
            "date": datetime.now(UTC).date().isoformat(),
            "bnconform": version("bnconform") or "a clone",
            "summary": summary,
            "verdicts": tables.as_data(verdicts),
        }
        write(asked.json, json.dumps(data, indent=1) + "\n", "the kill matrix")
    for line in failures:
        console.print(f"FAILURE {line}", style="red", highlight=False, markup=False, soft_wrap=True)
    console.print(summary, style="bold red" if failures else "bold green", highlight=False)
    return 1 if failures else 0


def _count(text: str) -> int:
    """A whole number from 1 on; argparse says what else was given."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no whole number of at least 1")
    return number


def _run(todo: Sequence[matrix.Task], workers: int, console: Console) -> tuple[list[matrix.Verdict], float]:
    begin = time.perf_counter()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("judging", total=len(todo))
        verdicts = matrix.run(todo, workers, done=lambda _: progress.advance(task))
    return verdicts, time.perf_counter() - begin


def _pairs(points: Sequence[Behaviour], workers: int, console: Console) -> int:
    """Diagnose faults of two coordinates; 1 where fewer than 95 % are named."""
    begin, count = time.perf_counter(), len(points)
    with ProcessPoolExecutor(min(workers, count)) as pool:
        found = list(track(pool.map(pairs.diagnosed, points), "diagnosing", count, console=console))
    kinds = Counter(pair.verdict for pair in found)
    for pair in found:
        if pair.verdict != pairs.NAMED:
            console.print(pair.describe(), highlight=False, markup=False, soft_wrap=True)
    good = kinds[pairs.NAMED] + kinds[pairs.EQUAL]
    failed = good < 0.95 * count
    console.print(
        f"{good} of {count} faults of two coordinates named: {kinds[pairs.NAMED]} exactly, {kinds[pairs.EQUAL]} by a "
        f"point that nothing tells from it; {kinds[pairs.MISSED]} missed; {time.perf_counter() - begin:.0f} s",
        style="bold red" if failed else "bold green", highlight=False,
    )  # fmt: skip
    return int(failed)


def _failures(verdicts: Sequence[matrix.Verdict], whole: bool) -> list[str]:
    found = [*matrix.survivors(verdicts), *matrix.accused(verdicts), *matrix.unnamed(verdicts)]
    if whole:
        found += [f"{name} kills nothing" for name in matrix.idle(verdicts)]
    return found


def _summary(verdicts: Sequence[matrix.Verdict], seconds: float) -> str:
    rows = tables.rows(verdicts)
    wrong = [(mutant, mine) for mutant, mine in rows if mutant.killers]
    killed = [mutant for mutant, mine in wrong if not list(matrix.survivors(mine))]
    accused = [mutant for mutant, mine in rows if list(matrix.accused(mine))]
    kills = sum(len(verdict.killed) for _, mine in wrong for verdict in mine)
    margins = [least for _, mine in wrong if 0 < (least := matrix.margin(mine)) < matrix.NOT_A_NUMBER]
    closest = f", the smallest margin {min(margins):.3g} times the bound" if margins else ""
    return (
        f"{len(killed)} of {len(wrong)} wrong implementations killed by the requirements that name them{closest}; "
        f"{len(accused)} of {len(rows) - len(wrong)} right ones accused; "
        f"{kills} kills in {seconds:.0f} s ({kills / seconds:.0f} a second)"
    )


if __name__ == "__main__":
    sys.exit(main())
