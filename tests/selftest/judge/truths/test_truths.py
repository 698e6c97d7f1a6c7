"""A truth is computed once for a question, and answers for every point that differs only in what was not read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bnconform.cases import inputs
from bnconform.cases.program import Step, backward, forward
from bnconform.judge.judgement import initial_state
from bnconform.judge.truths.cache_settings import CacheSettings
from bnconform.judge.truths.lru_cache import LruCache
from bnconform.judge.truths.truth import Question, Truths
from bnconform.judge.truths.truth_record import Truth, decode, encode
from bnconform.spec import oracle
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.config import Config
from bnconform.spec.error_bounds.error_model import error_model_of
from bnconform.spec.exact import PrecisionError, arithmetic, exact

CONFIG = Config(ndim=2)
X = inputs.values((5, 3), 1).astype(np.float32)
SEEN = ("running_mean", "running_var")
STEPS = {
    "training": forward(X, "y", *SEEN),
    "evaluation": forward(X, "y", *SEEN, training=False),
    "gradients": backward(X, X[::-1], "grad_x", "grad_weight", "grad_bias", *SEEN),
    "gradients-in-evaluation": backward(X, X[::-1], "grad_x", "grad_weight", training=False),
    "one-value": forward(X[:1], "y", *SEEN),
    "empty": forward(X[:0], "y", *SEEN),
}


def question(step: Step, point: Behaviour, config: Config = CONFIG) -> Question:
    """A step of a new layer."""
    return Question.of(config, error_model_of(config, point), initial_state(config, SPECIFIED), step)


def assert_same(one: Truth, other: Truth) -> None:
    """Bit for bit."""
    assert encode(one) == encode(other)


@pytest.mark.parametrize("name", STEPS)
def test_what_is_shared_between_points_is_what_each_would_compute(name: str) -> None:
    """Of every neighbour, whether its truth was computed for it or for another."""
    shared, computed = Truths(CacheSettings()), 0
    with arithmetic():
        for _, _, point in SPECIFIED.neighbours():
            asked = question(STEPS[name], point)
            assert_same(shared.answer(asked, point), Truths(CacheSettings()).answer(asked, point))
            computed += 1
    assert 1 < shared.computed < computed


@pytest.mark.parametrize("name", STEPS)
def test_bytes_and_back(name: str) -> None:
    """What is read from bytes is what was written, at every neighbour."""
    with arithmetic():
        for _, _, point in SPECIFIED.neighbours():
            truth = Truths(CacheSettings()).answer(question(STEPS[name], point), point)
            again = decode(encode(truth))
            assert_same(again, truth)
            assert again.quantities.keys() == truth.quantities.keys()


def test_numbers_beyond_float64_come_back() -> None:
    """They are kept in 320 bits beside the sums."""
    step = forward(X.astype(np.float64) * 1e306, "y", *SEEN)
    config = replace(CONFIG, dtype="float64", param_dtype="float64")
    with arithmetic():
        truth = Truths(CacheSettings()).answer(question(step, SPECIFIED, config), SPECIFIED)
        again = decode(encode(truth))
        assert truth.value("running_var").beside
        assert again.value("running_var").exact().tolist() == truth.value("running_var").exact().tolist()


def test_the_state_that_no_layer_shows_is_carried_in_320_bits() -> None:
    """Also where the truth came from bytes, which do not hold it."""
    step = STEPS["training"]
    with arithmetic():
        truths, asked = Truths(CacheSettings()), question(STEPS["training"], SPECIFIED)
        truth = truths.answer(asked, SPECIFIED)
        fresh, kept = (truths.after(asked, SPECIFIED, one).exact() for one in (truth, decode(encode(truth))))
        before = oracle.initial_state(CONFIG)
        due = oracle.forward(CONFIG, SPECIFIED, before, exact(step.x), training=True).state
    for state in (fresh, kept):
        for value, wanted in ((state.running_mean, due.running_mean), (state.running_var, due.running_var)):
            assert value is not None and wanted is not None
            assert value.tolist() == wanted.tolist()
        assert (state.num_batches_tracked, state.updates) == (due.num_batches_tracked, due.updates)


def test_a_small_memory_computes_again() -> None:
    """The budget in bytes is a setting."""
    truths = Truths(CacheSettings(memory=0))
    with arithmetic():
        for _ in range(2):
            truths.answer(question(STEPS["training"], SPECIFIED), SPECIFIED)
    assert truths.computed == 2
    assert len(truths.memory) == 0


def test_what_was_used_least_recently_goes() -> None:
    """And what alone takes more than half of the budget is not kept."""
    cache: LruCache[str, int] = LruCache(100)
    for number, key in enumerate("abc"):
        cache.put(key, number, 30)
    assert cache.get("a") == 0
    cache.put("d", 3, 40)
    assert [cache.get(key) for key in "abcd"] == [0, None, 2, 3]
    assert cache.size == 100
    cache.put("e", 4, 51)
    assert cache.get("e") is None
    cache.put("a", 5, 10)
    assert (cache.get("a"), cache.size) == (5, 80)
    cache.clear()
    assert (len(cache), cache.size) == (0, 0)


PASSES: dict[str, Callable[[oracle.State], object]] = {
    "forward": lambda state: oracle.forward(CONFIG, SPECIFIED, state, exact(X), training=True),
    "backward": lambda state: oracle.backward(CONFIG, SPECIFIED, state, exact(X), exact(X), training=True),
    "initial_state": lambda state: oracle.initial_state(CONFIG),
}


@pytest.mark.parametrize("name", PASSES)
def test_the_oracle_refuses_to_compute_in_fewer_bits(name: str) -> None:
    """Outside of `arithmetic()` gmpy2 would round to 53 bits, silently."""
    with arithmetic():
        state = oracle.initial_state(CONFIG)
    with pytest.raises(PrecisionError, match=r"320 bits and was asked to in 53.*arithmetic\(\)"):
        PASSES[name](state)
