"""The judgement of replicas: what is asked of whom, what is left open, and programs with shards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from bnconform.cases import casefile
from bnconform.cases.probes import cases_of
from bnconform.cases.probes.replicas import EMPTY, EQUAL, SINGLE, UNEQUAL, shards, upstream
from bnconform.cases.program import Program, Step, load, replicated, replicated_vjp
from bnconform.diagnosis.narrowing import narrow
from bnconform.execution.sessions import InProcess
from bnconform.judge.check import Check, conduct
from bnconform.judge.judgement import judge
from bnconform.judge.outcome import CONFORMS, DEVIATES, UNSUPPORTED, VIOLATES, Outcome
from bnconform.judge.subject import Subject
from bnconform.render.messages import worst_quantity
from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.catalogue import requirement, requirements
from bnconform.spec.config import Config
from bnconform.tests.mutants.layer import Array, Layer
from bnconform.tests.mutants.replicas import ReplicatedLayer
from bnconform.tests.mutants.wrong_replicas import BackwardWithinTheReplica

RULES = [name for name, rule in requirements().items() if rule.chapter == "Replicas"]
SHAPES = {"replicas_unequal": "all of one shape", "replicas_sizes": "all of one shape", "replicas_empty": "never empty"}


class Adapter:
    """Layers of a class; `unsupported` and `deviations` are declared."""

    name = "adapter"

    def __init__(self, layer: Any = ReplicatedLayer, unsupported: Any = (), deviations: Any = ()) -> None:
        self.layer, self.unsupported, self.deviations = layer, dict(unsupported), dict(deviations)

    def devices(self) -> list[str]:
        """The CPU."""
        return ["cpu"]

    def build(self, config: Any, device: str) -> Any:
        """A layer."""
        affine = {(True, True): True, (False, False): False}[config.weight, config.bias]
        values = {"num_features": 3, "eps": config.eps, "momentum": config.momentum, "ndim": config.ndim}
        return self.layer(Config(**values, affine=affine, dtype=config.dtype, param_dtype=config.param_dtype))

    def build_default(self, num_features: int, device: str) -> Any:
        """The same."""
        return self.layer(Config(num_features))


def outcomes(adapter: Adapter, rule: str) -> list[Outcome]:
    """What is recorded of all cases of a requirement."""
    subject = Subject("adapter", adapter, "cpu", "float32")
    cases = cases_of(rule, "float32")
    return [one for case in cases for one in conduct(Check.run, Check(subject, requirement(rule), case))]


def verdicts(adapter: Adapter, rule: str) -> set[tuple[str, str]]:
    """The verdicts, each with its headline."""
    return {(one.verdict, one.headline) for one in outcomes(adapter, rule)}


@pytest.mark.parametrize("rule", RULES)
def test_layer_without_replicas_is_not_asked(rule: str) -> None:
    """It is said that there is no such method."""
    found = {text.partition(" has ")[2] for verdict, text in verdicts(Adapter(Layer), rule) if verdict == UNSUPPORTED}
    assert found and found <= {"no method replicated()", "no method replicated_vjp()"}


@pytest.mark.parametrize("rule", RULES)
def test_replicas_of_a_right_layer(rule: str) -> None:
    """Every case is judged, and holds."""
    assert {verdict for verdict, _ in verdicts(Adapter(), rule)} == {CONFORMS}


class OfOneShape(ReplicatedLayer):
    """A layer whose replicas take shards of one shape, and refuse others."""

    def read(self, xs: Sequence[Array], training: bool) -> list[Array]:
        """As np.stack does."""
        np.stack(xs)
        return super().read(xs, training)


@pytest.mark.parametrize("rule", RULES)
def test_shards_that_are_refused_are_unsupported(rule: str) -> None:
    """What is declared is seen refused, and is not judged; the rest is."""
    about = {name for name in requirement(rule).features if name.startswith("replicas_")}
    found = verdicts(Adapter(OfOneShape, SHAPES), rule)
    unsupported = {text for verdict, text in found if verdict == UNSUPPORTED}
    if about:
        assert len(found) == 1 and unsupported == {f"{name}: {SHAPES[name]}" for name in about}
    else:
        assert CONFORMS in {verdict for verdict, _ in found} and VIOLATES not in {verdict for verdict, _ in found}


@pytest.mark.parametrize("feature", SHAPES)
def test_shards_that_are_not_refused_contradict_the_declaration(feature: str) -> None:
    """A layer that takes them must not say that it does not."""
    rule = next(name for name in RULES if feature in requirement(name).features)
    found = verdicts(Adapter(ReplicatedLayer, {feature: "it is said not to"}), rule)
    assert {verdict for verdict, _ in found} == {VIOLATES}


def test_shards_that_are_refused_without_a_word_fail() -> None:
    """A refusal of what is not declared is no answer."""
    assert {verdict for verdict, _ in verdicts(Adapter(OfOneShape), "BN-REP-UNEQUAL")} == {"crashed"}


class Alone(ReplicatedLayer):
    """Replicas that know nothing of each other; one value a channel gives the bias, and no refusal."""

    def statistics(self, shards: list[Array], i: int) -> tuple[Array, Array]:
        """One's own."""
        return self.moments(shards[i])

    def bessel_count(self, shards: list[Array], i: int) -> int:
        """One's own."""
        return max(int(shards[i].shape[1]), 2)

    def through_all(self, shards: list[Array], zs: list[Array], upstream: list[Array], i: int) -> Array:
        """One's own."""
        return self.through_statistics(zs[i], upstream[i])


