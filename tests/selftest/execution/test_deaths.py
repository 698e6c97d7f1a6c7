"""Deaths: what is left out after several, what is named of it, and when an implementation is given up."""

from __future__ import annotations

import numpy as np
import pytest

from bnconform.cases.program import Program, backward, build, forward, load
from bnconform.execution.deaths import AT_ONCE, DEATHS, ENOUGH, HANGS, IN_A_ROW, Deaths, features
from bnconform.execution.worker import Died
from bnconform.spec.config import Config

ABORT = Died("the process died of SIGABRT; its last words: no kernel", "SIGABRT")
CRASH = Died("the process died of SIGSEGV", "SIGSEGV")
HUNG = Died("no answer within 5 s (--time-limit)", "no answer in time", hung=True)


def program(rank: int = 4, samples: int = 4, dtype: str = "float32", **config: object) -> Program:
    """A training pass."""
    x = np.ones((samples, 3, *(2,) * (rank - 2)))
    return Program(Config(ndim=rank, **config), (forward(x, "y"),)).cast(dtype, "float32")  # type: ignore[arg-type]


def after(deaths: list[Program], answers: list[Program], how: Died = ABORT) -> Deaths:
    """What is known after these, an answer before every death."""
    known = Deaths()
    for answered in answers:
        known.note_answer(answered)
    for died in deaths:
        known.note_death(died, how)
        for answered in answers[:1]:
            known.note_answer(answered)
    return known


@pytest.mark.parametrize(
    ("special", "feature"),
    [
        ({"samples": 0}, "an empty batch"),
        ({"rank": 5}, "rank 5"),
        ({"dtype": "float16"}, "float16"),
        ({"momentum": None}, "momentum None"),
        ({"affine": False}, "no affine"),
        ({"track_running_stats": False}, "no tracking"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_feature_that_deaths_share_is_left_out(special: dict[str, object], feature: str) -> None:
    """After three deaths what they share is not asked, and named; everything else is."""
    answers = [program(), program(2), program(3)]
    deaths = after([program(**special)] * (ENOUGH - 1), answers)  # type: ignore[arg-type]
    assert deaths.refusal(program(**special)) == ""  # type: ignore[arg-type]
    deaths.note_death(program(**special), ABORT)  # type: ignore[arg-type]
    assert [deaths.name(group) for group in deaths.groups] == [feature]
    assert deaths.refusal(program(**special)) == f"not asked: SIGABRT, only {feature} (3 deaths)"  # type: ignore[arg-type]
    assert [deaths.refusal(other) for other in answers] == ["", "", ""]


def test_features_that_are_shared_together() -> None:
    """What all deaths share may be several features, and only a program with all of them is left out."""
    deaths = after([program(5, 0), program(5, 0), program(5, 0)], [program()])
    assert deaths.refusal(program(5, 0)) == "not asked: SIGABRT, only an empty batch and rank 5 (3 deaths)"
    assert deaths.refusal(program(4, 0)) == deaths.refusal(program(5)) == ""


def test_what_was_answered_is_not_to_blame() -> None:
    """A feature of a program that was answered is not what it dies of alone, whenever that was."""
    deaths = after([program(5)] * 3, [program(), program(5)])
    assert deaths.refusal(program(5, 0)) == ""
    deaths = after([program(5, 0)] * 3, [program()])
    assert "an empty batch" in deaths.refusal(program(5, 0))
    deaths.note_answer(program(4, 0))
    deaths.note_answer(program(5))
    assert deaths.refusal(program(4, 0)) == deaths.refusal(program(5)) == ""
    assert deaths.refusal(program(5, 0)) == "not asked: SIGABRT, only an empty batch and rank 5 (3 deaths)"


def test_without_an_answer_nothing_is_said() -> None:
    """Where nothing was ever answered, every feature would be to blame."""
    deaths = after([program(5)] * 3, [])
    assert deaths.refusal(program()) == deaths.refusal(program(5)) == ""


def test_causes_are_named_once() -> None:
    """Deaths of two kinds name both."""
    deaths = after([program(5)], [program()])
    deaths.note_death(program(5), CRASH)
    deaths.note_death(program(5), CRASH)
    assert deaths.refusal(program(5)) == "not asked: SIGABRT or SIGSEGV, only rank 5 (3 deaths)"


@pytest.mark.parametrize(("count", "how"), [(DEATHS, ABORT), (HANGS, HUNG)], ids=["deaths", "hangs"])
def test_it_is_given_up(count: int, how: Died) -> None:
    """After many deaths that share nothing, or few hangs, nothing is asked any more, and the last is told."""
    answers = [program(), program(5), program(2)]
    deaths = Deaths()
    for number in range(count):
        assert deaths.refusal(program()) == ""
        deaths.note_answer(answers[number % 3])
        deaths.note_death(answers[number % 3], how)
    words = f"not asked, because the process has died {count} times before: {how}"
    assert deaths.refusal(program()) == words


def test_deaths_in_a_row() -> None:
    """A few before the first answer end it, or more without an answer in between; an answer begins the count anew."""
    deaths = Deaths()
    for _ in range(AT_ONCE):
        assert deaths.refusal(program()) == ""
        deaths.note_death(program(), ABORT)
    assert "has died 5 times before" in deaths.refusal(program())
    deaths.note_answer(program())
    for number in range(IN_A_ROW):
        assert deaths.refusal(program()) == "", number
        deaths.note_death(program(), ABORT)
    assert f"has died {AT_ONCE + IN_A_ROW} times before" in deaths.refusal(program())


def test_features_are_those_of_the_program() -> None:
    """What is special about a program is named in words: its configuration, its calls, its inputs and its watch."""
    plain = Config(ndim=2, affine=False, momentum=None, track_running_stats=False)
    x, large = np.ones((2, 3)), np.ones((4000, 3))
    assert features(Program(plain, (build(),))) == {
        "rank 2", "float32", "momentum None", "no affine", "no tracking",
    }  # fmt: skip
    found = features(
        Program(
            Config(ndim=2),
            (
                load(weight=[1.0, 1.0, 1.0]),
                forward(x[:1], training=False, layout="fortran"),
                backward(large, large, grad_layout="unaligned"),
                forward(np.ones((2, 5))),
                forward(x[:0]),
            ),
            watch="results",
        )
    )
    assert found == {
        "rank 2", "float32", "momentum a number", "affine", "tracking", "a load", "forward in evaluation",
        "backward in training", "forward in training", "a pass", "x fortran", "grad_output unaligned",
        "one value a channel", "a large batch", "another shape than the layer's", "an empty batch", "memory of results",
    }  # fmt: skip
