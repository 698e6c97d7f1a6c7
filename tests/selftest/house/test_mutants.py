"""The kill matrix can fail, and so can the machinery that it rests on."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.catalogue import requirements
from bnconform.tests.mutants import matrix, tables
from bnconform.tests.mutants.__main__ import main
from bnconform.tests.mutants.catalogue import DTYPES, Mutant, all_right, every, hand_made, neighbours, wrong
from bnconform.tests.mutants.layer import Layer
from bnconform.tests.mutants.matrix import Verdict

ROOT = Path(__file__).parents[3]


def test_catalogue_is_large_enough() -> None:
    """Every neighbour is there, and what the space does not express, and right ones by other means."""
    assert len(neighbours()) == len(list(SPECIFIED.neighbours())) - 1
    assert len(neighbours()) + len(hand_made()) >= 80
    assert len(all_right()) >= 12
    assert len(every()) == len(neighbours()) + len(hand_made()) + len(all_right())


@pytest.mark.parametrize("mutant", [*hand_made(), *all_right()], ids=lambda mutant: mutant.name)
def test_entries_are_well_formed(mutant: Mutant) -> None:
    """A name that a person can type, a sentence, requirements that exist, a thread with its number."""
    assert mutant.name.replace("_", "").isalnum()
    assert 10 < len(mutant.says) < 200
    assert [name for name in mutant.killers if name not in requirements()] == []
    project, _, number = mutant.thread.partition("#")
    assert not mutant.thread or (project and number.isdigit())


def test_every_requirement_names_a_fault() -> None:
    """Each requirement is the one that must catch some wrong implementation."""
    named = {name for mutant in every().values() for name in mutant.killers}
    assert [name for name in requirements() if name not in named] == []


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name",
    ["running_variance=biased", "single_value=bias_output", "channels_past_sixty_four_zero", "load_resets_the_counter"],
)
def test_wrong_one_is_killed_and_named(name: str) -> None:
    """A wrong implementation is killed by what names it, with a margin; a fault of the space is diagnosed."""
    verdicts = matrix.run(matrix.tasks([name]), workers=1)
    assert list(matrix.survivors(verdicts)) == list(matrix.find_unnamed(verdicts)) == []
    assert matrix.margin(verdicts) > 1


def test_enough_is_asked_until_it_is_killed() -> None:
    """What must kill a wrong one is asked no more once it has, and the fault is named all the same."""
    [name] = ["momentum_weighs=running"]
    whole, enough = (matrix.run(matrix.tasks([name], quick=brief)[:1], workers=1) for brief in (False, True))
    assert list(matrix.survivors(enough)) == list(matrix.find_unnamed(enough)) == []
    assert 0 < enough[0].failing < whole[0].failing


@pytest.mark.thorough
def test_right_one_is_not_accused() -> None:
    """The right layer, from which every wrong one is made, is accused of nothing at any level."""
    verdict = matrix.judge(Mutant("layer", "the right layer", Layer), "float32")
    assert verdict.killed == {}
    assert verdict.untrusted == []


def _verdict(name: str, **killed: float) -> Verdict:
    return Verdict(name, "float32", killed={key.replace("_", "-"): margin for key, margin in killed.items()})


def test_survivor_is_reported() -> None:
    """A wrong one that another requirement kills, and not the one that names it, survives."""
    verdict = _verdict("running_variance=biased", BN_TRAIN_VAR=5.0)
    assert list(matrix.survivors([verdict])) == ["running_variance=biased in float32 passes BN-RUN-VAR"]
    assert matrix.margin([verdict]) == 0


def test_accusation_is_reported() -> None:
    """A right one that a must accuses is a failure; a should is not."""
    name = all_right()[0].name
    must, should = _verdict(name, BN_TRAIN_VAR=5.0), _verdict(name, BN_NUM_STABLE=5.0)
    must.messages = {"BN-TRAIN-VAR": "too far"}
    assert list(matrix.accusations([must])) == [f"{name} in float32 is accused of BN-TRAIN-VAR:\ntoo far"]
    assert list(matrix.accusations([should])) == []


def test_wrong_name_is_reported() -> None:
    """A fault of the space that is named otherwise, or for a part of the failing checks only, is a failure."""
    verdict = _verdict("running_variance=biased", BN_RUN_VAR=5.0)
    good = replace(verdict, diagnoses=[(("running_variance", "biased"),)], failing=3, explains=3)  # type: ignore[list-item]
    assert list(matrix.find_unnamed([good])) == []
    assert len(list(matrix.find_unnamed([replace(good, explains=2)]))) == 1
    assert len(list(matrix.find_unnamed([replace(good, diagnoses=[])]))) == 1


def test_idle_requirement_is_reported() -> None:
    """A requirement that kills nothing is listed."""
    verdict = _verdict("running_variance=biased", BN_RUN_VAR=5.0)
    assert matrix.idle([verdict]) == [name for name in requirements() if name != "BN-RUN-VAR"]


def test_page_shows_margins(tmp_path: Path) -> None:
    """The page has every implementation with its killers and margins; a failure that is no number is called that."""
    verdict = _verdict("running_variance=biased", BN_RUN_VAR=1234.5, BN_RUN_LOAD=matrix.NOT_A_NUMBER)
    page = tables.markdown([verdict], "one of one")
    assert "| `running_variance=biased` |" in page
    assert "BN-RUN-VAR (float32 1.23e+03)" in page
    assert "BN-RUN-LOAD no number" in page


def test_command_fails_for_a_survivor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with status 1 and says who survives what."""
    verdicts = [_verdict("running_variance=biased")]
    monkeypatch.setattr(matrix, "run", lambda *_, **__: verdicts)
    assert main(["running_variance=biased"]) == 1
    assert "FAILURE running_variance=biased in float32 passes BN-RUN-VAR" in capsys.readouterr().out


