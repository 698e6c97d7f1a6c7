"""What a check ends as where an adapter does not take what is asked: layers with one parameter, recorded passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from bnconform.backends.numpy_layer import NumpyBackend
from bnconform.backends.runner import programs
from bnconform.cases import casefile
from bnconform.cases.probes import cases_of
from bnconform.cases.program import (
    Program,
    Step,
    backward,
    forward,
    freeze,
    hvp,
    jvp,
    load,
    masked,
    masked_backward,
    pullback,
    recomputed,
    refill,
    saved_statistics,
    vjp,
)
from bnconform.judge.check import Check, conduct
from bnconform.judge.outcome import CONFORMS, UNSUPPORTED, VIOLATES, Outcome
from bnconform.judge.subject import Subject
from bnconform.spec.catalogue import requirement, requirements
from bnconform.spec.config import ALONE, Config
from bnconform.tests.mutants.catalogue import Mutant
from bnconform.tests.mutants.layer import Array
from bnconform.tests.mutants.right_saving import SavedMeanAndInverseAlone
from bnconform.tests.mutants.saving import Saving

ALL = ("BN-FLAG-WEIGHT-ALONE", "BN-FLAG-BIAS-ALONE")
EACH = list(zip(ALL, ALONE, strict=True))
"""The requirements, each with the parameter that it is about."""

X = np.arange(12.0).reshape(4, 3)


class Adapter(NumpyBackend):
    """The NumPy layer behind an adapter that may read `config.affine`; `built` counts the layers asked for."""

    def __init__(self, *, reads_affine: bool = False, unsupported: Mapping[str, str] | None = None) -> None:
        self.reads_affine = reads_affine
        self.unsupported = unsupported or {}
        self.built = 0

    def build(self, config: Any, device: str) -> Any:
        self.built += 1
        if self.reads_affine:
            there = config.affine
            config = programs.LayerConfig(
                config.num_features, config.eps, config.momentum, there, there, config.track_running_stats, config.ndim,
                config.dtype, config.param_dtype,
            )  # fmt: skip
        return super().build(config, device)


def outcomes(adapter: Any, rule: str) -> list[Outcome]:
    """All that the checks of a requirement came to, in float32."""
    subject = Subject("adapter", adapter, "cpu", "float32")
    found = []
    for case in cases_of(rule, "float32"):
        found += conduct(lambda check: check.run(), Check(subject, requirement(rule), case))
    return found


@pytest.mark.parametrize("rule", ALL)
def test_right_layer_conforms(rule: str) -> None:
    """Every case is judged, and holds."""
    found = outcomes(Adapter(), rule)
    assert len(found) == len(cases_of(rule, "float32"))
    assert {outcome.verdict for outcome in found} == {CONFORMS}


@pytest.mark.parametrize(("rule", "name"), EACH)
def test_adapter_of_the_older_contract_is_not_accused(rule: str, name: str) -> None:
    """It is said that such layers were not judged, and why; nothing is a violation or a crash."""
    found = outcomes(Adapter(reads_affine=True), rule)
    other = "bias" if name == "weight" else "weight"
    text = f"the adapter reads config.affine: layers with a {name} and no {other} were not judged"
    assert {(outcome.verdict, outcome.headline) for outcome in found} == {(UNSUPPORTED, text)}


@pytest.mark.parametrize(("rule", "name"), EACH)
def test_reason_is_the_declared_one_where_there_is_one(rule: str, name: str) -> None:
    """A declared lack that is seen refused is told in the adapter's words, though it reads `config.affine`."""
    found = outcomes(Adapter(reads_affine=True, unsupported={ALONE[name]: "both or none"}), rule)
    assert {(outcome.verdict, outcome.headline) for outcome in found} == {(UNSUPPORTED, f"{ALONE[name]}: both or none")}


@pytest.mark.parametrize(("rule", "name"), EACH)
def test_lack_that_is_declared_and_not_there_violates(rule: str, name: str) -> None:
    """An adapter that declares the lack and answers all the same is told to remove the declaration."""
    found = outcomes(Adapter(unsupported={ALONE[name]: "both or none"}), rule)
    assert {outcome.verdict for outcome in found} == {VIOLATES}


