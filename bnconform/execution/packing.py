"""Packing the executing side into one file, with the programs of the suite: what `bnconform runner` writes."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bnconform.backends import registry
from bnconform.backends.registry import BackendError
from bnconform.backends.runner import frames, loading
from bnconform.backends.runner.loading import version
from bnconform.backends.runner.record import PLANS, PROGRAMS
from bnconform.cases.program import Program
from bnconform.execution import bundle
from bnconform.execution.sessions import Description
from bnconform.judge.plan import plan_programs

MAIN = """
import sys
sys.path[:] = [sys.argv[0], *(place for place in sys.path if place and place != sys.argv[0])]
{check}
from bnconform.backends.runner.record import main
sys.exit(main(sys.argv[0]))
"""
"""What the file runs: whether its interpreter has what is needed, and the command."""


def pack(keys: Sequence[str], dtypes: Sequence[str], progress: Callable[[str], None] = lambda _: None) -> bytes:
    """The file, as bytes: the runner, all adapters of the package, and the programs for these backends and dtypes.

    Args:
        keys: names of this package's backends, or FILE.py:CLASS, whose file goes along.

    Raises:
        BackendError: for a backend that cannot be packed.
    """
    plans: dict[str, Any] = {"bnconform": version("bnconform") or "a clone", "backends": {}, "files": {}}
    programs: dict[str, Program] = {}
    known: dict[str, list[str]] = {}
    for key in keys:
        progress(key)
        declared = declarations(key)
        kinds = {"": "cpu", **{kind: f"{kind}:0" for kind in declared.unsupported_on}}
        plans["backends"][key] = {
            kind: {dtype: _plan(declared, device, dtype, programs, known) for dtype in dtypes}
            for kind, device in kinds.items()
        }
        plans["files"].update(bundle.adapter_files(key))
    plans["digest"] = hashlib.sha256(json.dumps(plans, sort_keys=True).encode()).hexdigest()
    return _archive(plans, programs)


def declarations(key: str) -> Description:
    """What an adapter declares, read off its class: its framework need not be here."""
    if key in registry.BUILTIN:
        found = registry.adapter_class(key)
    elif Path(key.rpartition(":")[0]).suffix == ".py":
        found = loading.adapter(key)
    elif key.startswith(registry.COMMAND):
        found = loading.adapter(key)  # the program is started, and asked
    else:
        raise BackendError(
            f"{key} cannot be packed: give a name of this package's backends, FILE.py:CLASS or command:PROGRAM"
        )
    words = ("deviations", "unsupported", "unsupported_on", "documented")
    given: dict[str, Any] = {word: dict(getattr(found, word, {})) for word in words}
    return Description(
        str(found.name), **given, slow_to_start=bool(getattr(found, "slow_to_start", False)),
        shapes_cost_time=bool(getattr(found, "shapes_cost_time", False)),
    )  # fmt: skip


def _plan(
    declared: Description, device: str, dtype: str, programs: dict[str, Program], known: dict[str, list[str]]
) -> list[str]:
    """The keys of the programs for one dtype; backends that declare alike are asked alike."""
    here = declared.unsupported_on.get(device.partition(":")[0], {})
    lacking = sorted({*declared.unsupported, *here})
    place = json.dumps(
        [lacking, sorted(declared.deviations.items()), declared.slow_to_start, declared.shapes_cost_time, dtype]
    )
    if place not in known:
        found = plan_programs(declared, device, dtype)
        programs.update((program.key.hex(), program) for program in found)
        known[place] = [program.key.hex() for program in found]
    return known[place]


def _archive(plans: dict[str, Any], programs: dict[str, Program]) -> bytes:
    held = io.BytesIO()
    held.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in _files(plans, programs):
            # The same content makes the same file, whenever it is made.
            packed.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return held.getvalue()


def _files(plans: dict[str, Any], programs: dict[str, Program]) -> Iterable[tuple[str, bytes]]:
    yield "__main__.py", MAIN.format(check=bundle.CHECK).encode()
    for path, source in bundle.sources().items():
        yield f"bnconform/{path}", source.encode()
    for name, program in programs.items():
        yield f"{PROGRAMS}{name}", frames.encode(program.message())
    yield PLANS, json.dumps(plans).encode()