REFUSED = {
    "an unknown implementation": (["no_such_thing"], "there is no implementation 'no_such_thing'"),
    "a missing folder": (["--markdown", "no/such/folder/page.md"], "no/such/folder is not a folder"),
    "a folder": (["--json", "."], "it is a folder"),
    "a device": (["--json", "/dev/full"], "it is not a regular file"),
    "a page that is a device": (["--markdown", "/dev/full"], "it is not a regular file"),
    "no worker": (["--workers", "0"], "--workers: '0' is no whole number of at least 1"),
    "half a worker": (["--workers", "0.5"], "--workers: '0.5' is no whole number of at least 1"),
    "workers no number": (["--workers", "all"], "--workers: 'all' is no whole number of at least 1"),
    "no pair": (["--pairs", "0"], "--pairs: '0' is no whole number of at least 1"),
    "fewer than no pair": (["--pairs", "-3"], "--pairs: '-3' is no whole number of at least 1"),
    "more pairs than there are": (["--pairs", "1000000"], "--pairs is 1000000, and there are not so many"),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=list(REFUSED))
def test_command_refuses(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be carried out is refused with status 2 before anything is judged, and the last line says why."""
    monkeypatch.setattr(matrix, "run", lambda *_, **__: pytest.fail("it ran"))
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_command_judges_a_name_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An implementation that is named twice is judged once, and there are no more workers than tasks."""
    asked: list[tuple[list[matrix.Task], int]] = []

    def run(todo: list[matrix.Task], workers: int, **_: object) -> list[Verdict]:
        asked.append((todo, workers))
        return [_verdict("running_variance=biased", BN_RUN_VAR=5.0)]

    monkeypatch.setattr(matrix, "run", run)
    main(["running_variance=biased", "running_variance=biased", "--workers", "100000"])
    due = matrix.tasks(["running_variance=biased"])
    assert asked == [(due, len(due))]


def test_entry_without_a_killer_is_refused() -> None:
    """A wrong implementation must say what is to catch it."""
    with pytest.raises(ValueError, match="needs a requirement"):
        wrong()


SABOTAGE = {
    "no_bound": ("judge/test_discrimination.py", "told_apart and gradient_scale and float32"),
    "no_diagnosis": ("diagnosis/test_causes.py", "named_alone and running_variance"),
    "no_chapter": ("judge/test_discrimination.py", "told_apart and momentum_none and float32"),
}
"""Part of the machinery: the self-tests that are about it."""


@pytest.mark.parametrize("part", [None, *SABOTAGE])
@pytest.mark.parametrize("about", SABOTAGE)
def test_machinery_can_fail(part: str | None, about: str) -> None:
    """Without a part of the machinery the self-tests about it fail, and with it they pass."""
    if part not in (None, about):
        pytest.skip("the self-tests about another part")
    file, chosen = SABOTAGE[about]
    plugin = [] if part is None else ["-p", f"bnconform.tests.selftest.sabotage.{part}"]
    chosen_tests = [f"tests/selftest/{file}", "-k", chosen, "--thorough", "-q", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *plugin, *chosen_tests]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == (0 if part is None else 1), done.stdout[-3000:]
    if part is not None:
        assert " passed" not in done.stdout.splitlines()[-1], done.stdout[-1000:]


def test_every_row_of_the_tables_is_asked_of_some_right_implementation() -> None:
    """Each is asked few of them; what only one row shows must not accuse one of them unseen."""
    for stride in (matrix.RIGHT_ROWS, matrix.THOROUGH_ROWS):
        for number in range(stride):
            assert any(matrix.is_due(right, number, stride) for right in all_right()), (stride, number)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_quick_matrix_asks_every_row_in_each_dtype(dtype: str) -> None:
    """Which dtype a right implementation is asked in does not go with which rows it is asked."""
    tasks = matrix.tasks([right.name for right in all_right()], quick=True)
    asked = [every()[name] for name, one, _, _ in tasks if one == dtype]
    for number in range(matrix.RIGHT_ROWS):
        assert any(matrix.is_due(right, number, matrix.RIGHT_ROWS) for right in asked), number
