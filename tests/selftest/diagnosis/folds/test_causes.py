"""What a tool that folds wrongly does is named, with the pattern at which it does it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bnconform.cases.models.rows import ModelCase, models_of, network
from bnconform.diagnosis.causes import diagnose
from bnconform.diagnosis.folds import causes as of_folds
from bnconform.diagnosis.folds import patterns
from bnconform.diagnosis.folds.drafts import Draft, Site
from bnconform.diagnosis.folds.family import folds
from bnconform.diagnosis.folds.float_networks import results
from bnconform.diagnosis.folds.search import Seen, reproductions
from bnconform.judge.outcome import CRASHED, VIOLATES, Outcome
from bnconform.judge.subject import Subject
from bnconform.judge.suite import conformance_tests
from bnconform.render.cards import cards
from bnconform.results.result import FailedCheck
from bnconform.results.run_result import row
from bnconform.spec.exact import arithmetic, floats
from bnconform.spec.oracle.networks import evaluate
from bnconform.tests.mutants.catalogue import hand_made
from bnconform.tests.mutants.folder import FolderMutant
from bnconform.tests.selftest import rows

TESTS = {test.rule.id: test for test in conformance_tests() if test.rule.is_of_deployments}
WRONG = {mutant.name: mutant for mutant in hand_made() if isinstance(mutant, FolderMutant)}

NAMES = {
    "folds_along_the_features": "folded along the features instead of the channels",
    "folds_gamma_twice": "gamma is folded twice",
    "folds_epsilon_outside": "epsilon is added outside of the root",
    "folds_without_epsilon": "epsilon is lost",
    "folds_epsilon_clamped": "epsilon is never smaller than 1e-05",
    "folds_without_the_root": "divided by the variance instead of its root",
    "folds_the_absolute_gamma": "the absolute value of gamma is folded",
    "leaves_out_gamma_of_zero": "a gamma of zero is taken as one",
    "clamps_gamma_to_positive": "a negative gamma is taken as zero",
    "bias_not_scaled": "the layer's bias is not scaled",
    "bias_of_the_layer_lost": "the layer's bias is lost",
    "shift_lost": "its shift is lost",
    "shift_lost_without_bias": "its shift is lost, as the layer has no bias",
    "mean_added": "the mean is added instead of subtracted",
    "mean_not_scaled": "the mean is not scaled",
    "weight_not_scaled": "the layer's weight is not scaled",
    "groups_ignored": "the factors of the first group are taken for every group",
    "transposed_axis": "folded along the input of the layer instead of its output",
    "reversed_channels": "the factors are taken in reverse order",
    "shared_layer_folded_for_one_call": "every call of the shared layer is folded with all BatchNorms",
    "shared_norm_folded_once": "the shared BatchNorm is folded once and lost elsewhere",
    "second_reader_forgotten": "the other reader of the layer reads the folded result",
    "second_reader_of_the_norm_forgotten": "the other reader of the BatchNorm reads what it was given",
    "padding_ignored": "its shift is folded as if every position saw the whole kernel",
    "folds_past_an_activation": "folded past the activation",
    "second_norm_dropped": "the second of two BatchNorms is lost",
    "no_affine_is_zero": "a gamma that is not there is taken as zero",
    "no_statistics_are_defaults": "statistics that are not there are taken as 0 and 1",
    "statistics_of_the_example": "the statistics of the example are kept",
    "statistics_of_the_batch": "normalises by the statistics of the batch",
    "half_precision_constants": "the constants are kept in float16",
    "single_precision_constants": "the constants are kept in float32",
    "folds_once_more": "folded twice",
    "folds_what_trains": "normalises by the statistics of the batch",
    "batch_of_the_example": "only the prediction of a larger batch is off",
    "promotes_to_double": "dtype of the prediction is float64 where float32 is due",
    "folds_in_place": "the original model is changed",
    "writes_to_its_input": "the input of a prediction is changed",
    "half_weights_along_the_features": "folded along the features instead of the channels",
    "half_weights_with_gamma_twice": "gamma is folded twice",
    "half_weights_of_the_absolute_gamma": "the absolute value of gamma is folded",
    "brain_floats_along_the_features": "folded along the features instead of the channels",
    "brain_floats_with_gamma_twice": "gamma is folded twice",
    "brain_floats_with_epsilon_outside": "epsilon is added outside of the root",
}
"""What each wrong folder does, as it is told; but for those that round to 255 steps, which no fold is."""

ASKED = 2
"""Failing models of each that are looked at."""


def outcomes(name: str) -> list[Outcome]:
    """What a wrong folder comes to until enough of its checks have failed, each with what explains it."""
    mutant = WRONG[name]
    test, subject = TESTS[mutant.killers[0]], Subject(name, mutant, "cpu", mutant.dtypes[0])
    found: list[Outcome] = []
    failed = 0
    for case in test.cases(subject.dtype):
        mine = test.run(subject, case)
        found += mine
        for outcome in mine:
            if outcome.verdict in (VIOLATES, CRASHED):
                of_folds.note(outcome, subject)
                failed += 1
        if failed >= ASKED:
            break
    return found


def test_every_wrong_folder_has_a_name() -> None:
    """All but one of those that predict something wrong; others show something else than they predict by."""
    shown = {
        "hands_the_sign_on", "stores_half_as_single", "stores_half_of_the_digits", "writes_five_digits_of_the_bias",
    }  # fmt: skip
    assert set(WRONG) - set(NAMES) == {"scaled_by_the_largest", "stores_eight_bits", *shown}


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_folder_is_named(name: str) -> None:
    """By the cause that explains most, which stands after the pattern."""
    _, found = diagnose(outcomes(name))
    assert f": {NAMES[name]} (" in found[0].text


def test_the_card_names_the_pattern() -> None:
    """A card has the pattern around the BatchNorm and the fold, and the checks that fail for it."""
    told, found = diagnose(outcomes("folds_along_the_features"))
    failed = tuple(FailedCheck(row(outcome)) for outcome in told if outcome.failure is not None)
    result = replace(rows.run(*(one.row for one in failed)), diagnoses=tuple(found), failed=failed)
    (card,) = cards(result)
    assert card.cause.startswith("Linear -> BatchNorm1d of rank 3: folded along the features instead of the channels")


@pytest.mark.parametrize("number", [3, 32, 71, 111, 143])
def test_numbers_in_float64_are_those_of_the_oracle(number: int) -> None:
    """Every result, to a few units of roundoff of the largest."""
    case = next(one for one in every() if one.number == number)
    shown, x = case.graph("float64"), case.inputs("float64")[0]
    near = results(shown, x)
    with arithmetic():
        for name, value in evaluate(shown, x).items():
            due = floats(value)
            assert np.abs(near[name] - due).max() <= 1e-11 * np.abs(due).max(initial=1.0)


def every() -> tuple[ModelCase, ...]:
    """A case of each model."""
    return tuple(case for name in TESTS for case in models_of(name, "float32"))


@pytest.mark.parametrize("number", [3, 32, 71, 111, 143])
def test_a_right_prediction_is_no_wrong_fold(number: int) -> None:
    """Nothing is found for what the model itself computes, rounded."""
    shown = network(number, "float32")
    case = next(one for one in every() if one.number == number)
    x = case.inputs("float32")[0]
    y = results(shown, x)[shown.output].astype(np.float32)
    assert reproductions(Seen(shown, x, y, case.example("float32"))) == []


def test_a_draft_is_the_model_until_it_is_changed() -> None:
    """Every fold of the family leaves the model alone, and changes what it computes at one of its sites at least."""
    changed = set()
    special = (models_of(f"BN-FOLD-{name}", "float32")[:12] for name in ("UNTRACKED", "READER", "SHARED"))
    for case in (*every()[:60], *(case for cases in special for case in cases)):
        shown, x = case.graph("float32"), case.inputs("float32")[0]
        right = results(shown, x)
        shapes = {name: value.shape for name, value in right.items()}
        example = {name: (np.full(shape[1], 0.3), np.full(shape[1], 2.0)) for name, shape in shapes.items()}
        for fold in folds("float64"):
            draft = Draft.of(shown, shapes, example)
            sites = fold.where(draft)
            for site in sites[:1]:
                fold.change(draft, site)
                made = results(draft.graph(), x)[draft.graph().output]
                if not np.array_equal(made, right[shown.output]):
                    changed.add(fold.words)
    assert changed == {fold.words for fold in folds("float64")}


def test_patterns_in_words() -> None:
    """Few are told one by one, many by what they have in common; padding is told where it decides."""
    shown = network(68, "float32")
    site = Site((shown.nodes[0].name, shown.nodes[1].name), shown.nodes[1].name)
    assert patterns.pattern(shown, site) == ("Linear", "BatchNorm1d of rank 3")
    assert patterns.join([("padded Conv2d", "BatchNorm2d"), ("Conv2d", "BatchNorm2d")]) == ("Conv2d -> BatchNorm2d")
    many = [(f"Conv{n}d", f"BatchNorm{n}d") for n in (1, 2, 3)] + [("ConvTranspose2d", "BatchNorm2d")]
    assert patterns.join(many) == "convolution -> BatchNorm, or transposed convolution -> BatchNorm"
    assert patterns.join([]) == ""


def test_what_failing_models_have_in_common_is_no_chance() -> None:
    """A level that all failing models have and few others is told; one that so few may share by chance is not."""
    table = range(200)
    depthwise = [number for number in table if patterns.traits(number)["groups"] == "depthwise"]
    others = [number for number in table if number not in depthwise]
    assert patterns.common(depthwise, others) == ["depthwise"]
    assert patterns.common(depthwise[:1], [*others, *depthwise[1:]]) == []
    assert patterns.groups(depthwise[:6], others)[0] == (depthwise[:6], "depthwise")
