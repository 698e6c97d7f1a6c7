"""Probes of the running statistics: small n, momentum 1 and others, several steps, mode switches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.program import STATE, Probe, Program, Step, backward, build, forward, load
from bnconform.spec.config import Config
from bnconform.spec.formats import DTYPES


def probes() -> Iterator[Probe]:
    """Each requirement's probes observe what it is about and nothing else, so that a fault is not counted twice."""
    for rank in (2, 4):
        config = Config(ndim=rank)
        yield Probe("BN-RUN-INIT-MEAN", f"new-layer-rank{rank}", Program(config, (build("running_mean"),)))
        yield Probe("BN-RUN-INIT-VAR", f"new-layer-rank{rank}", Program(config, (build("running_var"),)))
    yield from _estimators("BN-RUN-MEAN", "running_mean")
    yield from _estimators("BN-RUN-VAR", "running_var")
    yield from _variance()
    yield from _momenta()
    yield from _averages()
    yield from _updates()
    yield from _counts()
    yield from _loading()


def _momenta() -> Iterator[Probe]:
    """One batch, at every weight."""
    # 1 less this rounds to 1 in bfloat16, and an average that starts at 0 shows whether the batch weighs anything. It
    # comes first, so that implementations that are slow to start are asked it, too.
    small = forward(inputs.values((4, 3), 1, offset=2.0), "running_mean")
    program = Program(Config(ndim=2, momentum=0.001), (small,))
    yield Probe("BN-RUN-MOMENTUM", "small-momentum", program, dtypes=("bfloat16",))
    for momentum in (0.0, 0.1, 0.3, 0.75, 0.99, 1.0):
        steps: tuple[Step, ...] = (
            load(**inputs.statistics(3, 2)),
            forward(inputs.values((4, 3), 1, offset=2.0), "running_mean"),
        )
        yield Probe("BN-RUN-MOMENTUM", f"momentum{momentum:g}", Program(Config(ndim=2, momentum=momentum), steps))
        # The variance of zeros is 0 for every estimator, so that only the weight of the old value shows.
        steps = (load(**inputs.statistics(3, 2)), forward(np.zeros((4, 3)), "running_var"))
        program = Program(Config(ndim=2, momentum=momentum), steps)
        yield Probe("BN-RUN-MOMENTUM", f"variance-of-zeros-momentum{momentum:g}", program)
    x = inputs.values(inputs.SHAPES[4], 2, offset=2.0)
    yield Probe("BN-RUN-MOMENTUM", "rank4", Program(Config(momentum=0.2), (forward(x, "running_mean"),)))


def _averages() -> Iterator[Probe]:
    """Several batches, exponentially and cumulatively."""
    for momentum in (0.3, 0.9):
        program = Program(Config(ndim=2, momentum=momentum), _batches(4))
        yield Probe("BN-RUN-AVERAGE", f"four-batches-momentum{momentum:g}", program)
    yield Probe("BN-RUN-AVERAGE", "three-batches-rank4", Program(Config(momentum=0.25), _batches(3, inputs.SHAPES[4])))
    yield Probe("BN-RUN-NONE", "five-batches", Program(Config(ndim=2, momentum=None), _batches(5)))
    yield Probe("BN-RUN-NONE", "three-batches-rank4", Program(Config(momentum=None), _batches(3, inputs.SHAPES[4])))
    for rank in (3, 5):
        program = Program(Config(ndim=rank, momentum=None), _batches(3, inputs.SHAPES[rank]))
        yield Probe("BN-RUN-NONE", f"three-batches-rank{rank}", program)
    x = inputs.values((4, 3), 3, offset=2.0)
    steps: tuple[Step, ...] = (
        load(num_batches_tracked=4, **inputs.statistics(3, 3)),
        forward(x, "running_mean"),
        forward(x, "running_mean"),
    )
    yield Probe("BN-RUN-NONE", "from-a-loaded-counter", Program(Config(ndim=2, momentum=None), steps))
    # The two weights 1/1001 and 1/5001 differ far more than the bound: an average that stops counting shows.
    steps = (load(num_batches_tracked=5000, **inputs.statistics(3, 3)), forward(x, "running_mean"))
    yield Probe("BN-RUN-NONE", "from-a-counter-of-5000", Program(Config(ndim=2, momentum=None), steps))
    steps = (*_batches(2), forward(x, training=False), forward(x + 2, "running_mean"))
    yield Probe("BN-RUN-NONE", "evaluation-between", Program(Config(ndim=2, momentum=None), steps))
    steps = (*_batches(2), load(**inputs.parameters(3)), forward(x, "running_mean"))
    yield Probe("BN-RUN-NONE", "weight-and-bias-loaded-between", Program(Config(ndim=2, momentum=None), steps))


