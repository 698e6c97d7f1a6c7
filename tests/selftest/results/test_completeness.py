"""What a result says of how much of the suite it is of, and that nothing shows a part in green."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from bnconform.render import badge, baseline_text, evidence, markdown, terminal
from bnconform.render.annotations import workflow_commands
from bnconform.render.standing import PART, standings
from bnconform.results import baseline_check, completeness
from bnconform.results import result as results
from bnconform.results.baseline import BaselineEntry
from bnconform.results.baseline_check import Suite
from bnconform.results.compare import compare
from bnconform.results.completeness import ColumnSelection, Completion, SelectionRecord
from bnconform.results.joining import join
from bnconform.results.result import Result
from bnconform.tests.selftest.rows import CHAPTERS, TITLES, row, run

NUMPY = ("numpy", "cpu", "float32")
FINE = run(row())
WHOLE = replace(
    FINE,
    selection=SelectionRecord(columns=(ColumnSelection(*NUMPY, ("BN-RUN-VAR",)),)),
    completion=Completion("finished", 40, 40, 40),
)
LEFT = {"must": ("BN-RUN-MEAN", "BN-TRAIN-NORM"), "should": ("BN-NUM-STABLE",)}
NARROWED = replace(
    FINE,
    selection=SelectionRecord(
        dtypes=("float32",),
        narrowed_by=("-k BN-RUN-VAR",),
        columns=(ColumnSelection(*NUMPY, ("BN-RUN-VAR",), LEFT),),
    ),
    completion=Completion("finished", 40, 8, 8),
)
INTERRUPTED = replace(
    NARROWED,
    selection=SelectionRecord(columns=(ColumnSelection(*NUMPY, ("BN-RUN-VAR", *LEFT["must"]), LEFT),)),
    completion=Completion("interrupted", 40, 40, 8),
)
STOPPED = replace(INTERRUPTED, completion=Completion("stopped", 40, 40, 8))
LOST = replace(INTERRUPTED, completion=Completion("crashed", 40, 40, 39))
PARTS = {"narrowed": NARROWED, "interrupted": INTERRUPTED, "stopped": STOPPED, "a worker lost": LOST}
each_part = pytest.mark.parametrize("part", PARTS.values(), ids=list(PARTS))

REASONS = {
    "narrowed": "narrowed by -k BN-RUN-VAR",
    "interrupted": "interrupted after 8 of 40 checks",
    "stopped": "stopped after 8 of 40 checks",
    "a worker lost": "crashed after 39 of 40 checks",
}


def print_lines(result: Result) -> list[str]:
    """The lines of the terminal's."""
    console = Console(width=100, record=True, color_system=None, file=None, force_terminal=False)
    with console.capture() as captured:
        terminal.render(result, TITLES, CHAPTERS, console)
    return [line.rstrip() for line in captured.get().splitlines() if line.strip()]


@pytest.mark.parametrize("result", [FINE, WHOLE, *PARTS.values()], ids=["unknown", "whole", *PARTS])
def test_file_keeps_it(result: Result, tmp_path: Path) -> None:
    """What is written is what is read again, and a file that says nothing reads as before."""
    results.write(tmp_path / "r.json", result)
    assert results.read(tmp_path / "r.json") == result
    data = json.loads((tmp_path / "r.json").read_text())
    assert ("completion" in data) == (result is not FINE)
    if result is not FINE:
        assert data["completion"]["complete"] == (result is WHOLE)
        assert data["selection"]["all"] == (not data["selection"]["narrowed_by"])


def test_whole_is_green() -> None:
    """A complete result, and one of an earlier version, which does not say, are shown as they always were."""
    for result in (FINE, WHOLE):
        assert completeness.partial(result) == completeness.reason(result) == ""
        assert badge.words(result) == ("conforms", "brightgreen")
        assert evidence.headline(result) == "No must is violated (1 implementation)"
        assert print_lines(result)[-2] == "numpy: 1 must holds"
        assert workflow_commands(result) == []


@pytest.mark.parametrize("name", PARTS)
def test_reason(name: str) -> None:
    """Why it is a part is said in a few words."""
    assert completeness.reason(PARTS[name]) == REASONS[name]


@each_part
def test_badge_of_a_part_is_grey(part: Result) -> None:
    """It says how much was judged."""
    assert badge.words(part) == ("1 of 3 musts judged", "lightgrey")
    assert badge.COLOURS["brightgreen"] not in badge.as_svg(part)


@each_part
def test_failure_in_a_part_is_one(part: Result) -> None:
    """What fails is said all the same."""
    failing = replace(part, rows=run(row("violates")).rows)
    assert badge.words(failing) == ("1 requirement violated", "red")
    assert "only a part: 1 of 3 musts judged" in evidence.headline(failing)


