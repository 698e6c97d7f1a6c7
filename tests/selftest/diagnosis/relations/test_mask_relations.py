"""What a wrong mask does is named: over which values is summed, by which number is divided, of which masks it is so."""

from __future__ import annotations

from typing import Any

import pytest

from bnconform.cases.probes import cases_of
from bnconform.diagnosis.narrowing import narrow
from bnconform.judge.check import Check, conduct
from bnconform.judge.outcome import CRASHED, VIOLATES
from bnconform.judge.subject import Subject
from bnconform.spec.catalogue import requirement
from bnconform.tests.mutants.catalogue import every

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


def _finding(name: str) -> Any:
    mutant = every()[name]
    subject = Subject(name, mutant, "cpu", "float64")
    rule = requirement(mutant.killers[0])
    for case in cases_of(rule.id, "float64"):
        outcomes = conduct(lambda check: check.run(), Check(subject, rule, case))
        if outcomes[-1].verdict in (VIOLATES, CRASHED):
            break
    assert subject.failing is not None
    finding = narrow(subject, *subject.failing)
    assert finding is not None
    return finding


@pytest.mark.parametrize("name", CAUSES)
def test_cause_is_named(name: str) -> None:
    """The first failing case is enough."""
    assert any(words.startswith(CAUSES[name]) for cause in _finding(name).causes for words, *_ in cause)


@pytest.mark.parametrize("name", CIRCUMSTANCES)
def test_circumstance_is_named(name: str) -> None:
    """A mask is changed in one respect at a time."""
    assert CIRCUMSTANCES[name] in [one.words for one in _finding(name).where]
