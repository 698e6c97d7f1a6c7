"""`bnconform completion SHELL`: the script with which a shell completes verbs, options, backends and files."""

from __future__ import annotations

import argparse
from pathlib import Path

from bnconform.backends import registry
from bnconform.cli.parser import Verbs, add_verb
from bnconform.errors import UserError
from bnconform.execution.selection import EVERY
from bnconform.spec.behaviour import decisions
from bnconform.spec.catalogue import requirements
from bnconform.spec.formats import DTYPES

SHELLS = ("bash", "zsh", "tcsh")

EXAMPLE = """\
bnconform completion bash
  bnconform completion bash > ~/.local/share/bash-completion/completions/bnconform
  bnconform completion zsh > a folder of $fpath, as _bnconform"""

FILES = ("PATH", "PATH.py", "RESULT.json", "A.json", "B.json", "CASE.json", "BASELINE", "TRACE", "RECORDING", "OUT.pyz")
"""Metavars of what is a file though no type says so."""


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "completion", summary, example=EXAMPLE, run=run)
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))


def run(known: argparse.Namespace) -> int:
    """Print the script: 0. Raises UserError where what makes it is not installed."""
    try:
        import shtab
    except ImportError:
        raise UserError('completion needs shtab; install it with pip install "bnconform[completion]"') from None
    from bnconform.cli.main import VERBS, tree  # which imports this module by its name

    parser = tree(*VERBS)
    _fill(parser, shtab.FILE)
    print(shtab.complete(parser, shell=known.shell))
    return 0


def _fill(parser: argparse.ArgumentParser, file: object) -> None:
    """Say of every argument what it may be, for a parser that is only looked at."""
    names = {
        "--backend": [*EVERY, *registry.BUILTIN, *registry.DEPLOYMENTS],
        "--dtype": list(DTYPES),
        "name": [*requirements(), *decisions()],
        "--requirement": list(requirements()),
    }
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _fill(inner, file)
            continue
        word = next(iter(action.option_strings), action.dest)
        if action.choices is None and word in names:
            action.choices = names[word]
        elif action.type is Path or action.metavar in FILES:
            action.complete = file  # type: ignore[attr-defined]  # where shtab looks
