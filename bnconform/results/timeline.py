"""Results of many runs: which of them is the current one of each implementation, and what became of it over time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from packaging.version import InvalidVersion, Version

from bnconform.results.completeness import is_partial
from bnconform.results.history import History, Release
from bnconform.results.joining import join
from bnconform.results.result import Result

Named = tuple[str, Result]
"""A result with the name of its file."""

Distributions = Callable[[str], Sequence[str]]
"""The distributions that a backend needs, its framework's own first; none where that is not known."""


@dataclass(frozen=True)
class Timeline:
    """One implementation.

    Attributes:
        backend: its name. current: what is to be said of it now. label: the version, or the day, of that.
        started: when the newest result of that was begun.
        package: the distribution whose version is the label; "" where it is the day.
        history: what was judged at each label, oldest first.
    """

    backend: str
    current: Result
    label: str
    started: str
    package: str
    history: History


def timelines(results: Iterable[Named], distributions: Distributions) -> dict[str, Timeline]:
    """One of each implementation, in the order of their names.

    Of several results on the same version the newest complete one counts, of each device and dtype by itself, so that
    the parts of a run that was split stand together; one of a part of the suite counts where there is no other.
    """
    ordered = sorted(results, key=lambda named: named[1].environment.started)
    backends = sorted({row.backend for _, result in ordered for row in result.rows})
    return {backend: _timeline(backend, ordered, distributions(backend)) for backend in backends}


def _timeline(backend: str, results: Sequence[Named], distributions: Sequence[str]) -> Timeline:
    mine = [(name, only(result, backend)) for name, result in results]
    mine = [(name, result) for name, result in mine if result.rows]
    package = next((one for one in distributions if all(one in r.environment.packages for _, r in mine)), "")
    by_label: dict[str, list[Named]] = {}
    for name, result in mine:
        by_label.setdefault(_label(result, package), []).append((name, result))
    releases = {label: Release(label, newest(some)) for label, some in by_label.items()}
    labels = sorted(by_label, key=lambda label: _place(label, by_label[label]))
    current = releases[labels[-1]].result
    assert current is not None
    started = max(result.environment.started for _, result in by_label[labels[-1]])
    return Timeline(backend, current, labels[-1], started, package, History(backend, package, labels, releases))


def _label(result: Result, package: str) -> str:
    return result.environment.packages[package] if package else result.environment.started[:10]


def _place(label: str, results: Sequence[Named]) -> tuple[Version, str]:
    """A sorting key: versions by their number; others, which are days, by their letters."""
    try:
        return Version(label), ""
    except InvalidVersion:
        return Version("0"), max(result.environment.started for _, result in results)


def only(result: Result, backend: str) -> Result:
    """What a result says of one implementation."""
    used = {name: usage for name, usage in result.environment.backends.items() if name == backend}
    selection = result.selection
    if selection is not None:
        columns = tuple(column for column in selection.columns if column.backend == backend)
        selection = replace(selection, columns=columns)
    return replace(
        result,
        environment=replace(result.environment, backends=used),
        rows=tuple(row for row in result.rows if row.backend == backend),
        diagnoses=tuple(one for one in result.diagnoses if one.backend == backend),
        observations=tuple(one for one in result.observations if one.backend == backend),
        declarations=tuple(one for one in result.declarations if one.backend == backend),
        selection=selection,
        failed=tuple(one for one in result.failed if one.row.backend == backend),
    )


def newest(results: Sequence[Named]) -> Result:
    """The newest of results of one implementation, the oldest first; column by column, complete ones before others."""
    chosen: dict[tuple[str, str], int] = {}
    for partial in (True, False):
        for number, (_, result) in enumerate(results):
            if is_partial(result) == partial:
                chosen |= {(row.device, row.dtype): number for row in result.rows}
    parts = [
        (name, _columns(result, {key for key, one in chosen.items() if one == number}))
        for number, (name, result) in enumerate(results)
    ]
    return join([(name, result) for name, result in parts if result.rows])


def _columns(result: Result, wanted: set[tuple[str, str]]) -> Result:
    """What a result says of some devices and dtypes."""
    return replace(
        result,
        rows=tuple(row for row in result.rows if (row.device, row.dtype) in wanted),
        failed=tuple(one for one in result.failed if (one.row.device, one.row.dtype) in wanted),
    )