@pytest.mark.parametrize("rule", ALL)
def test_without_parameters_there_is_no_lone_one(rule: str) -> None:
    """What has no weight and bias is not asked for one of them, as its adapter need not look at what it is given."""
    adapter = Adapter(unsupported={"affine": "there are no parameters"})
    found = outcomes(adapter, rule)
    assert {outcome.verdict for outcome in found} == {UNSUPPORTED}
    assert all("there are no parameters" in outcome.headline for outcome in found) and not adapter.built


@pytest.mark.parametrize(
    ("affine", "lacking", "left"),
    [
        ("weight", ["weight_alone"], True),
        ("bias", ["bias_alone"], True),
        ("weight", ["bias_alone"], "weight"),
        ("weight", ["weight_alone", "affine"], False),
        ("bias", ["affine"], False),
        (True, ["affine", "weight_alone"], False),
        (True, ["weight_alone"], True),
        (False, ["weight_alone", "bias_alone"], False),
    ],
)
def test_program_without_a_lone_parameter(affine: Any, lacking: list[str], left: Any) -> None:
    """It is asked with both parameters, or with none where there are none; what is gone is not loaded or observed."""
    steps = (load(weight=[1.0, 2.0, 3.0]), forward(X, "y", "weight"), backward(X, X, "grad_x", "grad_bias"))
    program = Program(Config(ndim=2, affine=affine), steps).without(lacking)
    assert program.config.affine == left
    if left is False and affine in (True, "weight"):
        assert [step.op for step in program.steps] == ["forward", "backward"]
        assert program.steps[0].observe == {"y"}
    assert ("grad_bias" in program.observes) is (left is not False or affine in (False, "weight"))


class Plain:
    """The NumPy layer without its optional methods."""

    def __init__(self, layer: Any) -> None:
        self.forward, self.backward, self.state, self.load = layer.forward, layer.backward, layer.state, layer.load


class WithoutVjp(Adapter):
    """An adapter whose layers record no pass."""

    def build(self, config: Any, device: str) -> Any:
        return Plain(super().build(config, device))


BESIDES = {
    "vjp": "BN-REC-VJP", "jvp": "BN-DERIV-JVP", "hvp": "BN-DERIV-HVP", "reset": "BN-STATE-RESET",
    "set": "BN-SET-EPS",
    "masked": "BN-MASK-STATS", "masked_backward": "BN-MASK-GRAD", "recomputed": "BN-REMAT-GRAD",
    "vmap": "BN-TRANS-VMAP-SAMPLES", "vmap_layers": "BN-TRANS-VMAP-LAYERS", "jacrev": "BN-TRANS-JACREV",
    "jvp_jvp": "BN-DERIV-JVP-JVP", "third": "BN-DERIV-THIRD", "jacfwd": "BN-TRANS-JACFWD",
    "eval_shape": "BN-TRANS-SHAPE", "saved_statistics": "BN-SAVED-MEAN", "freeze": "BN-FROZEN-TRAIN",
}  # fmt: skip
"""What a layer may do besides, and a requirement about it."""

RECORDED = [f"BN-REC-{word}" for word in ("VJP", "LATE", "TWICE", "LOAD", "MODE", "INPUT", "STATE")]


@pytest.mark.parametrize("rule", RECORDED)
def test_layer_without_recorded_passes_is_not_asked(rule: str) -> None:
    """It is said that there is no such method; where the adapter gives the reason, in its words."""
    found = outcomes(WithoutVjp(), rule)
    assert {(one.verdict, one.headline) for one in found} == {(UNSUPPORTED, "the layer (Plain) has no method vjp()")}
    found = outcomes(WithoutVjp(unsupported={"vjp": "the kernel keeps nothing"}), rule)
    assert {(one.verdict, one.headline) for one in found} == {(UNSUPPORTED, "vjp: the kernel keeps nothing")}


