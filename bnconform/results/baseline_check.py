"""What a run comes to beside a baseline: what is new, worse, fixed, explained differently, or not there any more.

A baseline knows rows, not checks: any failing check of a known row is known, if it is no worse. These things a
check by rows would hide, so it says them:

- a row that fails otherwise than it was known to: with another explanation, or with ten times the error;
- an entry that speaks of more than one row (`*`, a kind of device, several results) and is needed for some only: the
  next failure of the others would be known in advance;
- an entry whose row is not judged any more, in a run of all checks, or is unsupported now: it fails the run, as
  nobody would notice otherwise that a check, a device or a backend's name is gone;
- how many entries still have no reason, and of which backends the run has nothing, where a name may be misspelt.

An internal error of the suite can never be known. A row that used to conform and is unsupported now is no failure and
in no baseline: comparing results shows it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bnconform.results.baseline import ANY, BaselineEntry, explanation, in_order
from bnconform.results.completeness import is_partial, is_unfinished, partial, reason, whole_columns
from bnconform.results.failure import INTERNAL
from bnconform.results.result import FAILURES, LEVELS, UNLIMITED, Result, Row, dtype_order

INTERNAL_ERROR = "internal error of bnconform"
"""How a message begins where the suite itself is at fault, in files of versions that kept no more than the message."""

MUCH = 10.0
"""The factor by which an error must differ to be another one."""


@dataclass(frozen=True)
class Suite:
    """What a run of all checks would show, so that a part of one is noticed.

    Attributes:
        requirements: by dtype, those that have a row for each backend, device and dtype.
        once: those that have one row for each backend and device, whatever the dtype.
    """

    requirements: Mapping[str, Collection[str]]
    once: Collection[str]

    def dtypes(self, entry: BaselineEntry) -> frozenset[str]:
        """Those in which an entry has something to say; none where any one will do."""
        if entry.dtype != ANY:
            return frozenset({entry.dtype})
        return frozenset(dtype for dtype, names in self.requirements.items() if entry.requirement in names)

    def whole(self, result: Result) -> frozenset[tuple[str, str, str]]:
        """Backend, device and dtype of the columns for which all checks were run.

        A result of an earlier version does not say, and is taken for whole as far as its rows can tell.
        """
        if result.selection is not None:
            return whole_columns(result, self.once)
        columns: dict[tuple[str, str, str], set[str]] = {}
        devices: dict[tuple[str, str], set[str]] = {}
        for row in result.rows:
            columns.setdefault(row.key[:3], set()).add(row.requirement)
            devices.setdefault(row.key[:2], set()).add(row.requirement)
        return frozenset(
            column
            for column, names in columns.items()
            if names.issuperset(self.requirements.get(column[2], ())) and devices[column[:2]].issuperset(self.once)
        )


class KnownRow(NamedTuple):
    """A failing row and the entry that knows it; `why` says what differs, where something does."""

    row: Row
    entry: BaselineEntry
    why: str = ""


class EntryNote(NamedTuple):
    """An entry and what is to be said of it."""

    entry: BaselineEntry
    why: str = ""


_Run = tuple[Result, frozenset[tuple[str, str, str]]]
"""A result, and the columns for which all checks were run."""


@dataclass(frozen=True)
class BaselineVerdict:
    """A run beside a baseline.

    Attributes:
        known: every failing row that an entry covers.
        new: failing rows, at the level asked for, that no entry speaks of.
        worse: those of which an entry knows a lesser failure.
        changed: known rows that fail otherwise than before.
        fixed: entries whose rows were judged and do not fail; partly: the same, of rows that a part of the checks
            was run for, so that nobody can be sure.
        unmatched: entries whose row should be there and is not, or is unsupported.
        narrower: entries that some of their rows need and others do not.
        apart: entries that the run says nothing of.
        parts: how much of the suite each partial result is of, in words. unfinished: those of runs that broke off.
    """

    known: tuple[KnownRow, ...] = ()
    new: tuple[Row, ...] = ()
    worse: tuple[KnownRow, ...] = ()
    changed: tuple[KnownRow, ...] = ()
    fixed: tuple[EntryNote, ...] = ()
    partly: tuple[EntryNote, ...] = ()
    unmatched: tuple[EntryNote, ...] = ()
    narrower: tuple[EntryNote, ...] = ()
    apart: tuple[EntryNote, ...] = ()
    parts: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()

    @property
    def fails(self) -> bool:
        """Whether something is wrong that the baseline does not know, or cannot be seen."""
        return bool(self.new or self.worse or self.unmatched or self.unfinished)


def judge(entries: Iterable[BaselineEntry], results: Sequence[Result], level: str, suite: Suite) -> BaselineVerdict:
    """Every failing row and every entry, in its place; `level` is the one up to which a failure counts."""
    entries = in_order(entries)
    known: list[KnownRow] = []
    worse: list[KnownRow] = []
    changed: list[KnownRow] = []
    new: list[Row] = []
    spoken: dict[int, list[tuple[Row, bool]]] = {}
    by_name: dict[tuple[str, str], list[int]] = {}
    for index, entry in enumerate(entries):
        by_name.setdefault((entry.backend, entry.requirement), []).append(index)
    runs = [(result, suite.whole(result)) for result in results]
    for result, whole in runs:
        for row in result.rows:
            mine = [
                index
                for index in by_name.get((row.backend, row.requirement), ())
                if entries[index].about(row) and not entries[index].when.fails(result.environment, row.device)
            ]
            for index in mine:
                spoken.setdefault(index, []).append((row, row.key[:3] in whole))
            if row.verdict not in FAILURES:
                continue
            counts = LEVELS.index(row.level) <= LEVELS.index(level)
            found = _nearest(row, [entries[index] for index in mine])
            if found is None or internal(row):
                new += [row] if counts or internal(row) else []
            elif found.entry.covers(row.verdict):
                known.append(found)
                changed += [found] if found.why else []
            else:
                (worse if counts else changed).append(found)
    names = ("", "fixed", "partly", "unmatched", "narrower", "apart")
    places: dict[str, list[EntryNote]] = {name: [] for name in names}
    for index, entry in enumerate(entries):
        place, why = _place(entry, spoken.get(index, []), runs, suite)
        places[place].append(EntryNote(entry, why))
    places.pop("")
    lists = {name: tuple(notes) for name, notes in places.items()}
    return BaselineVerdict(
        tuple(known), tuple(new), tuple(worse), tuple(changed), **lists,
        parts=tuple(_part(result) for result in results if is_partial(result) and not is_unfinished(result)),
        unfinished=tuple(_part(result) for result in results if is_unfinished(result)),
    )  # fmt: skip


def _part(result: Result) -> str:
    return "; ".join(filter(None, (partial(result), reason(result))))


def internal(row: Row) -> bool:
    """Whether the suite itself is at fault, which no entry can know."""
    if row.failure is not None:
        return row.failure.kind == INTERNAL
    return row.verdict == "untrusted" and row.message.startswith(INTERNAL_ERROR)


def _nearest(row: Row, entries: Iterable[BaselineEntry]) -> KnownRow | None:
    """The entry that speaks of a failing row and knows most of it, and what it does not know."""

    def distance(entry: BaselineEntry) -> tuple[bool, bool, bool, int]:
        differs = _has_other_explanation(row, entry)
        return (
            not entry.covers(row.verdict),
            entry.verdict != row.verdict,
            differs,
            (entry.device, entry.dtype).count(ANY),
        )

    entry = min(entries, key=distance, default=None)
    return None if entry is None else KnownRow(row, entry, _difference(row, entry))


def _difference(row: Row, entry: BaselineEntry) -> str:
    """In what a row differs from what its entry knows; "" where in nothing that matters."""
    parts = []
    if row.verdict != entry.verdict:
        parts.append(f"{row.verdict}; known as {entry.verdict}")
    if _has_other_explanation(row, entry):
        parts.append(f"explained by {explanation(row) or 'nothing'}; known to be by {entry.diagnosis or 'nothing'}")
    if entry.share and row.bound_share is not None and row.bound_share > MUCH * entry.share:
        parts.append(f"{_times(row.bound_share)} the bound; known as {_times(entry.share)}")
    return "; ".join(parts)


def _has_other_explanation(row: Row, entry: BaselineEntry) -> bool:
    # What crashed has shown nothing that could be explained.
    return row.verdict != "crashed" and entry.diagnosis not in (None, explanation(row))


def _times(share: float) -> str:
    return "without limit over" if share >= UNLIMITED else f"{share:.2g} times"


def _place(
    entry: BaselineEntry, rows: Sequence[tuple[Row, bool]], runs: Sequence[_Run], suite: Suite
) -> tuple[str, str]:
    """The list of a BaselineVerdict that an entry belongs to ("" for none), and why."""
    failing = [row for row, _ in rows if row.verdict in FAILURES]
    fine = [row for row, _ in rows if row.verdict in ("conforms", "deviates")]
    if failing and fine:
        return "narrower", f"needed in {_where(failing)}, not in {_where(fine)}"
    if failing:
        return "", ""
    if not fine:
        return _reason_without_row(entry, [row for row, _ in rows], runs, suite)
    verdict = "deviates as declared" if fine[0].verdict == "deviates" else "conforms"
    unasked = [] if all(whole for _, whole in rows) else ["a part of the checks was run"]
    if missing := suite.dtypes(entry) - {row.dtype for row, _ in rows}:
        unasked.append(f"not asked in {', '.join(sorted(missing, key=dtype_order))}")
    if entry.device == ANY:
        unasked.append("nor on any other device" if missing else "not asked on any other device")
    return ("partly" if unasked else "fixed"), "; ".join([f"{verdict} in {_where(fine)}", *unasked])


def _reason_without_row(
    entry: BaselineEntry, unsupported: Sequence[Row], runs: Sequence[_Run], suite: Suite
) -> tuple[str, str]:
    """Why an entry has no row that was judged, and whether it should have one."""
    mine = [(result, whole) for result, whole in runs if any(row.backend == entry.backend for row in result.rows)]
    if not mine:
        return "apart", "not in this run"
    why = "on a device or in a dtype that is not in this run"
    asked: set[str] = set()
    others: set[str] = set()
    for result, whole in mine:
        others |= {r.dtype for r in result.rows if (r.backend, r.requirement) == (entry.backend, entry.requirement)}
        for column in {row.key[:3] for row in result.rows if entry.on(row.backend, row.device)}:
            if entry.dtype not in (ANY, column[2]):
                continue
            condition = entry.when.fails(result.environment, column[1])
            if condition:
                why = condition
            elif column not in whole:
                why = "of which a part of the checks was run"
            else:
                asked.add(column[2])
    if not asked or not asked >= suite.dtypes(entry):
        return "apart", why
    if unsupported:
        return "unmatched", f"it is unsupported now: {unsupported[0].summary}"
    where = f"; {entry.backend} has it in {', '.join(sorted(others, key=dtype_order))}" if others else ""
    return "unmatched", f"there is no such row{where}"


def _where(rows: Iterable[Row]) -> str:
    return ", ".join(dict.fromkeys(f"{row.device} {row.dtype}" for row in rows))
