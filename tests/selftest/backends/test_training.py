"""Frameworks' own networks: those that run here follow the reference; each belongs to a backend."""

from __future__ import annotations

from functools import cache

import pytest

from bnconform.backends import registry, training
from bnconform.execution.settings import Settings
from bnconform.judge.training.bound import growth
from bnconform.judge.training.runs import choose
from bnconform.judge.training.session import TrainingSession
from bnconform.judge.training.trajectory import reference
from bnconform.judge.training.verdict import TrainingJudge
from bnconform.tests.selftest.judge.training.small import small_experiment

LENET = "+lenet"


@cache
def judge() -> TrainingJudge:
    """What judges the small experiment."""
    given = small_experiment()
    exact = reference(given)
    return TrainingJudge(given, growth(given, exact, runs=2), exact)


VERDICTS = {
    "torch.nn+lenet": ("conforms", ()),
    "documents.d2l_en+lenet": ("deviates", ("running_variance = biased",)),
    "documents.d2l_zh+lenet+as_printed": ("crashed", ()),
    "documents.d2l_zh": ("deviates", ("running_variance = biased", "momentum_weighs = running")),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_a_network_comes_to_its_verdict(name: str) -> None:
    """PyTorch's own conforms, the documents' deviate in what they declare, and one fails as it is printed."""
    pytest.importorskip("torch")
    session = TrainingSession(Settings(), name)
    try:
        found = judge().judge(session.train("cpu", "float64", judge().experiment), "float64")
    finally:
        session.close()
    assert (found.verdict, found.explained) == VERDICTS[name], found.words


@pytest.mark.parametrize("name", training.NETWORKS)
def test_a_network_belongs_to_a_backend(name: str) -> None:
    """Its name is a backend's with +lenet behind it, it needs the same packages, and its class is there."""
    base = registry.BUILTIN[name.partition(LENET)[0]]
    entry = training.NETWORKS[name]
    assert (entry.needs, entry.extra) == (base.needs, base.extra)
    if not registry.missing(entry):
        assert set(training.load(name).deviations) <= set(registry.adapter_class(name.partition(LENET)[0]).deviations)


def test_what_is_trained_where_nothing_is_asked_for() -> None:
    """Every network that can run, and the documents' layers; `all` has every layer besides; the rest has its reason."""
    kept, left_out = choose([], Settings())
    assert set(kept) | set(left_out) >= {"torch.nn+lenet", "mlx+lenet", "documents.d2l_zh"}
    assert "numpy" not in kept and "documents.d2l_zh+lenet+as_printed" not in kept
    every, _ = choose(["all"], Settings())
    assert set(every) > {"numpy", *kept}
    assert all("not installed" in reason for reason in left_out.values())
