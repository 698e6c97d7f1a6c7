"""`bnconform freeze CASE.json`: a case that was found becomes a case of every later run."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from bnconform.cases import casefile, regression
from bnconform.cases.probes import probes
from bnconform.cli.parser import Verbs, add_verb
from bnconform.errors import UserError
from bnconform.judge.suite import conformance_tests
from bnconform.spec.catalogue import Requirement, requirement

LONGEST = 80
"""Characters of a name; a file system takes some 250 for the whole name of a file."""


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "freeze",
        summary,
        example='bnconform freeze bnconform-cases/CASE.json --name "two values" --reason "found in issue 12"',
        run=run,
    )
    parser.add_argument("case", type=Path, metavar="CASE.json", help="a case file that a failing run wrote")
    parser.add_argument("--name", default="", metavar="WORDS", help="what it is called (default: by its content)")
    parser.add_argument("--reason", default="", metavar="TEXT", help="why it is kept")
    parser.add_argument("--into", default=str(regression.FOLDER), metavar="DIR", help="another folder than the suite's")


def run(known: argparse.Namespace) -> int:
    """Freeze the case: 0. Raises UserError where it cannot be."""
    identifier, given, program, quality = casefile.read(known.case)
    rule = requirement(identifier)
    runs_over_cases(rule)
    if not known.into:
        raise UserError("--into is empty; give a folder")
    words = _words(known.name)
    reason = " ".join(known.reason.split()) or f"the case {given} of {identifier} failed in {program.config.dtype}"
    case = regression.freeze(identifier, words, program, quality, reason)
    if f"frozen-{case.name}" in {probe.name for probe in probes().get(identifier, ())}:
        raise UserError(f"{identifier} has a regression case {case.name} already; give another name with --name")
    folder = Path(known.into)
    path = regression.write(case, folder)
    print(f"Frozen: {path}")
    where = f"as a case of {identifier} in {', '.join(case.dtypes)}"
    if os.path.realpath(folder) == os.path.realpath(regression.FOLDER):
        print(f"It runs from now on {where}:")
    else:
        print(f"Put into {regression.FOLDER}, it runs {where}:")
    print(f"  bnconform --backend B -k {identifier}-frozen-{case.name}")
    return 0


def runs_over_cases(rule: Requirement) -> None:
    """UserError where the requirement's check takes no cases, so that a regression case would never run."""
    if not any(test.over_cases and test.rule.id == rule.id for test in conformance_tests()):
        raise UserError(f"the check of {rule.id} takes no cases; name the requirement that the case breaks in its file")


def _words(given: str) -> str:
    """A name that a person can type, from words, cut to LONGEST characters; "" from none."""
    name = re.sub(r"[^a-z0-9]+", "-", given.lower()).strip("-")[:LONGEST].rstrip("-")
    if given and not name:
        raise UserError(f"--name is {given!r}; give words of letters and digits")
    return name