@pytest.mark.parametrize("rule", RECORDED)
def test_recorded_passes_of_a_right_layer(rule: str) -> None:
    """Every case is judged, and holds."""
    found = outcomes(Adapter(), rule)
    assert len(found) == len(cases_of(rule, "float32"))
    assert {outcome.verdict for outcome in found} == {CONFORMS}


@pytest.mark.parametrize("ability", BESIDES)
def test_declared_lack_of_an_ability_that_is_not_there_violates(ability: str) -> None:
    """Layers that have the method contradict the declaration."""
    found = outcomes(Adapter(unsupported={ability: "the kernel keeps nothing"}), BESIDES[ability])
    assert {outcome.verdict for outcome in found} == {VIOLATES}


def test_layer_without_a_reset_is_not_asked() -> None:
    """It is said that there is no such method; a right one that has it conforms."""
    found = outcomes(WithoutVjp(), "BN-STATE-RESET")
    assert {(one.verdict, one.headline) for one in found} == {(UNSUPPORTED, "the layer (Plain) has no method reset()")}
    assert {one.verdict for one in outcomes(Adapter(), "BN-STATE-RESET")} == {CONFORMS}


def test_without_gradients_there_are_no_recorded_passes() -> None:
    """What has no backward pass is not asked for a pullback, though its layers have the method."""
    adapter = Adapter(unsupported={"backward": "it is for inference"})
    found = outcomes(adapter, "BN-REC-VJP")
    assert {(one.verdict, one.headline) for one in found} == {(UNSUPPORTED, "vjp: it is for inference")}
    assert not adapter.built


DERIVATIVES = [f"BN-DERIV-{word}" for word in ("JVP", "EVAL-JVP", "HVP", "HVP-WEIGHT", "EVAL-HVP", "FLAGS", "STATE")]


@pytest.mark.parametrize("rule", DERIVATIVES)
def test_layer_without_derivatives_is_not_asked(rule: str) -> None:
    """It is said that there is no such method; where the adapter gives the reason, in its words."""
    said = {(one.verdict, one.headline.partition(" has ")[2]) for one in outcomes(WithoutVjp(), rule)}
    assert said <= {(UNSUPPORTED, "no method jvp()"), (UNSUPPORTED, "no method hvp()")} and said
    found = outcomes(WithoutVjp(unsupported={"jvp": "no forward mode", "hvp": "no second mode"}), rule)
    headlines = {(one.verdict, one.headline) for one in found}
    assert headlines <= {(UNSUPPORTED, "jvp: no forward mode"), (UNSUPPORTED, "hvp: no second mode")} and headlines


@pytest.mark.parametrize("rule", DERIVATIVES)
def test_derivatives_of_a_right_layer(rule: str) -> None:
    """Every case is judged, and holds."""
    found = outcomes(Adapter(), rule)
    assert len(found) == len(cases_of(rule, "float32"))
    assert {outcome.verdict for outcome in found} == {CONFORMS}


@pytest.mark.parametrize("rule", ["BN-DERIV-FLAGS", "BN-DERIV-STATE"])
@pytest.mark.parametrize("ability", ["jvp", "hvp"])
def test_one_of_two_derivatives_is_no_conformance_in_the_other(rule: str, ability: str) -> None:
    """Where one is lacking the cases about it are unsupported, and none of them green."""
    adapter = WithoutVjp(unsupported={ability: "there is none"})
    lacking = [case.name for case in cases_of(rule, "float32") if case.name.startswith(ability)]
    subject = Subject("adapter", adapter, "cpu", "float32")
    for case in cases_of(rule, "float32"):
        found = conduct(lambda check: check.run(), Check(subject, requirement(rule), case))
        if case.name in lacking:
            assert [(one.verdict, one.headline) for one in found] == [(UNSUPPORTED, f"{ability}: there is none")]


