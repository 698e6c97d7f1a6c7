"""The command `bnconform`: without a verb it runs the suite, which is pytest; the verbs are beside it."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bnconform.tests import conformance

ROOT = Path(conformance.__file__).resolve().parents[2]
"""The folder that holds spec, cases, backends and tests, in a clone and installed alike."""

USAGE = """\
usage: bnconform [--backend B]... [--device D]... [--dtype T]... [--level must|should|may]
                 [--json PATH] [--baseline PATH] [--html PATH] [--markdown PATH] [--badge PATH]
                 [--annotations] [--cases DIR] [-n N] [PYTEST OPTIONS]
       bnconform list [--requirements] [--errata] [--python B=PATH]...
       bnconform explain REQUIREMENT
       bnconform identify --backend B [--device D] [--dtype T] [--json PATH]
       bnconform replay CASE.json --backend B [--device D]
       bnconform porting [--backend B]... [--python B=PATH]... [--into DIR]
       bnconform freeze CASE.json [--name WORDS] [--reason TEXT] [--into DIR]
       bnconform baseline update BASELINE RESULT.json... [--reason TEXT] [--link URL]
                 [--when CONDITION]... [--keep-fixed | --drop-fixed] [--level L]
       bnconform baseline check BASELINE RESULT.json... [--level L]
       bnconform compare A.json B.json... [--backend B]... [--dtype T]... [--pair A=B]...
                 [--all] [--json PATH] [--markdown PATH]
       bnconform report RESULT.json... [--html PATH] [--kill-matrix PATH] [--markdown PATH]
                 [--badge PATH.svg|.json] [--annotations]
       bnconform export DIR [--dtype T]... [--requirement ID]... [--large] [--force]
       bnconform new-adapter PATH.py [--name NAME] [--class CLASS]

Does an implementation of Batch Normalization do what it must do, and if not, what does it do
instead?

Without a verb the suite runs and prints a matrix of verdicts.
  --backend B   what to judge; may be repeated (default: numpy)
                  a name that `bnconform list` shows, such as torch.nn
                  all            every backend of this package that can run here
                  FILE.py:CLASS  an adapter in a file
                  MODULE:CLASS   an adapter in an installed module
  --device D    a device such as cpu or cuda:0; may be repeated (default: all that the backend has)
  --dtype T     float64, float32, float16 or bfloat16; may be repeated (default: all)
  --level L     must (default), should or may: a violation up to this level fails the run
  --backend-command C  a program that speaks JSON lines (backends/PROTOCOL.md); may be repeated
  --baseline PATH  known failures, which do not fail the run; what is new or worse does
  --json PATH   write the result to a file
  --html PATH   write it as a page that needs no network
  --kill-matrix PATH  the kill matrix that the page shows (default: the package's)
  --markdown PATH  write it as text for a pull request or a job summary
  --badge PATH  write it as a badge, .svg or .json
  --annotations  print failures as GitHub annotations
  --cases DIR   where failing cases are written for `bnconform replay` (default: bnconform-cases)
  -n N          judge N columns of the matrix at a time
  --time-limit SECONDS  in which a check must be done (default: 300); what takes longer has hung
  --memory-limit GIB    that an implementation's process may hold (Linux; default: no limit)
  --python B=PATH       the interpreter, of another environment, that runs B and its variants
  --in-process          run implementations in the command's own process, for a debugger
  --version     print the version
Every option of pytest is accepted too, for instance -k BN-RUN-VAR or -x.

  list          the backends, whether each can run here, and the requirements
  explain       one requirement: its formula, its sources, what usually breaks it
  identify      measure what an implementation does, whatever it declares
  porting       a table of what all implementations do, and trained layers carried between them
  replay        run a failing case again, alone
  freeze        keep a failing case, so that every later run has it
  baseline      write what is known to fail from result files, or judge result files beside it
  compare       what differs between results: verdicts, conventions, and which side moved
  report        a result as a page, a summary, annotations or a badge
  export        the cases as test vectors with expected intervals, for readers in any language
  new-adapter   a commented adapter that runs, to put your own implementation into

BNCONFORM_EXAMPLES=N tries N random programs a subject instead of 30, and BNCONFORM_SEED=K
others than the usual ones.

exit status: 0 no violation at the level asked for; 1 a violation or a crash of a backend;
             2 the request could not be carried out
             compare: 0 nothing but rounding; 1 something differs; 2 they cannot be compared
"""


VERBS = {
    "list": ("listing", "listing"),
    "explain": ("explain", "face"),
    "identify": ("identify", "face"),
    "porting": ("porting", "face"),
    "replay": ("replay", "replay"),
    "freeze": ("freeze", "freeze"),
    "baseline": ("baseline", "face"),
    "compare": ("compare", "face"),
    "report": ("report", "face"),
    "export": ("export", "face"),
    "new-adapter": ("new_adapter", "face"),
}
"""Where each command is, a module of this folder and a function of it; imported only when it is used."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (0, 1 or 2)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    if given and given[0] == "--version":
        from bnconform.results.run_result import version

        print(f"bnconform {version('bnconform') or '(a clone)'}")
        return 0
    if not given or given[0].startswith("-"):
        return run(given)
    verb, *rest = given
    if any(word in ("-h", "--help") for word in rest):
        print(USAGE, end="")
        return 0
    from bnconform.cases.golden import GoldenError
    from bnconform.cli.refusal import refuse
    from bnconform.spec.catalogue import CatalogueError

    if verb not in VERBS:
        return refuse(f"unknown command {verb!r}; give {', '.join(VERBS)}, or none to run the suite (--help)")
    module, function = VERBS[verb]
    face: Callable[[Sequence[str]], int] = getattr(importlib.import_module(f"bnconform.cli.{module}"), function)
    try:
        return face(rest)
    except (CatalogueError, GoldenError) as problem:
        return refuse(str(problem))


def run(given: list[str]) -> int:
    """Run the suite through pytest, with no configuration of the user's repository."""
    import pytest

    from bnconform.cli.refusal import refuse

    # The worker processes of pytest-xdist import nothing of the folder where the command runs.
    os.environ.setdefault("PYTHONSAFEPATH", "bnconform")
    # Hypothesis would leave a folder of its own in the user's.
    place = Path(tempfile.gettempdir()) / f"bnconform-hypothesis-{getattr(os, 'getuid', int)()}"
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(place))
    # A clone is not put into the path of imports, where its rooms would hide a user's packages of the same names.
    own = [
        "-c", os.devnull, f"--rootdir={ROOT}", "--noconftest", "--import-mode=importlib",
        "-p", "bnconform.pytest_plugin", "-p", "no:cacheprovider", "-q", "--no-header", "--tb=no", "-r", "N",
        "--strict-markers", str(ROOT / "tests" / "conformance"),
    ]  # fmt: skip
    status = int(pytest.main([*own, *given]))
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        return refuse(f"nothing was selected by {' '.join(given)}")
    return status if status in (0, 1) else 2


if __name__ == "__main__":
    sys.exit(main())
