"""Who reads or writes memory in another order than that of the array is told so."""

from __future__ import annotations

import pytest

from bnconform.tests.selftest.diagnosis.relations.first_failure import first_failure

CAUSES = {
    "fortran_order_read_as_row_major": "{} is that of the input read as if it were contiguous",
    "transposed_square_read_as_row_major": "{} is that of the input read as if it were contiguous",
    "channels_last_read_wrongly_in_evaluation": "{} is that of the input read as if it were contiguous",
    "swapped_axes_read_as_row_major": "{} is that of the input read as if it were contiguous",
    "fortran_gradient_read_as_row_major": "{} is that of grad_output read as if it were contiguous",
    "channels_last_read_wrongly_in_backward": "{} is that of the input read as if it were contiguous",
    "gradient_wrong_only_with_both_channels_last": "{} is that of grad_output read as if it were contiguous",
    "x_read_in_the_format_of_the_gradient": "{} is that of the input read as if it were channels-last",
}


@pytest.mark.parametrize("name", CAUSES)
def test_cause_is_named(name: str) -> None:
    """The first failing case is enough."""
    assert CAUSES[name] in [words for cause in first_failure(name).causes for words, *_ in cause]