def test_case_of_derivatives_is_read_as_it_was_written() -> None:
    """A failing case can be replayed."""
    steps = (jvp(X, X - 1, "y", "tangent_y"), hvp(X, X, X + 1, "hvp_x", "hvp_bias", training=False))
    program = Program(Config(ndim=2), steps).cast("float32", "float32")
    data = casefile.to_json("BN-DERIV-HVP", "case", program, "")
    assert casefile.from_json(data)[2].key == program.key
    assert casefile.digest(casefile.from_json(data)[2]) == casefile.digest(program)
    assert "hvp(x float32 (4, 3), grad_output, vector, evaluation)" in program.describe()


def test_the_direction_is_part_of_the_key() -> None:
    """Two programs that differ in the tangent alone are two."""
    one, other = (Program(Config(ndim=2), (jvp(X, X * factor, "tangent_y"),)) for factor in (1, 2))
    assert one.key != other.key and casefile.digest(one) != casefile.digest(other)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"op": "jvp", "x": X}, "a jvp, hvp, jvp_jvp or third step, and no other, needs a tangent"),
        ({"op": "forward", "x": X, "tangent": X}, "a jvp, hvp, jvp_jvp or third step, and no other, needs a tangent"),
        ({"op": "hvp", "x": X, "tangent": X}, "a hvp step needs a grad_output"),
        ({"op": "jvp", "tangent": X}, "a jvp step needs x"),
        ({"op": "jvp", "x": X, "tangent": X[:2]}, r"the tangent of a jvp step has the shape \(2, 3\); x has \(4, 3\)"),
    ],
)
def test_derivative_without_its_operands_is_no_step(given: Any, words: str) -> None:
    """It is refused where the step is made, or read from a file."""
    with pytest.raises(ValueError, match=words):
        Step(**given)


REPLICATED = {"masked_replicated", "masked_replicated_vjp"}
MASKS = [
    rule.id
    for rule in requirements().values()
    if rule.chapter == "Masks" and cases_of(rule.id, "float32") and not rule.features & REPLICATED
]
"""Those of a single layer; replicas with masks have a module of their own."""


@pytest.mark.parametrize("rule", MASKS)
def test_layer_without_masks_is_not_asked(rule: str) -> None:
    """It is said that there is no such method; where the adapter gives the reason, in its words, of gradients too."""
    said = {(one.verdict, one.headline.partition(" has ")[2]) for one in outcomes(WithoutVjp(), rule)}
    assert said <= {(UNSUPPORTED, "no method masked()"), (UNSUPPORTED, "no method masked_backward()")} and said
    found = outcomes(WithoutVjp(unsupported={"masked": "it takes none"}), rule)
    headlines = {one.headline for one in found}
    assert headlines <= {"masked: it takes none", "masked_backward: it takes none"} and headlines
    assert {one.verdict for one in found} == {UNSUPPORTED}


@pytest.mark.parametrize("rule", MASKS)
def test_masks_of_a_right_layer(rule: str) -> None:
    """Every case is judged, and holds."""
    found = outcomes(Adapter(), rule)
    assert len(found) >= len(cases_of(rule, "float32"))
    assert {outcome.verdict for outcome in found} == {CONFORMS}


REMAT = [rule for rule in requirements() if rule.startswith("BN-REMAT")]


@pytest.mark.parametrize("rule", REMAT)
def test_layer_without_recomputation_is_not_asked(rule: str) -> None:
    """It is said that there is no such method; where the adapter gives the reason, in its words."""
    said = {(one.verdict, one.headline.partition(" has ")[2]) for one in outcomes(WithoutVjp(), rule)}
    assert said == {(UNSUPPORTED, "no method recomputed()")}
    found = outcomes(WithoutVjp(unsupported={"recomputed": "all is kept"}), rule)
    assert {(one.verdict, one.headline) for one in found} == {(UNSUPPORTED, "recomputed: all is kept")}


@pytest.mark.parametrize("rule", REMAT)
def test_recomputation_of_a_right_layer(rule: str) -> None:
    """Every case is judged, and holds."""
    found = outcomes(Adapter(), rule)
    assert len(found) == len(cases_of(rule, "float32"))
    assert {outcome.verdict for outcome in found} == {CONFORMS}


