"""Wrong derivatives are named by the statistic that they take for constant, or the term that they lack."""

from __future__ import annotations

import pytest

from bnconform.tests.selftest.diagnosis.relations.first_failure import first_failure

NAMED = {
    "tangent_takes_statistics_for_constant": "tangent_y takes mean and variance for constant",
    "tangent_takes_variance_for_constant": "tangent_y takes the variance for constant",
    "tangent_takes_mean_for_constant": "tangent_y takes the mean for constant",
    "evaluation_tangent_has_batch_terms": "tangent_y has the batch's terms",
    "second_derivative_takes_variance_for_constant": "hvp_x takes the deviation for constant",
    "second_derivative_takes_mean_for_constant": "hvp_x takes the mean in the variance for constant",
    "covariance_missing": "hvp_x lacks the covariance of g and t",
    "covariance_not_centred": "hvp_x has mean(g t) for the covariance of g and t",
    "one_of_three_products": "hvp_x has one of three products of means",
    "two_of_three_products": "hvp_x has two of three products of means",
    "variance_about_a_stopped_mean": "hvp_x has the mean of t**2 for the variance of t",
    "second_derivative_is_zero": "{} is 0",
    "second_tangent_takes_deviation_for_constant": "second_y takes the deviation for constant",
    "second_tangent_forgets_the_covariance": "second_y lacks the covariance of both tangents",
    "third_derivative_takes_statistics_for_constant": "third_x takes the mean and deviation that the pass saved for",
    "tangent_without_weight": "{} is divided by the weight once more",
}


@pytest.mark.parametrize("name", NAMED)
def test_wrong_derivative_is_named(name: str) -> None:
    """The first failing case of the requirement that names the fault is enough, and no experiment fails."""
    assert any(words.startswith(NAMED[name]) for cause in first_failure(name).causes for words, *_ in cause)
