"""`bnconform replay CASE.json --backend B`: one failing case again, alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bnconform.backends.registry import BackendError
from bnconform.cases import casefile
from bnconform.cases.program import Probe
from bnconform.cli.freeze import runs_over_cases
from bnconform.cli.refusal import refuse
from bnconform.diagnosis.causes import diagnosed, note
from bnconform.execution.selection import Selection
from bnconform.judge.check import Check, Unsupported, Violation, conduct
from bnconform.judge.outcome import UNTRUSTED, Outcome
from bnconform.judge.subject import AdapterError, Subject
from bnconform.spec.catalogue import requirement


def replay(arguments: Sequence[str]) -> int:
    """Run the case; 0 where it conforms or deviates as declared, 1 where it does not, 2 where it cannot be run."""
    parser = argparse.ArgumentParser(prog="bnconform replay", add_help=False, exit_on_error=False)
    parser.add_argument("case", nargs="?")
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--device")
    try:
        known, unknown = parser.parse_known_args(list(arguments))
        if unknown or not known.case:
            what = f"does not take {unknown[0]!r}" if unknown else "needs a case file"
            raise casefile.CaseError(f"replay {what}; give bnconform replay CASE.json --backend B [--device D]")
        identifier, name, program, quality = casefile.read(Path(known.case))
        rule = requirement(identifier)
        runs_over_cases(rule)
        if not program.observes:
            raise casefile.CaseError(f"{known.case}: no step observes a result; there is nothing to compare")
        devices = [known.device] if known.device else []
        subject = selection.subjects([known.backend], devices, [program.config.dtype])[0]
    except (argparse.ArgumentError, BackendError, ValueError) as problem:
        return refuse(problem)
    probe = Probe(identifier, name, program, quality)

    def rerun(supposed: Subject) -> list[Outcome]:
        return conduct(Check.run, Check(supposed, rule, probe))

    check = Check(subject, rule, probe, source=Path(known.case))
    try:
        check.program(program, quality, name)
    except Violation:
        note(check.outcomes[-1], subject, rerun)
        print(diagnosed(check.outcomes)[0][-1].message)
        return 1
    except AdapterError as problem:
        print(f"bnconform: {problem}", file=sys.stderr)
        return 1
    except Unsupported as reason:
        print(f"unsupported by {subject.label}: {reason}")
        return 0
    outcome = check.outcomes[-1]
    if outcome.verdict == UNTRUSTED:
        return refuse(f"{known.case}: {outcome.headline}")
    share = "" if outcome.bound_share is None else f", {outcome.bound_share:.3g} of the bound"
    print(f"{rule.id} {outcome.verdict}: {subject.label}, case {name}{share}")
    if outcome.message:
        print(outcome.message)
    return 0
