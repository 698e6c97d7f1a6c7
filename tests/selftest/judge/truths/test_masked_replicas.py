"""The judgement of replicas with masks: who is asked, what is named, programs in files, and the bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from bnconform.cases import casefile, inputs
from bnconform.cases.models.rows import ModelCase
from bnconform.cases.probes import cases_of
from bnconform.cases.probes.masked_replicas import EQUAL, NOTHING, SHAPES, UNEQUAL, operands
from bnconform.cases.probes.replicas import upstream
from bnconform.cases.program import (
    REPLICA_GRADIENTS,
    Program,
    Step,
    load,
    masked_replicated,
    masked_replicated_vjp,
    replicated,
)
from bnconform.diagnosis.causes import note
from bnconform.execution.sessions import InProcess
from bnconform.judge.check import Check, conduct
from bnconform.judge.judgement import can_act, judge
from bnconform.judge.outcome import CONFORMS, UNSUPPORTED, VIOLATES, Outcome
from bnconform.judge.subject import Subject
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.catalogue import requirement, requirements
from bnconform.spec.config import Config
from bnconform.spec.formats import DTYPES, is_half, parameter_dtype
from bnconform.tests.mutants.catalogue import Mutant, all_right, hand_made
from bnconform.tests.mutants.masked_replicas import MaskedReplicas
from bnconform.tests.mutants.oracle_layer import EveryOracleLayer
from bnconform.tests.mutants.replicas import ReplicatedLayer

RULES = [name for name in requirements() if name.startswith("BN-MASK-REP-")]
BY_NAME = {mutant.name: mutant for mutant in (*hand_made(), *all_right())}


def outcomes(backend: Any, rule: str, dtype: str = "float32") -> list[tuple[Subject, Outcome]]:
    """What is recorded of all cases of a requirement."""
    found = []
    for case in cases_of(rule, dtype):
        subject = Subject("layer", backend, "cpu", dtype)
        found += [(subject, one) for one in conduct(Check.run, Check(subject, requirement(rule), case))]
    return found


@pytest.mark.parametrize("rule", RULES)
def test_layer_without_them_is_not_asked(rule: str) -> None:
    """A layer with replicas, and none with masks, is said to have no such method."""
    found = [one for _, one in outcomes(Mutant("layer", "without", ReplicatedLayer), rule)]
    assert {one.verdict for one in found} == {UNSUPPORTED}
    assert {one.headline.partition(" has ")[2] for one in found} <= {
        "no method masked_replicated()", "no method masked_replicated_vjp()",
    }  # fmt: skip


@pytest.mark.parametrize("lacking", ["masked", "replicated"])
def test_who_lacks_one_of_both_lacks_it(lacking: str) -> None:
    """It is not asked for, and nothing says that it should be declared."""

    class Lacking(Mutant):
        unsupported: ClassVar[Mapping[str, str]] = {lacking: "it has none"}

    subject = Subject("layer", Lacking("layer", "without", ReplicatedLayer), "cpu", "float32")
    assert {"masked_replicated", "masked_replicated_vjp"} <= set(subject.unsupported) & subject.not_asked


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_right_layer_conforms(rule: str, dtype: str) -> None:
    """Every case is judged in every dtype, and holds."""
    found = [one for _, one in outcomes(Mutant("layer", "right", MaskedReplicas), rule, dtype)]
    assert {one.verdict for one in found} == {CONFORMS}


EXPLAINED = {
    "replica_weights": ("equally", "BN-MASK-REP-UNEQUAL"),
    "replica_statistics": ("own", "BN-MASK-REP-STATS"),
    "replica_unbiased_count": ("own", "BN-MASK-REP-RUN"),
    "replica_memory": ("own", "BN-MASK-REP-RUN"),
    "replica_gradient": ("own", "BN-MASK-REP-GRAD"),
    "replica_parameter_gradients": ("total", "BN-MASK-REP-GRAD"),
    "masked_statistics": ("all", "BN-MASK-REP-STATS"),
    "masked_output": ("zero", "BN-MASK-REP-STATS"),
}
"""By decision another value, and the requirement that tells it where replicas have masks."""


@pytest.mark.parametrize("decision", EXPLAINED)
def test_every_decision_about_either_shows(decision: str) -> None:
    """A layer at that point violates, and what it shows holds there."""
    value, rule = EXPLAINED[decision]
    point = SPECIFIED.but(**{decision: value})
    backend = Mutant("layer", "another", lambda config: EveryOracleLayer(config, point))
    cases = [case for case in cases_of(rule, "float32") if not isinstance(case, ModelCase)]
    programs = [case.at("float32", "float32") for case in cases]
    traces = [InProcess(backend, "cpu").run(program) for program in programs if isinstance(program, Program)]
    assert not all(judge(trace, SPECIFIED).holds for trace in traces)
    for trace in traces:
        assert judge(trace, point).holds
        assert can_act(decision, point, trace.program)


@pytest.mark.parametrize("rule", ["BN-MASK-REP-UNEQUAL", "BN-MASK-REP-NONE", "BN-MASK-REP-GRAD-UNEQUAL"])
@pytest.mark.parametrize("is_slow", [True, False], ids=["slow", "fast"])
def test_equal_weights_are_named(rule: str, is_slow: bool) -> None:
    """Though it is no must, the decision is found, alone, and without another call."""

    class Slow(Mutant):
        slow_to_start = is_slow

    point = SPECIFIED.but(replica_weights="equally")
    found = outcomes(Slow("layer", "equally", lambda config: EveryOracleLayer(config, point)), rule)
    assert {one.verdict for _, one in found} == {VIOLATES}
    for subject, one in found:
        note(one, subject, lambda _: pytest.fail("it was run again"))
        assert one.explained == [[["replica_weights", "equally"]]]
        assert subject.candidates is None


def _program(step: Step) -> Program:
    return Program(Config(ndim=2, eps=0.1, momentum=0.3), (load(**inputs.everything(3)), step))


FULL: tuple[tuple[str, ...], ...] = (EQUAL, UNEQUAL, NOTHING)


def _programs(dtype: str) -> Iterator[Program]:
    """Equal and unequal numbers, and nothing of one, near and far means."""
    for words in FULL:
        for ratio in (0.3, 30.0) if is_half(dtype) else (0.3, 30.0, 1000.0):
            xs = [inputs.ill_conditioned(shape, ratio, number) for number, shape in enumerate(SHAPES)]
            _, masks = operands(words)
            for step in (
                masked_replicated(xs, masks, "y", "replica_running_mean", "replica_running_var"),
                masked_replicated_vjp(xs, masks, upstream(SHAPES), "grad_x", *REPLICA_GRADIENTS),
            ):
                yield _program(step).cast(dtype, parameter_dtype(dtype))


RIGHT = [name for name, one in BY_NAME.items() if name.startswith("masked_replicas_by_two") or name in (
    "masked_replicas_gather_the_selected", "masked_replicas_by_merged_moments", "masked_replicas_by_weighed_means",
)]  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("dtype", DTYPES)
def test_right_algorithms_lie_within(name: str, dtype: str) -> None:
    """Two passes, gathered values, merged moments and weighed means, far from the mean too."""
    for program in _programs(dtype):
        found = judge(InProcess(BY_NAME[name], "cpu").run(program), SPECIFIED)
        assert found.holds, (program.describe(), found.worst and found.worst.name, found.error_ratio)


def test_programs_with_masks_are_kept() -> None:
    """A file holds the masks, and what is read is what was written; messages say how many each selects."""
    for step in (
        masked_replicated(*operands(UNEQUAL), "y"),
        masked_replicated_vjp(*operands(UNEQUAL), upstream(SHAPES), "grad_x"),
    ):
        program = _program(step).cast("float64", "float64")
        data = casefile.to_json("BN-MASK-REP-UNEQUAL", "case", program, "")
        assert casefile.from_json(data)[2].key == program.key
        assert casefile.digest(casefile.from_json(data)[2]) == casefile.digest(program)
        assert "masks bool of 4 and 2 values a channel" in step.describe()


def test_masks_tell_programs_apart() -> None:
    """Programs that differ in a mask alone are two, and so are their truths."""
    xs, masks = operands(EQUAL)
    one, other = (_program(masked_replicated(xs, each, "y")) for each in (masks, masks[::-1]))
    assert one.key != other.key
    trace = InProcess(Mutant("layer", "right", MaskedReplicas), "cpu").run(one.cast("float32", "float32"))
    assert judge(trace, SPECIFIED).holds
    assert not judge(InProcess(Mutant("l", "wrong", _MasksTurned), "cpu").run(trace.program), SPECIFIED).holds


class _MasksTurned(MaskedReplicas):
    """Each replica takes the next one's mask."""

    def masked_replicated(self, xs: Any, masks: Any, *, training: bool) -> Any:
        """Turned by one."""
        return super().masked_replicated(xs, [*masks[1:], masks[0]], training=training)


