"""A history finds every change between neighbours without judging all versions, and says what could not be judged."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from bnconform.measure.history import distribution, distributions, explore
from bnconform.render import history_text
from bnconform.results import baseline_check, baseline_update
from bnconform.results.history import History, Release
from bnconform.results.known_failures import suite
from bnconform.results.result import Difference
from bnconform.spec.errors import UserError
from bnconform.tests.selftest.rows import row, run

VERSIONS = [f"1.{minor}" for minor in range(16)]
BIASED = (Difference("running_variance", "biased"),)


def release(version: str, wrong: Mapping[str, tuple[int, int]], lost: tuple[int, ...] = ()) -> Release:
    """A version in which requirements are violated from one minor version on, and before another."""
    minor = VERSIONS.index(version)
    if minor in lost:
        return Release(version, problem="it does not install")
    rows = [
        row("violates" if first <= minor < end else "conforms", requirement=name,
            diagnosis=BIASED if first <= minor < end else ())
        for name, (first, end) in wrong.items()
    ]  # fmt: skip
    return Release(version, run(*rows))


def explore_versions(
    wrong: Mapping[str, tuple[int, int]], lost: tuple[int, ...] = (), *, every: bool = False
) -> History:
    """The history of such versions."""
    history = History("numpy", "numpy", list(VERSIONS))
    return explore(history, lambda version: release(version, wrong, lost), every=every)


def tell(history: History) -> list[tuple[str, str, str, str, bool]]:
    """Its changes: requirement, the two versions, what became of it, whether nothing lies between."""
    return [(one.place[2], one.before, one.after, one.words, one.next_to) for one in history.changes()]


def test_a_change_is_found_by_bisection() -> None:
    """Between neighbours, over few of the versions."""
    history = explore_versions({"BN-RUN-VAR": (0, 11), "BN-TRAIN-NORM": (5, 99)})
    assert tell(history) == [
        ("BN-TRAIN-NORM", "1.4", "1.5", "newly wrong", True),
        ("BN-RUN-VAR", "1.10", "1.11", "fixed", True),
    ]
    assert len(history.releases) < 12


def test_versions_that_do_not_install_are_passed_over() -> None:
    """The change is found between those beside them, and each is named with the reason."""
    history = explore_versions({"BN-RUN-VAR": (0, 8)}, lost=(0, 7, 8, 15))
    assert tell(history) == [("BN-RUN-VAR", "1.6", "1.9", "fixed", True)]
    assert {one.version for one in history.problems} >= {"1.0", "1.7", "1.8", "1.15"}
    assert "- not" not in "\n".join(history_text.markdown(history))
    assert any("1.7: it does not install" in line for line in history_text.markdown(history))


def test_what_came_and_went_between_equals() -> None:
    """It is seen by judging every version, and only so."""
    wrong = {"BN-RUN-VAR": (6, 9)}
    assert tell(explore_versions(wrong)) == []
    assert [one[1:4] for one in tell(explore_versions(wrong, every=True))] == [
        ("1.5", "1.6", "newly wrong"), ("1.8", "1.9", "fixed"),
    ]  # fmt: skip


@pytest.mark.parametrize("lost", [tuple(range(16)), tuple(range(1, 16))], ids=["none", "one"])
def test_too_few_versions(lost: tuple[int, ...]) -> None:
    """Where none or one can be judged there is no change, and the search ends."""
    history = explore_versions({"BN-RUN-VAR": (0, 8)}, lost)
    assert tell(history) == [] and len(history.judged) <= 1


def test_the_gate_says_the_same() -> None:
    """With the older version's baseline, the newer is fixed, or newly wrong, at every step."""
    history = explore_versions({"BN-RUN-VAR": (0, 11), "BN-TRAIN-NORM": (5, 99)})
    for change in history.changes():
        before, after = (history.releases[version].result for version in (change.before, change.after))
        assert before is not None and after is not None
        entries = baseline_update.update_baseline((), [before], "must", suite()).entries
        found = baseline_check.judge(entries, [after], "must", suite())
        spoken = {
            "fixed": [note.entry.requirement for note in (*found.fixed, *found.partly)],
            "newly wrong": [one.requirement for one in found.new],
        }
        assert change.place[2] in spoken[change.words]


def test_the_texts_have_every_change() -> None:
    """As a table, and as Markdown."""
    history = explore_versions({"BN-RUN-VAR": (0, 11)})
    assert history_text.table(history).row_count == 1
    text = "\n".join(history_text.markdown(history))
    assert "| 1.10 -> 1.11 | BN-RUN-VAR | must | float32 | fixed | violates (running_variance = biased)" in text
    assert history_text.summary(history).endswith("1 fixed")


def test_what_is_installed_beside_a_version() -> None:
    """By the lowest number that the version lies below; what is given takes its place."""
    flax = distribution("flax.linen")
    assert any("jax==0.4.30" in one for one in flax.requirements("0.8.0"))
    assert flax.requirements("0.12.8") == ["flax==0.12.8"]
    assert flax.requirements("0.8.0", ["jax==0.4.20"]) == ["flax==0.8.0", "jax==0.4.20"]
    assert distribution("mlx+compile").requirements("0.30.0") == ["mlx[cpu]==0.30.0"]
    assert all(one.package for one in distributions().values())


def test_unknown_distribution() -> None:
    """It is asked for, in one line; one that is given is taken."""
    with pytest.raises(UserError, match="--package"):
        distribution("my_adapter.py:Mine")
    assert distribution("my_adapter.py:Mine", "acme").requirements("2.0") == ["acme==2.0"]