@each_part
def test_page_and_markdown_of_a_part(part: Result) -> None:
    """The headline says so, and the reason is among what is known of the run."""
    assert evidence.headline(part) == "Only a part: 1 of 3 musts judged, none of them violated (1 implementation)"
    assert dict(evidence.environment(part))["only a part"].startswith("1 of 3 musts judged; ")
    page = markdown.markdown(part, TITLES)
    assert "1 of 3 musts judged" in page and "No must is violated" not in page


@each_part
def test_last_line_of_a_part(part: Result) -> None:
    """The verdict says so, and is not the one of a whole result."""
    words = " ".join(line.strip() for line in print_lines(part)[-4:])
    assert f"numpy: 1 must holds (only a part: 1 of 3 musts judged; {completeness.reason(part)})" in words
    assert [standing.kind for standing in standings(part, [])] == [PART]


def test_nothing_but_lacks_is_not_green() -> None:
    """Where every must is unsupported, none was judged, and the last line says so."""
    [standing] = standings(run(row("unsupported", message="no kernel")), [])
    assert standing.kind == PART and "no must was judged" in standing.sentence


@each_part
def test_annotation_of_a_part(part: Result) -> None:
    """A job that judges a part only is told so."""
    [line] = workflow_commands(part)
    assert line.startswith("::warning title=bnconform::this is only a part: 1 of 3 musts judged; ")


def test_must_of_which_a_check_is_missing_is_judged_in_part() -> None:
    """Where no must was judged whole, those that were begun are counted, and called so."""
    begun = replace(
        NARROWED.selection or SelectionRecord(), columns=(ColumnSelection(*NUMPY, (), {"must": ("BN-RUN-VAR",)}),)
    )
    assert completeness.partial(replace(NARROWED, selection=begun)) == "1 of 1 musts judged in part"
    assert completeness.partial(replace(NARROWED, rows=())) == "0 of 2 musts judged"


def test_joined_with_a_part_is_a_part() -> None:
    """However many whole results stand beside it; what is not known stays so where nothing is known to be partial."""
    other = replace(WHOLE, rows=run(row(device="cuda:0")).rows)
    assert completeness.partial(join([("a", WHOLE), ("b", other)])) == ""
    assert join([("a", WHOLE), ("b", other)]).completion == Completion("finished", 80, 80, 80)
    assert join([("a", FINE), ("b", other)]).completion is None
    for part in PARTS.values():
        both = join([("a", other), ("b", part)])
        assert completeness.partial(both) == "1 of 3 musts judged"
        assert completeness.reason(both).split(" ")[0] == completeness.reason(part).split(" ")[0]
        assert completeness.is_partial(join([("a", run(row(device="cuda:0"))), ("b", part)]))


def test_comparison_warns_of_a_part() -> None:
    """Whoever compares a part with a whole run is told."""
    made = compare(("a.json", WHOLE), ("b.json", NARROWED))
    assert [text for text in made.warnings if text.startswith("b.json is only a part of a run: 1 of 3 musts")]


SUITE = Suite({"float32": {"BN-RUN-VAR"}}, ())
ENTRY = BaselineEntry(*NUMPY, "BN-RUN-MEAN", "violates", "known")


def check_lines(result: Result, *entries: BaselineEntry) -> list[str]:
    """The lines of the baseline check of one result."""
    found = baseline_check.judge(entries, [result], "must", SUITE)
    return [str(found.fails), *baseline_text.lines(found, "known.json", "must", ["r.json"])]


def test_baseline_check_of_a_narrowed_run() -> None:
    """It does not fail, as a part was asked for, and says that it is one; what was not asked stays known."""
    lines = check_lines(NARROWED, ENTRY)
    assert lines[:3] == [
        "False",
        "Baseline known.json: nothing is newly wrong in what was judged, which is only a part",
        "  ONLY A PART: 1 of 3 musts judged; narrowed by -k BN-RUN-VAR (the run does not fail)",
    ]
    assert "of which a part of the checks was run" in lines[-1]


@pytest.mark.parametrize("part", [INTERRUPTED, STOPPED, LOST], ids=["interrupted", "stopped", "a worker lost"])
def test_baseline_check_of_a_run_that_broke_off_fails(part: Result) -> None:
    """What was to be judged and was not may be newly wrong."""
    lines = check_lines(part, ENTRY)
    assert lines[:2] == ["True", "Baseline known.json: it fails"]
    assert lines[2] == f"  UNFINISHED: 1 of 3 musts judged; {completeness.reason(part)}"


def test_columns_are_whole_as_the_result_says() -> None:
    """Rows of every requirement do not make a column whole where checks are missing."""
    assert SUITE.whole(FINE) == SUITE.whole(WHOLE) == {NUMPY}
    assert SUITE.whole(NARROWED) == frozenset()
    single = Suite({"float32": {"BN-RUN-VAR"}}, ("BN-ERR-RANK",))
    columns = (ColumnSelection(*NUMPY), ColumnSelection("numpy", "cpu", "float64", (), {"should": ("BN-ERR-RANK",)}))
    assert single.whole(replace(WHOLE, selection=SelectionRecord(columns=columns))) == frozenset()
