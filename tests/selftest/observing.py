"""Result files of the probes whose observations are kept, and of nothing else, for the tests of what reads them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any

from bnconform.backends import registry
from bnconform.cases.probes import cases_of
from bnconform.cases.probes.observed import OBSERVED
from bnconform.cases.program import Probe
from bnconform.judge.check import Check, conduct
from bnconform.judge.subject import Subject
from bnconform.results.observations import encode
from bnconform.results.result import Environment, Observation, Result, merge
from bnconform.results.run_result import declarations, row
from bnconform.spec.catalogue import requirement
from bnconform.tests.mutants.catalogue import every
from bnconform.tests.selftest.adapters import declarations as adapters

HERE = Environment("3", "here", "0", {"numpy": "2"}, {"cpu": "a CPU"}, "2026-01-01T00:00:00+00:00", 1.0)


def backend(name: str) -> Any:
    """A backend of the package, an adapter of adapters/declarations.py, or an implementation of the catalogue."""
    if hasattr(adapters, name):
        return getattr(adapters, name)()
    return every()[name] if name in every() else registry.load(name)


@cache
def result_of(name: str, *dtypes: str) -> Result:
    """What a run keeps of a backend in the given dtypes."""
    subjects = [Subject(name, backend(name), "cpu", dtype) for dtype in dtypes]
    outcomes = [
        outcome
        for subject in subjects
        for identifier, wanted in OBSERVED.items()
        for case in cases_of(identifier, subject.dtype)
        if case.name in wanted and isinstance(case, Probe)
        for outcome in conduct(Check.run, Check(subject, requirement(identifier), case))
    ]
    kept = tuple(Observation.of(o.backend, o.device, o.dtype, entry) for o in outcomes for entry in o.observed)
    return Result(HERE, merge(map(row, outcomes)), (), kept, declarations(subjects))


def move(result: Result, *, device: str = "cpu", backend: str = "") -> Result:
    """The same result on another device, or under another backend's name."""

    def there(entries: Iterable[Any]) -> tuple[Any, ...]:
        return tuple(replace(one, device=device, backend=backend or one.backend) for one in entries)

    return replace(
        result,
        environment=replace(HERE, devices={device: f"a {device}"}),
        rows=there(result.rows),
        observations=there(result.observations),
        declarations=there(result.declarations),
    )


def plant(result: Result, place: tuple[str, str, str], values: Any) -> Result:
    """The result with other values for one observation, given by requirement, case and name."""
    found = [one for one in result.observations if (one.requirement, one.case, one.name) == place]
    assert found
    return replace(
        result,
        observations=tuple(replace(one, array=encode(values)) if one in found else one for one in result.observations),
    )
