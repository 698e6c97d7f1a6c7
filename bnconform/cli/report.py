"""`bnconform report`: what became of a run, from its result file and without running anything."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from bnconform.cli.parser import Verbs, add_verb
from bnconform.judge.shard_set import whole
from bnconform.render import report_files
from bnconform.render.terminal import render
from bnconform.results import files, kept_columns
from bnconform.results import result as results
from bnconform.results.joining import join
from bnconform.spec.catalogue import requirements


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs, "report", summary, example="bnconform report cpu.json gpu.json --html report.html", run=run
    )
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULT.json", help="files that --json wrote")
    parser.add_argument("--json", type=Path, metavar="PATH", help="all of them, or all shards of a run, in one file")
    parser.add_argument("--html", type=Path, metavar="PATH", help="a page that needs no network")
    parser.add_argument("--kill-matrix", type=Path, metavar="PATH", help="the one that the page shows")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="text for a pull request or a job summary")
    parser.add_argument("--badge", type=Path, metavar="PATH", help="a badge, .svg or .json")
    parser.add_argument("--junit", type=Path, metavar="PATH", help="JUnit's XML, a suite for each column")
    parser.add_argument(
        "--columns", type=Path, metavar="FOLDER", help="a small file of each backend and device, to be committed"
    )
    parser.add_argument("--annotations", action="store_true", help="print failures as GitHub annotations")


def run(known: argparse.Namespace) -> int:
    """Write what is asked for, or print the matrix: 0 whatever it says. Raises UserError where that cannot be done."""
    wanted = report_files.Wanted(
        known.html, known.markdown, known.badge, known.annotations, known.kill_matrix, known.junit
    )
    report_files.check(wanted, *known.results, *([known.json] if known.json else []))
    if known.json is not None:
        files.check_writable(known.json)
    read = whole([(str(path), results.read(path)) for path in known.results])
    found = join(read)
    if known.json is not None:
        results.write(known.json, found)
    if known.columns is not None:
        for _, one in read:
            for path in kept_columns.write(known.columns, one):
                print(f"wrote {path}")
    lines = report_files.produce(found, wanted)
    for line in lines:
        print(line)
    if not wanted and known.json is None and known.columns is None:
        rules = requirements()
        titles = {name: rule.title for name, rule in rules.items()}
        render(found, titles, {name: rule.chapter for name, rule in rules.items()}, Console(highlight=False))
    return 0