@pytest.mark.parametrize("rule", RULES)
def test_replicas_that_know_nothing_of_each_other(rule: str) -> None:
    """Declared, they deviate; a policy of one value or none is left open, and evaluation is as it must be."""
    found = verdicts(Adapter(Alone, deviations={"replica_statistics": "own"}), rule)
    declared = (DEVIATES, "as declared: replica_statistics = own")
    open_ = (UNSUPPORTED, "nothing fixes what is to be compared, as declared: replica_statistics = own")
    assert found <= {declared, open_, (CONFORMS, "")}
    assert (rule == "BN-REP-EVAL") == (declared not in found) or rule == "BN-REP-EMPTY"
    assert VIOLATES in {verdict for verdict, _ in verdicts(Adapter(Alone), rule)} or rule == "BN-REP-EVAL"


def test_one_value_of_its_own_is_left_open() -> None:
    """At a point where replicas normalise by themselves, one value a channel may be refused, or answered anyhow."""
    program = Program(Config(ndim=2, eps=0.1), (replicated(shards(SINGLE), "y"),)).cast("float64", "float64")
    own = SPECIFIED.but(replica_statistics="own")
    for layer in (ReplicatedLayer, Alone):
        found = judge(InProcess(Adapter(layer), "cpu").run(program), own)
        assert found.holds and found.unspecified == 1

    class Refusing(ReplicatedLayer):
        def read(self, xs: Sequence[Array], training: bool) -> list[Array]:
            raise ValueError("one value per channel")

    refused = InProcess(Adapter(Refusing), "cpu").run(program)
    assert judge(refused, own).holds and judge(refused, SPECIFIED).crashed


def test_what_becomes_of_the_layer_is_left_free() -> None:
    """A later pass is judged from what the layer shows, whether its replicas moved it or not."""
    given = shards(EQUAL)

    class Following(ReplicatedLayer):
        def replicated(self, xs: Sequence[Array], *, training: bool) -> Any:
            found = super().replicated(xs, training=training)
            self.entries = dict(found[1][1])
            return found

    shown = ("y", "replica_running_mean", "replica_running_var", "replica_num_batches_tracked")
    steps = (replicated(given, *shown), replicated(given, *shown), replicated(given, "y", training=False))
    program = Program(Config(eps=0.1), steps).cast("float64", "float64")
    for layer in (ReplicatedLayer, Following):
        found = judge(InProcess(Adapter(layer), "cpu").run(program), SPECIFIED)
        assert found.holds and len(found.comparisons) == 9


def test_wrong_replicas_are_told_and_not_narrowed() -> None:
    """A failing call with shards is kept as it is: none of them could be changed by itself."""
    given = shards(EQUAL)
    steps = (load(weight=[1.0, 2.0, 3.0]), replicated_vjp(given, upstream(EQUAL), "grad_x"))
    program = Program(Config(eps=0.1), steps).cast("float32", "float32")
    subject = Subject("adapter", Adapter(BackwardWithinTheReplica), "cpu", "float32")
    trace = subject.run(program)
    assert not judge(trace, SPECIFIED).holds
    assert narrow(subject, trace) is None


