"""`bnconform new-adapter PATH`: a commented adapter that runs as it is, for one's own implementation to be put into."""

from __future__ import annotations

import argparse
import keyword
import re
import shlex
from pathlib import Path

from bnconform.backends import registry
from bnconform.cli.parser import Verbs, add_verb
from bnconform.errors import UserError
from bnconform.results.files import check_writable, write

TEMPLATE = Path(registry.__file__).with_name("skeleton.py.txt")
"""A working adapter; what is filled in is written in it as FILE, MyBackend and "mine"."""

TAKEN = ("Layer", "Placeholder", "ml_dtypes", "np")
"""What the template itself defines."""

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
"""Names that can stand in a test's id and be typed after -k."""


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "new-adapter", summary, example="bnconform new-adapter my_adapter.py --name mine", run=run)
    parser.add_argument("path", metavar="PATH.py", help="the file to write")
    parser.add_argument("--name", help="what the backend is called (default: as the file)")
    parser.add_argument("--class", dest="kind", default="MyBackend", metavar="CLASS", help="the name of its class")


def run(known: argparse.Namespace) -> int:
    """Write the skeleton and print the command that judges it: 0. Raises UserError, nothing written, for any fault."""
    path = Path(known.path)
    name = re.sub(r"[^A-Za-z0-9_.+-]", "_", path.stem).lstrip(".+-") if known.name is None else known.name
    _check(path, name, known.kind)
    write(path, skeleton(known.path, name, known.kind), "the adapter")
    print(f"{path} is written. It judges a placeholder as it is:\n")
    print(f"  bnconform --backend {shlex.quote(f'{known.path}:{known.kind}')} --dtype float32\n")
    print("Then put your own implementation in the place of Placeholder; the file says how.")
    return 0


def skeleton(path: str, name: str, kind: str) -> str:
    """The source of the adapter."""
    source = TEMPLATE.read_text(encoding="utf-8")
    source = source.replace("FILE:MyBackend", f"{Path(path).name}:{kind}").replace("MyBackend", kind)
    return source.replace('"mine"', f'"{name}"')


def _check(path: Path, name: str, kind: str) -> None:
    if path.suffix != ".py":
        raise UserError(f"cannot write the adapter {path}: it is a Python file; let its name end in .py")
    if path.exists() or path.is_symlink():
        raise UserError(f"cannot write the adapter {path}: it exists; give another path, or remove it")
    check_writable(path, "the adapter")
    if not NAME.fullmatch(name):
        raise UserError(f"the name {name!r} cannot be typed in a test's id; give letters, digits and _ . + -")
    if name in registry.BUILTIN or name == "all":
        raise UserError(f"the name {name} is taken by a backend of this package; give another with --name")
    if not kind.isidentifier() or keyword.iskeyword(kind) or kind in TAKEN:
        raise UserError(f"--class {kind!r} cannot name the class; give a Python name such as MyBackend")
