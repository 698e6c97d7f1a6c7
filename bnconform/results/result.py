"""The result of a run: rows of verdicts with the environment they were reached in, and the file that keeps them.

The file's form is `result.schema.json`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from bnconform.cases.json_files import JsonForm
from bnconform.results import completeness, files
from bnconform.results.completeness import Completion, SelectionRecord
from bnconform.results.failure import Failure
from bnconform.results.files import FileError
from bnconform.results.shard import Shard

SCHEMA = "bnconform/result/1"

LEVELS = ("must", "should", "may")
"""The levels of a requirement, the strictest first."""

VERDICTS = ("crashed", "violates", "untrusted", "deviates", "conforms", "unsupported")
"""The verdicts, the worst first: a row has the worst of its checks, so it is unsupported only if all of them are."""

FAILURES = ("crashed", "violates", "untrusted")
"""The verdicts that fail a run, where they are about a level that was asked for, the worst first."""

DTYPES = ("float64", "float32", "float16", "bfloat16")
"""The order in which dtypes are listed; others follow by name."""

UNLIMITED = 1e300
"""What an infinite or NaN share of the bound, or count of ulps, is written as: JSON has neither."""

Key = tuple[str, str, str, str]
"""(backend, device, dtype, requirement): what a row is about."""


Spread = tuple[tuple[str, int], ...]
"""Verdicts with how often each was come to, the worst first."""


class ResultError(FileError):
    """A result file that cannot be read; the message says why, in one line."""


FORM = JsonForm("result", Path(__file__).parent / "result.schema.json", ResultError, "--json of a run writes one")


class Difference(NamedTuple):
    """One decision of the behaviour space at which the subject differs from the specification."""

    coordinate: str
    value: str


@dataclass(frozen=True)
class Row:
    """A verdict on one backend, device, dtype and requirement: of one check, or of several merged.

    Attributes:
        backend, device, dtype, requirement: what was judged against what.
        level: of the requirement, one of LEVELS.
        verdict: one of VERDICTS.
        checks: how many numbers and refusals were compared, in all its checks together.
        bound_share: the worst error over its bound (1 is the limit), or None where none was measured; infinity and
            NaN become UNLIMITED.
        ulp: the worst error in units in the last place, or None; likewise.
        diagnosis: what explains the observations, where the verdict is not `conforms`.
        message: what was found, its first line a summary; on a conforming row empty, or what was measured.
        case: the path of a case that replays it, or None.
        failure: why it failed, of which `message` is the text; None where it did not, or where nobody kept it.
        flaky: of the checks whose repetitions differ, how many of these came to each verdict, the worst first.
        models, refused: how many models a tool was given here, and how many of them it refused; 0 of layers.

    Raises:
        ValueError: for an unknown level or verdict.
    """

    backend: str
    device: str
    dtype: str
    requirement: str
    level: str
    verdict: str
    checks: int = 1
    bound_share: float | None = None
    ulp: float | None = None
    diagnosis: tuple[Difference, ...] = ()
    message: str = ""
    case: str | None = None
    failure: Failure | None = None
    flaky: Spread = ()
    models: int = 0
    refused: int = 0

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ValueError(f"unknown level {self.level!r}; a level is one of {', '.join(LEVELS)}")
        if self.verdict not in VERDICTS:
            raise ValueError(f"unknown verdict {self.verdict!r}; a verdict is one of {', '.join(VERDICTS)}")
        object.__setattr__(self, "bound_share", _limit(self.bound_share))
        object.__setattr__(self, "ulp", _limit(self.ulp))

    @property
    def key(self) -> Key:
        """What the row is about."""
        return self.backend, self.device, self.dtype, self.requirement

    @property
    def is_mostly_refused(self) -> bool:
        """Whether it holds for what the tool took, and most models were refused."""
        return self.verdict in ("conforms", "deviates") and 2 * self.refused > self.models

    @property
    def summary(self) -> str:
        """What was found, in one line; "" where nothing is said."""
        if self.failure is not None:
            return self.failure.summary
        return next((line.strip() for line in self.message.splitlines() if line.strip()), "")


class FailedCheck(NamedTuple):
    """One check that failed, or one that stands for several of its row that fail alike; see `failed_checks`.

    `size` is the number of calls and of the values given to them, empty where that is not known; `many` is for how many
    checks it stands.
    """

    row: Row
    size: tuple[int, ...] = ()
    many: int = 1


class Usage(NamedTuple):
    """The calls into one backend and the seconds spent inside them, over all processes of the run."""

    calls: int
    seconds: float


@dataclass(frozen=True)
class Environment:
    """Where and when a run took place.

    Attributes:
        python, platform, bnconform: versions of Python and the suite, and the operating system.
        packages: version by distribution.
        devices: what each device is, by its name.
        started: ISO 8601, with the offset from UTC.
        seconds: the wall time of the run.
        backends: by backend, the time spent inside its own calls.
    """

    python: str
    platform: str
    bnconform: str
    packages: Mapping[str, str]
    devices: Mapping[str, str]
    started: str
    seconds: float
    backends: Mapping[str, Usage] = field(default_factory=dict)


@dataclass(frozen=True)
class Diagnosis:
    """What explains the failing checks of one backend, or a part of them.

    Attributes:
        points: each a point of the behaviour space that explains them, as what differs from the one that the adapter
            declares; none where nothing does, more than one where nothing tells them apart.
        explains, failing: how many of how many failing checks.
        text: all of it in one line; where nothing explains them, with where they show.
    """

    backend: str
    points: tuple[tuple[Difference, ...], ...]
    explains: int
    failing: int
    text: str


@dataclass(frozen=True)
class Observation:
    """An array that a backend answered in one of the probes whose results are kept, so that runs can be compared.

    Attributes:
        backend, device, dtype: who answered, and the dtype of its input.
        requirement, case: the probe. program: the SHA-256 of the program that ran.
        step: the number of the call, from 0. name: "y", "running_mean", "grad_x" and so on.
        array: "dtype" (its own), "shape", and "data": base64 of its bytes, little-endian, in C order.
    """

    backend: str
    device: str
    dtype: str
    requirement: str
    case: str
    program: str
    step: int
    name: str
    array: Mapping[str, Any]

    @classmethod
    def of(cls, backend: str, device: str, dtype: str, entry: Mapping[str, Any]) -> Observation:
        """From what a check kept."""
        return cls(backend, device, dtype, **entry)

    @property
    def place(self) -> tuple[str, str, str, int, str]:
        """What it is an observation of, whoever answered."""
        return self.dtype, self.requirement, self.case, self.step, self.name


@dataclass(frozen=True)
class Declaration:
    """What a backend declares on a device: decision -> value, and feature -> the reason why it is lacking."""

    backend: str
    device: str
    deviations: Mapping[str, str]
    unsupported: Mapping[str, str]


@dataclass(frozen=True)
class Result:
    """A whole run; `rows` has at most one row for each key, `diagnoses` what explains the failures of each backend.

    `failed` has the checks that failed; a file of an earlier version has none.
    `observations` and `declarations` are what `bnconform compare` needs, `selection` and `completion` say what of the
    suite it is of; a file of an earlier version has none. `shard` is there where it is one share of a run.
    """

    environment: Environment
    rows: tuple[Row, ...]
    diagnoses: tuple[Diagnosis, ...] = ()
    observations: tuple[Observation, ...] = ()
    declarations: tuple[Declaration, ...] = ()
    selection: SelectionRecord | None = None
    completion: Completion | None = None
    shard: Shard | None = field(default=None, repr=False)
    failed: tuple[FailedCheck, ...] = field(default=(), repr=False)


def dtype_order(name: str) -> tuple[int, str]:
    """A sorting key for dtypes: DTYPES first, in their order."""
    return (DTYPES.index(name) if name in DTYPES else len(DTYPES)), name


def merge(outcomes: Iterable[Row]) -> tuple[Row, ...]:
    """One row for each key, whatever the order in which the outcomes of its checks arrive.

    The worst verdict wins, and gives message, diagnosis and case; among equal verdicts the one with the largest share
    of its bound does. Where no case of that check was written, the case is one of those that have its verdict and
    diagnosis. Checks are added up; shares and ulps are the largest of all. Rows are sorted by backend, device, dtype
    (in the order of DTYPES) and requirement. Merging merged rows changes nothing.

    Raises:
        ValueError: where one requirement comes with two levels.
    """
    groups: dict[Key, list[Row]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.key, []).append(outcome)
    order = sorted(groups, key=lambda key: (key[0], key[1], dtype_order(key[2]), key[3]))
    return tuple(_merge(groups[key]) for key in order)


def in_order(many: Mapping[str, int]) -> Spread:
    """How many there are of each verdict, the worst first."""
    return tuple((verdict, many[verdict]) for verdict in VERDICTS if verdict in many)


def together(rows: Iterable[Row]) -> Spread:
    """The repetitions of all flaky checks of some rows."""
    return in_order(sum((Counter(dict(row.flaky)) for row in rows), Counter()))


def flakiness(flaky: Spread) -> str:
    """How often repetitions came to which verdict, in words; "" where there are none."""
    words = " and ".join(f"{verdict} in {many}" for verdict, many in flaky)
    return f"{words} of {sum(many for _, many in flaky)} repetitions of checks that differ" if words else ""


def to_json(result: Result) -> dict[str, Any]:
    """The result as JSON-ready data that fits the schema."""
    environment = asdict(result.environment)
    environment["backends"] = {name: usage._asdict() for name, usage in result.environment.backends.items()}
    rows = [_row(row) for row in result.rows]
    diagnoses = [
        asdict(one) | {"points": [[part._asdict() for part in point] for point in one.points]}
        for one in result.diagnoses
    ]
    return {
        "schema": SCHEMA,
        "environment": environment,
        "results": rows,
        "diagnoses": diagnoses,
        "declarations": [asdict(one) for one in result.declarations],
        "observations": [asdict(one) for one in result.observations],
        **completeness.to_json(result),
        **({"failed": [_write_failed_check(check) for check in result.failed]} if result.failed else {}),
        **({"shard": result.shard.to_json()} if result.shard else {}),
    }


def from_json(data: Any) -> Result:
    """The result from JSON data; ResultError, naming the place, where it does not fit the schema."""
    FORM.check(data)
    rows = []
    seen: set[Key] = set()
    for index, entry in enumerate(data["results"]):
        row = _read_row(entry)
        if row.key in seen:
            raise ResultError(f"at results/{index}: a second row for {' '.join(row.key)}")
        seen.add(row.key)
        rows.append(row)
    environment = data["environment"]
    usage = {name: Usage(**entry) for name, entry in environment.get("backends", {}).items()}
    diagnoses = tuple(
        Diagnosis(**entry | {"points": tuple(tuple(Difference(**p) for p in point) for point in entry["points"])})
        for entry in data.get("diagnoses", [])
    )
    return Result(
        Environment(**environment | {"backends": usage}),
        tuple(rows),
        diagnoses,
        tuple(Observation(**entry) for entry in data.get("observations", [])),
        tuple(Declaration(**entry) for entry in data.get("declarations", [])),
        *completeness.from_json(data),
        _shard(data),
        tuple(_read_failed_check(entry) for entry in data.get("failed", [])),
    )


def _read_failed_check(entry: Mapping[str, Any]) -> FailedCheck:
    return FailedCheck(_read_row(entry["row"]), tuple(entry["size"]), entry["many"])


def _read_row(entry: Mapping[str, Any]) -> Row:
    failure = Failure.from_json(entry["failure"]) if "failure" in entry else None
    diagnosis = tuple(Difference(**part) for part in entry["diagnosis"])
    return Row(**{**entry, "diagnosis": diagnosis, "failure": failure, "flaky": in_order(entry.get("flaky", {}))})


def _shard(data: Mapping[str, Any]) -> Shard | None:
    if "shard" not in data:
        return None
    found = Shard.from_json(data["shard"])
    if found.share.number > found.share.of:
        raise ResultError(f"at shard/number: there is no shard {found.share}")
    return found


def write(path: Path, result: Result) -> None:
    """Write the result whole, or leave what was there and raise FileError."""
    files.write(path, json.dumps(to_json(result), indent=1, allow_nan=False) + "\n")


def read(path: Path) -> Result:
    """Read a result; ResultError, naming the file, where it is missing, not JSON, or not a result."""
    data = FORM.load(path)
    try:
        return from_json(data)
    except ResultError as problem:
        raise FORM.refusal(path, problem) from None


def _row(row: Row) -> dict[str, Any]:
    data = {name: getattr(row, name) for name in _KEYS}
    data["diagnosis"] = [part._asdict() for part in row.diagnosis]
    data |= {"models": row.models, "refused": row.refused} if row.models else {}
    data |= {"flaky": dict(row.flaky)} if row.flaky else {}
    return data | ({"failure": row.failure.to_json()} if row.failure else {})


def _write_failed_check(check: FailedCheck) -> dict[str, Any]:
    return {"row": _row(check.row), "size": list(check.size), "many": check.many}


_KEYS = tuple(each.name for each in fields(Row) if each.name not in ("failure", "flaky", "models", "refused"))


def _limit(value: float | None) -> float | None:
    if value is None:
        return None
    return UNLIMITED if math.isnan(value) else min(float(value), UNLIMITED)


def _merge(group: list[Row]) -> Row:
    if len({row.level for row in group}) > 1:
        raise ValueError(f"{group[0].requirement} comes with two levels; a requirement has one")
    ordered = sorted(group, key=_severity)
    worst = ordered[0]
    alike = (row for row in ordered if (row.verdict, row.diagnosis) == (worst.verdict, worst.diagnosis))
    return replace(
        worst,
        case=next((row.case for row in alike if row.case is not None), None),
        message=_reason(group) if worst.verdict == "unsupported" else worst.message,
        checks=sum(row.checks for row in group),
        bound_share=_largest(row.bound_share for row in group),
        ulp=_largest(row.ulp for row in group),
        flaky=together(group),
        models=sum(row.models for row in group),
        refused=sum(row.refused for row in group),
    )


def _reason(unsupported: Iterable[Row]) -> str:
    """The reason that most of the checks have; of those that as many have the first by name."""
    counts: Counter[str] = Counter()
    for row in unsupported:
        counts[row.message] += max(row.checks, 1)
    return min(counts, key=lambda message: (-counts[message], message))


def _severity(row: Row) -> tuple[Any, ...]:
    share = -1.0 if row.bound_share is None else row.bound_share
    return VERDICTS.index(row.verdict), -share, row.message, row.diagnosis, row.case or ""


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
