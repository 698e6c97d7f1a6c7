"""`bnconform porting`: what each implementation does, measured, and its trained layers carried into every other."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.progress import Progress

from bnconform.backends.parameter_names import spelling
from bnconform.cli.parser import Verbs, add_verb, interpreters
from bnconform.errors import UserError
from bnconform.execution import selection, worker_pool
from bnconform.render.porting_table import page
from bnconform.results.files import write
from bnconform.results.run_result import installed

FILES = ("porting.json", "porting.md")


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "porting",
        summary,
        example="bnconform porting --backend torch.nn --backend flax.nnx --into tables",
        run=run,
        parents=[interpreters()],
    )
    parser.add_argument(
        "--backend", action="append", default=[], metavar="B", help="one of them (default: all); may be repeated"
    )
    parser.add_argument("--device", default="cpu", metavar="D", help="on which all are measured (default: cpu)")
    parser.add_argument("--into", type=Path, default=Path(), metavar="DIR", help="where the table is written")


def run(known: argparse.Namespace) -> int:
    """Write the table: 0. Raises UserError or BackendError where it cannot be made."""
    worker_pool.SETTINGS = worker_pool.settings(300, 0, known.python)
    keys, left_out = selection.isolated(known.backend or ["all"])
    data = measured(keys, known.device)
    try:
        known.into.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UserError(f"cannot write into {known.into}: {problem.strerror or problem}") from None
    for name, text in zip(FILES, (json.dumps(data, indent=1, ensure_ascii=False) + "\n", page(data)), strict=True):
        write(known.into / name, text, "the table")
    for name, reason in left_out.items():
        print(f"{name} was left out: {reason}")
    print(f"{len(data['cards'])} implementations are in {known.into / FILES[1]} and {known.into / FILES[0]}")
    return 0


def measured(keys: Sequence[str], device: str) -> dict[str, Any]:
    """The cards of all backends, and how far the evaluation of each trained layer lies in each other's bound."""
    worker_pool.describe(keys, lambda key: key)
    with Progress(transient=True) as progress:
        cards = _each(keys, progress, "measuring", lambda key: {"do": "identify", "device": device})
        trained = _each(keys, progress, "training", lambda key: {"do": "trained", "device": device})
        states = {key: reply["state"] for key, reply in trained.items() if "state" in reply}
        carried = _each(keys, progress, "carrying", lambda key: {"do": "carried", "device": device, "states": states})
    packages = installed()
    for key in keys:
        packages = {**worker_pool.DESCRIBED[key].get("packages", {}), **packages}
    return {
        "schema": "bnconform/porting/1",
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": dict(sorted(packages.items())),
        "cards": cards,
        "spelling": {key: spelling(key) for key in keys},
        "documented": {key: worker_pool.DESCRIBED[key].get("documented", {}) for key in keys},
        "unsupported": {
            key: {
                **worker_pool.DESCRIBED[key].get("unsupported", {}),
                **worker_pool.DESCRIBED[key].get("unsupported_on", {}).get(device.partition(":")[0], {}),
            }
            for key in keys
        },
        "untrained": {key: reply["reason"] for key, reply in trained.items() if "reason" in reply},
        "carried": {
            donor: {key: carried[key].get(donor, {"reason": carried[key].get("reason", "not asked")}) for key in keys}
            for donor in states
        },
    }


def _each(
    keys: Sequence[str], progress: Progress, what: str, request: Callable[[str], Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """One question to every backend, two at a time where there are two cores."""
    task = progress.add_task(what, total=len(keys))

    def one(key: str) -> dict[str, Any]:
        reply = worker_pool.ask(key, request(key), 3 * worker_pool.LOADING)
        progress.advance(task)
        return reply

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return dict(zip(keys, pool.map(one, keys), strict=True))
