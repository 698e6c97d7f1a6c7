"""`bnconform deploy --torch FILE.py:FACTORY --tool all`: what tools make of a model of one's own."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bnconform.backends import registry
from bnconform.cli import deployment_costs
from bnconform.cli.parser import Parser, Verbs, add_verb, places, suggestion
from bnconform.errors import UserError
from bnconform.execution.settings import settings
from bnconform.judge.outcome import CONFORMS, CRASHED, DEVIATES, UNSUPPORTED, UNTRUSTED, VIOLATES
from bnconform.judge.own_model import SAFETY, Norm, OwnModel, OwnModelRun, OwnModelSession, ToolResult
from bnconform.results.files import check_writable, write
from bnconform.results.visible import visible

CONTROLS = {"torch": "torch.eager", "keras": "keras.call"}
"""The tool that is the model itself, by framework."""

STYLES = {
    CONFORMS: "green",
    DEVIATES: "yellow",
    VIOLATES: "bold red",
    CRASHED: "bold red",
    UNSUPPORTED: "dim",
    UNTRUSTED: "yellow",
}

SHOWN = 200
"""Characters of a refusal that are shown."""


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "deploy",
        summary,
        example="bnconform deploy --torch my_model.py:make --input 4,3,32,32 --tool all",
        run=run,
        parents=[places()],
    )
    _add_model(parser)
    parser.add_argument(
        "--tool", action="append", default=[], metavar="NAME",
        help="a tool that deploys models, or all that can run here (default: all); may be repeated",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="PATH", help="write what was found to a file")
    parser.add_argument(
        "--costs", action="store_true",
        help="no model: measure what it costs to judge each tool, the everyday ones or those of --tool",
    )  # fmt: skip
    parser.add_argument("--into", type=Path, metavar="DIR", help="with --costs, write the table and its data there")


def _add_model(parser: Parser) -> None:
    for framework, kind in (("torch", "torch.nn.Module"), ("keras", "keras.Model")):
        parser.add_argument(
            f"--{framework}", metavar="PLACE", help=f"FILE.py:FACTORY or MODULE:FACTORY, which returns a {kind}, or "
            "(model, input)",
        )  # fmt: skip
    parser.add_argument(
        "--input", metavar="X", help="what it predicts: a shape such as 4,3,32,32, the batch first, or FILE.npy"
    )


def run(known: argparse.Namespace) -> int:
    """Print what each tool makes of the model: 0, or 1 where one predicts something else, or died.

    Raises:
        UserError, BackendError: where the model cannot be made, or nothing can be judged.
    """
    named = {name: getattr(known, name) for name in CONTROLS if getattr(known, name) is not None}
    if known.costs:
        if named or known.input is not None or known.json is not None:
            raise UserError("--costs measures the suite's own models; leave --torch, --keras, --input and --json out")
        return deployment_costs.run(known)
    if known.into is not None:
        raise UserError("--into belongs to --costs; --json writes what was found of a model")
    if len(named) != 1:
        raise UserError("deploy takes one model: --torch FILE.py:FACTORY or --keras FILE.py:FACTORY")
    ((framework, place),) = named.items()
    if known.json is not None:
        check_writable(known.json, "what was found")
    given = _parse_input(known.input)
    here = settings(known.time_limit, 0, known.python, known.run_in)
    tools, left_out = _tools(framework, known.tool, elsewhere=here.is_elsewhere(framework))
    session = OwnModelSession(here, framework, place, given, framework)
    try:
        model = session.facts()
        if not model.norms:
            raise UserError(f"{place} gives a model without a BatchNorm, which this suite is about")
        judged = OwnModelRun(session, model, session.reference(model.dtype), CONTROLS[framework])
        console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
        _show_model(console, place, model, judged.check_control())
        results = []
        with Console(stderr=True).status("") as status:
            for tool in tools:
                status.update(f"{place}: {tool}")
                results.append(judged.judge(tool, status.update))
    finally:
        session.close()
    _show(console, results, model, left_out)
    if known.json is not None:
        data = _data(place, model, results)
        write(known.json, json.dumps(data, indent=1, ensure_ascii=False) + "\n", "what was found")
        console.print(f"What was found is in {known.json}", markup=False)
    if all(one.verdict == UNSUPPORTED for one in results):
        raise UserError("no tool deploys this model, so that nothing was judged; see what each says")
    return 1 if any(one.verdict in (VIOLATES, CRASHED, UNTRUSTED) for one in results) else 0


def _parse_input(text: str | None) -> dict[str, Any]:
    """What --input says, as the side that executes takes it."""
    if text is None:
        return {}
    if text.endswith(".npy"):
        try:
            return {"array": np.load(text, allow_pickle=False)}
        except (OSError, ValueError) as problem:
            raise UserError(f"--input {text}: it cannot be read as an array: {problem}") from None
    try:
        shape = [int(part) for part in text.strip("()[] ").split(",") if part.strip()]
    except ValueError:
        shape = []
    if not shape or any(size < 1 for size in shape):
        raise UserError(f"--input {text!r} is neither a shape such as 4,3,32,32 nor a file FILE.npy")
    return {"shape": shape}


def _tools(framework: str, given: Sequence[str], *, elsewhere: bool) -> tuple[list[str], dict[str, str]]:
    """The tools that are asked, and those of `all` that cannot run here, with the reason."""
    fitting = {name: entry for name, entry in registry.DEPLOYMENTS.items() if framework in entry.needs.split()}
    wanted = list(given) or ["all"]
    for name in wanted:
        if name != "all" and name not in fitting:
            meant = suggestion(name, fitting)
            raise UserError(f"no tool {name!r} takes a {framework} model{meant}; give {', '.join(fitting)}, or all")
    if "all" not in wanted:
        return list(dict.fromkeys(wanted)), {}
    reasons = {name: "" if elsewhere else registry.missing(entry) for name, entry in fitting.items()}
    return [name for name, reason in reasons.items() if not reason], {n: why for n, why in reasons.items() if why}


def _show_model(console: Console, place: str, model: OwnModel, ratio: float) -> None:
    count = len(model.norms)
    console.print(_text(
        f"{place}: {count} BatchNorm{'s' if count > 1 else ''}, {model.dtype}, x {model.shape}. Due is its own "
        f"prediction in float64, to within {SAFETY:g} times what rounding every intermediate result moved it; the "
        f"model itself is off by {ratio:.2g} of that."
    ))  # fmt: skip
    if not model.traced:
        console.print(_text("Its graph cannot be traced, so that what stands around a BatchNorm is not told."))
    console.print()


def _text(words: str, style: str = "") -> Text:
    return Text(visible(words), style)


def _show(console: Console, results: Sequence[ToolResult], model: OwnModel, left_out: dict[str, str]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("tool", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("off, in bounds", justify="right")
    table.add_column("s", justify="right")
    table.add_column("", overflow="fold", ratio=1)
    for one in results:
        ratio = "" if one.verdict in (UNSUPPORTED, CRASHED) else f"{one.ratio:.3g}"
        words = one.words if len(one.words) <= SHOWN else one.words[:SHOWN] + " ..."
        if one.verdict == VIOLATES and not words:
            words = f"off by {one.off:.3g} where the largest prediction is {one.largest:.3g}"
        table.add_row(one.tool, _text(one.verdict, STYLES[one.verdict]), ratio, f"{one.seconds:.1f}", _text(words))
    console.print(table)
    norms = {norm.name: norm for norm in model.norms}
    for one in results:
        if one.found is not None:
            console.print()
            console.print(_text(f"{one.tool} predicts something else", "bold red"))
            for line in blame(one, norms):
                console.print(_text(f"  {line}"), soft_wrap=False)
    console.print()
    for name, reason in left_out.items():
        console.print(_text(f"{name} was left out: {reason}"))
    counts = {verdict: sum(one.verdict == verdict for one in results) for verdict in STYLES}
    console.print(_text(", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)))


def blame(result: ToolResult, norms: dict[str, Norm]) -> list[str]:
    """The BatchNorms at which a tool begins to differ, each with the pattern around it."""
    found = result.found
    if found is None:
        return []
    if found.needs_none:
        return ["also where no BatchNorm stands beside a layer: it is not how they are folded"]
    lines = []
    for names in found.sets:
        begins = "by itself" if len(names) == 1 else "together"
        lines += [f"{norms[name].pattern} ({begins})" for name in names]
    if not found.is_whole:
        lines.append("and perhaps others: the search was cut short")
    return lines


def _data(place: str, model: OwnModel, results: Sequence[ToolResult]) -> dict[str, Any]:
    """What was found, JSON-ready."""
    norms = {norm.name: norm for norm in model.norms}

    def number(value: float) -> float | str:
        return value if math.isfinite(value) else str(value)

    return {
        "schema": "bnconform/deploy/1",
        "model": {"place": place, **asdict(model)},
        "tools": [
            {
                "tool": one.tool, "verdict": one.verdict, "words": one.words, "ratio": number(one.ratio),
                "off": number(one.off), "seconds": round(one.seconds, 3),
                "found": None if one.found is None else asdict(one.found), "patterns": blame(one, norms),
            }
            for one in results
        ],
    }  # fmt: skip