BESIDE = [rule for rule in requirements() if rule.startswith(("BN-SAVED", "BN-FROZEN"))]
OVER_CASES = [rule for rule in BESIDE if rule not in ("BN-SAVED-DTYPE", "BN-SAVED-EVAL-POLICY")]


@pytest.mark.parametrize("rule", OVER_CASES)
def test_layer_that_saves_nothing_and_cannot_be_frozen_is_not_asked(rule: str) -> None:
    """It is said that there is no such method; where the adapter gives the reason, in its words."""
    ability = "saved_statistics" if "SAVED" in rule else "freeze"
    said = {(one.verdict, one.headline.partition(" has ")[2]) for one in outcomes(WithoutVjp(), rule)}
    assert said <= {(UNSUPPORTED, f"no method {ability}()"), (UNSUPPORTED, "no method vjp()")} and said
    found = outcomes(WithoutVjp(unsupported={ability: "there is no way to ask"}), rule)
    assert {(one.verdict, one.headline) for one in found} == {(UNSUPPORTED, f"{ability}: there is no way to ask")}


@pytest.mark.parametrize("rule", OVER_CASES)
def test_what_is_saved_and_frozen_layers_of_a_right_layer(rule: str) -> None:
    """Every case is judged, and holds."""
    found = outcomes(Adapter(), rule)
    assert len(found) == len(cases_of(rule, "float32"))
    assert {outcome.verdict for outcome in found} == {CONFORMS}


def test_statistic_that_an_operator_does_not_save_is_not_judged() -> None:
    """Two of three are: of the third it is said that it is not saved. Where none is, that violates."""
    subject = Subject("two", Mutant("two", "a layer", SavedMeanAndInverseAlone), "cpu", "float32")
    probe = cases_of("BN-SAVED-VARIANCE", "float32")[0]
    (found,) = conduct(lambda check: check.run(), Check(subject, requirement("BN-SAVED-VARIANCE"), probe))
    assert (found.verdict, found.headline) == (UNSUPPORTED, "saved_variance: not saved")
    assert {one.verdict for one in outcomes(Mutant("none", "a layer", SavesNothing), "BN-SAVED-MEAN")} == {VIOLATES}


class SavesNothing(Saving):
    """A layer whose method gives nothing."""

    def keep_as(self, found: dict[str, Array]) -> dict[str, Array | None]:
        """In either mode."""
        return {}


def test_case_of_what_is_saved_and_of_a_frozen_layer_is_read_as_it_was_written() -> None:
    """A failing case can be replayed; a freeze step has the one option."""
    steps = (freeze(True, "weight"), saved_statistics(X, "saved_mean"), freeze(False), forward(X, "y"))
    program = Program(Config(ndim=2), steps).cast("float32", "float32")
    again = casefile.from_json(casefile.to_json("BN-FROZEN-TRAIN", "case", program, ""))[2]
    assert again.key == program.key and casefile.digest(again) == casefile.digest(program)
    assert "; freeze; saved_statistics(x float32 (4, 3), training); unfreeze; forward" in program.describe()
    with pytest.raises(ValueError, match="a freeze step needs the option frozen"):
        Step("freeze")
    with pytest.raises(ValueError, match="a set step, and no other, needs options"):
        Step("set", options={"frozen": True})


@pytest.mark.parametrize("rule", ["BN-ACC-SUM", "BN-ACC-STEPS"])
def test_accumulation_asks_for_no_ability_of_recomputation(rule: str) -> None:
    """A layer that has none is asked for its gradients over micro-batches all the same, as far as it records passes."""
    verdicts = {one.verdict for one in outcomes(WithoutVjp(), rule)}
    assert verdicts == {CONFORMS if rule == "BN-ACC-SUM" else UNSUPPORTED}
    assert {one.verdict for one in outcomes(Adapter(), rule)} == {CONFORMS}


