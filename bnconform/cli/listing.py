"""`bnconform list`: backends, whether each can run here and if not why, their devices; requirements; errata."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bnconform.backends import registry
from bnconform.cases.golden import errata
from bnconform.cli.parser import Verbs, add_verb, interpreters
from bnconform.execution import selection, worker_pool
from bnconform.execution.selection import adapter
from bnconform.spec.catalogue import requirements


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs, "list", summary, example="bnconform list --requirements", run=run, parents=[interpreters()]
    )
    parser.add_argument("--requirements", action="store_true", help="the requirements alone")
    parser.add_argument("--errata", action="store_true", help="the errata of the source documents")


def run(known: argparse.Namespace) -> int:
    """Print what there is: 0."""
    worker_pool.SETTINGS = worker_pool.settings(worker_pool.LOADING, 0, known.python)
    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    if not known.requirements and not known.errata:
        _backends(console)
    if known.requirements or not known.errata:
        _requirements(console)
    if known.errata:
        _errata(console)
    return 0


def _backends(console: Console) -> None:
    table = Table(title="Backends", title_justify="left", box=None, pad_edge=False)
    for column in ("name", "here", "declared deviations"):
        table.add_column(column)
    keys, left_out = selection.chosen(["all"])
    with Console(stderr=True).status("asking each framework for its devices"):
        worker_pool.describe((key for key in keys if registry.is_foreign(key)), registry.group)
    for name in [*registry.BUILTIN, *registry.offered()]:
        description = worker_pool.DESCRIBED.get(name, {})
        reason = left_out.get(name) or description.get("refused")
        if reason:
            table.add_row(name, Text(f"no: {reason}"), "")
            continue
        backend = worker_pool.described(name) if description else adapter(name)
        deviations = ", ".join(f"{key} = {value}" for key, value in backend.deviations.items())
        table.add_row(name, ", ".join(backend.devices()), deviations)
    console.print(table)
    console.print()


def _requirements(console: Console) -> None:
    table = Table(
        title="Requirements (bnconform explain ID tells more)", title_justify="left", box=None, pad_edge=False
    )
    for column in ("id", "level", "title"):
        table.add_column(column)
    chapter = ""
    for rule in requirements().values():
        if rule.chapter != chapter:
            chapter = rule.chapter
            table.add_row(f"[bold]{chapter}[/]", "", "")
        table.add_row(rule.id, rule.level, rule.title)
    console.print(table)


def _errata(console: Console) -> None:
    found = list(errata())
    console.print("[bold]Errata of the source documents[/]")
    for erratum in found:
        console.print()
        console.print(f"{erratum.document}, {erratum.place}", markup=False)
        console.print(f"  printed: {erratum.printed}", markup=False)
        console.print(f"  right:   {erratum.right}", markup=False)
        why = (
            ", ".join(f"{k} = {v}" for k, v in erratum.behaviour.differences().items())
            if erratum.behaviour
            else erratum.word
        )
        console.print(f"  because: {why}", markup=False)
