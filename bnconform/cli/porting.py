"""`bnconform porting`: what each implementation does, measured, and how to carry a layer from one to another."""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import Progress

from bnconform.backends import layer_code, registry
from bnconform.backends.parameter_names import defaults_of, names_for
from bnconform.backends.registry import BackendError
from bnconform.backends.runner.loading import find_installed
from bnconform.cli import porting_way
from bnconform.cli.parser import Verbs, add_verb, places, selection
from bnconform.errors import UserError
from bnconform.execution.selection import Selection
from bnconform.execution.sessions import Description, Session
from bnconform.judge.subject import AdapterError, Ended, Subject
from bnconform.measure import identify, porting, porting_cells, porting_replicas, porting_scripts
from bnconform.measure.semantics_profile import as_data
from bnconform.render import porting_pages
from bnconform.results.files import make_folder, write
from bnconform.results.porting_list import FILE, digest, read, scripts

SubjectOf = Callable[[str], Subject]
"""The subject of a backend, by its dtype."""

SAME_LAYER = {
    "torch.nn+func": "torch.nn", "torch.nn+sync": "torch.nn", "torch.nn+ddp": "torch.nn",
    "torch.nn+checkpoint": "torch.nn", "torch.nn+checkpoint_reentrant": "torch.nn",
    "torch.nn+checkpoint+compile": "torch.nn", "torch.nn+frozen": "torch.nn",
    "tabnet.gbn": "torch.nn",
    "flax.linen+padded": "flax.linen", "flax.linen+unsynchronised": "flax.linen",
    "flax.linen+shard_map": "flax.linen", "flax.linen+pmap": "flax.linen", "flax.linen+spmd": "flax.linen",
    "keras+tensorflow+mirrored": "keras+tensorflow", "keras+tensorflow+mirrored_unsynchronised": "keras+tensorflow",
    **{f"keras+{backend}+remat": f"keras+{backend}" for backend in ("tensorflow", "jax", "torch")},
    **{f"keras+{backend}+axis1": f"keras+{backend}" for backend in ("tensorflow", "jax", "torch", "numpy")},
}  # fmt: skip
"""Rows that differ from another one in derivatives, replicas, recomputation, freezing, the pieces of a batch or where
the channels are, alone: the table has what they do with replicas, save or freeze, and nothing of the others."""


EXAMPLE = """\
bnconform porting --from torch.nn --to flax.nnx
  bnconform porting --backend torch.nn --backend flax.nnx --into tables"""

SECONDS = 600.0
"""In which a program of one framework must be done with the states of all others."""


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "porting", summary, example=EXAMPLE, run=run, parents=[places()])
    parser.add_argument("--from", dest="source", metavar="A", help="what there is to do to carry a layer from A ...")
    parser.add_argument("--to", dest="target", metavar="B", help="... to B, with the code that does it, as Markdown")
    parser.add_argument("--run", dest="runs", action="store_true", help="run that code here, and say how far it holds")
    parser.add_argument(
        "--table", type=Path, metavar="PATH", help=f"a {FILE} that knows both (default: that of this package)"
    )
    parser.add_argument(
        "--backend", action="append", default=[], metavar="B",
        help="measure a table anew, with this one in it (default: all); may be repeated",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu", metavar="D", help="on which all are measured (default: cpu)")
    parser.add_argument("--code", action="store_true", help="of the table in --into, run the code of each pair again")
    parser.add_argument("--into", type=Path, metavar="DIR", help="where the table, or the page and code, is written")


def run(known: argparse.Namespace) -> int:
    """Write the table, or the way from A to B: 0. Raises UserError or BackendError where it cannot be made."""
    if known.source or known.target:
        return porting_way.run(known)
    if known.runs or known.table:
        raise UserError("porting: --run and --table are about a way; give --from A --to B, too")
    folder = known.into or Path()
    with selection(known) as chosen:
        if known.code:
            data = read(folder / FILE)
        else:
            chosen.check_settings(known.backend or ["all"])
            every, left_out = chosen.keys(known.backend or ["all"])
            keys = every if known.backend else [key for key in every if key not in SAME_LAYER]
            data = measure(chosen, keys, known.device)
            data["replicas"] = of_abilities(chosen, every, known.device, "replicas", porting_replicas.replicas)
            data["besides"] = of_abilities(chosen, every, known.device, "besides", porting_replicas.besides)
            for name, reason in left_out.items():
                print(f"{name} was left out: {reason}")
        code = _run_code(data, chosen)
    write_table({**data, "code": {**data.get("code", {}), **code} if code else data.get("code", {})}, folder)
    print(f"{len(data['cards'])} implementations are in {folder / porting_pages.INDEX} and {folder / FILE}")
    return 0


def write_table(data: Mapping[str, Any], folder: Path) -> None:
    """The table and all its pages; UserError where they cannot be written."""
    texts = {FILE: json.dumps(data, indent=1, ensure_ascii=False) + "\n", **porting_pages.pages(data)}
    for name, text in texts.items():
        path = folder / name
        make_folder(path.parent)
        write(path, text, "the table")


def _run_code(data: Mapping[str, Any], chosen: Selection) -> dict[str, Any]:
    """What comes of the code of every pair of the table that has some, as the table keeps it."""
    names = []
    for name in (name for name in layer_code.CODE if name in data["cards"]):
        elsewhere = chosen.pool.settings.is_elsewhere(name)
        if reason := "" if elsewhere else registry.missing(registry.find_known(name)):
            print(f"the code of {name} was not run: {reason}")
        else:
            names.append(name)
    pairs = {
        source: {target: made for target in names if target != source and (made := scripts(data, source, target))}
        for source in names
    }
    if len(names) < 2:
        return {}
    chosen.keys(names)
    interpreters = {name: chosen.pool.settings.interpreter(name) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        found = porting_scripts.run_all(pairs, interpreters, Path(folder), SECONDS)
    packages = dict(find_installed())
    for name in names:
        packages = {**chosen.pool.described[name].get("packages", {}), **packages}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "packages": dict(sorted(packages.items())),
        "lines": {name: digest(name) for name in names},
        "ran": {source: {target: one.as_data() for target, one in into.items()} for source, into in found.items()},
    }


# -- the table ---------------------------------------------------------------------------------------------------------


def measure(chosen: Selection, keys: Sequence[str], device: str) -> dict[str, Any]:
    """The profiles of all backends, and how far the evaluation of each trained layer lies in each other's bound."""
    described = chosen.pool.described
    with Progress(transient=True) as progress:
        profiles = _each(chosen, keys, progress, "measuring", device, _profile)
        cells = _each(chosen, keys, progress, "looking at ranks and dtypes", device, _cells)
        trained = _each(chosen, keys, progress, "training", device, lambda of: porting.train(of(porting.DTYPE)))
        states = {key: found["state"] for key, found in trained.items() if "state" in found}

        def carry_into(of: SubjectOf) -> dict[str, Any]:
            return {donor: porting.carry_on(of(porting.DTYPE), state) for donor, state in states.items()}

        carried = _each(chosen, keys, progress, "carrying", device, carry_into)
    packages = find_installed()
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


def of_abilities(
    chosen: Selection,
    keys: Sequence[str],
    device: str,
    what: str,
    ask: Callable[[SubjectOf], dict[str, Any]],
) -> dict[str, dict[str, Any]]:
    """What each does in passes that a layer need not have, by decision; without those that have none."""
    with Progress(transient=True) as progress:
        found = _each(chosen, keys, progress, what, device, ask)
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
