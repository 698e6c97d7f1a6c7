"""`bnconform record B --out TRACE`: what an implementation shows of every program, kept to be judged later."""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

from bnconform.backends.registry import complete_name
from bnconform.cli.parser import Verbs, add_verb, dtype_name, places
from bnconform.execution.packing import pack
from bnconform.execution.settings import settings
from bnconform.results.files import check_writable
from bnconform.spec.formats import DTYPES


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs, "record", summary, example="bnconform record torch.nn --dtype float32 --out trace", run=run,
        parents=[places()],
    )  # fmt: skip
    parser.add_argument("backend", metavar="B", help="a name, FILE.py, FILE.py:CLASS or command:PROGRAM")
    parser.add_argument("--device", metavar="D", help="a device such as cuda:0 (default: its first)")
    parser.add_argument(
        "--dtype", action="append", default=[], type=dtype_name, metavar="T", help="may be repeated (default: all)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="TRACE", help="the file to write")


def run(known: argparse.Namespace) -> int:
    """Record by a packed runner, under the backend's interpreter; its exit status.

    Raises:
        UserError, BackendError: where it cannot be done.
    """
    check_writable(known.out, "the recording")
    backend = complete_name(known.backend)
    python = settings(known.time_limit, 0, known.python).interpreter(backend)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "runner.pyz"
        archive.write_bytes(pack([backend], known.dtype or DTYPES))
        device = ["--device", known.device] if known.device else []
        asked = [*device, "--out", str(known.out), "--time-limit", str(known.time_limit)]
        return subprocess.run([python, str(archive), "record", backend, *asked], check=False).returncode
