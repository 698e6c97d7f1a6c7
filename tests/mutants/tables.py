"""The kill matrix for people: tables for the terminal, and a Markdown file with every kill and its margin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.table import Table

from bnconform.spec.catalogue import requirements
from bnconform.tests.mutants import matrix
from bnconform.tests.mutants.catalogue import Mutant, every
from bnconform.tests.mutants.matrix import Verdict
from bnconform.tests.mutants.meeting import Proof

Row = tuple[Mutant, list[Verdict]]


def rows(verdicts: Sequence[Verdict]) -> list[Row]:
    """The verdicts by implementation."""
    return [(every()[name], list(group)) for name, group in groupby(verdicts, key=lambda verdict: verdict.mutant)]


def number(margin: float) -> str:
    """A margin in three digits; a word where the failure is no number (an exception, NaN, another dtype)."""
    return "no number" if margin == matrix.NOT_A_NUMBER else "survives" if margin <= 1 else f"{margin:.3g}"


def others(mutant: Mutant, verdicts: Iterable[Verdict]) -> list[str]:
    """The requirements that kill an implementation besides those that name its fault."""
    return sorted({name for verdict in verdicts for name in verdict.killed} - set(mutant.killers))


def by_implementation(verdicts: Sequence[Verdict]) -> Table:
    """One row for each wrong implementation."""
    table = Table(title="Wrong implementations", title_justify="left", box=None, header_style="bold", pad_edge=False)
    table.add_column("implementation", overflow="fold")
    table.add_column("must be killed by", overflow="fold")
    table.add_column("smallest margin", justify="right")
    table.add_column("others", justify="right")
    for mutant, mine in rows(verdicts):
        if mutant.killers:
            least = number(matrix.margin(mine))
            table.add_row(mutant.name, ", ".join(mutant.killers), least, str(len(others(mutant, mine))))
    return table


def by_requirement(verdicts: Sequence[Verdict]) -> Table:
    """One row for each requirement: what it kills, and how closely."""
    table = Table(title="Requirements", title_justify="left", box=None, header_style="bold", pad_edge=False)
    table.add_column("requirement")
    table.add_column("level")
    for column in ("kills", "names", "alone", "smallest margin"):
        table.add_column(column, justify="right")
    found = rows(verdicts)
    for name, rule in requirements().items():
        killed = [(m, v) for m, mine in found if m.killers for v in mine if name in v.killed]
        kills = {m.name for m, _ in killed}
        names = {m.name for m, _ in found if name in m.killers}
        alone = {m.name for m, mine in found if m.killers and all(set(v.killed) == {name} for v in mine)}
        least = min((v.killed[name] for _, v in killed), default=0.0)
        counts = (str(len(kills)), str(len(names)), str(len(alone)))
        table.add_row(name, rule.level, *counts, number(least) if killed else "kills nothing")
    return table


def by_observable(proof: Proof) -> Table:
    """One row for each observable: how many faults where circumstances meet there are, and are killed and located."""
    table = Table(title="Faults where circumstances meet", title_justify="left", box=None, header_style="bold")
    table.add_column("wrong")
    for column in ("faults", "killed", "located by rows alone"):
        table.add_column(column, justify="right")
    for mode, name in proof.faults:
        counts = (held[mode, name] for held in (proof.faults, proof.killed, proof.located))
        table.add_row(f"{name} in {mode}", *map(str, counts))
    return table


def markdown(verdicts: Sequence[Verdict], summary: str) -> str:
    """The whole matrix as a page: who is killed by what, with the margin in each dtype."""
    lines = [
        "# The kill matrix", "", summary, "",
        "A margin is the distance from the truth over the bound, the largest of a requirement's cases; the bound is at "
        "1. `no number` stands for a failure that no number describes: an exception, NaN, another dtype.", "",
        "## Wrong implementations", "",
        "| implementation | what is wrong | modelled on | killed by the requirement that names it | and by |",
        "| --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    found = rows(verdicts)
    for mutant, mine in found:
        if not mutant.killers:
            continue
        named = [
            f"{name} ({', '.join(f'{v.dtype} {number(v.killed.get(name, 0.0))}' for v in mine)})"
            for name in mutant.killers
        ]
        also = [f"{name} {number(max(v.killed.get(name, 0.0) for v in mine))}" for name in others(mutant, mine)]
        cells = (f"`{mutant.name}`", mutant.says, mutant.thread, "<br>".join(named), ", ".join(also))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines += [
        "", "## Right implementations by other means", "",
        "| implementation | by what means | accused at level should (asked with --thorough) |", "| --- | --- | --- |",
    ]  # fmt: skip
    for mutant, mine in found:
        if mutant.killers:
            continue
        lesser = sorted({name for v in mine for name in v.killed if requirements()[name].level == "should"})
        lines.append(f"| `{mutant.name}` | {mutant.says.replace('|', chr(92) + '|')} | {', '.join(lesser)} |")
    return "\n".join(lines) + "\n"


def as_data(verdicts: Sequence[Verdict]) -> list[dict[str, object]]:
    """JSON-ready data; a margin that is no number is null."""
    return [
        {
            "implementation": verdict.mutant,
            "says": every()[verdict.mutant].says,
            "thread": every()[verdict.mutant].thread,
            "wrong": bool(every()[verdict.mutant].killers),
            "named_by": list(every()[verdict.mutant].killers),
            "dtype": verdict.dtype,
            "killed": {n: None if m == matrix.NOT_A_NUMBER else m for n, m in verdict.killed.items()},
            "seconds": verdict.seconds,
        }
        for verdict in verdicts
    ]
