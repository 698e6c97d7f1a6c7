"""`bnconform freeze CASE.json`: a case that was found becomes a case of every later run."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from bnconform.cases import casefile, regression
from bnconform.cases.probes import probes
from bnconform.cases.regression import FrozenError
from bnconform.cli.refusal import refuse
from bnconform.judge.suite import conformance_tests
from bnconform.spec.catalogue import Requirement, requirement

FORM = "bnconform freeze CASE.json [--name WORDS] [--reason TEXT] [--into DIR]"

LONGEST = 80
"""Characters of a name; a file system takes some 250 for the whole name of a file."""


def freeze(arguments: Sequence[str]) -> int:
    """Freeze the case; 0 where it is written, 2 where it cannot be."""
    parser = argparse.ArgumentParser(prog="bnconform freeze", add_help=False, exit_on_error=False)
    parser.add_argument("case", nargs="?")
    parser.add_argument("--name", default="")
    parser.add_argument("--reason", default="")
    parser.add_argument("--into", default=str(regression.FOLDER))
    try:
        known, unknown = parser.parse_known_args(list(arguments))
        if unknown or not known.case:
            what = f"does not take {unknown[0]!r}" if unknown else "needs a case file"
            raise FrozenError(f"freeze {what}; give {FORM}")
        identifier, given, program, quality = casefile.read(Path(known.case))
        rule = requirement(identifier)
        runs_over_cases(rule)
        if not known.into:
            raise FrozenError("--into is empty; give a folder")
        words = _words(known.name)
        reason = " ".join(known.reason.split()) or f"the case {given} of {identifier} failed in {program.config.dtype}"
        case = regression.freeze(identifier, words, program, quality, reason)
        if f"frozen-{case.name}" in {probe.name for probe in probes().get(identifier, ())}:
            raise FrozenError(f"{identifier} has a frozen case {case.name} already; give another name with --name")
        folder = Path(known.into)
        path = regression.write(case, folder)
    except (argparse.ArgumentError, ValueError) as problem:
        return refuse(problem)
    print(f"Frozen: {path}")
    where = f"as a case of {identifier} in {', '.join(case.dtypes)}"
    if folder.resolve() == regression.FOLDER.resolve():
        print(f"It runs from now on {where}:")
    else:
        print(f"Put into {regression.FOLDER}, it runs {where}:")
    print(f"  bnconform --backend B -k {identifier}-frozen-{case.name}")
    return 0


def runs_over_cases(rule: Requirement) -> None:
    """FrozenError where the requirement's check takes no cases, so that a frozen one would never run."""
    if not any(test.over_cases and test.rule.id == rule.id for test in conformance_tests()):
        raise FrozenError(
            f"the check of {rule.id} takes no cases; name the requirement that the case breaks in its file"
        )


def _words(given: str) -> str:
    """A name that a person can type, from words, cut to LONGEST characters; "" from none."""
    name = re.sub(r"[^a-z0-9]+", "-", given.lower()).strip("-")[:LONGEST].rstrip("-")
    if given and not name:
        raise FrozenError(f"--name is {given!r}; give words of letters and digits")
    return name
