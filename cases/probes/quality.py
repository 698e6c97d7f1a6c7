"""Probes of numerical quality: ill-conditioned and large batches, under bounds that exclude the weaker algorithms."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.program import Array, Probe, Program, Step, backward, forward, load
from bnconform.spec.config import Config

FULL = ("float64", "float32")
RATIOS = {"1e2": 1e2, "1e3": 1e3, "1e4": 1e4, "1e5": 1e5}
"""Mean over standard deviation; the condition number of the variance is its square."""


def probes() -> Iterator[Probe]:
    """Quality, level `should`; that the results are finite at all is a `must` of its own (BN-NUM-FINITE)."""
    for name, ratio in RATIOS.items():
        dtypes = FULL if ratio < 1e5 else ("float64",)
        x = inputs.ill_conditioned((32, 3), ratio, 1)
        program = Program(Config(ndim=2, momentum=1.0), (forward(x, "y"),))
        yield Probe("BN-NUM-STABLE", f"ratio{name}", program, "stable", dtypes)
        program = Program(Config(ndim=2, momentum=1.0), (forward(x, "running_var"),))
        yield Probe("BN-NUM-STABLE", f"ratio{name}-running-variance", program, "stable", dtypes)
        x = inputs.ill_conditioned((4, 3, 5, 7), ratio, 2)
        program = Program(Config(momentum=1.0), (forward(x, "y"),))
        yield Probe("BN-NUM-STABLE", f"ratio{name}-rank4", program, "stable", dtypes)
        if ratio < 1e5:
            x = inputs.ill_conditioned((32, 3), ratio, 3)
            steps: tuple[Step, ...] = (
                load(**inputs.parameters(3)),
                backward(x, inputs.upstream((32, 3)), "grad_x", "grad_weight"),
            )
            yield Probe("BN-NUM-STABLE-GRAD", f"ratio{name}", Program(Config(ndim=2), steps), "stable", FULL)
    for name, ratio in {"1e2": 1e2, "1e3": 1e3, "1e4": 1e4}.items():
        for rank, shape in ((2, (33, 3)), (4, (2, 3, 4, 5))):
            x = inputs.ill_conditioned(shape, ratio, 6)
            steps = (forward(x, "y"), forward(x, "y", training=False))
            program = Program(Config(ndim=rank, momentum=1.0), steps)
            yield Probe("BN-NUM-FINITE", f"ratio{name}-rank{rank}", program, dtypes=FULL)
    x = np.full((7, 3), 1.0) * np.array([1000.1, -77.7, 12345.6])
    steps = (forward(x, "y"), backward(x, inputs.upstream((7, 3)), "grad_x", "grad_weight"))
    yield Probe("BN-NUM-FINITE", "large-constants", Program(Config(ndim=2, momentum=1.0), steps), dtypes=FULL)
    x = inputs.values((40_009, 1), 4, offset=3.0)
    program = Program(Config(num_features=1, ndim=2, momentum=1.0), (forward(x, "y", "running_mean"),))
    yield Probe("BN-NUM-LARGE-N", "40009-samples", program, "blocked", FULL)
    x = inputs.values((3, 1, 97, 101), 5, offset=3.0)
    steps = (backward(x, inputs.upstream(x.shape, 1), "grad_x", "grad_weight", "grad_bias"),)
    yield Probe("BN-NUM-LARGE-N", "gradients-29391-values", Program(Config(num_features=1), steps), "blocked", FULL)
    yield from _one_accumulator()


def _one_accumulator() -> Iterator[Probe]:
    """Sums in which one accumulator loses something of one sign at every step, while sums in blocks lose nothing.

    In single precision that is 7e-4 of the sum and matters; in double it is 1e-12, and one accumulator is common there.
    """
    single = ("float32",)
    shape = (6, 1, 8337)
    terms = _terms_rounding_down(50_022)
    config = Config(num_features=1, ndim=3, momentum=1.0)
    x = terms.reshape(shape)
    yield Probe("BN-NUM-LARGE-N", "mean-in-one-sum", Program(config, (forward(x, "running_mean"),)), "blocked", single)
    steps: tuple[Step, ...] = (backward(inputs.values(shape, 6), x, "grad_bias"),)
    yield Probe("BN-NUM-LARGE-N", "bias-gradient-in-one-sum", Program(config, steps), "blocked", single)
    flat = Config(num_features=1, ndim=2, momentum=1.0)
    program = Program(flat, (forward(terms.reshape(-1, 1), "running_mean"),))
    yield Probe("BN-NUM-LARGE-N", "mean-in-one-sum-rank2", program, "blocked", single)
    for rank in (2, 4):
        # A library that sums one channel in blocks may sum several with one accumulator each.
        both = np.stack([terms, terms[::-1]], axis=-1)
        pair: Array = both if rank == 2 else np.moveaxis(both.reshape(6, 3, 2779, 2), -1, 1)
        config2 = Config(ndim=rank, num_features=2, momentum=1.0)
        program = Program(config2, (forward(pair, "running_mean"),))
        yield Probe("BN-NUM-LARGE-N", f"means-in-one-sum-rank{rank}", program, "blocked", single)
    # Each value with its negative: the mean is 0, and the squares are the terms.
    signs = np.where(np.arange(terms.size) % 2, -1.0, 1.0)
    x = (signs * np.sqrt(terms[: terms.size // 2].repeat(2))).reshape(shape)
    yield Probe(
        "BN-NUM-LARGE-N", "variance-in-one-sum", Program(config, (forward(x, "running_var"),)), "blocked", single
    )
    # The mean of k values is 0.3 + 9/k; its steps, 9/k**2, are below half a spacing from about k = 25,000 on.
    x = np.full(shape, 0.3)
    x[0, 0, 0] += 9
    program = Program(config, (forward(x, "running_mean"),))
    yield Probe("BN-NUM-LARGE-N", "mean-in-vanishing-steps", program, "blocked", single)


def _terms_rounding_down(count: int) -> Array:
    """(count,) terms around 0.6, each 0.48 * 2**-9 above a multiple of 2**-9, the spacing of float32 near 30,000.

    A sum of 50,000 is near 30,000, so that each addition to it, for most of the way, drops the 0.48: about 0.2 n u of
    the sum in all, 20 times what sums in blocks are allowed.
    """
    return np.asarray((inputs.rng(8, count).integers(250, 350, size=count) + 0.48) * 2.0**-9)
