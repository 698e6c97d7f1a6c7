"""`bnconform identify --backend B`: the measured semantics profile of an implementation."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bnconform.cli.parser import Verbs, add_verb, dtype_name, one_backend, places, selection
from bnconform.errors import UserError
from bnconform.execution.selection import Selection
from bnconform.judge.subject import AdapterError, Ended
from bnconform.measure.identify import PREFERRED, first_profile
from bnconform.measure.semantics_profile import SemanticsProfile, as_data
from bnconform.results.files import check_writable, write
from bnconform.results.visible import visible


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "identify",
        summary,
        example="bnconform identify --backend torch.nn --dtype float32",
        run=run,
        parents=[one_backend(), places()],
    )
    parser.add_argument(
        "--dtype", type=dtype_name, metavar="T", help="in which to measure (default: the first that it has)"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write what was measured to a file")


def run(known: argparse.Namespace) -> int:
    """Print the profile: 0, or 1 where an ordinary pass is not answered, or a declaration of the adapter is refuted.

    Raises:
        UserError, BackendError: where nothing can be measured or written.
    """
    if known.backend == "all":
        raise UserError("identify measures one backend; give its name")
    if known.json is not None:
        check_writable(known.json, "the profile")
    with selection(known) as chosen:
        profile = _measure(known, chosen)
    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    show(profile, console)
    if known.json is not None:
        write(known.json, json.dumps(as_data(profile), indent=1, ensure_ascii=False) + "\n", "the profile")
        console.print(f"The profile is in {known.json}", markup=False)
    return 1 if profile.contradictions or profile.ended or profile.unanswered or not profile.seen else 0


def _measure(known: argparse.Namespace, chosen: Selection) -> SemanticsProfile:
    """The profile of the backend that was asked for."""
    chosen.check_settings([known.backend])
    offered = chosen.subjects(
        [known.backend], [known.device] if known.device else [], [known.dtype] if known.dtype else []
    )
    if offered[0].is_deployment:
        raise UserError(f"{offered[0].name} deploys models and has no layer to measure; bnconform --backend judges it")
    first = {subject.dtype: subject for subject in reversed(offered)}  # on the first device
    lacking = offered[0].unsupported
    wanted = [dtype for dtype in PREFERRED if dtype in first and dtype not in lacking]
    if not wanted:
        raise UserError(f"{offered[0].name} has no dtype to measure: {'; '.join(lacking.values())}")
    try:
        with Console(stderr=True).status(f"measuring {offered[0].name}") as status:
            profile = first_profile(first.__getitem__, wanted, lambda what: status.update(f"{offered[0].name}: {what}"))
            assert profile is not None
    except (AdapterError, Ended) as problem:
        raise UserError(f"{offered[0].name} cannot be measured: {problem}") from None
    return profile


def _plain_text(words: str, style: str = "") -> Text:
    """Text in which nothing is obeyed."""
    return Text(visible(words), style)


SHOWN = 8
"""Lines of one kind that are shown."""


def show(profile: SemanticsProfile, console: Console) -> None:
    """Print a profile."""
    differing = [one for one in profile.findings if one.differs]
    open_ones = [one for one in profile.findings if not one.decided and not one.differs]
    console.print(_plain_text(f"{profile.backend} on {profile.device}, measured in {profile.dtype}", "bold"))
    words = ", ".join(f"{one.decision} = {' or '.join(one.values)}" for one in differing)
    shown = ", as far as it shows" if open_ones else ""
    if not profile.seen:
        reason = next(iter(profile.refused.values()), "it lacks all that the distinguishing programs ask for")
        console.print(_plain_text(f"Nothing could be measured: {reason}", "bold red"))
        return
    if profile.ended:
        how = profile.refused[profile.ended[0]]
        console.print(_plain_text(f"Its process ended in {len(profile.ended)} of the programs: {how}", "bold red"))
    if profile.unexplained:
        count = f"{len(profile.unexplained)} observations"
        near = f"; the nearest point has {words}" if words else ""
        console.print(_plain_text(f"No point of the behaviour space explains it: {count} are left{near}", "bold red"))
    elif profile.unanswered:
        which = ", ".join(profile.unanswered)
        console.print(
            _plain_text(f"It does not answer ({which}): {profile.refused[profile.unanswered[0]]}", "bold red")
        )
        console.print(_plain_text(f"The rest is as BatchNorm must do it{shown}{f', but for {words}' if words else ''}"))
    else:
        console.print(_plain_text(f"It does what BatchNorm must do{shown}{f', but for {words}' if words else ''}"))
    console.print()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("decision", no_wrap=True)
    for column, ratio in (("measured", None), ("next to it", None), ("which is refuted by", 1)):
        table.add_column(column, overflow="fold", ratio=ratio)
    for one in profile.findings:
        style = "yellow" if one.differs else "green" if one.decided else "dim"
        value = one.values[0] if one.decided else "undecidable: " + " or ".join(one.values)
        table.add_row(one.decision, _plain_text(value, style), one.refuted, _plain_text(one.evidence, "dim"))
    console.print(table)
    console.print()
    _measurements(profile, console)
    for title, lines in (
        ("What no point of the behaviour space explains", profile.unexplained),
        ("What it refused", [f"{name}: {words}" for name, words in profile.refused.items()]),
        ("Errors of the adapter", profile.contradictions),
    ):
        if lines:
            console.print(_plain_text(title, "bold red"))
            for line in lines[:SHOWN]:
                console.print(_plain_text(f"  {line}"))
            if len(lines) > SHOWN:
                console.print(_plain_text(f"  and {len(lines) - SHOWN} more (--json has all)"))


def _measurements(profile: SemanticsProfile, console: Console) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("what", style="bold")
    table.add_column("measured", overflow="fold")
    table.add_row(
        "defaults", _plain_text(profile.defaults.describe() if profile.defaults else f"none: {profile.no_defaults}")
    )
    table.add_row("variance", _plain_text(profile.algorithm))
    for dtype, shown in profile.dtypes.items():
        text = f"y {shown[0]}, statistics {shown[1]}" if isinstance(shown, tuple) else f"not offered: {shown}"
        table.add_row(f"{dtype} input", _plain_text(text))
    if not profile.steady:
        table.add_row("repeated", _plain_text("it answers differently when asked the same again"))
    console.print(table)
    undeclared = [one for one in profile.findings if one.differs and not one.declared]
    if undeclared:
        words = ", ".join(f'"{one.decision}": "{one.values[0]}"' for one in undeclared)
        console.print(f"not declared by the adapter: {words}", markup=False)
