"""`bnconform explain BN-RUN-VAR`, or `running_variance`: one requirement or decision, for a person at a terminal."""

from __future__ import annotations

import argparse
import difflib
import io

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bnconform.cli.parser import NEAR, Verbs, add_verb
from bnconform.errors import UserError
from bnconform.spec.behaviour import decision, decisions
from bnconform.spec.catalogue import Requirement, fixing, requirement, requirements

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


EXAMPLE = """\
bnconform explain BN-RUN-VAR
  bnconform explain running_variance"""


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "explain", summary, example=EXAMPLE, run=run)
    parser.add_argument(
        "name",
        metavar="NAME",
        help="a requirement such as BN-RUN-VAR (`bnconform list --requirements` shows them all), or a decision such "
        "as running_variance; in capitals or not",
    )


def run(known: argparse.Namespace) -> int:
    """Print one requirement, or one decision: 0. Raises UserError where there is none of that name."""
    console = Console()
    print(explain(known.name, width=min(console.width, 100), colour=console.is_terminal), end="")
    return 0


def explain(name: str, *, width: int = 100, colour: bool = False) -> str:
    """The requirement or decision called `name` as text for a terminal of `width` columns, with colours if asked for.

    Raises:
        UserError: where there is neither; it lists the nearest.
    """
    shown = decision_rendering(name.lower()) if name.lower() in decisions() else rendering(_requirement(name))
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        no_color=not colour,
    )
    console.print(shown)
    # Rich pads lines to the width; what is pasted into a report should not carry that.
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def _requirement(name: str) -> Requirement:
    """The requirement of that name, in capitals or not; UserError, with the nearest decision or ids, for none."""
    near = difflib.get_close_matches(name.lower().replace("-", "_").replace(" ", "_"), decisions(), 1, NEAR)
    if name.upper() not in requirements() and near:
        raise UserError(f"unknown requirement or decision {name!r}; did you mean {near[0]}?")
    return requirement(name.upper() if name.upper() in requirements() else name)


def decision_rendering(name: str) -> RenderableType:
    """A decision as a Rich renderable: its values, what fixes it, and how another value is declared."""
    kind, fixed = decision(name), fixing(name)
    about = " ".join((kind.__doc__ or "").split())
    other = list(kind)[1:]
    parts: list[RenderableType] = [
        Text.assemble((name, "bold"), "  a decision that every implementation makes"),
        Text(about, style="italic"),
        *_section("Values", _values(name)),
        Padding(Text(f"where {NOTATION}", style="dim"), (0, 0, 0, 2)),
        *_section("Fixed by", Text(f"{fixed.id} ({fixed.level}): {fixed.title}; see bnconform explain {fixed.id}")),
    ]
    if other:
        declared = f'deviations = {{"{name}": "{other[0]}"}}'
        how = f"{declared} in the adapter, with the place where that is documented in `documented`"
        parts += _section("To declare another value, where it is meant so", Text(how))
    return Group(*parts)


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
    for name in one.decisions:
        parts += _section(f"Decision {name}", _values(name))
    if one.decisions:
        parts.append(Padding(Text(f"where {NOTATION}", style="dim"), (0, 0, 0, 2)))
    if one.features:
        parts += _section("Needs", Text(", ".join(sorted(one.features))))
    parts += _section("Sources", _sources(one))
    parts += _section("What usually breaks it", Text(one.breaks))
    return Group(*parts)


def _section(title: str, body: RenderableType) -> list[RenderableType]:
    return [Text(), Text(title, style="bold"), Padding(body, (0, 0, 0, 2))]


def _values(name: str) -> RenderableType:
    """Every value of a decision with its meaning, the specified one marked."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for number, value in enumerate(decision(name)):
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
