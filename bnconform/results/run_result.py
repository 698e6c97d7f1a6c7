"""What becomes of the outcomes at the end of a run: declarations that were never borne out, rows, the environment."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from bnconform.backends.runner.loading import find_installed
from bnconform.judge.outcome import CRASHED, UNSUPPORTED, UNTRUSTED, VIOLATES, Outcome
from bnconform.judge.subject import Subject
from bnconform.results.completeness import Completion, SelectionRecord
from bnconform.results.failed_checks import condense
from bnconform.results.result import (
    Declaration,
    Diagnosis,
    Difference,
    Environment,
    FailedCheck,
    Observation,
    Result,
    Row,
    Usage,
    in_order,
    merge,
)
from bnconform.results.shard import Shard

JUDGES = ("bnconform", "gmpy2", "hypothesis", "pytest")
"""The distributions whose version in this process counts, whatever an implementation's environment has."""


def row(outcome: Outcome) -> Row:
    """The outcome as a row of the result."""
    is_of_model = outcome.model is not None
    return Row(
        outcome.backend, outcome.device, outcome.dtype, outcome.requirement, outcome.level, outcome.verdict,
        checks=outcome.checks, bound_share=outcome.bound_share, ulp=outcome.ulp,
        diagnosis=tuple(Difference(entry["coordinate"], entry["value"]) for entry in outcome.diagnosis),
        message=outcome.message, case=outcome.case, failure=outcome.failure,
        flaky=in_order(Counter(outcome.verdicts)),
        models=int(is_of_model), refused=int(is_of_model and outcome.verdict == UNSUPPORTED),
    )  # fmt: skip


def _telling(outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
    """The outcomes without those of checks whose bounds admit any answer, where another of the requirement tells more.

    A requirement of which none is left stays untrusted.
    """
    told = {_key(outcome) for outcome in outcomes if not outcome.vacuous}
    return (outcome for outcome in outcomes if not outcome.vacuous or _key(outcome) not in told)


def _key(outcome: Outcome) -> tuple[str, str, str, str]:
    return outcome.backend, outcome.device, outcome.dtype, outcome.requirement


def result(
    outcomes: Sequence[Outcome],
    diagnoses: Iterable[Diagnosis],
    subjects: Sequence[Subject],
    started: datetime,
    seconds: float,
    selection: SelectionRecord | None = None,
    completion: Completion | None = None,
    shard: Shard | None = None,
) -> Result:
    """The result of a run; of what was asked for, how far it came and which share it is, where that is given."""
    used: dict[str, Usage] = {}
    for outcome in outcomes:
        before = used.get(outcome.backend, Usage(0, 0.0))
        used[outcome.backend] = Usage(before.calls + outcome.calls, before.seconds + outcome.seconds)
    devices = {}
    for subject in subjects:
        devices[subject.device] = getattr(subject.backend, "offered", {}).get(subject.device, subject.device)
    versions = _versions(subjects)
    environment = Environment(
        python=platform.python_version(), platform=platform.platform(),
        bnconform=versions.get("bnconform", "a clone"), packages=versions, devices=devices,
        started=started.astimezone(UTC).isoformat(timespec="seconds"), seconds=seconds, backends=used,
    )  # fmt: skip
    return Result(
        environment,
        rows(outcomes),
        tuple(diagnoses),
        tuple(sorted(_observations(outcomes), key=lambda one: (one.backend, one.device, one.place))),
        declarations(subjects),
        selection,
        completion,
        shard,
        checks_that_failed(outcomes),
    )


def _versions(subjects: Iterable[Subject]) -> dict[str, str]:
    """The packages with which was judged, and those of the environments in which the implementations ran.

    Where an implementation ran in an environment of its own, that one's version counts, and not this process's.
    """
    found: dict[str, dict[str, None]] = {}
    for subject in subjects:
        for name, version in getattr(subject.backend, "packages", {}).items():
            found.setdefault(name, {})[version] = None
    theirs = {name: " and ".join(versions) for name, versions in found.items() if name not in JUDGES}
    return find_installed() | theirs


def rows(outcomes: Sequence[Outcome]) -> tuple[Row, ...]:
    """A row of each cell of the matrix."""
    return merge(row(outcome) for outcome in _telling(outcomes))


def checks_that_failed(outcomes: Sequence[Outcome]) -> tuple[FailedCheck, ...]:
    """The checks that failed, one for those of a row that fail alike."""
    failing = (one for one in _telling(outcomes) if one.verdict in (CRASHED, VIOLATES, UNTRUSTED))
    return condense(FailedCheck(row(one), tuple(one.size)) for one in failing)


def _observations(outcomes: Iterable[Outcome]) -> Iterator[Observation]:
    for outcome in outcomes:
        for entry in outcome.observed:
            yield Observation.of(outcome.backend, outcome.device, outcome.dtype, entry)


def declarations(subjects: Iterable[Subject]) -> tuple[Declaration, ...]:
    """What each backend declares, on each of its devices."""
    found = {
        (subject.name, subject.device): Declaration(
            subject.name, subject.device, dict(subject.deviations), dict(subject.unsupported)
        )
        for subject in subjects
    }
    return tuple(found.values())


def from_properties(properties: Iterable[tuple[str, Any]]) -> list[Outcome]:
    """The outcomes that a test's report carries."""
    return [Outcome(**value) for name, value in properties if name == "bnconform"]
