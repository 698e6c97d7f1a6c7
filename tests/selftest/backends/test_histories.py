"""The kept histories: the page is what they say, the gate says the same at each step, what is confirmed was found."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from bnconform.cli.main import main
from bnconform.measure.history import distribution
from bnconform.render import history_page
from bnconform.results import baseline_check, baseline_update, confirmations, history_file
from bnconform.results.baseline_check import BaselineVerdict
from bnconform.results.history_file import KeptHistory
from bnconform.results.known_failures import suite
from bnconform.results.result import Result
from bnconform.spec.catalogue import requirements

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "backends" / "history"
KEPT = history_file.read_all(FOLDER)
CONFIRMED = confirmations.read(FOLDER / confirmations.FILE)

LEVEL = "may"
"""At which every failure counts."""


def name(kept: KeptHistory) -> str:
    """Of a history in the tests' names."""
    return kept.history.backend


def test_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    """It is what `bnconform list --history` prints, of the files."""
    assert main(["list", "--history"]) == 0
    printed = capsys.readouterr().out
    assert printed == history_page.page(KEPT, CONFIRMED)
    assert (ROOT / "backends" / "HISTORY.md").read_text(encoding="utf-8") == printed


def test_enough_of_them() -> None:
    """At least six frameworks and forty versions, and five changes that the projects tell of."""
    assert len({kept.history.package for kept in KEPT}) >= 6
    assert len({(kept.history.package, one.version) for kept in KEPT for one in kept.history.judged}) >= 40
    assert len({(one.backend, one.after) for one in CONFIRMED}) >= 5


@pytest.mark.parametrize("kept", KEPT, ids=name)
def test_a_file(kept: KeptHistory) -> None:
    """It is of a known backend and package, asks for requirements that there are, and is written as we write it."""
    history = kept.history
    assert distribution(history.backend).package == history.package
    asked = {row.requirement for one in history.judged if one.result for row in one.result.rows}
    assert asked | set(kept.left_out) <= requirements().keys()
    assert not asked & set(kept.left_out)
    path = FOLDER / f"{history.backend}.json"
    assert path.read_text(encoding="utf-8") == history_file.to_text(kept)


@pytest.mark.parametrize("kept", KEPT, ids=name)
def test_the_gate_says_what_the_history_says(kept: KeptHistory) -> None:
    """With the older version's baseline, at every step: each change is reported for what it is, and nothing else is."""
    for before, after, verdict in steps(kept):
        expected: dict[str, set[str]] = {word: set() for word in ("fixed", "newly wrong", "wrong otherwise", "changed")}
        for change in kept.history.changes():
            if (change.before, change.after) == (before, after):
                expected[change.words].add(change.place[2])
        assert {row.requirement for row in verdict.new} == expected["newly wrong"], after
        fixed = {note.entry.requirement for note in (*verdict.fixed, *verdict.partly)}
        assert fixed == expected["fixed"], after
        otherwise = {one.row.requirement for one in (*verdict.worse, *verdict.changed)}
        assert otherwise == expected["wrong otherwise"], after
        gone = {note.entry.requirement for note in (*verdict.unmatched, *verdict.apart)}
        assert gone <= expected["changed"], after
        assert not verdict.narrower


def steps(kept: KeptHistory) -> Iterator[tuple[str, str, BaselineVerdict]]:
    """Each judged version beside the baseline of the one before it: (before, after, what the gate says)."""
    for one, other in pairwise(kept.history.judged):
        assert isinstance(one.result, Result) and isinstance(other.result, Result)
        entries = baseline_update.update_baseline((), [one.result], LEVEL, suite()).entries
        yield one.version, other.version, baseline_check.judge(entries, [other.result], LEVEL, suite())


@pytest.mark.parametrize("one", CONFIRMED, ids=lambda one: f"{one.backend}-{one.after}")
def test_what_is_confirmed_was_found(one: confirmations.Confirmation) -> None:
    """Each requirement that it names changed so between these versions."""
    kept = next(kept for kept in KEPT if kept.history.backend == one.backend)
    found = {
        change.place[2]
        for change in kept.history.changes()
        if (change.before, change.after, change.words) == (one.before, one.after, one.words)
    }
    assert set(one.requirements) <= found
    assert all(source.link.startswith("https://") for source in one.sources)
