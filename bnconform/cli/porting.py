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
from bnconform.backends.registry import BackendError
from bnconform.cli.refusal import refuse
from bnconform.execution import selection, worker_pool
from bnconform.render.porting_table import page
from bnconform.results.files import FileError, write
from bnconform.backends.runner.loading import installed

USAGE = "give bnconform porting [--backend B]... [--device D] [--python B=PATH]... [--into DIR]"
FILES = ("porting.json", "porting.md")


def face(arguments: Sequence[str]) -> int:
    """Write the table; 0, or 2 where it cannot be made."""
    parser = argparse.ArgumentParser(prog="bnconform porting", add_help=False, exit_on_error=False)
    parser.add_argument("--backend", action="append", default=[])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--python", action="append", default=[])
    parser.add_argument("--into", type=Path, default=Path())
    try:
        known, unknown = parser.parse_known_args(list(arguments))
        if unknown:
            raise BackendError(f"porting does not take {unknown[0]!r}; {USAGE}")
        worker_pool.SETTINGS = worker_pool.settings(300, 0, known.python)
        keys, left_out = selection.isolated(known.backend or ["all"])
        data = measured(keys, known.device)
        known.into.mkdir(parents=True, exist_ok=True)
        for name, text in zip(FILES, (json.dumps(data, indent=1, ensure_ascii=False) + "\n", page(data)), strict=True):
            write(known.into / name, text, "the table")
    except (argparse.ArgumentError, BackendError, FileError) as problem:
        return refuse(problem)
    except OSError as problem:
        return refuse(f"cannot write into {known.into}: {problem.strerror or problem}")
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
        states = {key: told["state"] for key, told in trained.items() if "state" in told}
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
        "untrained": {key: told["reason"] for key, told in trained.items() if "reason" in told},
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
        told = worker_pool.ask(key, request(key), 3 * worker_pool.LOADING)
        progress.advance(task)
        return told

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return dict(zip(keys, pool.map(one, keys), strict=True))
