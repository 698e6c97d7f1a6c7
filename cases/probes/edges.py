"""Probes of the edges: constant channels, NaN and infinity, huge and tiny values, zero weights, sizes, defaults, and
runs that are longer than most.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.program import Array, Probe, Program, Step, backward, forward, load
from bnconform.spec.config import Config

FULL = ("float64", "float32")
WIDE = (*FULL, "bfloat16")
"""Dtypes with at least the exponent range of float32."""
ALL = ("grad_x", "grad_weight", "grad_bias")
STATISTICS = ("running_mean", "running_var:finite")


def probes() -> Iterator[Probe]:
    """Edges, one kind after the other."""
    yield from _one_value()
    yield from _constant()
    yield from _not_finite()
    yield from _magnitudes()
    yield from _repetitions()
    yield from _long()
    yield from _one_not_default()
    for training in (True, False):
        mode = "training" if training else "evaluation"
        x, g = inputs.values((5, 3), 1), inputs.upstream((5, 3))
        steps: tuple[Step, ...] = (
            load(weight=np.zeros(3), bias=np.array([0.5, -1.5, 0.0])),
            forward(x, "y", training=training),
            backward(x, g, *ALL, training=training),
        )
        yield Probe("BN-EDGE-WEIGHT-ZERO", mode, Program(Config(ndim=2, eps=0.1), steps))
    # Parameters that are 0 throughout, as where a residual branch begins.
    x, g = inputs.values((5, 3), 22), inputs.upstream((5, 3), 12)
    steps = (load(weight=np.zeros(3), bias=np.zeros(3)), *(backward(x, g, *ALL, training=t) for t in (True, False)))
    yield Probe("BN-EDGE-WEIGHT-ZERO", "and-no-bias", Program(Config(ndim=2, eps=0.1), steps))
    x, g = inputs.values((5, 3), 21), inputs.upstream((5, 3), 11)
    parameters = {"weight": np.array([-1.75, 0.0, 0.5]), "bias": np.array([0.5, -1.5, 2.0])}
    program = Program(Config(ndim=2, eps=0.1), (load(**parameters), backward(x, g, *ALL)))
    yield Probe("BN-EDGE-WEIGHT-ZERO", "one-of-three", program)
    for samples, block in ((1025, 1024), (1500, 1024), (65_601, 65_536)):
        # The values past a block are large, so that leaving them out shows in everything.
        x, g = inputs.values((samples, 1), 2), inputs.upstream((samples, 1), 5)
        x[block:] += 40.0 * np.sqrt(samples / (samples - block)) / 4
        g[block:] += 40.0
        steps = (forward(x, "y", "running_mean"), backward(x, g, *ALL), forward(x, "y", training=False))
        program = Program(Config(num_features=1, ndim=2, momentum=1.0), steps)
        yield Probe("BN-EDGE-SIZE", f"{samples}-samples", program, dtypes=FULL if samples < 2000 else ("float32",))
    # A count of positions, or of values, that is kept in sixteen bits.
    x, g = inputs.values((1, 1, 65_600), 2), inputs.upstream((1, 1, 65_600), 5)
    x[..., 65_536:] += 40.0
    steps = (forward(x, "y", "running_mean", "running_var"), backward(x, g, *ALL), forward(x, "y", training=False))
    program = Program(Config(num_features=1, ndim=3, momentum=1.0), steps)
    yield Probe("BN-EDGE-SIZE", "65600-positions", program, dtypes=("float32",))
    # An index of elements that is kept in sixteen bits; 257 channels of 257 samples are 66,049.
    x, g = inputs.values((257, 257), 3), inputs.upstream((257, 257), 4)
    steps = (forward(x, "y", "running_mean"), backward(x, g, *ALL))
    program = Program(Config(257, momentum=1.0, ndim=2), steps)
    yield Probe("BN-EDGE-SIZE", "66049-elements", program, dtypes=("float32",))
    yield from _blocks()
    x, g = inputs.values((1, 2, 33, 37), 6), inputs.upstream((1, 2, 33, 37), 6)
    x[..., 31:, :] += 9.0
    steps = (forward(x, "y", "running_mean"), backward(x, g, *ALL), backward(x, g, *ALL, training=False))
    yield Probe("BN-EDGE-SIZE", "1221-positions", Program(Config(num_features=2, momentum=1.0), steps), dtypes=FULL)
    for name, before in (("", ()), ("-loaded", (load(**inputs.everything(2)),))):
        steps = (*before, forward(inputs.values((1025, 2), 3), "y", training=False))
        program = Program(Config(num_features=2, ndim=2), steps)
        yield Probe("BN-EDGE-SIZE", f"1025-samples-evaluation{name}", program)
    for name, before in (("", ()), ("-loaded", (load(**inputs.everything(1)),))):
        steps = (*before, forward(inputs.values((2, 1, 3, 401), 4), "y", training=False))
        yield Probe("BN-EDGE-SIZE", f"long-positions{name}", Program(Config(num_features=1), steps))
    for rank in (2, 4):
        x, g = inputs.values(inputs.SHAPES[rank], 5), inputs.upstream(inputs.SHAPES[rank], 1)
        steps = (
            forward(x, "y"),
            backward(x, g, *ALL),
            forward(x, "y", training=False),
            backward(x, g, *ALL, training=False),
        )
        yield Probe("BN-EDGE-DEFAULT", f"new-layer-rank{rank}", Program(Config(ndim=rank), steps))
        state = {"weight": np.ones(3), "bias": np.zeros(3), "running_mean": np.zeros(3), "running_var": np.ones(3)}
        steps = (load(**state), forward(x, "y", training=False), backward(x, g, *ALL, training=False), forward(x, "y"))
        yield Probe("BN-EDGE-DEFAULT", f"loaded-rank{rank}", Program(Config(ndim=rank), steps))


BLOCKS = {
    (96,): 2, (1024,): 1, (2048,): 1, (3, 256): 2, (6, 16, 16): 1, (2, 32, 32): 1, (1, 64, 64): 1, (2, 4, 16, 24): 1,
}  # fmt: skip
"""Shapes without the channels whose values a channel are whole blocks, one or several, and the number of channels."""


def _blocks() -> Iterator[Probe]:
    """Whole blocks of values and nothing past them: a last block may be left out, or taken twice."""
    for (samples, *positions), channels in BLOCKS.items():
        shape = (samples, channels, *positions)
        x, g = inputs.values(shape, 9), inputs.upstream(shape, 9)
        steps = (
            load(**inputs.everything(channels)),
            forward(x, "y", "running_mean"),
            backward(x, g, *ALL),
            forward(x, "y", training=False),
            backward(x, g, *ALL, training=False),
        )
        name = "x".join(map(str, (samples, *positions)))
        program = Program(Config(channels, momentum=0.3, ndim=len(shape)), steps)
        yield Probe("BN-EDGE-SIZE", f"blocks-{name}", program)


def _one_not_default() -> Iterator[Probe]:
    """One of the four is not what it is in a new layer: what is skipped because it does nothing may take it along."""
    x, g = inputs.values((5, 3), 14), inputs.upstream((5, 3), 6)
    default = {"weight": np.ones(3), "bias": np.zeros(3), "running_mean": np.zeros(3), "running_var": np.ones(3)}
    for name, value in inputs.everything(3, 8).items():
        steps: tuple[Step, ...] = (
            load(**(default | {name: value})),
            forward(x, "y", training=False),
            backward(x, g, *ALL, training=False),
            backward(x, g, *ALL),
            forward(x, "y"),
        )
        yield Probe("BN-EDGE-DEFAULT", f"but-{name.replace('_', '-')}", Program(Config(ndim=2), steps))


def _one_value() -> Iterator[Probe]:
    for name, shape, rank in (("rank2", (1, 3), 2), ("rank4", (1, 3, 1, 1), 4)):
        steps = (load(**inputs.everything(3)), forward(inputs.values(shape, 6), "y", *STATISTICS, training=False))
        yield Probe("BN-EDGE-ONE-VALUE-EVAL", name, Program(Config(ndim=rank), steps))


def _constant() -> Iterator[Probe]:
    x = np.broadcast_to(np.array([0.0, 3.0, -0.7]), (4, 3))
    g = inputs.upstream((4, 3), 2)
    steps: tuple[Step, ...] = (load(**inputs.parameters(3)), forward(x, "y", *STATISTICS), backward(x, g, *ALL))
    yield Probe("BN-EDGE-CONSTANT", "every-channel", Program(Config(ndim=2, eps=0.1), steps))
    yield Probe("BN-EDGE-CONSTANT", "default-eps", Program(Config(ndim=2), steps[:2]), dtypes=FULL)
    # The derivative of the reciprocal root is eps**-1.5 / 2 = 1.6e7, which float16 has not: the gradient itself it has.
    rows = np.broadcast_to(np.array([0.0, 3.0, -0.7]), inputs.SHAPES[2])
    steps = (load(**inputs.parameters(3)), backward(rows, inputs.upstream(inputs.SHAPES[2], 2), *ALL))
    yield Probe("BN-EDGE-CONSTANT", "default-eps-gradients", Program(Config(ndim=2), steps))
    mixed = inputs.values((2, 3, 4, 5), 7)
    mixed[:, 1] = 100.0
    steps = (load(**inputs.parameters(3)), forward(mixed, "y", *STATISTICS))
    yield Probe("BN-EDGE-CONSTANT", "one-channel-rank4", Program(Config(momentum=1.0), steps), dtypes=FULL)
    steps = (load(**inputs.everything(3)), forward(x, "y", training=False))
    yield Probe("BN-EDGE-CONSTANT", "evaluation", Program(Config(ndim=2), steps))


def _spoilt(bad: float, where: int = 1) -> Array:
    x = inputs.values((5, 3), 8)
    x[2, where] = bad
    return x


def _not_finite() -> Iterator[Probe]:
    g = inputs.upstream((5, 3), 3)
    for name, bad in (("nan", np.nan), ("infinity", np.inf), ("minus-infinity", -np.inf)):
        for where in (0, 1):
            x = _spoilt(bad, where)
            steps: tuple[Step, ...] = (load(**inputs.everything(3)), forward(x, "y", *STATISTICS))
            yield Probe("BN-EDGE-NAN", f"{name}-in-channel-{where}-training", Program(Config(ndim=2), steps))
        steps = (load(**inputs.everything(3)), forward(_spoilt(bad), "y", *STATISTICS, training=False))
        yield Probe("BN-EDGE-NAN", f"{name}-evaluation", Program(Config(ndim=2), steps))
    steps = (load(**inputs.parameters(3)), backward(_spoilt(np.nan), g, "grad_x", "grad_weight"))
    yield Probe("BN-EDGE-NAN", "nan-gradients", Program(Config(ndim=2), steps))
    spoilt = np.array(g)
    spoilt[1, 2] = np.nan
    for training in (True, False):
        mode = "training" if training else "evaluation"
        steps = (load(**inputs.everything(3)), backward(inputs.values((5, 3), 9), spoilt, *ALL, training=training))
        yield Probe("BN-EDGE-NAN", f"nan-upstream-{mode}", Program(Config(ndim=2), steps))
    steps = (load(**inputs.everything(3)), backward(_spoilt(np.nan), g, "grad_x", "grad_weight", training=False))
    yield Probe("BN-EDGE-NAN", "nan-gradients-evaluation", Program(Config(ndim=2), steps))
    x = inputs.values(inputs.SHAPES[4], 10)
    x[1, 2, 3, 4] = np.nan
    yield Probe("BN-EDGE-NAN", "nan-rank4", Program(Config(), (forward(x, "y", *STATISTICS),)))
    steps = (
        load(bias=np.array([0.5, np.nan, 1.0])),
        *(forward(inputs.values((5, 3), 9), "y", training=t) for t in (True, False)),
    )
    yield Probe("BN-EDGE-NAN", "nan-in-bias", Program(Config(ndim=2), steps))
    steps = (
        load(running_mean=np.array([0.0, np.nan, 1.0]), running_var=np.array([1.0, 2.0, np.nan])),
        forward(x, "y", training=False),
    )
    yield Probe("BN-EDGE-NAN", "nan-in-loaded-statistics", Program(Config(), steps))


def _magnitudes() -> Iterator[Probe]:
    base = inputs.values((4, 3), 11, offset=0.3)
    seen = ("y", *STATISTICS)
    for name, scale, dtypes in (
        ("1e18", 1e18, WIDE),
        ("1e150", 1e150, FULL[:1]),
        ("1e4", 1e4, WIDE),
        ("100", 1e2, WIDE),
    ):
        steps: tuple[Step, ...] = (load(**inputs.parameters(3)), forward(base * scale, *seen))
        yield Probe("BN-EDGE-HUGE", name, Program(Config(ndim=2, momentum=1.0), steps), dtypes=dtypes)
    state = {"running_mean": np.array([1e18, -1e18, 0.0]), "running_var": np.array([1e36, 1e30, 1e20])}
    steps = (load(**inputs.parameters(3), **state), forward(base * 1e18, "y", training=False))
    yield Probe("BN-EDGE-HUGE", "evaluation-1e18", Program(Config(ndim=2), steps), dtypes=WIDE)
    g = inputs.upstream((4, 3), 7)
    for name, values, upstream in (("gradients-1e8", base * 1e8, g), ("gradients-of-1e6", base, g * 1e6)):
        steps = (load(**inputs.parameters(3)), backward(values, upstream, *ALL))
        yield Probe("BN-EDGE-HUGE", name, Program(Config(ndim=2), steps), dtypes=WIDE)
    for name, scale in (("1e-3", 1e-3), ("1e-6", 1e-6), ("1e-20", 1e-20)):
        steps = (load(**inputs.parameters(3)), forward(base * scale, "y"))
        yield Probe("BN-EDGE-TINY", name, Program(Config(ndim=2), steps), dtypes=FULL)
    steps = (load(**inputs.parameters(3)), forward(base * 2.0**-7, "y"))
    yield Probe("BN-EDGE-TINY", "far-below-eps", Program(Config(ndim=2, eps=0.5), steps))
    steps = (load(**inputs.parameters(3)), backward(base * 1e-6, inputs.upstream((4, 3)), "grad_x", "grad_weight"))
    yield Probe("BN-EDGE-TINY", "gradients-1e-6", Program(Config(ndim=2), steps), dtypes=FULL)
    steps = (load(**inputs.parameters(3)), backward(base, inputs.upstream((4, 3)) * 1e-8, *ALL))
    yield Probe("BN-EDGE-TINY", "gradients-of-1e-8", Program(Config(ndim=2), steps), dtypes=FULL)


def _repetitions() -> Iterator[Probe]:
    """Calls that come twice, and a layer that is called on two batches before the backward pass of the first."""
    x, other, g = inputs.values((5, 3), 12), inputs.values((7, 3), 13), inputs.upstream((5, 3), 4)
    start = load(**inputs.everything(3))
    steps: tuple[Step, ...] = (start, *(forward(x, "y", training=False) for _ in range(3)))
    yield Probe("BN-STATE-REPEAT", "evaluation", Program(Config(ndim=2), steps))
    steps = (
        start,
        forward(x, "y"),
        forward(other, "y"),
        backward(x, g, *ALL),
        forward(x, "y", training=False),
        forward(x, "y"),
    )
    yield Probe("BN-STATE-REPEAT", "two-batches-then-backward", Program(Config(ndim=2), steps))
    alike = inputs.values((5, 3), 16)
    for training in (True, False):
        steps = (
            start,
            forward(x, training=training),
            forward(alike, training=training),
            backward(x, g, *ALL, training=training),
            forward(alike, training=not training),
            backward(x, g, *ALL, training=training),
        )
        mode = "training" if training else "evaluation"
        yield Probe("BN-STATE-REPEAT", f"two-batches-of-one-shape-{mode}", Program(Config(ndim=2), steps))
    steps = (
        start,
        backward(x, g, *ALL),
        backward(x, g, *ALL),
        backward(x, g, *ALL, training=False),
        backward(x, g, *ALL),
    )
    yield Probe("BN-STATE-REPEAT", "gradients-do-not-add-up", Program(Config(ndim=2), steps))


def _long() -> Iterator[Probe]:
    """More batches than most tests see, numbers that a narrow counter cannot hold, and what loading leaves alone."""
    seen = ("running_mean",)
    batches = tuple(forward(inputs.values((3, 3), 200 + k, offset=1.0 + k % 5), *seen) for k in range(40))
    for requirement, momentum in (("BN-RUN-AVERAGE", 0.3), ("BN-RUN-NONE", None)):
        yield Probe(requirement, "forty-batches", Program(Config(ndim=2, momentum=momentum), batches))
    steps: tuple[Step, ...] = (*batches[:2], load(**inputs.statistics(3, 9)), *batches[2:4])
    yield Probe("BN-RUN-NONE", "statistics-loaded-between", Program(Config(ndim=2, momentum=None), steps))
    counted = ("num_batches_tracked",)
    x, g = inputs.values((4, 3), 15), inputs.upstream((4, 3), 8)
    for count in (255, 65_535, 2**24, 2**31 - 1):
        steps = (load(num_batches_tracked=count), forward(x, *counted), forward(x, *counted))
        yield Probe("BN-RUN-COUNT", f"from-{count}", Program(Config(ndim=2), steps))
    steps = (forward(x), backward(x, g, *seen, *counted), backward(x, g, *seen, *counted, training=False))
    yield Probe("BN-RUN-COUNT", "backward-counts-where-it-updates", Program(Config(ndim=2), steps))
