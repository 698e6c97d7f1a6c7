"""Deaths: what is left out after several, what is named of it, and when an implementation is given up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bnconform.cases.probes import cases_of
from bnconform.cases.program import Probe, Program, Step, backward, build, forward, load
from bnconform.execution.deaths import AT_ONCE, BREACHES, DEATHS, ENOUGH, HANGS, IN_A_ROW, Deaths, features
from bnconform.execution.worker import Died
from bnconform.spec.catalogue import requirements
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
    """A program is asked as long as one of the same features was answered, whenever that was."""
    deaths = after([program(5)] * 3, [program(), program(5)])
    assert deaths.refusal(program(5)) == ""
    deaths = after([program(5)] * 3, [program()])
    deaths.note_answer(program(5))
    assert deaths.refusal(program(5)) == ""


def test_fewest_words_that_tell() -> None:
    """Where no feature tells alone, two do together; those that most programs have are named last."""
    deaths = after([program(5, dtype="float16")] * 3, [program(), program(5), program(4, dtype="float16")])
    assert deaths.refusal(program(5, dtype="float16")) == "not asked: SIGABRT, only float16 and rank 5 (3 deaths)"
    assert deaths.refusal(program(4, dtype="float16")) == deaths.refusal(program(5)) == ""


def test_what_deaths_have_by_chance_hides_nothing() -> None:
    """Whoever lacks one of the features that all deaths so far have is asked, and widens the group if he dies."""
    deaths = after([program(5)] * 3, [program(), program(momentum=None)])
    other = program(5, momentum=None)
    assert deaths.refusal(program(5)).startswith("not asked") and deaths.refusal(other) == ""
    deaths.note_death(other, ABORT)
    assert deaths.refusal(other) == "not asked: SIGABRT, only rank 5 (4 deaths)"


def test_hangs_are_left_out_by_their_name() -> None:
    """To find out more would cost a time limit each time."""
    deaths = after([program(5)] * 3, [program(), program(momentum=None)], HUNG)
    words = "not asked: no answer in time, only rank 5 (3 deaths)"
    assert deaths.refusal(program(5)) == deaths.refusal(program(5, momentum=None)) == words
    assert deaths.refusal(program(4, momentum=None)) == ""


def test_two_causes_are_kept_apart() -> None:
    """What two groups of deaths share was answered, so that each is named by itself."""
    deaths = after([program(5), program(4, 0)] * 3, [program(), program(2)])
    assert deaths.refusal(program(5)) == "not asked: SIGABRT, only rank 5 (3 deaths)"
    assert deaths.refusal(program(4, 0)) == "not asked: SIGABRT, only an empty batch (3 deaths)"
    assert deaths.refusal(program(2)) == ""


def test_without_an_answer_nothing_is_said() -> None:
    """Where nothing was ever answered, every feature would be to blame."""
    deaths = after([program(5)] * 3, [])
    assert deaths.refusal(program(5)) == deaths.refusal(program()) == ""


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


@pytest.mark.parametrize(("answers", "count"), [([], AT_ONCE), ([build()], IN_A_ROW)], ids=["none", "one"])
def test_deaths_in_a_row(answers: list[Step], count: int) -> None:
    """Five before the first answer end it; once there was one, more, as others may yet be answered."""
    deaths = Deaths()
    for step in answers:
        deaths.note_answer(Program(Config(), (step, forward(np.ones((2, 3, 1, 1))))))
    for number in range(count):
        assert "has died" not in deaths.refusal(program()), number
        deaths.note_death(program(), ABORT)
    assert f"has died {count} times before" in deaths.refusal(program(2))


def test_what_breaks_the_conversation_is_soon_given_up() -> None:
    """A process that sends what it should not is not asked often, whatever it answers in between."""
    deaths = after([program()] * BREACHES, [program()], Died("it answered what it was not asked", "", breach=True))
    assert "has died 5 times before" in deaths.refusal(program())


CULPRITS: dict[str, tuple[Callable[[Program], bool], int]] = {
    "rank 5": (lambda one: one.config.ndim == 5, 8),
    "rank 2 or 3": (lambda one: one.config.ndim < 4, 20),
    "an empty batch": (lambda one: any(step.x is not None and not step.x.size for step in one.steps), 12),
    "momentum None": (lambda one: one.config.momentum is None, 12),
    "evaluation": (lambda one: any(step.x is not None and not step.training for step in one.steps), 12),
    "backward": (lambda one: any(step.op == "backward" for step in one.steps), 16),
    "no tracking at rank 2": (lambda one: one.config.ndim == 2 and not one.config.track_running_stats, 12),
    "fortran": (lambda one: any(step.x_layout == "fortran" for step in one.steps), 8),
}
"""What may be deadly, and the deaths that it takes to leave it out."""


@pytest.mark.parametrize("name", CULPRITS)
@pytest.mark.parametrize("how", [ABORT, HUNG], ids=["dies", "hangs"])
def test_nothing_else_is_left_out(name: str, how: Died) -> None:
    """Over all probes of the suite, in float32: few deaths, and what is left out is deadly, without an exception."""
    deadly, most = CULPRITS[name]
    deaths, wronged = Deaths(), []
    for rule in requirements():
        for case in (case for case in cases_of(rule, "float32") if isinstance(case, Probe)):
            asked = case.at("float32", "float32")
            refusal = deaths.refusal(asked)
            if refusal and not deadly(asked):
                wronged.append(f"{rule} {case.name}: {refusal}")
            elif refusal:
                continue
            elif deadly(asked):
                deaths.note_death(asked, how)
            else:
                deaths.note_answer(asked)
    assert wronged == []
    assert deaths.count <= most, [deaths.name(group) for group in deaths.groups]


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
        "backward in training", "forward in training", "training", "evaluation", "a pass",
        "x fortran", "grad_output unaligned", "one value a channel",
        "a large batch", "another shape than the layer's", "an empty batch", "memory of results",
    }  # fmt: skip
