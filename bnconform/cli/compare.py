"""`bnconform compare A.json B.json ...`: what differs between runs, and which side moved."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bnconform.cli.parser import Verbs, add_verb, dtypes
from bnconform.judge.shard_set import whole
from bnconform.render import comparison_text
from bnconform.results import comparison as comparisons
from bnconform.results import files, result
from bnconform.results.compare import compare
from bnconform.results.comparison import ResultComparison
from bnconform.results.joining import JoinError
from bnconform.results.matching import MatchingError, check_choice, find_pairs, subjects


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "compare",
        summary,
        example="bnconform compare cpu.json gpu.json --pair torch.nn:cpu=torch.nn:cuda:0 --markdown difference.md",
        run=run,
        parents=[dtypes("only this one")],
    )
    parser.add_argument("first", type=Path, metavar="A.json", help="the result that the others are compared with")
    parser.add_argument("others", type=Path, nargs="+", metavar="B.json", help="each is compared with the first")
    parser.add_argument(
        "--backend", action="append", default=[], metavar="B", help="only this one (default: all); may be repeated"
    )
    parser.add_argument(
        "--pair",
        action="append",
        default=[],
        metavar="A=B",
        help="compare a backend, or BACKEND:DEVICE, of the first with one of the others; may be repeated",
    )
    parser.add_argument("--all", action="store_true", help="list what only rounds differently, too")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the comparison to a file")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write it as text for a pull request")


def run(known: argparse.Namespace) -> int:
    """Print the comparison; 0 where only rounding differs, 1 where more does, 2 where no number could be compared.

    Raises:
        UserError: where a file cannot be read, compared or written, or a choice chooses nothing.
    """
    for path, what in ((known.json, "the comparison"), (known.markdown, "the page")):
        if path is not None:
            files.check_writable(path, what)
    made = compare_files([known.first, *known.others], known.backend, known.dtype, known.pair)
    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    comparison_text.render(made, console, everything=known.all)
    if known.json is not None:
        comparisons.write(known.json, made)
    if known.markdown is not None:
        page = comparison_text.markdown(made, everything=known.all)
        files.write(known.markdown, page, "the page")
    statuses = {one.status for one in made}
    return 1 if 1 in statuses else max(statuses)


def compare_files(
    paths: Sequence[Path], backends: Sequence[str], dtypes: Sequence[str], chosen: Sequence[str]
) -> list[ResultComparison]:
    """Each of the files against the first.

    Raises:
        FileError, Incomparable, MatchingError: where a file cannot be read or compared, or a choice chooses nothing.
    """
    read = whole([(str(path), result.read(path)) for path in paths])
    if len(read) < 2:
        raise JoinError(f"{read[0][0]} are the shards of one run; give another result to compare it with")
    check_choice(backends, dtypes, [subject for _, one in read for subject in subjects(one)])
    first, *others = read
    made = []
    refused: dict[str, MatchingError] = {}
    used: set[str] = set()
    for other in others:
        # Of several files each has its own pairs; one that is in none of them is refused.
        mine = []
        for text in chosen:
            try:
                find_pairs(text, subjects(first[1]), subjects(other[1]))
                mine.append(text)
            except MatchingError as problem:
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
