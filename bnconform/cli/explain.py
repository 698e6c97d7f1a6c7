"""`bnconform explain BN-RUN-VAR`: one requirement, for a person at a terminal."""

from __future__ import annotations

import argparse
import io

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bnconform.cli.parser import Verbs, add_verb
from bnconform.spec.behaviour import coordinate
from bnconform.spec.catalogue import Requirement, requirement

LEVEL_STYLES = {"must": "bold red", "should": "bold yellow", "may": "bold cyan"}
LEVEL_MEANINGS = {
    "must": "fixed by the documents and the frameworks' documentation",
    "should": "quality; fails a run only with --level should",
    "may": "a policy left open; recorded, never a failure",
}
NOTATION = (
    "per channel: n values with mean m and sum of squared deviations q; weight w, bias b, epsilon e, momentum a, "
    "running mean rm and variance rv, normalised value z, upstream gradient g"
)
"""The letters that the meanings of `bnconform.spec.behaviour` use."""


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "explain", summary, example="bnconform explain BN-RUN-VAR", run=run)
    parser.add_argument(
        "requirement",
        metavar="REQUIREMENT",
        help="an id such as BN-RUN-VAR; `bnconform list --requirements` shows them all",
    )


def run(known: argparse.Namespace) -> int:
    """Print one requirement: 0. Raises UserError where there is none of that name."""
    console = Console()
    print(explain(known.requirement, width=min(console.width, 100), colour=console.is_terminal), end="")
    return 0


def explain(identifier: str, *, width: int = 100, colour: bool = False) -> str:
    """The requirement called `identifier` as text for a terminal of `width` columns, with ANSI colours if asked for.

    Raises:
        UserError: where there is no such requirement; it lists the nearest ids.
    """
    one = requirement(identifier)
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        no_color=not colour,
    )
    console.print(rendering(one))
    # Rich pads lines to the width; what is pasted into a report should not carry that.
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def rendering(one: Requirement) -> RenderableType:
    """The requirement as a Rich renderable. Everything is `Text`: brackets in formulas are no markup."""
    head = Text.assemble((one.id, "bold"), "  ", (one.level, LEVEL_STYLES[one.level]), f"  {one.chapter}")
    parts: list[RenderableType] = [
        head,
        Text(one.title, style="italic"),
        Text(f"{one.level}: {LEVEL_MEANINGS[one.level]}", style="dim"),
        *_section("Statement", Text(one.statement)),
        *_section("Formula", Text(one.formula)),
    ]
    for name in one.coordinates:
        parts += _section(f"Coordinate {name}", _values(name))
    if one.coordinates:
        parts.append(Padding(Text(f"where {NOTATION}", style="dim"), (0, 0, 0, 2)))
    if one.features:
        parts += _section("Needs", Text(", ".join(sorted(one.features))))
    parts += _section("Sources", _sources(one))
    parts += _section("What usually breaks it", Text(one.breaks))
    return Group(*parts)


def _section(title: str, body: RenderableType) -> list[RenderableType]:
    return [Text(), Text(title, style="bold"), Padding(body, (0, 0, 0, 2))]


def _values(name: str) -> RenderableType:
    """Every value of a coordinate with its meaning, the specified one marked."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for number, value in enumerate(coordinate(name)):
        meaning = f"{value.meaning} (specified)" if number == 0 else value.meaning
        table.add_row(Text(str(value), style="bold green" if number == 0 else ""), Text(meaning))
    return table


def _sources(one: Requirement) -> RenderableType:
    lines: list[RenderableType] = []
    for source in one.sources:
        lines.append(Text.assemble((source.document, "bold"), f": {source.place}"))
        # A link on a line of its own can be copied and clicked.
        about = [source.title, source.link] if source.link else [source.title]
        lines += [Padding(Text(line, style="dim"), (0, 0, 0, 2)) for line in about]
    return Group(*lines)
