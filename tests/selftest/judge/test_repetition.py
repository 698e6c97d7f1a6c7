"""--repeat: checks made several times, the worst of which counts, and what differs told as flaky."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bnconform.judge.outcome import Outcome
from bnconform.judge.repetition import Attempt, Repetition
from bnconform.results.result import from_json, merge, read
from bnconform.tests.selftest.command import bnconform
from bnconform.tests.selftest.rows import row, run

ADAPTER = """
from bnconform.backends.numpy_layer import NumpyBackend


class EveryThird(NumpyBackend):
    name = "every-third"
    calls = 0

    def build(self, config, device):
        layer = super().build(config, device)
        forward = layer.forward

        def fault(x, *, training):
            EveryThird.calls += 1
            y = forward(x, training=training)
            return y * y.dtype.type(1.5) if EveryThird.calls % 3 == 0 else y

        layer.forward = fault
        return layer
"""
"""A layer that errs in every third call."""

ASKED = ("--dtype", "bfloat16", "-k", "BN-TRAIN-NORM-rank or BN-RUN-MEAN-2")


def test_flaky_layer_is_told(tmp_path: Path) -> None:
    """In the matrix, the card, the file and the pages; the worst counts, and each check once."""
    (tmp_path / "third.py").write_text(ADAPTER)
    files = ("--json", "r.json", "--html", "r.html", "--markdown", "r.md", "--annotations")
    answer = bnconform(tmp_path, "--backend", "third.py:EveryThird", *ASKED, "--repeat", "3", *files)
    assert answer.status == 1
    text = " ".join(answer.out.split())
    assert "V~" in text and "~ flaky, the worst counts" in text and "it differs from run to run" in text
    result = read(tmp_path / "r.json")
    found = {one.requirement: one for one in result.rows}
    flaky = found["BN-TRAIN-NORM"]
    assert flaky.verdict == "violates" and found["BN-RUN-MEAN"].verdict == "conforms"
    assert not found["BN-RUN-MEAN"].flaky
    many = dict(flaky.flaky)
    assert list(many) == ["violates", "conforms"] and sum(many.values()) % 3 == 0
    words = f"violates in {many['violates']} and conforms in {many['conforms']} of {sum(many.values())} repetitions"
    assert words in text
    for name in ("r.html", "r.md"):
        assert words in (tmp_path / name).read_text()
    assert from_json(json.loads((tmp_path / "r.json").read_text())) == result
    assert flaky.failure is not None and flaky.case and (tmp_path / flaky.case).exists()


def test_steady_layer_is_what_it_is_alone(tmp_path: Path) -> None:
    """Rows and counts are those of one time."""
    for name, words in (("one.json", ()), ("three.json", ("--repeat", "3"))):
        assert bnconform(tmp_path, *ASKED, *words, "--json", name).status == 0
    assert read(tmp_path / "one.json").rows == read(tmp_path / "three.json").rows


def outcome(verdict: str, share: float | None = None, **given: object) -> Outcome:
    """What a check records."""
    made = Outcome("numpy", "cpu", "float32", "BN-RUN-VAR", "must", verdict, checks=1, bound_share=share)
    for name, value in given.items():
        setattr(made, name, value)
    return made


def attempt(*outcomes: Outcome) -> Attempt:
    """A repetition that recorded this."""
    return Attempt(list(outcomes), "BN-RUN-VAR")


def test_worst_repetition_counts() -> None:
    """With the largest error of all; of equally bad ones, that with the case that replays it."""
    worst = Repetition([attempt(outcome("conforms", 0.9)), attempt(outcome("violates", 0.5))]).worst()
    assert [(one.verdict, one.bound_share, one.verdicts, one.steady) for one in worst.outcomes] == [
        ("violates", 0.9, ["conforms", "violates"], False)
    ]
    same = [attempt(outcome("violates", 5.0)), attempt(outcome("violates", 2.0, case="a.json"))]
    [kept] = Repetition(same).worst().outcomes
    assert (kept.case, kept.bound_share, kept.verdicts, kept.steady) == ("a.json", 5.0, [], True)


def test_what_was_seen_aside_is_kept() -> None:
    """A changed input that only one repetition met, and a repetition that compared nothing."""
    aside = outcome("violates", requirement="BN-STATE-INPUT", aside=True)
    worst = Repetition([attempt(aside, outcome("conforms")), attempt()]).worst()
    assert worst.verdict == "untrusted" and worst.outcomes == [aside]


def test_rows_add_up_what_differs() -> None:
    """Over the checks of a requirement; what agrees adds nothing."""
    rows = [row("violates", flaky=(("violates", 1), ("conforms", 2))), row(), row("conforms", flaky=(("crashed", 3),))]
    [merged] = merge(rows)
    assert merged.flaky == (("crashed", 3), ("violates", 1), ("conforms", 2))
    assert run(merged).rows == (merged,)


@pytest.mark.parametrize("words", ["0", "-1", "1001", "2.5", "x"])
def test_other_numbers_are_refused(words: str, tmp_path: Path) -> None:
    """In a line."""
    bnconform(tmp_path, f"--repeat={words}").assert_refused("repetitions", "from 1 to 1000")
