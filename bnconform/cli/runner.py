"""`bnconform runner OUT.pyz`: one file that records implementations on a machine which has nothing of ours."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from bnconform.backends import registry
from bnconform.cli.parser import Verbs, add_verb, dtype_name
from bnconform.errors import UserError
from bnconform.execution.packing import pack
from bnconform.results.files import check_writable, write
from bnconform.spec.formats import DTYPES


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "runner",
        summary,
        example="bnconform runner runner.pyz --backend torch.nn\n"
        "  there: python runner.pyz record torch.nn --device cuda:0 --out trace\n"
        "  here:  bnconform judge trace",
        run=run,
    )
    parser.add_argument("path", type=Path, metavar="OUT.pyz", help="the file to write")
    parser.add_argument(
        "--backend", action="append", default=[], metavar="B", help="a name, or FILE.py (default: all built in)"
    )
    parser.add_argument(
        "--dtype", action="append", default=[], type=dtype_name, metavar="T",
        help="to record (default: all); may be repeated",
    )  # fmt: skip


def run(known: argparse.Namespace) -> int:
    """Write the file: 0. Raises UserError or BackendError where it cannot be made."""
    for dtype in known.dtype:
        if dtype not in DTYPES:
            raise UserError(f"unknown dtype {dtype!r}; choose from {', '.join(DTYPES)}")
    check_writable(known.path, "the runner")
    keys = [registry.complete_name(key) for key in known.backend] or list(registry.BUILTIN)
    with Console(stderr=True).status("planning") as status:
        data = pack(keys, known.dtype or DTYPES, lambda key: status.update(f"planning {key}"))
    write(known.path, data, "the runner")
    print(f"{known.path}: {len(data) / 2**20:.1f} MiB. On the other machine (Python 3.11, NumPy, ml_dtypes):")
    print(f"  python {known.path.name} record {keys[0] if known.backend else 'torch.nn'} --out trace")
    print("and here: bnconform judge trace")
    return 0
