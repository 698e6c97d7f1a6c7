"""A baseline brought up to date with results: what fails is added, what does not any more is dropped."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from bnconform.results.baseline import ANY, UNEXPLAINED, BaselineEntry, When, explanation, in_order
from bnconform.results.baseline_check import MUCH, EntryNote, KnownRow, Suite, internal, judge
from bnconform.results.result import FAILURES, Key, Result, Row


class Update(NamedTuple):
    """A baseline brought up to date, and what became of its entries."""

    entries: tuple[BaselineEntry, ...]
    added: tuple[BaselineEntry, ...]
    refreshed: tuple[KnownRow, ...]
    dropped: tuple[EntryNote, ...]
    kept: tuple[EntryNote, ...]


def update_baseline(
    entries: Iterable[BaselineEntry],
    results: Sequence[Result],
    level: str,
    suite: Suite,
    *,
    reason: str = UNEXPLAINED,
    link: str = "",
    when: When | None = None,
    drop: Collection[str] = ("fixed", "unmatched"),
) -> Update:
    """The baseline that fits these results; what they do not speak of stays as it is.

    Args:
        reason, link, when: of new entries; known ones keep theirs.
        drop: the lists of a BaselineVerdict whose entries go.
    """
    entries = in_order(entries)
    found = judge(entries, results, level, suite)
    gone = [note for name in ("fixed", "partly", "unmatched") if name in drop for note in getattr(found, name)]
    kept = [note for name in ("fixed", "partly") if name not in drop for note in getattr(found, name)]
    rows: dict[int, list[Row]] = {}
    for row, entry, _ in (*found.known, *found.worse, *(one for one in found.changed if one not in found.known)):
        rows.setdefault(entries.index(entry), []).append(row)
    fresh = {index: _refresh(entries[index], mine) for index, mine in rows.items()}
    failing: dict[Key, list[Row]] = {}
    for row in found.new:
        if not internal(row):
            dtype = ANY if row.requirement in suite.once else row.dtype
            failing.setdefault((row.backend, row.device, dtype, row.requirement), []).append(row)
    added = [
        _refresh(
            BaselineEntry(
                *key, verdict=FAILURES[-1], reason=reason, link=link, diagnosis="", share=0.0, when=when or When()
            ),
            mine,
        )
        for key, mine in failing.items()
    ]
    dropped = [note.entry for note in gone]
    stay = [fresh.get(index, entry) for index, entry in enumerate(entries) if entry not in dropped]
    changed = [one for one in (*found.worse, *found.changed) if fresh[entries.index(one.entry)] != one.entry]
    return Update(in_order([*stay, *added]), in_order(added), tuple(changed), tuple(gone), tuple(kept))


def _refresh(entry: BaselineEntry, rows: Sequence[Row]) -> BaselineEntry:
    """The entry with what these failing rows of it show; an error that is much as it was stays as it was written."""
    worst = min(rows, key=lambda row: FAILURES.index(row.verdict))
    explanations = {explanation(row) for row in rows}
    diagnosis = None if entry.diagnosis is None or len(explanations) > 1 else explanation(worst)
    shares = [row.bound_share for row in rows if row.bound_share is not None and row.bound_share > 1]
    share = None if entry.share is None or not shares else float(f"{max(shares):.2g}")
    if share and entry.share and entry.share / MUCH <= share <= entry.share * MUCH:
        share = entry.share
    return replace(entry, verdict=worst.verdict, diagnosis=diagnosis, share=share)