def test_case_with_recomputation_is_read_as_it_was_written() -> None:
    """A failing case can be replayed; without its upstream gradient it is no step."""
    steps = (recomputed(X, X + 1, "grad_x", "running_mean"), recomputed(X, X, "grad_bias", training=False))
    program = Program(Config(ndim=2), steps).cast("float32", "float32")
    again = casefile.from_json(casefile.to_json("BN-REMAT-GRAD", "case", program, ""))[2]
    assert again.key == program.key and casefile.digest(again) == casefile.digest(program)
    assert "recomputed(x float32 (4, 3), grad_output, evaluation)" in program.describe()
    with pytest.raises(ValueError, match="a recomputed step needs a grad_output"):
        Step("recomputed", True, X)


def test_case_with_a_mask_is_read_as_it_was_written() -> None:
    """A failing case can be replayed, with masks of truth values and of integers, and of fewer axes."""
    steps = (
        masked(X, X[:, :1] > 0, "y"),
        masked_backward(X, np.array([1, 0, 1]), X + 1, "grad_x", training=False),
    )
    program = Program(Config(ndim=2), steps).cast("float32", "float32")
    data = casefile.to_json("BN-MASK-STATS", "case", program, "")
    again = casefile.from_json(data)[2]
    assert again.key == program.key and casefile.digest(again) == casefile.digest(program)
    assert [step.mask.dtype.name for step in again.steps if step.mask is not None] == ["bool", "int64"]
    assert "masked(x float32 (4, 3), mask bool (4, 1) of " in program.describe()


def test_the_mask_is_part_of_the_key() -> None:
    """Two programs that differ in the mask alone are two."""
    one, other = (Program(Config(ndim=2), (masked(X, level < X, "y"),)) for level in (0, 1))
    assert one.key != other.key and casefile.digest(one) != casefile.digest(other)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"op": "masked", "x": X}, "of replicas or not, and no other, needs a mask"),
        ({"op": "forward", "x": X, "mask": X > 0}, "of replicas or not, and no other, needs a mask"),
        ({"op": "masked_backward", "x": X, "mask": X > 0}, "a masked_backward step needs a grad_output"),
        ({"op": "masked", "x": X, "mask": X}, "a mask is bool or int64, not float64"),
        ({"op": "masked", "x": X, "mask": X[:2] > 0}, r"a mask of shape \(2, 3\) does not broadcast to x of shape"),
        (
            {"op": "masked", "x": X, "mask": X[None] > 0},
            r"a mask of shape \(1, 4, 3\) does not broadcast to x of shape",
        ),
    ],
)
def test_pass_without_a_mask_that_fits_is_no_step(given: Any, words: str) -> None:
    """It is refused where the step is made, or read from a file."""
    with pytest.raises(ValueError, match=words):
        Step(**given)


def test_program_without_some_recorded_passes() -> None:
    """Of what remains, pullbacks name the passes by their new numbers; those of a pass that is gone go with it."""
    steps = (vjp(X), vjp(X, training=False), refill(1), refill(2), pullback(2, X), pullback(1, X))
    program = Program(Config(ndim=2), steps)
    left = program.without(["training"]).steps
    assert [(step.op, step.pass_number) for step in left] == [("vjp", 0), ("refill", 1), ("pullback", 1)]
    assert not program.without(["vjp"]).steps


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ((pullback(1, X),), "there is no recorded pass 1 before that pullback"),
        ((vjp(X), refill(2)), "there is no recorded pass 2 before that refill"),
        ((vjp(X), pullback(1, X[:2])), r"needs a grad_output of \(4, 3\)"),
    ],
)
def test_pullback_of_what_was_not_recorded_is_no_program(steps: Any, words: str) -> None:
    """It is refused where the program is made, or read from a file."""
    with pytest.raises(ValueError, match=words):
        Program(Config(ndim=2), steps)


def test_case_of_a_recorded_pass_is_read_as_it_was_written() -> None:
    """A failing case can be replayed."""
    steps = (vjp(X, "y"), refill(1), pullback(1, X, "grad_x", may_refuse=True))
    program = Program(Config(ndim=2), steps).cast("float32", "float32")
    data = casefile.to_json("BN-REC-INPUT", "case", program, "")
    assert casefile.from_json(data)[2].key == program.key
    assert casefile.digest(casefile.from_json(data)[2]) == casefile.digest(program)
