"""The conformance tests as plain functions, to run them in one process without pytest (the kill matrix, diagnosis)."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module

import bnconform.tests.conformance
from bnconform.cases.probes import Case, cases_of, with_cases
from bnconform.judge.check import Check, conduct
from bnconform.judge.marks import marks_of
from bnconform.judge.outcome import Outcome
from bnconform.judge.subject import Subject
from bnconform.spec.catalogue import Requirement, requirement, requirements


@dataclass(frozen=True)
class Test:
    """One conformance test: its function, the requirement that it checks, whether it runs over that one's cases.

    Attributes:
        once: whether it does not depend on the dtype, and runs in the first one only.
    """

    __test__ = False  # pytest would take the name for a class of tests
    rule: Requirement
    function: Callable[[Check], object]
    over_cases: bool
    once: bool = False

    def cases(self, dtype: str, cost: str = "") -> tuple[Case | None, ...]:
        """What the test runs over in a dtype; (None,) for a property. `cost` is that of `cases_of`."""
        return cases_of(self.rule.id, dtype, cost) if self.over_cases else (None,)

    @property
    def words(self) -> str:
        """What it is called in ids, where it runs over no cases."""
        return self.function.__name__.removeprefix("test_").replace("_", "-")

    def fits(self, subject: Subject) -> bool:
        """Whether it is about what the subject is: a layer, or a tool that deploys models."""
        return self.rule.is_of_deployments == subject.is_deployment

    def run(self, subject: Subject, case: Case | None) -> list[Outcome]:
        """The outcomes of one check; a failure is among them."""
        return self.conduct(Check(subject, self.rule, case))

    def conduct(self, check: Check) -> list[Outcome]:
        """The outcomes of a check that has been made already."""
        return conduct(self.function, check)

    def rerun(self, case: Case | None, subject: Subject) -> list[Outcome]:
        """The same, with what is bound to stay first."""
        return self.run(subject, case)


@cache
def conformance_tests() -> tuple[Test, ...]:
    """Every conformance test: those of the catalogue's cases by requirement, then the others by file."""
    own = tuple(_find_tests())
    catalogued = (Test(requirement(name), Check.run, over_cases=True) for name in requirements_of_catalogue())
    return (*catalogued, *own)


@cache
def requirements_of_catalogue() -> tuple[str, ...]:
    """The requirements whose cases are judged by `Check.run`, as no test of their own takes them."""
    taken = {test.rule.id for test in _find_tests() if test.over_cases}
    return tuple(name for name in requirements() if name in with_cases() and name not in taken)


def _find_tests() -> Iterator[Test]:
    for module in pkgutil.iter_modules(bnconform.tests.conformance.__path__):
        for name, function in vars(import_module(f"bnconform.tests.conformance.{module.name}")).items():
            marks = marks_of(function)
            if name.startswith("test_") and marks is not None and marks.requirement:
                yield Test(requirement(marks.requirement), function, marks.over_cases, marks.once)