def _updates() -> Iterator[Probe]:
    """Each training pass moves them once."""
    x, g = inputs.values((4, 3), 3, offset=2.0), inputs.upstream((4, 3))
    steps: tuple[Step, ...] = (
        forward(x),
        backward(x + 1, g, "running_mean"),
        backward(x + 2, g, "running_mean"),
        forward(x, "running_mean"),
    )
    yield Probe("BN-RUN-UPDATE", "backward-once-or-not-at-all", Program(Config(ndim=2, momentum=0.3), steps))
    for momentum in (0.5, 0.2):
        steps = (forward(x, "running_mean"), forward(x + 1, "running_mean"))
        yield Probe("BN-RUN-UPDATE", f"once-momentum{momentum:g}", Program(Config(ndim=2, momentum=momentum), steps))
    # What is counted, or kept, for a number of batches only; those at the end lie far from those before.
    for name, weight in (("0.01", 0.01), ("none", None)):
        batches = [inputs.values((2, 1), 20 + k % 7) + (9.0 if k > 300 else 0.125 * (k % 5)) for k in range(310)]
        last = forward(batches[-1], "running_mean", "running_var")
        program = Program(Config(1, momentum=weight, ndim=2), (*map(forward, batches[:-1]), last), reads="end")
        yield Probe("BN-RUN-UPDATE", f"310-momentum-{name}", program, dtypes=("float64", "float32"))


def _counts() -> Iterator[Probe]:
    """The counter in every mode, and loaded."""
    x, counted = inputs.values((4, 3), 3, offset=2.0), ("num_batches_tracked",)
    steps: tuple[Step, ...] = (
        build(*counted),
        forward(x, *counted),
        forward(x, *counted, training=False),
        forward(x, *counted),
        load(counted, num_batches_tracked=7),
        forward(x, *counted),
    )
    yield Probe("BN-RUN-COUNT", "training-and-evaluation", Program(Config(ndim=2), steps))
    steps = (forward(x, *counted, training=False), forward(x, *counted, training=False), forward(x, *counted))
    yield Probe("BN-RUN-COUNT", "evaluation-before-any-training", Program(Config(ndim=2), steps))
    steps = (forward(x), forward(x), load(counted, **inputs.everything(3, 4)), forward(x, *counted))
    yield Probe("BN-RUN-COUNT", "loading-the-rest-leaves-it", Program(Config(ndim=2), steps))
    yield Probe("BN-RUN-COUNT", "momentum-none", Program(Config(ndim=2, momentum=None), steps))


def _batches(count: int, shape: tuple[int, ...] = (4, 3)) -> tuple[Step, ...]:
    return tuple(forward(inputs.values(shape, 20 + k, offset=1.0 + k), "running_mean") for k in range(count))


def _estimators(requirement: str, name: str) -> Iterator[Probe]:
    for count in (2, 3, 4, 5):
        x = inputs.values((count, 3), 30 + count, offset=1.2)
        yield Probe(requirement, f"{count}-values", Program(Config(ndim=2, momentum=1.0), (forward(x, name),)))
    for rank, shape in {3: (2, 3, 2), 4: (2, 3, 1, 4), 5: (3, 3, 1, 2, 1)}.items():
        x = inputs.values(shape, 40 + rank, offset=1.2)
        yield Probe(requirement, f"rank{rank}", Program(Config(ndim=rank, momentum=1.0), (forward(x, name),)))
    for samples in (1, 2, 3, 4, 5, 6, 7):
        x = inputs.values((samples, 3, 2, 2), 70 + samples, offset=1.2)
        yield Probe(requirement, f"batch{samples}-rank4", Program(Config(momentum=1.0), (forward(x, name),)))
    for count in (40, 150, 1100):
        # More values than half precision can sum; the two divisors differ by 1/n, still far more than the bound.
        x = inputs.values((count, 3), 80 + count, offset=1.2)
        program = Program(Config(ndim=2, momentum=1.0), (forward(x, name),))
        yield Probe(requirement, f"{count}-values", program, dtypes=("float64", "float32"))
    for word, scale in (("small", 3e-4), ("large", 1e6)):
        x = inputs.values((4, 3), 52, offset=1.2) * scale
        program = Program(Config(ndim=2, momentum=1.0), (forward(x, name),))
        yield Probe(requirement, f"{word}-values", program, dtypes=("float64", "float32"))
    x = inputs.values((3, 3), 51, offset=1.2)
    program = Program(Config(ndim=2, momentum=None), (forward(x, name), forward(x * 3, name)))
    yield Probe(requirement, "momentum-none", program)
    x = inputs.values((3, 3), 50, offset=1.2)
    steps: tuple[Step, ...] = (load(**inputs.statistics(3, 5)), forward(x, name), forward(x * 0.5, name))
    yield Probe(requirement, "momentum0.3-from-loaded", Program(Config(ndim=2, momentum=0.3), steps))
    yield Probe(requirement, "large-eps", Program(Config(ndim=2, momentum=1.0, eps=0.5), (forward(x, name),)))
    yield Probe(requirement, "default-momentum", Program(Config(ndim=2), (forward(x, name), forward(x * 2, name))))
    config = Config(ndim=2, momentum=1.0, affine=False)
    yield Probe(requirement, "affine-off", Program(config, (forward(x, name),)))
    more = inputs.values((7, 3), 57, offset=1.2)
    yield Probe(requirement, "affine-off-7-samples", Program(config, (forward(more, name),)))
    steps = (load(**inputs.parameters(3)), forward(x, name))
    yield Probe(requirement, "weight-and-bias", Program(Config(ndim=2, momentum=1.0), steps))


