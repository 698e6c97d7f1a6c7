"""`bnconform run`, and `bnconform` without a verb: the suite, which is pytest."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from bnconform.cli import options
from bnconform.cli.main import ROOT
from bnconform.cli.parser import Verbs, add_verb, suggestion
from bnconform.cli.run_display import RunDisplay, asks_for_pytests_words, lists_only
from bnconform.errors import UserError

EXAMPLE = """\
bnconform run --backend torch.nn --dtype float32 --json result.json
  bnconform --backend torch.nn -k BN-RUN-VAR -x

A backend is a name that `bnconform list` shows, such as torch.nn; FILE.py or FILE.py:CLASS, an
adapter in a file; MODULE:CLASS, one in an installed module; command:PROGRAM, a program in any
language (backends/PROTOCOL.md); or all, every backend of this package that can run here.
Every option of pytest is accepted too (`pytest --help` lists them), for instance -k, -x or, with
-n N, N columns of the matrix at a time; -v and --tb=short show pytest's own words of each check.
BNCONFORM_EXAMPLES=N tries N random programs a subject instead of 30, and BNCONFORM_SEED=K others
than the usual ones."""

IMPORTED = "ignore:Module already imported so cannot be rewritten; bnconform:pytest.PytestAssertRewriteWarning"
"""What pytest warns of where a package that offers it a fixture is the one that started it."""


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb; what its parser does not know is for pytest to say."""
    parser = add_verb(verbs, "run", summary, example=EXAMPLE, run=run, mixed=False, usage="%(prog)s [OPTIONS]")
    options.declare_all(parser.add_argument)


def run(arguments: argparse.Namespace) -> int:
    """Run the suite through pytest, with no configuration of the user's repository; the exit status.

    Raises:
        UserError: where nothing is selected, or an option is none of ours and none of pytest's.
    """
    given: list[str] = arguments.given
    # The worker processes of pytest-xdist import nothing of the folder where the command runs.
    os.environ.setdefault("PYTHONSAFEPATH", "bnconform")
    # Hypothesis would leave a folder of its own in the user's.
    place = Path(tempfile.gettempdir()) / f"bnconform-hypothesis-{getattr(os, 'getuid', int)()}"
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(place))
    # A clone is not put into the path of imports, where its rooms would hide a user's packages of the same names.
    own = [
        "-c", os.devnull, f"--rootdir={ROOT}", "--noconftest", "--import-mode=importlib",
        "-p", "bnconform.pytest_plugin", "-p", "no:cacheprovider", "-W", IMPORTED,
        "--no-header", "-r", "N", "--strict-markers", str(ROOT / "tests" / "conformance"),
    ]  # fmt: skip
    plugins: list[object] = [Parsing(arguments.parser.words)]
    own.append("--tb=no")
    if lists_only(given):
        own.append("-q")  # the ids of the checks, one a line
    elif not asks_for_pytests_words(given):
        own.append("-qq")
        plugins.append(RunDisplay())
    status = int(pytest.main([*own, *given], plugins=plugins))
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise UserError(f"nothing was selected by {' '.join(given)}")
    return status if status in (0, 1) else 2


class Parsing:
    """What pytest says of an option that it does not know, in one line."""

    def __init__(self, words: list[str]) -> None:
        self.words = words

    @pytest.hookimpl(wrapper=True)
    def pytest_cmdline_parse(self, args: list[str]) -> Generator[None, Any, Any]:
        """Parse; UserError where pytest cannot."""
        try:
            return (yield)
        except pytest.UsageError as problem:
            # pytest shows its whole usage before the fault, and where it looked for settings behind it.
            text = str(problem).partition("error: ")[2] or str(problem)
            raise UserError(f"run: {text.splitlines()[0]}{''.join(_suggest(args, text, self.words))}") from None


def _suggest(given: list[str], text: str, known: list[str]) -> Iterator[str]:
    """A suggestion for the first option that pytest complains of and that is like one of ours."""
    for word in given:
        if word.startswith("--") and word in text and word.partition("=")[0] not in known:
            yield suggestion(word.partition("=")[0], known)
            return