ROWS = np.ones((4, 3))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"op": "masked_replicated", "shards": ((4,),)}, "and no other, needs a mask"),
        ({"op": "replicated", "shards": ((4,),), "mask": ROWS > 0}, "and no other, needs a mask"),
        ({"op": "masked_replicated", "shards": ((4,),), "mask": ROWS > 0}, "a mask of one channel with a row for each"),
        ({"op": "masked_replicated", "shards": ((4,),), "mask": ROWS[:1, :1] > 0}, "with a row for each row of x"),
        ({"op": "masked_replicated", "mask": ROWS[:, :1] > 0}, "needs the shapes of its shards"),
        ({"op": "masked_replicated_vjp", "shards": ((4,),), "mask": ROWS[:, :1] > 0}, "needs a grad_output"),
    ],
)
def test_masks_that_do_not_go_with_shards_are_no_step(given: Any, words: str) -> None:
    """They are refused where the step is made, or read from a file."""
    with pytest.raises(ValueError, match=words):
        Step(**{"x": ROWS, **given})


def test_masks_of_other_shapes_are_no_step() -> None:
    """Each replica has a mask of its shard's shape, with one channel, and a grad_output of it."""
    with pytest.raises(ValueError, match="needs a mask of the shape of its shard, with one channel"):
        masked_replicated([ROWS, ROWS], [ROWS > 0, ROWS > 0])
    with pytest.raises(ValueError, match="a grad_output of the shape of each shard"):
        masked_replicated_vjp([ROWS], [ROWS[:, :1] > 0], [ROWS[:2]])


def test_decisions_of_either_act_on_both() -> None:
    """Those about gradients act on gradients alone, those about masks not where there is none."""
    point: Behaviour = SPECIFIED
    plain = _program(replicated(operands(EQUAL)[0], "y"))
    ahead = _program(masked_replicated(*operands(EQUAL), "y"))
    back = _program(masked_replicated_vjp(*operands(EQUAL), upstream(SHAPES), "grad_x"))
    acting = [
        [can_act(name, point, one) for one in (plain, ahead, back)]
        for name in ("masked_statistics", "replica_weights", "replica_gradient")
    ]
    assert acting == [[False, True, True], [True, True, True], [False, False, True]]