def test_element_is_told_by_its_replica() -> None:
    """A row is one sample and position of one replica, which is what a reader looks for."""
    given = [np.arange(12.0).reshape(2, 3, 2), np.arange(18.0).reshape(1, 3, 6)]

    class Off(ReplicatedLayer):
        def replicated(self, xs: Sequence[Array], *, training: bool) -> Any:
            found = super().replicated(xs, training=training)
            found[1][0][0, 2, 4] += 1
            return found

    program = Program(Config(ndim=3), (replicated(given, "y"),)).cast("float64", "float64")
    judged = judge(InProcess(Adapter(Off), "cpu").run(program), SPECIFIED)
    assert judged.worst is not None
    assert worst_quantity(program, judged.worst).what.startswith("y[0, 2, 4] of replica 1 after call 1, replicated(x")


def test_case_with_shards_is_read_as_it_was_written() -> None:
    """A failing case can be replayed, and says in words what it was given."""
    given = shards(UNEQUAL["rank4"])
    steps = (replicated(given, "y", training=False), replicated_vjp(given, given, "grad_x", "replica_grad_bias"))
    program = Program(Config(), steps).cast("float32", "float32")
    data = casefile.to_json("BN-REP-GRAD-UNEQUAL", "case", program, "")
    assert casefile.from_json(data)[2].key == program.key
    assert casefile.digest(casefile.from_json(data)[2]) == casefile.digest(program)
    words = "replicated(x float32 of 2 replicas (2, 3, 2, 2) and (1, 3, 2, 2), evaluation)"
    assert words in program.describe()


def test_the_shards_are_part_of_the_key() -> None:
    """The same rows on other replicas are another program."""
    values = np.arange(12.0).reshape(4, 3)
    one, other = (
        Program(Config(ndim=2), (replicated(parts, "y"),))
        for parts in ((values[:2], values[2:]), (values[:1], values[1:]))
    )
    assert one.key != other.key and casefile.digest(one) != casefile.digest(other)


def test_shards_ask_for_features() -> None:
    """Unequal, empty and of several sizes, each by its name."""

    def ask(shapes: Any) -> set[str]:
        program = Program(Config(), (replicated(shards(shapes), "y"),))
        return {name for name in program.features() if name.startswith("replicas_")}

    assert ask(EQUAL) == set()
    assert ask(UNEQUAL["rank4"]) == {"replicas_unequal"}
    assert ask(EMPTY["last"]) == {"replicas_unequal", "replicas_empty"}
    assert ask(((2, 3, 2, 2), (2, 3, 1, 3))) == {"replicas_sizes"}


def test_program_without_what_a_layer_lacks() -> None:
    """What belongs to parameters or statistics that are not there goes; rank 2 is asked at rank 4, shard by shard."""
    given = [np.ones((2, 3)), np.ones((3, 3))]
    steps = (
        replicated(given, "y", "replica_running_mean"),
        replicated_vjp(given, given, "grad_x", "replica_grad_weight"),
    )
    left = Program(Config(ndim=2), steps).without({"affine", "track_running_stats", "rank_2"})
    assert [step.observe for step in left.steps] == [{"y"}, {"grad_x"}]
    assert left.config.ndim == 4
    assert left.steps[0].shards == ((2, 1, 1), (3, 1, 1)) and left.steps[0].x is not None
    assert left.steps[0].x.shape == (5, 3, 1, 1)


ROWS = np.ones((4, 3))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"op": "forward", "shards": ((4,),)}, "masked or not, and no other, needs the shapes"),
        ({"op": "replicated"}, "masked or not, and no other, needs the shapes"),
        ({"op": "replicated", "shards": ((2,), (3,))}, r"shape \(4, 3\); its shards have 5 rows"),
        ({"op": "replicated", "shards": ((4, 1),)}, "shards are of the rank of x, 2"),
        ({"op": "replicated", "shards": ((5,), (-1,))}, "shards are of the rank of x, 2"),
        ({"op": "replicated_vjp", "shards": ((4,),)}, "a replicated_vjp step needs a grad_output"),
        ({"op": "replicated_vjp", "shards": ((4,),), "grad_output": ROWS[:2]}, "needs a grad_output of the shape of x"),
    ],
)
def test_shards_that_do_not_go_together_are_no_step(given: Any, words: str) -> None:
    """They are refused where the step is made, or read from a file."""
    with pytest.raises(ValueError, match=words):
        Step(**{"x": ROWS, **given})


def test_gradients_of_other_shapes_are_no_step() -> None:
    """Each shard has a grad_output of its shape."""
    with pytest.raises(ValueError, match="the shape of each shard"):
        replicated_vjp([ROWS, ROWS], [ROWS, ROWS[:2]])
