"""`bnconform site`: a static site about the results of many runs, without running anything."""

from __future__ import annotations

import argparse
from pathlib import Path

from bnconform.cli.parser import Verbs, add_verb
from bnconform.render import site_files
from bnconform.results import result as results


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "site", summary, example="bnconform site torch.json flax.json public", run=run)
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULT.json", help="files that --json wrote")
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder of the site, which may be one from before")
    parser.add_argument("--kill-matrix", type=Path, metavar="PATH", help="the one that the site shows")
    parser.add_argument("--table", type=Path, metavar="PATH", help="the porting table (default: that of this package)")


def run(known: argparse.Namespace) -> int:
    """Write the site: 0 whatever it says. Raises UserError where that cannot be done."""
    site_files.check(known.out)
    read = [(str(path), results.read(path)) for path in known.results]
    files = site_files.produce(read, known.out, known.kill_matrix, known.table)
    pages = sum(name.endswith(".html") for name in files)
    print(f"{pages} pages are in {known.out}; open {known.out / 'index.html'}")
    return 0
