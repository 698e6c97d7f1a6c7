"""The command `bnconform`: a tree of verbs, and the one place where an error becomes one line and exit status 2."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bnconform.cli import output
from bnconform.cli.parser import Parser, suggestion, take_help
from bnconform.errors import USER_ERRORS, UserError
from bnconform.tests import conformance

ROOT = Path(conformance.__file__).resolve().parents[2]
"""The folder that holds spec, cases, backends and tests, in a clone and installed alike."""

VERBS = {
    "run": ("run", "judge implementations and print a matrix of verdicts"),
    "list": ("listing", "the backends, whether each can run here, and the requirements"),
    "explain": ("explain", "one requirement: its formula, its sources, what usually breaks it"),
    "train": ("train", "the documents' network, trained by many on the same batches; which one leaves, by what"),
    "deploy": ("deploy", "what tools that fold, freeze, export or compile make of a model of your own"),
    "identify": ("identify", "measure what an implementation does, whatever it declares"),
    "record": ("record", "keep what an implementation shows of every program, to be judged later or elsewhere"),
    "judge": ("judge", "judge recordings as live implementations are judged"),
    "runner": ("runner", "write one file that records implementations on a machine which has nothing of ours"),
    "porting": ("porting", "how to carry a layer from one implementation to another, or a table of what all do"),
    "replay": ("replay", "run a failing case again, alone"),
    "freeze": ("freeze", "keep a failing case, so that every later run has it"),
    "baseline": ("baseline", "write what is known to fail from result files, or judge result files beside it"),
    "compare": ("compare", "what differs between results: verdicts, conventions, and which side moved"),
    "history": ("history", "what became of an implementation's faults over the released versions of its framework"),
    "report": ("report", "a result as a page, a summary, annotations or a badge"),
    "site": ("site", "many results as a static site: implementations, requirements, findings, porting"),
    "export": ("export", "the cases as test vectors with expected intervals, for readers in any language"),
    "completion": ("completion", "a script with which your shell completes verbs, options and names"),
    "new-adapter": ("new_adapter", "a commented adapter that runs, to put your own implementation into"),
}
"""By verb the module of this folder that has it, imported only when it is used, and what it does in a few words."""

DESCRIPTION = """\
Does an implementation of Batch Normalization do what it must do, and if not, what does it do
instead? Without a verb, with or without options, the suite runs: `bnconform --backend torch.nn`
is `bnconform run --backend torch.nn`."""

EPILOG = """\
examples:
  bnconform --backend torch.nn
  bnconform --backend my_adapter.py:MyBackend --dtype float32 --json result.json
  bnconform run --help

exit status: 0 no violation at the level asked for; 1 a violation or a crash of a backend;
             2 the request could not be carried out, or not to its end
             compare: 0 nothing but rounding; 1 something differs; 2 they cannot be compared"""

ENDING, DEFAULT = (signal.SIGTERM, signal.SIGHUP), signal.SIG_DFL
"""The signals that ask a command to end, and what happens where nothing was said of one: `nohup` says to ignore it."""

HELP = ("-h", "--help", "help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (0, 1 or 2)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    stdout = output.watch()
    try:
        with termination_interrupts():
            status = carry_out(given)
    except USER_ERRORS as problem:
        output.say(problem)
        status = 2
    except KeyboardInterrupt:
        output.say("interrupted")
        status = 2
    finally:
        output.release(stdout)
    if stdout.problem:
        output.say(f"cannot write to standard output: {stdout.problem}")
        return 2
    return status


@contextmanager
def termination_interrupts() -> Iterator[None]:
    """Let a request to end act as an interrupt from the keyboard does, so that what was started is ended."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = {}
    with suppress(ValueError):  # only the main thread is told of signals
        before = {number: signal.signal(number, interrupt) for number in ENDING if signal.getsignal(number) == DEFAULT}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def carry_out(given: Sequence[str]) -> int:
    """Do what the words after the command ask for; the exit status.

    Raises:
        UserError, BackendError: for what cannot be carried out.
    """
    words = list(given)
    if words[:1] == ["help"]:
        words[0] = "--help"
    if not words or (words[0].startswith("-") and words[0] not in (*HELP, "--version")):
        words.insert(0, "run")
    verb = words[0]
    if not verb.startswith("-") and verb not in VERBS:
        raise UserError(
            f"unknown command {verb!r}{suggestion(verb, VERBS)}; give {', '.join(VERBS)}, "
            "or none to run the suite (--help)"
        )
    try:
        known, unknown = tree(verb).parse_known_args(words)
    except SystemExit:  # the help or the version was printed
        return 0
    check_folder()
    if verb in ("run", "judge"):  # whose further words are pytest's
        known.given = words[1:]
    elif unknown:
        known.parser.refuse(unknown)
    status: int = known.run(known)
    return status


def tree(*wanted: str) -> Parser:
    """The parser of the command; only the verbs that are wanted have all of their own options."""
    parser = Parser(prog="bnconform", mixed=False, description=DESCRIPTION, epilog=EPILOG)
    take_help(parser)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    verbs = parser.add_subparsers(
        title="verbs (each has its own --help)", metavar="VERB", dest="verb", parser_class=Parser
    )
    for name, (module, summary) in VERBS.items():
        if name in wanted:
            importlib.import_module(f"bnconform.cli.{module}").add_parser(verbs, summary)
        else:
            verbs.add_parser(name, help=summary)
    return parser


def check_folder() -> None:
    """UserError where the folder in which the command runs is no longer there."""
    try:
        Path.cwd()
    except OSError as problem:
        raise UserError(
            f"the folder in which the command runs cannot be used: {problem.strerror}; go to one that is there"
        ) from None


class _Version(argparse.Action):
    """Print the version and end."""

    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> None:
        from bnconform.backends.runner.loading import version

        print(f"bnconform {version('bnconform') or '(a clone)'}")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
