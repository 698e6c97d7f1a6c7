"""`bnconform porting --from A --to B`: what there is to do to carry a layer, with the code that does it."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bnconform.backends import registry
from bnconform.errors import UserError
from bnconform.results.files import make_folder, write
from bnconform.results.porting_list import FILE, Scripts, find_record, porting_list, read, scripts

TABLE = Path(registry.__file__).with_name(FILE)
"""The table of this package."""


def run(known: argparse.Namespace) -> int:
    """Print what there is to do from A to B, or write it with the code."""
    if not (known.source and known.target):
        raise UserError(f"porting: --{'from' if known.target else 'to'} is missing; give --from A --to B")
    if known.backend or known.code:
        raise UserError("porting: --backend and --code make a table; --from A --to B reads one")
    # What follows takes time to import, and a refusal is to be quick.
    from bnconform.render import porting_pages

    data = read(known.table or TABLE)
    for name in (known.source, known.target):
        if name not in data["cards"]:
            near = " or ".join(registry.alike(name, data["cards"]))
            meant = f"; did you mean {near}?" if near else ";"
            command = f"`bnconform porting --backend {name} --backend B --into DIR`"
            raise UserError(
                f"{name} is not in the porting table{meant} {command} measures it, and --table DIR/{FILE} takes that"
            )
    if known.source == known.target:
        raise UserError(f"porting: from {known.source} to itself there is nothing to do; give two")
    found = porting_list(data, known.source, known.target)
    programs = scripts(data, known.source, known.target)
    ran: Mapping[str, Any] | None = find_record(data, programs)
    if known.runs:
        if programs is None:
            raise UserError(
                f"there is no code from {known.source} to {known.target}: one of them is no framework's layer"
            )
        ran = _run_here(known, programs)
    page = porting_pages.way(found, data, programs, ran)
    if known.into is None:
        print(page, end="")
    else:
        make_folder(known.into)
        texts = {f"{known.source}-to-{known.target}.md": page}
        texts |= {"save.py": programs.save, "load.py": programs.load} if programs else {}
        for name, text in texts.items():
            write(known.into / name, text, "the page")
        print(f"{', '.join(texts)} are in {known.into}")
    failed = known.runs and ran is not None and ("reason" in ran or max(ran["evaluation"], ran["continued"]) > 1)
    return 1 if failed else 0


def _run_here(known: argparse.Namespace, programs: Scripts) -> dict[str, Any]:
    """What comes of both programs now."""
    from bnconform.execution.settings import settings
    from bnconform.measure import porting_scripts

    chosen = settings(known.time_limit, 0, known.python, known.run_in)
    first, second = (chosen.interpreter(row) for row in programs.rows)
    if known.run_in:
        raise UserError(
            "porting: --run runs both programs here; --python names the interpreters, --run-in does not help"
        )
    with tempfile.TemporaryDirectory() as folder:
        ran = porting_scripts.run(programs, (first, second), Path(folder), known.time_limit)
    return {**ran.as_data(), "date": datetime.now(UTC).date().isoformat()}
