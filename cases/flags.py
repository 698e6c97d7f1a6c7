"""Flags of vectors: what is special about a case, so that a reader can choose, and each explained once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from bnconform.cases.program import PASSES, Array, Probe, Program, Step

LARGE, ILL_CONDITIONED = 1000, 50.0
"""Values a channel, and mean over standard deviation, from which a batch is called so."""


def _passes(program: Program) -> Iterator[tuple[Step, Array]]:
    """The forward and backward passes, each with its input as float64."""
    for step in program.steps:
        if step.op in PASSES and step.x is not None:
            yield step, step.x.astype(np.float64)


def _deviations(program: Program) -> Iterator[tuple[Array, Array]]:
    """Mean and standard deviation of the channels of each batch that normalises."""
    with np.errstate(all="ignore"):
        for step, x in _passes(program):
            if step.training or not program.config.track_running_stats:
                axes = (0, *range(2, x.ndim))
                yield x.mean(axis=axes), x.std(axis=axes)


def _arrays(program: Program) -> Iterator[Array]:
    for step in program.steps:
        operands = step.x, step.grad_output, step.tangent, step.second
        yield from (value for value in (*operands, *step.state.values()) if value is not None)


def _after_training(program: Program) -> bool:
    trained = False
    for step in program.steps:
        if trained and step.observe:
            return True
        trained = trained or (step.op in PASSES and step.training)
    return False


def _constant(program: Program) -> bool:
    """A channel of equal values, whose mean may err in its last place."""
    return any(((spread == 0) | (spread < 1e-12 * abs(mean))).any() for mean, spread in _deviations(program))


def _ill_conditioned(program: Program) -> bool:
    return any((abs(mean) > ILL_CONDITIONED * spread).any() for mean, spread in _deviations(program))


Holds = Callable[[Probe, Program], bool]


def _quality(word: str) -> Holds:
    return lambda probe, _: word in probe.quality.split()


def _op(op: str, *, training: bool | None = None) -> Holds:
    """Whether there is such a pass."""
    return lambda _, program: any(step.op == op and training in (None, step.training) for step, _ in _passes(program))


FLAGS: Mapping[str, tuple[str, Holds]] = {
    "Training": ("has a forward pass in training mode", _op("forward", training=True)),
    "Evaluation": ("has a forward pass in evaluation mode", _op("forward", training=False)),
    "Gradient": ("has a backward pass", _op("backward")),
    "GradientInEvaluation": ("has a backward pass in evaluation mode", _op("backward", training=False)),
    "Rank2": ("x is (N, C)", lambda _, program: program.config.ndim == 2),
    "Rank3": ("x is (N, C, L)", lambda _, program: program.config.ndim == 3),
    "Rank4": ("x is (N, C, H, W)", lambda _, program: program.config.ndim == 4),
    "Rank5": ("x is (N, C, D, H, W)", lambda _, program: program.config.ndim == 5),
    "AffineOff": ("the layer has no weight and no bias", lambda _, program: program.config.affine is False),
    "WeightAlone": ("the layer has a weight and no bias", lambda _, program: program.config.affine == "weight"),
    "BiasAlone": ("the layer has a bias and no weight", lambda _, program: program.config.affine == "bias"),
    "TrackOff": (
        "the layer has no running statistics, so that evaluation too normalises by the batch's",
        lambda _, program: not program.config.track_running_stats,
    ),
    "MomentumNone": (
        "momentum is null: the running statistics are the plain average over all batches",
        lambda _, program: program.config.momentum is None,
    ),
    "NonContiguous": (
        "x or grad_output is to lie in memory as its layout says; the numbers and the results are the same in any, so "
        "an implementation that has one layout only takes them as they come",
        lambda _, program: any({s.x_layout, s.grad_layout} != {"contiguous"} for s in program.steps),
    ),
    "CounterLoaded": (
        "sets the counter of batches: leave the vector out where the implementation has none",
        lambda _, program: any("num_batches_tracked" in step.state for step in program.steps),
    ),
    "AfterTraining": (
        "something is judged after a training pass of which nothing was seen: its interval is wider by what a right "
        "implementation may have made of that pass",
        lambda _, program: _after_training(program),
    ),
    "BackwardMayTrain": (
        "a backward pass in training may move the running statistics once, as its own forward pass would, or leave "
        "them: later intervals hold both",
        _op("backward", training=True),
    ),
    "OneValue": (
        "one value a channel",
        lambda _, program: any(x.size == x.shape[1] for _, x in _passes(program)),
    ),
    "LargeBatch": (
        f"more than {LARGE} values a channel",
        lambda _, program: any(x.size > LARGE * x.shape[1] for _, x in _passes(program)),
    ),
    "IllConditioned": (
        f"a channel whose mean is more than {ILL_CONDITIONED:g} times its standard deviation",
        lambda _, program: _ill_conditioned(program),
    ),
    "ConstantChannel": ("a channel of equal values", lambda _, program: _constant(program)),
    "NotFinite": (
        "NaN or infinity goes in",
        lambda _, program: any(not np.isfinite(value.astype(np.float64)).all() for value in _arrays(program)),
    ),
    "Stable": (
        "the intervals exclude the one-pass variance, mean(x**2) - mean(x)**2, in the arithmetic of x",
        _quality("stable"),
    ),
    "SinglePrecision": (
        "the intervals ask that half-precision input is summed in single precision and rounded at the end",
        _quality("single"),
    ),
    "SumsInBlocks": (
        "the intervals exclude sums of one accumulator, whose error grows in proportion to the number of values",
        _quality("blocked"),
    ),
    "Document": ("an example of a published text", lambda probe, _: probe.name.startswith("document-")),
}
"""The explanation of each flag, and whether it holds of a case."""


def flags_of(probe: Probe, program: Program) -> list[str]:
    """The flags of a case, given as its program in one dtype."""
    return [name for name, (_, holds) in FLAGS.items() if holds(probe, program)]
