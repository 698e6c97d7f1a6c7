"""`bnconform replay CASE.json --backend B`: one failing case again, alone."""

from __future__ import annotations

import argparse
from pathlib import Path

from bnconform.cases import casefile
from bnconform.cases.program import Probe
from bnconform.cli.freeze import runs_over_cases
from bnconform.cli.output import say
from bnconform.cli.parser import Verbs, add_verb, one_backend, places, selection
from bnconform.diagnosis.causes import diagnose, note
from bnconform.errors import UserError
from bnconform.judge.check import Check, conduct
from bnconform.judge.check_record import Unsupported, Violation
from bnconform.judge.outcome import UNTRUSTED, Outcome
from bnconform.judge.subject import AdapterError, Subject
from bnconform.spec.catalogue import requirement


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "replay",
        summary,
        example="bnconform replay bnconform-cases/CASE.json --backend my_adapter.py:MyBackend",
        run=run,
        parents=[one_backend(), places()],
    )
    parser.add_argument("case", type=Path, metavar="CASE.json", help="a case file that a failing run wrote")


def run(known: argparse.Namespace) -> int:
    """Run the case; 0 where it conforms or deviates as declared, 1 where it does not.

    Raises:
        UserError, BackendError: where it cannot be run, or compares nothing.
    """
    identifier, name, program, quality = casefile.read(known.case)
    rule = requirement(identifier)
    runs_over_cases(rule)
    if not program.observes:
        raise UserError(f"{known.case}: no step observes a result; there is nothing to compare")
    with selection(known) as chosen:
        chosen.check_settings([known.backend])
        devices = [known.device] if known.device else []
        subject = chosen.subjects([known.backend], devices, [program.config.dtype])[0]
        if subject.is_deployment:
            raise UserError(f"{subject.name} deploys models; a case of a layer cannot be replayed on it")
        return _replay(known.case, subject, Probe(identifier, name, program, quality))


def _replay(path: Path, subject: Subject, probe: Probe) -> int:
    """Judge the case and say what became of it; the exit status."""
    program, quality, name = probe.program, probe.quality, probe.name
    rule = requirement(probe.requirement)

    def rerun(supposed: Subject) -> list[Outcome]:
        return conduct(Check.run, Check(supposed, rule, probe))

    check = Check(subject, rule, probe, source=path)
    try:
        check.program(program, quality, name)
    except Violation:
        note(check.outcomes[-1], subject, rerun)
        print(diagnose(check.outcomes)[0][-1].message)
        return 1
    except AdapterError as problem:
        say(problem)
        return 1
    except Unsupported as reason:
        print(f"unsupported by {subject.label}: {reason}")
        return _status_of_noted(check)
    outcome = check.outcomes[-1]
    if outcome.verdict == UNTRUSTED:
        raise UserError(f"{path}: {outcome.headline}")
    share = "" if outcome.bound_share is None else f", {outcome.bound_share:.3g} of the bound"
    print(f"{rule.id} {outcome.verdict}: {subject.label}, case {name}{share}")
    if outcome.message:
        print(outcome.message)
    return _status_of_noted(check)


def _status_of_noted(check: Check) -> int:
    """Say what was noted of another requirement; the exit status."""
    noted = check.find_noted()
    if noted is None:
        return 0
    print(noted.message)
    return 1
