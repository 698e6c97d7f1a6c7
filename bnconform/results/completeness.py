"""What of the suite a run was asked for, what of that it finished, and whether that is all; kept with its result.

A part of the suite is no verdict on an implementation: whatever shows a result asks `partial` first. A run of some
backends, devices or dtypes is whole in what it judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from bnconform.results.visible import cut_names

FINISHED, STOPPED, INTERRUPTED, CRASHED = ENDINGS = ("finished", "stopped", "interrupted", "crashed")
"""How a run ended, the best first: at its end; at a failure, as asked (-x, --maxfail); by a person, a signal or a
limit of the machine; by a fault of the run itself."""

Column = tuple[str, str, str]
"""(backend, device, dtype)."""


@dataclass(frozen=True)
class ColumnSelection:
    """What was asked of one backend, device and dtype.

    Attributes:
        requirements: those of which some check was selected.
        left_out: by level, the requirements that a run of all checks judges here, and of which a check is missing: it
            was not selected, or not finished.
    """

    backend: str
    device: str
    dtype: str
    requirements: tuple[str, ...] = ()
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def column(self) -> Column:
        """Which one it is."""
        return self.backend, self.device, self.dtype

    @property
    def whole(self) -> bool:
        """Whether all checks were made here."""
        return not any(self.left_out.values())


@dataclass(frozen=True)
class SelectionRecord:
    """What a run was asked for.

    Attributes:
        backends, devices, dtypes: as they were given; none where the default was.
        narrowed_by: what left out checks, as it was given, such as "-k BN-RUN-VAR"; none where nothing did.
        columns: each backend, device and dtype that was to be judged.
        missing: the shards without which a set of them is not the whole run, such as "3/8"; see `results.shard`.
    """

    backends: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    narrowed_by: tuple[str, ...] = ()
    columns: tuple[ColumnSelection, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Completion:
    """How far a run came.

    Attributes:
        ended: one of ENDINGS.
        checks: how many a run of the whole suite has; selected: how many of them were; finished: how many of those.
    """

    ended: str
    checks: int
    selected: int
    finished: int

    @property
    def complete(self) -> bool:
        """Whether every check of the suite was made."""
        return self.ended == FINISHED and self.finished == self.selected == self.checks


class _Row(Protocol):
    @property
    def level(self) -> str: ...
    @property
    def requirement(self) -> str: ...


class Judged(Protocol):
    """A result, as far as this module looks at it."""

    @property
    def rows(self) -> Sequence[_Row]: ...
    @property
    def selection(self) -> SelectionRecord | None: ...
    @property
    def completion(self) -> Completion | None: ...


def is_partial(result: Judged) -> bool:
    """Whether a result is known to be of a part of the suite; a file of an earlier version does not say."""
    return result.completion is not None and (not result.completion.complete or is_unfinished(result))


def is_unfinished(result: Judged) -> bool:
    """Whether a result is known to be of a run that did not come to its end, or of a part of its shards."""
    completion = result.completion
    if completion is None:
        return False
    lacks = completion.ended != FINISHED or completion.finished < completion.selected
    return lacks or bool(result.selection and result.selection.missing)


def partial(result: Judged) -> str:
    """How much of the suite a result is of, such as "2 of 66 musts judged"; "" where it is complete, or not known."""
    if not is_partial(result):
        return ""
    missing = {name for one in _columns(result) for name in one.left_out.get("must", ())}
    begun = {row.requirement for row in result.rows if row.level == "must"}
    total = len(begun | missing)
    if begun - missing or not begun:
        return f"{len(begun - missing)} of {total} musts judged"
    return f"{len(begun)} of {total} musts judged in part"


def reason(result: Judged) -> str:
    """Why a result is partial, in words; "" where it is not."""
    if not is_partial(result) or result.completion is None:
        return ""
    words = list(result.selection.narrowed_by) if result.selection else []
    found = [f"narrowed by {', '.join(words)}"] if words else []
    completion = result.completion
    if completion.ended != FINISHED:
        found.append(f"{completion.ended} after {completion.finished} of {completion.selected} checks")
    elif completion.finished < completion.selected:
        found.append(f"{completion.selected - completion.finished} of {completion.selected} checks did not finish")
    if result.selection and result.selection.missing:
        many = result.selection.missing
        found.append(f"{'shard' if len(many) == 1 else 'shards'} {cut_names([*many])} missing")
    return "; ".join(found)


def whole_columns(result: Judged, once: Iterable[str]) -> frozenset[Column]:
    """The columns in which all checks were made.

    Args:
        once: the requirements that are judged once for each backend and device, whatever the dtype.
    """
    single = set(once)
    lacking = {
        one.column[:2] for one in _columns(result) if any(single & set(names) for names in one.left_out.values())
    }
    return frozenset(one.column for one in _columns(result) if one.whole and one.column[:2] not in lacking)


def join(results: Sequence[Judged]) -> tuple[SelectionRecord | None, Completion | None]:
    """What several results together are of; None where one does not say, and none is known to be partial."""
    known = [(one.selection, one.completion) for one in results if one.selection and one.completion]
    if len(known) < len(results) and not any(map(is_partial, results)):
        return None, None
    selections, completions = [one for one, _ in known], [one for _, one in known]
    selection = SelectionRecord(
        _each(one.backends for one in selections),
        _each(one.devices for one in selections),
        _each(one.dtypes for one in selections),
        _each(one.narrowed_by for one in selections),
        tuple(column for one in selections for column in one.columns),
        _each(one.missing for one in selections),
    )
    completion = Completion(
        max((one.ended for one in completions), key=ENDINGS.index),
        sum(one.checks for one in completions),
        sum(one.selected for one in completions),
        sum(one.finished for one in completions),
    )
    return selection, completion


def to_json(result: Judged) -> dict[str, Any]:
    """The keys of a result file; none where it is not known."""
    if result.selection is None or result.completion is None:
        return {}
    selection = {**asdict(result.selection), "all": not result.selection.narrowed_by}
    if not result.selection.missing:
        selection.pop("missing")
    return {
        "selection": selection,
        "completion": {**asdict(result.completion), "complete": not is_partial(result)},
    }


def from_json(data: Mapping[str, Any]) -> tuple[SelectionRecord | None, Completion | None]:
    """What a result file that fits its schema says; None where it says nothing."""
    if "selection" not in data or "completion" not in data:
        return None, None
    given = {name: value for name, value in data["selection"].items() if name != "all"}
    columns = tuple(
        ColumnSelection(
            one["backend"], one["device"], one["dtype"], tuple(one["requirements"]),
            {level: tuple(names) for level, names in one["left_out"].items()},
        )
        for one in given.pop("columns")
    )  # fmt: skip
    selection = SelectionRecord(**{name: tuple(words) for name, words in given.items()}, columns=columns)
    completion = {name: value for name, value in data["completion"].items() if name != "complete"}
    return selection, Completion(**completion)


def _columns(result: Judged) -> tuple[ColumnSelection, ...]:
    return result.selection.columns if result.selection else ()


def _each(values: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """The values of all, each once."""
    return tuple(dict.fromkeys(value for many in values for value in many))
