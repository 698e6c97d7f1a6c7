"""`python -m bnconform.tests.mutants`: run the kill matrix, and fail where the suite does not tell right from wrong."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, track

from bnconform.backends.runner.loading import version
from bnconform.results import kill_matrix
from bnconform.results.files import FileError, check_writable, write
from bnconform.spec.behaviour import Behaviour
from bnconform.tests.mutants import matrix, meeting, naming, pairs, tables
from bnconform.tests.mutants.catalogue import Mutant, every


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0: all that is wrong is killed and named, nothing right accused; 1 otherwise; 2 for a bad request."""
    parser = _parser()
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
            parser.error(f"--pairs is {asked.pairs}, and there are not so many faults of two decisions")
        return _pairs(points, asked.workers, console)
    if asked.named is not None:
        return _name_faults(naming.sample(asked.named), asked.workers, console)
    if asked.meeting:
        return _meeting(asked.workers, console, thorough=asked.thorough)
    if asked.thorough and asked.quick:
        parser.error("--thorough asks everything, --quick the least: give one of them")
    return _catalogue(asked, catalogue, console)


def _parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        prog="python -m bnconform.tests.mutants",
        description="Judge every wrong and every right implementation of the catalogue with the whole suite.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="implementations to judge (default: the catalogue)")
    parser.add_argument("--list", action="store_true", help="list the catalogue and stop")
    parser.add_argument("--workers", type=_count, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the whole matrix as a Markdown page")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the whole matrix as JSON")
    parser.add_argument(
        "--thorough",
        action="store_true",
        help="whole rows in every dtype (about four times as long); with --meeting, faults where three meet, too",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="ask a wrong one nothing but the requirements that must kill it, until they do, so that margins are those "
        "of the first failures, and a right one in one dtype (a fraction of the time)",
    )
    parser.add_argument("--pairs", type=_count, metavar="N", help="diagnose N faults of two decisions instead")
    parser.add_argument(
        "--meeting", action="store_true", help="judge faults where two circumstances of the covering array meet instead"
    )
    parser.add_argument(
        "--named", type=_count, metavar="N", help="have the circumstances of N such faults diagnosed instead"
    )
    parser.add_argument("--brief", action="store_true", help="print no table of implementations")
    return parser


def _catalogue(asked: argparse.Namespace, catalogue: Mapping[str, Mutant], console: Console) -> int:
    """Judge the catalogue, or those that were named, and show and write what comes out."""
    todo = matrix.tasks(dict.fromkeys(asked.names or catalogue), asked.thorough, asked.quick)
    verdicts, seconds = _run(todo, min(asked.workers, len(todo)), console)
    failures = _failures(verdicts, whole=not asked.names)
    summary = _summary(verdicts, seconds, quick=asked.quick)
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
    """Diagnose faults of two decisions; 1 where fewer than 95 % are named."""
    begin, count = time.perf_counter(), len(points)
    with ProcessPoolExecutor(min(workers, count)) as pool:
        found = list(track(pool.map(pairs.diagnose, points), "diagnosing", count, console=console))
    kinds = Counter(pair.verdict for pair in found)
    for pair in found:
        if pair.verdict != pairs.NAMED:
            console.print(pair.describe(), highlight=False, markup=False, soft_wrap=True)
    good = kinds[pairs.NAMED] + kinds[pairs.EQUAL]
    failed = good < 0.95 * count
    console.print(
        f"{good} of {count} faults of two decisions named: {kinds[pairs.NAMED]} exactly, {kinds[pairs.EQUAL]} by a "
        f"point that nothing tells from it; {kinds[pairs.MISSED]} missed; {time.perf_counter() - begin:.0f} s",
        style="bold red" if failed else "bold green", highlight=False,
    )  # fmt: skip
    return int(failed)


def _name_faults(faults: Sequence[naming.Fault], workers: int, console: Console) -> int:
    """Have the circumstances of faults named; 1 where of fewer than are to be both are."""
    begin = time.perf_counter()
    with ProcessPoolExecutor(min(workers, len(faults))) as pool:
        found = list(track(pool.map(naming.name_fault, faults), "diagnosing", len(faults), console=console))
    failing = [one for one in found if one.circumstances is not None]
    good = sum(not one.missing for one in failing)
    for one in found:
        if one.circumstances is None or one.missing:
            console.print(one.describe(), highlight=False, markup=False, soft_wrap=True)
    failed = good < naming.LEAST * max(len(failing), 1)
    console.print(
        f"{good} of {len(failing)} faults named by both circumstances; {len(found) - len(failing)} not seen in the "
        f"first {naming.TRIED} rows that hold them; {time.perf_counter() - begin:.0f} s",
        style="bold red" if failed else "bold green", highlight=False,
    )  # fmt: skip
    return int(failed)


def _meeting(workers: int, console: Console, *, thorough: bool) -> int:
    """Judge faults where two circumstances meet, or three, too; 1 where fewer are killed than must be."""
    status = 0
    for plan in meeting.PLANS[: None if thorough else 1]:
        begin = time.perf_counter()
        chosen = meeting.rows_of(plan)
        with ProcessPoolExecutor(workers) as pool:
            asked = pool.map(meeting.ask_row, chosen, [plan.dtype] * len(chosen), chunksize=8)
            told = {one.number: one for one in track(asked, f"judging {plan.table}", len(chosen), console=console)}
        proof = meeting.prove(plan, told)
        console.print(tables.by_observable(proof))
        share = proof.total_killed / proof.total
        failed = share < plan.least
        status |= failed
        hard = ", ".join(f"{factor} {level} ({count})" for (factor, level), count in proof.hardest())
        seconds = time.perf_counter() - begin
        counts = f"{proof.total_killed} of {proof.total} faults where {plan.words} meet killed in {plan.dtype}"
        console.print(
            f"{counts} ({share:.1%}; {plan.least:.0%} are asked for) by {len(chosen)} rows in {seconds:.0f} s; the "
            f"others are most often of {hard}",
            style="bold red" if failed else "bold green", highlight=False,
        )  # fmt: skip
    return status


def _failures(verdicts: Sequence[matrix.Verdict], whole: bool) -> list[str]:
    found = [*matrix.survivors(verdicts), *matrix.accusations(verdicts), *matrix.find_unnamed(verdicts)]
    if whole:
        found += [f"{name} kills nothing" for name in matrix.idle(verdicts)]
    return found


def _summary(verdicts: Sequence[matrix.Verdict], seconds: float, *, quick: bool) -> str:
    rows = tables.rows(verdicts)
    wrong = [(mutant, mine) for mutant, mine in rows if mutant.killers]
    killed = [mutant for mutant, mine in wrong if not list(matrix.survivors(mine))]
    accused = [mutant for mutant, mine in rows if list(matrix.accusations(mine))]
    kills = sum(len(verdict.killed) for _, mine in wrong for verdict in mine)
    margins = [least for _, mine in wrong if 0 < (least := matrix.margin(mine)) < matrix.NOT_A_NUMBER]
    whose = " of the first failures" if quick else ""
    closest = f", the smallest margin{whose} {min(margins):.3g} times the bound" if margins else ""
    return (
        f"{len(killed)} of {len(wrong)} wrong implementations killed by the requirements that name them{closest}; "
        f"{len(accused)} of {len(rows) - len(wrong)} right ones accused; "
        f"{kills} kills in {seconds:.0f} s ({kills / seconds:.0f} a second)"
    )


if __name__ == "__main__":
    sys.exit(main())
