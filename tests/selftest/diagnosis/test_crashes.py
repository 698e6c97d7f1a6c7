"""Crashes that share a feature are one cause, told by the declaration to make; nothing is claimed that was answered."""

from __future__ import annotations

import pytest

from bnconform.diagnosis.causes import diagnose
from bnconform.diagnosis.crashes import common_crash
from bnconform.judge.outcome import CONFORMS, CRASHED, UNSUPPORTED, VIOLATES, Outcome

PLAIN = ("affine", "float32", "forward", "rank_4", "training")


def outcome(verdict: str, *features: str, requirement: str = "BN-RUN-VAR") -> Outcome:
    """A check of some verdict, whose programs asked for these features."""
    return Outcome("mine", "cpu", "float32", requirement, "must", verdict, features=[*features])


def find_common(*outcomes: Outcome) -> tuple[tuple[str, ...], list[int]] | None:
    """What the crashes among the outcomes share, and which they are."""
    failing = [number for number, one in enumerate(outcomes) if one.verdict in (CRASHED, VIOLATES)]
    found = common_crash(outcomes, failing, range(len(outcomes)))
    return None if found is None else (found.features, found.group)


FINE = outcome(CONFORMS, *PLAIN)
CASES = {
    "one feature": ((FINE, outcome(CRASHED, *PLAIN, "rank_5"), outcome(CRASHED, "rank_5")), (("rank_5",), [1, 2])),
    "most first": (
        (FINE, *(outcome(CRASHED, name) for name in ("rank_2", "momentum_none", "momentum_none"))),
        (("momentum_none",), [2, 3]),
    ),
    "two that always meet": ((FINE, outcome(CRASHED, "rank_5", "vjp")), (("rank_5", "vjp"), [1])),
    "two that meet once": (
        (FINE, outcome(CRASHED, "rank_5"), outcome(CRASHED, "vjp"), outcome(CRASHED, "rank_5", "vjp")),
        (("rank_5",), [1, 3]),
    ),
    "answered elsewhere": ((FINE, outcome(CRASHED, "rank_5"), outcome(VIOLATES, "rank_5")), None),
    "refused as declared is no answer": (
        (FINE, outcome(CRASHED, "rank_5"), outcome(UNSUPPORTED, "rank_5")),
        (("rank_5",), [1]),
    ),
    "nothing was answered": ((outcome(CRASHED, "rank_5"), outcome(CRASHED, "rank_4")), None),
    "nothing crashed": ((FINE, outcome(VIOLATES, "rank_5")), None),
}


@pytest.mark.parametrize(("outcomes", "due"), CASES.values(), ids=list(CASES))
def test_what_crashes_share(outcomes: tuple[Outcome, ...], due: tuple[tuple[str, ...], list[int]] | None) -> None:
    """The feature that most crashed checks ask for, unless one was answered with it."""
    assert find_common(*outcomes) == due


def test_the_diagnosis_says_what_to_declare() -> None:
    """It is one diagnosis beside those of what fails otherwise, with the count of what it explains."""
    checks = [FINE, *(outcome(CRASHED, *PLAIN, "rank_5") for _ in range(3)), outcome(VIOLATES, *PLAIN)]
    _, found = diagnose(checks)
    assert [(one.explains, one.failing) for one in found] == [(3, 4), (0, 4)]
    assert found[0].text == (
        "crashes with rank_5 (all 3 checks with it): support it, or declare `rank_5` in `unsupported`"
    )
    _, alone = diagnose([FINE, outcome(CRASHED, "rank_5")])
    assert "(the only check with it)" in alone[0].text
