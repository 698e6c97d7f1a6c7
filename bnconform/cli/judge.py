"""`bnconform judge RECORDING...`: a run of the suite over recordings, in the place of live implementations."""

from __future__ import annotations

import argparse

from bnconform.cli import options
from bnconform.cli import run as running
from bnconform.cli.parser import Verbs, add_verb
from bnconform.errors import UserError
from bnconform.execution.recording import PREFIX

EXAMPLE = """\
bnconform judge trace --json result.json
  bnconform judge cpu.trace gpu.trace --level should

Every option of `bnconform run` is accepted."""


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb; what its parser does not know is for pytest to say."""
    parser = add_verb(
        verbs, "judge", summary, example=EXAMPLE, run=run, mixed=False, usage="%(prog)s RECORDING... [OPTIONS]"
    )
    parser.add_argument("recordings", nargs="*", metavar="RECORDING", help="a file that a runner has recorded")
    options.declare_all(parser.add_argument)


def run(arguments: argparse.Namespace) -> int:
    """Judge the recordings; the exit status of a run. Raises UserError where none are given."""
    given: list[str] = arguments.given
    paths = []
    while given and not given[0].startswith("-"):
        paths.append(given.pop(0))
    if not paths:
        raise UserError("judge needs a recording, first; give bnconform judge RECORDING... [OPTIONS]")
    given[:0] = [f"--backend={PREFIX}{path}" for path in paths]
    return running.run(arguments)
