"""`bnconform report`: what became of a run, from its result file and without running anything."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bnconform.cli.refusal import refuse
from bnconform.render import report_files
from bnconform.render.matrix import render
from bnconform.results import result as results
from bnconform.results.files import FileError
from bnconform.results.joining import joined
from bnconform.spec.catalogue import requirements

USAGE = (
    "give bnconform report RESULT.json... [--html PATH] [--kill-matrix PATH] [--markdown PATH] [--badge PATH] "
    "[--annotations]"
)


def face(arguments: Sequence[str]) -> int:
    """Write what is asked for, or print the matrix; 0 whatever it says, or 2 where that cannot be done."""
    parser = argparse.ArgumentParser(prog="bnconform report", add_help=False, exit_on_error=False)
    parser.add_argument("results", nargs="*", type=Path)
    for option in ("--html", "--markdown", "--badge", "--kill-matrix"):
        parser.add_argument(option, type=Path)
    parser.add_argument("--annotations", action="store_true")
    try:
        known, unknown = parser.parse_known_args(list(arguments))
        if unknown:
            raise FileError(f"report does not take {unknown[0]!r}; {USAGE}")
        if not known.results:
            raise FileError(f"report needs the result of a run, which --json writes; {USAGE}")
        wanted = report_files.Wanted(known.html, known.markdown, known.badge, known.annotations, known.kill_matrix)
        report_files.check(wanted, *known.results)
        found = joined([(str(path), results.read(path)) for path in known.results])
        lines = report_files.produce(found, wanted)
    except (argparse.ArgumentError, FileError) as problem:
        return refuse(problem)
    for line in lines:
        print(line)
    if not wanted:
        rules = requirements()
        titles = {name: rule.title for name, rule in rules.items()}
        render(found, titles, {name: rule.chapter for name, rule in rules.items()}, Console(highlight=False))
    return 0