def _variance() -> Iterator[Probe]:
    """The estimator alone, at other sizes, settings and ages of the layer than those that show it best."""

    def probe(name: str, config: Config, *steps: Step, dtypes: tuple[str, ...] = DTYPES) -> Probe:
        return Probe("BN-RUN-VAR", name, Program(config, steps), dtypes=dtypes)

    seen = "running_var"
    for channels in (1, 65):
        x = inputs.values((3, channels), 90, offset=1.2)
        yield probe(f"{channels}-channels", Config(num_features=channels, ndim=2, momentum=1.0), forward(x, seen))
    x = inputs.values((3, 3), 91, offset=1.2)
    yield probe("momentum0.5", Config(ndim=2, momentum=0.5), forward(x, seen))
    yield probe("eps1e-3", Config(ndim=2, momentum=1.0, eps=1e-3), forward(x, seen))
    yield probe("after-evaluation", Config(ndim=2, momentum=1.0), forward(x, training=False), forward(x, seen))
    steps = (*(forward(inputs.values((3, 3), 92 + k, offset=1.2)) for k in range(4)), forward(x, seen))
    yield probe("fifth-step", Config(ndim=2, momentum=0.5), *steps)
    for count in (300, 600):
        x = inputs.values((count, 3), 96, offset=1.2)
        yield probe(f"{count}-values", Config(ndim=2, momentum=1.0), forward(x, seen), dtypes=("float64", "float32"))
    # Only double precision tells 1/5000 from 1/4999 of a variance, whatever the order of the sums.
    x = inputs.values((5000, 1), 97, offset=1.2)
    yield probe("5000-values", Config(num_features=1, ndim=2, momentum=1.0), forward(x, seen), dtypes=("float64",))


_PARAMETERS = tuple(name for name in STATE if name != "num_batches_tracked")


def _loading() -> Iterator[Probe]:
    shown = _PARAMETERS
    x = inputs.values((4, 3), 60)
    first, second = inputs.everything(3, 6), inputs.everything(3, 7)
    steps: tuple[Step, ...] = (
        load(shown, **first),
        forward(x, "y", "weight", "bias", training=False),
        load(shown, running_var=second["running_var"], weight=second["weight"]),
        forward(x, "y", training=False),
        load(("running_mean",), running_mean=second["running_mean"]),
        forward(x, "running_mean", "weight", "bias"),
        load(shown, **second),
        forward(x, "y", training=False),
    )
    alone = tuple(load(shown, **{name: first[name]}) for name in ("bias", "running_mean", "weight", "running_var"))
    yield Probe(
        "BN-RUN-LOAD", "one-after-the-other", Program(Config(ndim=2), (*alone, forward(x, "y", training=False)))
    )
    yield Probe("BN-RUN-LOAD", "whole-and-part", Program(Config(ndim=2), steps))
    steps = (load(shown, **first), forward(x.reshape(2, 3, 1, 2), "y", training=False))
    yield Probe("BN-RUN-LOAD", "rank4", Program(Config(), steps))
    steps = (load(("running_mean",), running_mean=np.array([3.0, -2.0, 0.5])), forward(x, "running_mean"))
    yield Probe("BN-RUN-LOAD", "training-starts-from-loaded", Program(Config(ndim=2, momentum=0.25), steps))
    zeros = {name: np.zeros(3) for name in ("running_mean", "running_var", "weight", "bias")}
    for name, value in zeros.items():
        steps = (load(**first), load(shown, **{name: value}), forward(x, "y", training=False))
        yield Probe("BN-RUN-LOAD", f"zeros-as-{name.replace('_', '-')}", Program(Config(ndim=2, eps=0.3), steps))
    count = "num_batches_tracked"
    steps = (load(**{count: np.array(7)}), load((count,), **{count: np.array(0)}), forward(x, "running_mean", count))
    yield Probe("BN-RUN-LOAD", "count-of-zero", Program(Config(ndim=2, momentum=None), steps))
    for layout in ("every_other_element", "reversed_batch", "slice_with_offset", "read_only", "unaligned"):
        steps = (load(_PARAMETERS, layout, **second), forward(x, "y", training=False))
        yield Probe("BN-RUN-LOAD", f"{layout.replace('_', '-')}-arrays", Program(Config(ndim=2), steps))
    shown = ("running_mean", "running_var")
    for name, mean, variance in (
        ("extreme", (0.0, 1e30, -1e-30), (0.0, 1e-8, 1e30)),
        ("not-finite", (np.nan, np.inf, 1.0), (np.nan, 1e-8, np.inf)),
    ):
        steps = (load(shown, running_mean=np.array(mean), running_var=np.array(variance)),)
        yield Probe("BN-RUN-LOAD", name, Program(Config(ndim=2), steps), dtypes=("float64", "float32"))
