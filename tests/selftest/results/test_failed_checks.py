"""What a result keeps of failed checks: those that tell most, counted, in the file as in memory."""

from __future__ import annotations

import json
import random
from dataclasses import replace

from bnconform.render.cards import cards
from bnconform.results import result as results
from bnconform.results.failed_checks import condense, find_failed_checks
from bnconform.results.joining import join
from bnconform.results.result import Diagnosis, Difference, FailedCheck, Result, Row, merge
from bnconform.tests.selftest.results.test_failure import FAILURES
from bnconform.tests.selftest.rows import row, run

POINT = (Difference("epsilon_form", "outside"),)
CAUSE = Diagnosis("mine", (POINT,), 7, 9, "epsilon_form = outside")


def make_failed(size: int, requirement: str, *, explained: bool, case: bool = True) -> FailedCheck:
    """One of a layer's failed checks: the smaller, the less it is off."""
    failure = replace(
        FAILURES["number"], requirement=requirement, cause=CAUSE.text if explained else "", backend="mine"
    )
    made = row(
        "violates", backend="mine", requirement=requirement, diagnosis=POINT if explained else (), failure=failure,
        bound_share=10.0 * size, message=f"of size {size}", case=f"{size}.json" if case else None,
    )  # fmt: skip
    return FailedCheck(made, (2, size))


def whole(failed: tuple[FailedCheck, ...]) -> Result:
    """The result of a run in which CHECKS failed, with what it keeps of them."""
    return replace(run(*(check.row for check in CHECKS)), diagnoses=(CAUSE,), failed=failed)


CHECKS = [
    *(make_failed(size, "BN-TRAIN-NORM", explained=True) for size in (30, 5, 12)),
    *(make_failed(size, "BN-EVAL-NORM", explained=True) for size in (40, 8)),
    *(make_failed(size, "BN-EVAL-NORM", explained=False) for size in (3, 90)),
    make_failed(1, "BN-TRAIN-NORM", explained=True, case=False),
]


def test_the_smallest_that_can_be_replayed_stands_for_those_that_fail_alike() -> None:
    """One for each row and cause, with their number, in whatever order they come."""
    checks = list(CHECKS)
    random.Random(1).shuffle(checks)
    kept = {(one.row.requirement, one.row.diagnosis): (one.size, one.many) for one in condense(checks)}
    assert kept == {
        ("BN-TRAIN-NORM", POINT): ((2, 5), 4),
        ("BN-EVAL-NORM", POINT): ((2, 8), 2),
        ("BN-EVAL-NORM", ()): ((2, 3), 2),
    }
    assert condense(condense(checks)) == condense(checks)


def test_a_file_shows_the_cards_of_the_run() -> None:
    """The same cases, numbers of checks and requirements; joined with another result, too."""
    live = whole(condense(CHECKS))
    again = results.from_json(json.loads(json.dumps(results.to_json(live), allow_nan=False)))
    assert again == live
    assert cards(again) == cards(live)
    assert [(card.checks, card.shown.message) for card in cards(again)] == [(6, "of size 5"), (2, "of size 3")]
    other = replace(live, rows=tuple(replace(one, backend="other") for one in live.rows), diagnoses=(), failed=())
    joined = join([("a.json", again), ("b.json", other)])
    assert cards(joined)[0] == cards(live)[0]


def test_an_older_file_speaks_by_its_rows() -> None:
    """It has kept no checks."""
    assert [one.row for one in find_failed_checks(whole(()))] == list(whole(()).rows)


def test_the_worst_speaks_for_its_row_and_names_a_case_of_its_cause() -> None:
    """Whichever checks of the row were written to files: that depends on the order in which they were made."""
    unwritten = make_failed(99, "BN-TRAIN-NORM", explained=True, case=False)
    other = make_failed(90, "BN-TRAIN-NORM", explained=False)
    (made,) = merge_rows(unwritten, other, *CHECKS[:3])
    assert (made.message, made.diagnosis, made.case) == ("of size 99", POINT, "30.json")
    (made,) = merge_rows(unwritten, other)
    assert (made.message, made.diagnosis, made.case) == ("of size 99", POINT, None)


def merge_rows(*checks: FailedCheck) -> tuple[Row, ...]:
    """The rows of a run in which these fail."""
    return merge(check.row for check in checks)
