"""`bnconform compare A.json B.json ...`: what differs between runs, and which side moved."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bnconform.cli.refusal import refuse
from bnconform.render import comparison_text
from bnconform.results import comparison as comparisons
from bnconform.results import files, result
from bnconform.results.compare import compare
from bnconform.results.comparison import Comparison
from bnconform.results.matching import PairingError, asked, check_choice, subjects
from bnconform.results.operands import Incomparable

USAGE = (
    "give bnconform compare A.json B.json... [--backend B]... [--dtype T]... [--pair A=B]... [--all] "
    "[--json PATH] [--markdown PATH]"
)


def face(arguments: Sequence[str]) -> int:
    """Print the comparison; 0 where only rounding differs, 1 where more does, 2 where it cannot be made."""
    parser = argparse.ArgumentParser(prog="bnconform compare", add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--backend", action="append", default=[])
    parser.add_argument("--dtype", action="append", default=[])
    parser.add_argument("--pair", action="append", default=[])
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    try:
        known, unknown = parser.parse_known_args(list(arguments))
        if unknown:
            raise Incomparable(f"compare does not take {unknown[0]!r}; {USAGE}")
        if len(known.files) < 2:
            raise Incomparable(f"compare needs two files; {USAGE}")
        for path, what in ((known.json, "the comparison"), (known.markdown, "the page")):
            if path is not None:
                files.check_writable(path, what)
        made = compared(known.files, known.backend, known.dtype, known.pair)
        console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
        comparison_text.render(made, console, everything=known.all)
        if known.json is not None:
            comparisons.write(known.json, made)
        if known.markdown is not None:
            page = comparison_text.markdown(made, everything=known.all)
            files.write(known.markdown, page, "the page")
    except (argparse.ArgumentError, files.FileError, Incomparable, PairingError) as problem:
        return refuse(problem)
    statuses = {one.status for one in made}
    return 1 if 1 in statuses else max(statuses)


def compared(
    paths: Sequence[Path], backends: Sequence[str], dtypes: Sequence[str], chosen: Sequence[str]
) -> list[Comparison]:
    """Each of the files against the first.

    Raises:
        FileError, Incomparable, PairingError: where a file cannot be read or compared, or a choice chooses nothing.
    """
    read = [(str(path), result.read(path)) for path in paths]
    check_choice(backends, dtypes, [subject for _, one in read for subject in subjects(one)])
    first, *others = read
    made = []
    refused: dict[str, PairingError] = {}
    used: set[str] = set()
    for other in others:
        # Of several files each has its own pairs; one that is in none of them is refused.
        mine = []
        for text in chosen:
            try:
                asked(text, subjects(first[1]), subjects(other[1]))
                mine.append(text)
            except PairingError as problem:
                refused[text] = problem
        if not chosen or mine:
            made.append(compare(first, other, backends=backends, dtypes=dtypes, chosen=mine))
        else:
            raise refused[chosen[0]]
        used.update(mine)
    for text in chosen:
        if text not in used:
            raise refused[text]
    return made
