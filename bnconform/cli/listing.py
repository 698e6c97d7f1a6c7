"""`bnconform list`: backends, whether each can run here and if not why; requirements; errata; pages of Markdown."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bnconform.backends import registry
from bnconform.cases.golden import errata
from bnconform.cli.parser import Verbs, add_verb, places, selection
from bnconform.execution.selection import Selection
from bnconform.render import devices_page, history_page
from bnconform.render.findings_page import page
from bnconform.results import confirmations, history_file, kept_columns
from bnconform.results.findings import findings
from bnconform.spec.catalogue import requirements

BACKENDS = Path(registry.__file__).parent
"""Where the findings and the histories are."""


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "list", summary, example="bnconform list --requirements", run=run, parents=[places()])
    parser.add_argument("--requirements", action="store_true", help="the requirements alone")
    parser.add_argument("--errata", action="store_true", help="the errata of the source documents")
    parser.add_argument(
        "--history", action="store_true", help="what became of faults over released versions, as a page in Markdown"
    )
    parser.add_argument(
        "--devices", action="store_true", help="devices besides the plain CPU, as the table of a page in Markdown"
    )
    parser.add_argument(
        "--findings", action="store_true", help="what was found out about released frameworks, as a page in Markdown"
    )


def run(known: argparse.Namespace) -> int:
    """Print what there is: 0."""
    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    if known.findings:
        print(page(findings(BACKENDS / "findings")), end="")
        return 0
    if known.history:
        kept = BACKENDS / "history"
        print(history_page.page(history_file.read_all(kept), confirmations.read(kept / confirmations.FILE)), end="")
        return 0
    if known.devices:
        folder = BACKENDS / "devices"
        print(devices_page.table(kept_columns.read_all(folder), kept_columns.places(folder)), end="")
        return 0
    if not known.requirements and not known.errata:
        with selection(known) as chosen:
            _backends(console, chosen)
    if known.requirements or not known.errata:
        _requirements(console)
    if known.errata:
        _errata(console)
    return 0


def _backends(console: Console, chosen: Selection) -> None:
    with Console(stderr=True).status("asking each framework for its devices"):
        _, left_out = chosen.keys(["all", "deployments:all"])
    _table(console, chosen, "Backends", [*registry.BUILTIN, *registry.find_entry_points()], left_out)
    _table(console, chosen, "Tools that deploy models", [*registry.DEPLOYMENTS], left_out)


def _table(console: Console, chosen: Selection, title: str, names: Sequence[str], left_out: Mapping[str, str]) -> None:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("name", no_wrap=True, min_width=max(map(len, names), default=0))  # a name is to be copied
    for column in ("here", "declared deviations"):
        table.add_column(column)
    for name in names:
        reason = left_out.get(name)
        if reason:
            table.add_row(name, Text(f"no: {reason}"), "")
            continue
        backend = chosen.description(name)
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
