"""What is found of the first failing case of a wrong implementation of the catalogue."""

from __future__ import annotations

from bnconform.cases.probes import cases_of
from bnconform.diagnosis.narrowing import ExperimentResult, narrow
from bnconform.judge.check import Check, conduct
from bnconform.judge.outcome import CRASHED, VIOLATES
from bnconform.judge.subject import Subject
from bnconform.spec.catalogue import requirement
from bnconform.tests.mutants.catalogue import every


def first_failure(name: str) -> ExperimentResult:
    """The experiment on the first case in float64 that kills it, of the first requirement that must."""
    mutant = every()[name]
    subject = Subject(name, mutant, "cpu", "float64")
    rule = requirement(mutant.killers[0])
    for case in cases_of(rule.id, "float64"):
        outcomes = conduct(lambda check: check.run(), Check(subject, rule, case))
        if outcomes[-1].verdict in (VIOLATES, CRASHED):
            break
    assert subject.failing is not None
    found = narrow(subject, *subject.failing)
    assert found is not None
    return found
