"""A counter that moves where it may not: what is said of channels says nothing of it, and breaks nothing."""

from __future__ import annotations

from bnconform.diagnosis import causes
from bnconform.judge.outcome import VIOLATES
from bnconform.judge.subject import Subject
from bnconform.judge.suite import conformance_tests
from bnconform.tests.mutants.catalogue import every


def test_a_counter_that_moves_is_explained_without_an_error() -> None:
    """Under a mask the layer's epsilon and bias are of each channel, and the counter is one number."""
    mutant = every()["frozen_masks_move_statistics"]
    subject = Subject(mutant.name, mutant, "cpu", "float32")
    [test] = [one for one in conformance_tests() if one.rule.id == "BN-FROZEN-STATE"]
    [case] = [one for one in test.cases("float32") if one is not None and one.name == "masked-rank4"]
    [outcome] = [one for one in test.run(subject, case) if one.verdict == VIOLATES]
    causes.note(outcome, subject, lambda supposed: test.run(supposed, case))
    assert outcome.failure is not None and "num_batches_tracked" in outcome.message
