"""`bnconform list`: backends, whether each can run here and if not why, their devices; requirements; errata."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bnconform.backends import registry
from bnconform.backends.registry import BackendError
from bnconform.cases.golden import errata
from bnconform.cli.refusal import refuse
from bnconform.execution.selection import Selection
from bnconform.execution.settings import settings
from bnconform.execution.worker_pool import LOADING, WorkerPool
from bnconform.spec.catalogue import requirements


def listing(arguments: Sequence[str]) -> int:
    """Print what there is; 0, or 2 for an option that does not exist."""
    parser = argparse.ArgumentParser(prog="bnconform list", add_help=False, exit_on_error=False)
    parser.add_argument("--requirements", action="store_true")
    parser.add_argument("--errata", action="store_true")
    parser.add_argument("--python", action="append", default=[])
    try:
        known, unknown = parser.parse_known_args(list(arguments))
        if unknown:
            raise BackendError(
                f"list does not take {unknown[0]!r}; it takes --requirements, --errata and --python B=PATH"
            )
        selection = Selection(WorkerPool(settings(LOADING, 0, known.python)))
    except (argparse.ArgumentError, BackendError) as problem:
        return refuse(problem)
    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    if not known.requirements and not known.errata:
        _backends(console, selection)
    if known.requirements or not known.errata:
        _requirements(console)
    if known.errata:
        _errata(console)
    return 0


def _backends(console: Console, selection: Selection) -> None:
    table = Table(title="Backends", title_justify="left", box=None, pad_edge=False)
    for column in ("name", "here", "declared deviations"):
        table.add_column(column)
    with Console(stderr=True).status("asking each framework for its devices"):
        _, left_out = selection.keys(["all"])
    for name in [*registry.BUILTIN, *registry.offered()]:
        reason = left_out.get(name)
        if reason:
            table.add_row(name, Text(f"no: {reason}"), "")
            continue
        backend = selection.description(name)
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
