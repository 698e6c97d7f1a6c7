"""`bnconform new-adapter PATH`: a commented adapter that runs as it is, for one's own implementation to be put into."""

from __future__ import annotations

import argparse
import ast
import keyword
import re
import shlex
from pathlib import Path

from bnconform.backends import registry
from bnconform.cli.parser import Verbs, add_verb
from bnconform.errors import UserError
from bnconform.results.files import check_writable, write

TEMPLATES = {
    "numpy": "skeleton.py.txt",
    "torch": "skeleton_torch.py.txt",
    "jax": "skeleton_jax.py.txt",
    "keras": "skeleton_keras.py.txt",
    "command": "examples/batchnorm.c",
}
"""By what it is for, a working adapter in the folder of backends.

What is filled in is written in those in Python as FILE, MyBackend and "mine", and in the program in C as "batchnorm.c".
"""

NAMED = r"\"name\":\"batchnorm.c\""
"""Where the program in C says its name."""

FOLDER = Path(registry.__file__).parent

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
"""Names that can stand in a test's id and be typed after -k."""


EXAMPLE = """\
bnconform new-adapter my_adapter.py --for torch
  bnconform new-adapter my_program.c --for command"""


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "new-adapter", summary, example=EXAMPLE, run=run)
    parser.add_argument("path", metavar="PATH", help="the file to write: PATH.py, or PATH.c for a command")
    parser.add_argument(
        "--for", dest="framework", choices=TEMPLATES, default="numpy",
        help="what your implementation is written with; command: any language, begun in C (default: numpy)",
    )  # fmt: skip
    parser.add_argument("--name", help="what the backend is called (default: as the file)")
    parser.add_argument("--class", dest="kind", default="MyBackend", metavar="CLASS", help="the name of its class")


def run(known: argparse.Namespace) -> int:
    """Write the skeleton and print the command that judges it: 0. Raises UserError, nothing written, for any fault."""
    path = Path(known.path)
    name = re.sub(r"[^A-Za-z0-9_.+-]", "_", path.stem).lstrip(".+-") if known.name is None else known.name
    _check(path, name, known.kind, known.framework)
    write(path, skeleton(known.path, name, known.kind, known.framework), "the adapter")
    print(f"{path} is written. It judges a placeholder as it is:\n")
    if known.framework == "command":
        program = path.with_suffix("")
        command = str(program) if program.is_absolute() else f"./{program}"
        print(f"  {shlex.join(['cc', '-O2', '-std=c99', '-o', str(program), known.path, '-lm'])}")
        print(f"  bnconform --backend {shlex.quote(f'command:{shlex.quote(command)}')} --dtype float32\n")
        print("Then put your own implementation in the place of its formulas.")
        print("backends/PROTOCOL.md says what a program is asked, in any language.")
        return 0
    print(f"  bnconform --backend {shlex.quote(f'{known.path}:{known.kind}')} --dtype float32\n")
    print("Then put your own implementation in the place of the placeholder; the file says how.")
    return 0


def skeleton(path: str, name: str, kind: str, framework: str = "numpy") -> str:
    """The source of the adapter."""
    source = (FOLDER / TEMPLATES[framework]).read_text(encoding="utf-8")
    if framework == "command":
        source = source.replace(NAMED, NAMED.replace("batchnorm.c", name))
        return source.replace("batchnorm", Path(path).stem)
    source = source.replace("FILE:MyBackend", f"{Path(path).name}:{kind}").replace("MyBackend", kind)
    return source.replace('"mine"', f'"{name}"')


def take_names(source: str) -> set[str]:
    """What a template in Python itself defines and imports, besides the class of the backend."""
    tree = ast.parse(source)
    imported = [n for n in tree.body if isinstance(n, ast.Import)]
    defined = {n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)} - {"MyBackend"}
    return defined | {alias.asname or alias.name for node in imported for alias in node.names}


def _check(path: Path, name: str, kind: str, framework: str) -> None:
    ending, what = (".c", "a program in C") if framework == "command" else (".py", "a Python file")
    if path.suffix != ending:
        raise UserError(f"cannot write the adapter {path}: it is {what}; let its name end in {ending}")
    if path.exists() or path.is_symlink():
        raise UserError(f"cannot write the adapter {path}: it exists; give another path, or remove it")
    check_writable(path, "the adapter")
    if not NAME.fullmatch(name):
        raise UserError(f"the name {name!r} cannot be typed in a test's id; give letters, digits and _ . + -")
    if name in registry.BUILTIN or name == "all":
        raise UserError(f"the name {name} is taken by a backend of this package; give another with --name")
    if framework == "command":
        return
    source = (FOLDER / TEMPLATES[framework]).read_text(encoding="utf-8")
    if not kind.isidentifier() or keyword.iskeyword(kind) or kind in take_names(source):
        raise UserError(f"--class {kind!r} cannot name the class; give a Python name such as MyBackend")
