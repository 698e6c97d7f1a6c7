"""The parsers of the command: their errors are one line, their options may stand anywhere, near misses are suggested.

A module a verb adds its own parser with `add_parser` and carries it out with `run`. Options that verbs share are here,
as parent parsers.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeAlias

from bnconform.errors import UserError
from bnconform.results.result import LEVELS

if TYPE_CHECKING:
    from bnconform.execution.selection import Selection

NEAR = 0.7
"""How alike two words are, of 1, from which on one is suggested for the other."""

Run: TypeAlias = Callable[[argparse.Namespace], int]
"""What carries out a verb: the exit status for its arguments."""


SHORT_DTYPES = {
    "f64": "float64", "fp64": "float64", "double": "float64",
    "f32": "float32", "fp32": "float32", "single": "float32",
    "f16": "float16", "fp16": "float16", "half": "float16",
    "bf16": "bfloat16",
}  # fmt: skip
"""What dtypes are called besides, as in the matrix."""


def dtype_name(given: str) -> str:
    """The name of a dtype that was given in short; any other word as it is."""
    return SHORT_DTYPES.get(given.lower(), given)


class Parser(argparse.ArgumentParser):
    """A parser of one verb.

    Attributes:
        words: its options as they are written. mixed: whether options may stand between the arguments.
    """

    def __init__(self, *, mixed: bool = True, parents: Sequence[Parser] = (), **details: Any) -> None:
        self.words: list[str] = [word for parent in parents for word in parent.words]
        self.mixed = mixed
        super().__init__(
            allow_abbrev=False,
            add_help=False,
            parents=list(parents),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **details,
        )

    def add_argument(self, *names: Any, **details: Any) -> argparse.Action:
        """Add an argument or option, as argparse does."""
        action = super().add_argument(*names, **details)
        self.words += action.option_strings
        return action

    def carry_out(self, run: Run) -> None:
        """Say what carries the verb out; its arguments then know it, and this parser."""
        self.set_defaults(run=run, parser=self)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """The arguments, and the words that are none."""
        if not self.mixed:
            return super().parse_known_args(args, namespace)
        self.mixed = False  # what parses mixed arguments parses in several steps, each of them by this method
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self.mixed = True

    @property
    def verb(self) -> str:
        """The words after the command's name."""
        return self.prog.partition(" ")[2] or self.prog

    @property
    def form(self) -> str:
        """The usage in one line."""
        return " ".join(self.format_usage().split())

    def error(self, message: str) -> NoReturn:
        """Raise UserError for what is wrong with the arguments."""
        raise UserError(f"{self.verb}: {message}; {self.form}")

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Raise UserError for words that are no arguments of this verb."""
        word = next((word for word in unknown if word.startswith("-")), unknown[0])
        meant = suggestion(word.partition("=")[0], self.words) if word.startswith("-") else ""
        raise UserError(f"{self.verb} does not take {word!r}{meant}; {self.form}")


def take_help(parser: Parser) -> None:
    """Let a parser take -h and --help, which its usage does not list."""
    parser.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)


def suggestion(word: str, known: Iterable[str]) -> str:
    """What a word may have been meant for, in brackets; "" where none is like it."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=NEAR)
    return f" (did you mean {near[0]}?)" if near else ""


class Verbs(Protocol):
    """Where a verb adds its parser: what argparse's `add_subparsers` returns, which has no public name."""

    def add_parser(self, name: str, **details: Any) -> Parser: ...


def add_verb(verbs: Verbs, name: str, summary: str, *, example: str, run: Run, **details: Any) -> Parser:
    """A new parser for a verb, whose help says what it does and ends with an example."""
    description = f"{summary[:1].upper()}{summary[1:]}."
    parser = verbs.add_parser(name, help=summary, description=description, epilog=f"example:\n  {example}", **details)
    take_help(parser)
    parser.carry_out(run)
    return parser


# -- options that several verbs share ----------------------------------------------------------------------------------


def one_backend() -> Parser:
    """--backend and --device of a verb that looks at one implementation."""
    shared = Parser()
    shared.add_argument(
        "--backend", default="numpy", metavar="B",
        help="a name, FILE.py, FILE.py:CLASS, MODULE:CLASS or command:PROGRAM (default: numpy)",
    )  # fmt: skip
    shared.add_argument("--device", metavar="D", help="a device such as cpu or cuda:0 (default: its first)")
    return shared


def places() -> Parser:
    """--python, --run-in and --time-limit: where and how implementations run; see `selection`."""
    shared = Parser()
    shared.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="B=PATH",
        help="the interpreter, of another environment, that runs B and its variants; may be repeated",
    )
    shared.add_argument(
        "--run-in",
        action="append",
        default=[],
        metavar="B=COMMAND",
        help='start the process of B behind a command, such as "ssh gpu-box"; may be repeated',
    )
    shared.add_argument(
        "--time-limit",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="in which a program must be done (default: 300)",
    )
    return shared


@contextmanager
def selection(known: argparse.Namespace) -> Iterator[Selection]:
    """The implementations that a verb may ask, by what `places` has parsed; their processes end with it.

    Raises:
        BackendError: for a setting that makes no sense.
    """
    # Most verbs run nothing, and are to be quick.
    from bnconform.execution.selection import Selection
    from bnconform.execution.settings import settings
    from bnconform.execution.worker_pool import WorkerPool

    chosen = Selection(WorkerPool(settings(known.time_limit, 0, known.python, known.run_in)))
    try:
        yield chosen
    finally:
        chosen.close()


def dtypes(what: str) -> Parser:
    """--dtype, which may be repeated."""
    shared = Parser()
    shared.add_argument(
        "--dtype", action="append", default=[], type=dtype_name, metavar="T",
        help=f"{what} (default: all); may be repeated",
    )  # fmt: skip
    return shared


def levels() -> Parser:
    """--level."""
    shared = Parser()
    shared.add_argument(
        "--level", choices=LEVELS, default="must", help="up to which level a failure counts (default: must)"
    )
    return shared
