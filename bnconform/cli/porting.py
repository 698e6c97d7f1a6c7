"""`bnconform porting`: what each implementation does, measured, and its trained layers carried into every other."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import Progress

from bnconform.backends.parameter_names import defaults_of, names_for
from bnconform.backends.registry import BackendError
from bnconform.backends.runner.loading import installed
from bnconform.cli.parser import Verbs, add_verb, places, selection
from bnconform.errors import UserError
from bnconform.execution.selection import Selection
from bnconform.execution.sessions import Description, Session
from bnconform.judge.subject import AdapterError, Ended, Subject
from bnconform.measure import identify, porting, porting_cells, porting_replicas
from bnconform.measure.semantics_profile import as_data
from bnconform.render.porting_table import page
from bnconform.results.files import write

SubjectOf = Callable[[str], Subject]
"""The subject of a backend, by its dtype."""

FILES = ("porting.json", "porting.md")

SAME_LAYER = {
    "torch.nn+func": "torch.nn", "torch.nn+sync": "torch.nn", "torch.nn+ddp": "torch.nn",
    "flax.linen+padded": "flax.linen", "flax.linen+unsynchronised": "flax.linen",
    "flax.linen+shard_map": "flax.linen", "flax.linen+pmap": "flax.linen", "flax.linen+spmd": "flax.linen",
    "keras+tensorflow+mirrored": "keras+tensorflow", "keras+tensorflow+mirrored_unsynchronised": "keras+tensorflow",
    **{f"keras+{backend}+axis1": f"keras+{backend}" for backend in ("tensorflow", "jax", "torch", "numpy")},
}  # fmt: skip
"""Rows that differ from another one in derivatives, in replicas, or in where the channels are, alone: the table has
what they do with replicas, and nothing of the others."""


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "porting",
        summary,
        example="bnconform porting --backend torch.nn --backend flax.nnx --into tables",
        run=run,
        parents=[places()],
    )
    parser.add_argument(
        "--backend", action="append", default=[], metavar="B", help="one of them (default: all); may be repeated"
    )
    parser.add_argument("--device", default="cpu", metavar="D", help="on which all are measured (default: cpu)")
    parser.add_argument("--into", type=Path, default=Path(), metavar="DIR", help="where the table is written")


def run(known: argparse.Namespace) -> int:
    """Write the table: 0. Raises UserError or BackendError where it cannot be made."""
    with selection(known) as chosen:
        every, left_out = chosen.keys(known.backend or ["all"])
        keys = every if known.backend else [key for key in every if key not in SAME_LAYER]
        data = measured(chosen, keys, known.device)
        data["replicas"] = over_replicas(chosen, every, known.device)
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


def measured(chosen: Selection, keys: Sequence[str], device: str) -> dict[str, Any]:
    """The profiles of all backends, and how far the evaluation of each trained layer lies in each other's bound."""
    described = chosen.pool.described
    with Progress(transient=True) as progress:
        profiles = _each(chosen, keys, progress, "measuring", device, _profile)
        cells = _each(chosen, keys, progress, "looking at ranks and dtypes", device, _cells)
        trained = _each(chosen, keys, progress, "training", device, lambda of: porting.trained(of(porting.DTYPE)))
        states = {key: found["state"] for key, found in trained.items() if "state" in found}

        def carry_into(of: SubjectOf) -> dict[str, Any]:
            return {donor: porting.carry_on(of(porting.DTYPE), state) for donor, state in states.items()}

        carried = _each(chosen, keys, progress, "carrying", device, carry_into)
    packages = installed()
    for key in keys:
        packages = {**described[key].get("packages", {}), **packages}
    return {
        "schema": "bnconform/porting/1",
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": dict(sorted(packages.items())),
        "cards": profiles,
        "cells": {key: found.get("cells", {}) for key, found in cells.items()},
        "defaults": {key: defaults_of(key) for key in keys},
        "spelling": {key: names_for(key) for key in keys},
        "documented": {key: described[key].get("documented", {}) for key in keys},
        "unsupported": {
            key: {
                **described[key].get("unsupported", {}),
                **described[key].get("unsupported_on", {}).get(device.partition(":")[0], {}),
            }
            for key in keys
        },
        "kept": {key: told["share"] for key, told in trained.items() if "share" in told},
        "untrained": {key: told["reason"] for key, told in trained.items() if "reason" in told},
        "carried": {
            donor: {key: carried[key].get(donor, {"reason": carried[key].get("reason", "not asked")}) for key in keys}
            for donor in states
        },
    }


def over_replicas(chosen: Selection, keys: Sequence[str], device: str) -> dict[str, dict[str, Any]]:
    """What each does with a batch over replicas, by decision; without those that have none."""
    with Progress(transient=True) as progress:
        found = _each(chosen, keys, progress, "replicas", device, porting_replicas.replicas)
    return {key: told for key, told in found.items() if told and "reason" not in told}


def _profile(of: SubjectOf) -> dict[str, Any]:
    """The profile of a backend, in the first dtype that it has and answers in."""
    profile = identify.first_profile(of)
    return as_data(profile) if profile else {"reason": "it has no dtype to measure"}


def _cells(of: SubjectOf) -> dict[str, Any]:
    """What is seen at each rank and in each dtype."""
    return {"cells": porting_cells.cells(of)}


def _subject(key: str, backend: Description, device: str, session: Session, dtype: str) -> Subject:
    return Subject(key, backend, device, dtype, session)


def _each(
    chosen: Selection,
    keys: Sequence[str],
    progress: Progress,
    what: str,
    device: str,
    ask: Callable[[SubjectOf], dict[str, Any]],
) -> dict[str, dict[str, Any]]:
    """One measurement of every backend, each in a process that ends with it; {"reason": why not} where it cannot be."""
    task = progress.add_task(what, total=len(keys))
    found = {}
    for key in keys:
        try:
            backend = chosen.description(key)
            session = chosen.session(key, device)
            found[key] = ask(partial(_subject, key, backend, device, session))
        except (AdapterError, Ended, BackendError) as problem:
            found[key] = {"reason": str(problem)}
        progress.advance(task)
    return found
