"""Several results as one, so that one page can show what was run on machines that never met."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bnconform.results import completeness
from bnconform.results.failed_checks import find_failed_checks
from bnconform.results.files import FileError
from bnconform.results.result import Environment, Key, Result, Usage, merge


class JoinError(FileError):
    """Results that cannot stand in one table; the message says why, in one line."""


def join(results: Sequence[tuple[str, Result]]) -> Result:
    """One result with the rows of all, each given with the name of its file.

    Raises:
        JoinError: where two of them judge the same backend on the same device in the same dtype.
    """
    if len(results) == 1:
        return results[0][1]
    seen: dict[Key, str] = {}
    levels: dict[str, tuple[str, str]] = {}
    for name, result in results:
        for row in result.rows:
            if row.key in seen:
                raise JoinError(
                    f"{seen[row.key]} and {name} both judge {row.backend} on {row.device} in {row.dtype}; "
                    "bnconform compare tells two runs of the same apart"
                )
            level, other = levels.setdefault(row.requirement, (row.level, name))
            if level != row.level:
                raise JoinError(f"{other} and {name} give {row.requirement} two levels; make both with one version")
        seen.update((row.key, name) for row in result.rows)
    whole = [result for _, result in results]
    return Result(
        environment_of([result.environment for result in whole]),
        merge(row for result in whole for row in result.rows),
        tuple(one for result in whole for one in result.diagnoses),
        tuple(one for result in whole for one in result.observations),
        tuple(one for result in whole for one in result.declarations),
        *completeness.join(whole),
        failed=tuple(one for result in whole for one in find_failed_checks(result)),
    )


def environment_of(many: Sequence[Environment]) -> Environment:
    """Where and when all of them took place: what differs with `and` between, the times added up."""
    used: dict[str, Usage] = {}
    for one in many:
        for name, usage in one.backends.items():
            before = used.get(name, Usage(0, 0.0))
            used[name] = Usage(before.calls + usage.calls, before.seconds + usage.seconds)
    return Environment(
        python=_each(one.python for one in many),
        platform=_each(one.platform for one in many),
        bnconform=_each(one.bnconform for one in many),
        packages={
            name: _each(o.packages[name] for o in many if name in o.packages) for name in _keys(many, "packages")
        },
        devices={name: _each(o.devices[name] for o in many if name in o.devices) for name in _keys(many, "devices")},
        started=_each(one.started for one in many),
        seconds=sum(one.seconds for one in many),
        backends=used,
    )


def _keys(many: Iterable[Environment], what: str) -> list[str]:
    return list(dict.fromkeys(name for one in many for name in getattr(one, what)))


def _each(values: Iterable[str]) -> str:
    """The values, each once."""
    return " and ".join(dict.fromkeys(values))
