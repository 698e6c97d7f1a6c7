"""What a wrong mask does is named: over which values is summed, by which number is divided, of which masks it is so."""

from __future__ import annotations

import pytest

from bnconform.tests.selftest.diagnosis.relations.first_failure import first_failure

CAUSES = {
    "sums_over_what_is_selected": "grad_x sums over what the mask selects alone",
    "gradient_divides_by_all": "grad_x divides its sums by the number of all values",
    "hidden_values_have_the_terms_of_the_statistics": "grad_x has the terms of mean and variance where",
    "weight_gradient_of_what_is_selected": "{} sums over what the mask selects alone",
    "bias_gradient_of_what_is_selected": "{} sums over what the mask selects alone",
    "mask_is_multiplied": "{} is NaN",
    "correction_counts_all": "running_var is corrected by the number of all values",
}
CIRCUMSTANCES = {
    "complement_of_bits": "only with an integer mask",
    "masks_of_channels_are_refused": "only with a mask of channels",
    "one_count_for_all_channels": "only with a mask of channels",
    "fewer_axes_begin_at_the_first": "only with a mask of fewer axes than x",
    "counts_the_elements_of_the_mask": "only with a mask that is broadcast along samples or positions",
}


@pytest.mark.parametrize("name", CAUSES)
def test_cause_is_named(name: str) -> None:
    """The first failing case is enough."""
    assert any(words.startswith(CAUSES[name]) for cause in first_failure(name).causes for words, *_ in cause)


@pytest.mark.parametrize("name", CIRCUMSTANCES)
def test_circumstance_is_named(name: str) -> None:
    """A mask is changed in one respect at a time."""
    assert CIRCUMSTANCES[name] in [one.words for one in first_failure(name).where]
