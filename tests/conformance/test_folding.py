"""Conformance: tools that fold, freeze, export or compile a model for inference."""

from __future__ import annotations

from bnconform.judge import deployments, merged_layers
from bnconform.judge.check import Check
from bnconform.judge.marks import checks


@checks("BN-FOLD-EQUAL", over_cases=True)
def test_prediction(check: Check) -> None:
    """The prediction lies within its bound of that of the model in evaluation."""
    deployments.equal(check)


@checks("BN-FOLD-BATCH", over_cases=True)
def test_every_batch(check: Check) -> None:
    """So does that of a sample alone, in a larger batch, and beside large samples."""
    deployments.equal(check)


@checks("BN-FOLD-GAMMA", over_cases=True)
def test_weight_of_any_sign(check: Check) -> None:
    """So does that of a model with weights of zero or below."""
    deployments.equal(check)


@checks("BN-FOLD-AFFINE-OFF", over_cases=True)
def test_no_affine(check: Check) -> None:
    """So does that of a model whose BatchNorms have neither weight nor bias."""
    deployments.equal(check)


@checks("BN-FOLD-UNTRACKED", over_cases=True)
def test_no_tracking(check: Check) -> None:
    """Without running statistics the prediction is that by the batch's."""
    deployments.equal(check)


@checks("BN-FOLD-READER", over_cases=True)
def test_second_reader(check: Check) -> None:
    """A second reader of what is folded reads what the model computes."""
    deployments.equal(check)


@checks("BN-FOLD-SHARED", over_cases=True)
def test_shared_layer(check: Check) -> None:
    """What is called twice is folded in both places or in none."""
    deployments.equal(check)


@checks("BN-FOLD-TWICE", over_cases=True)
def test_second_deployment(check: Check) -> None:
    """A second deployment of the same model predicts as the first does."""
    deployments.equal(check)


@checks("BN-FOLD-CONSTANTS", over_cases=True)
def test_merged_layers(check: Check) -> None:
    """A layer that a BatchNorm was merged into holds k W and k (b - mean) + bias, where it is shown."""
    merged_layers.constants(check)


@checks("BN-FOLD-DTYPE", over_cases=True)
def test_dtype(check: Check) -> None:
    """The prediction has the model's dtype."""
    deployments.same_dtype(check)


@checks("BN-FOLD-ORIGINAL", over_cases=True)
def test_original(check: Check) -> None:
    """The original model and the input are as they were."""
    deployments.require_unchanged(check)


@checks("BN-FOLD-MODE", over_cases=True)
def test_training_mode(check: Check) -> None:
    """A model left in training is refused, told of, or predicted in one mode."""
    deployments.one_mode(check)
