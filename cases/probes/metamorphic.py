"""Relations between two runs that need no reference, on inputs where the map itself is exact in every dtype."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.metamorphic import MetamorphicRelation, same
from bnconform.cases.probes.layout import BY_HAND
from bnconform.cases.program import Array, Program, Step, backward, forward, load
from bnconform.spec.config import Config

Map = Callable[[Any], Any]


def relations() -> Iterator[MetamorphicRelation]:
    """The invariances, and the independence of one row of the others in evaluation."""
    yield from _batch()
    yield from _values()
    yield from _settings()
    yield from _channels()
    yield from _memory()


def _batch() -> Iterator[MetamorphicRelation]:
    for rank in (2, 4):
        shape = (7, 3) if rank == 2 else (5, 3, 2, 4)
        x, g = inputs.values(shape, 1), inputs.upstream(shape)
        order = inputs.rng(9, rank).permutation(shape[0])
        start, config = load(**inputs.parameters(3)), Config(ndim=rank)
        yield MetamorphicRelation(
            "BN-INV-PERMUTE", f"rank{rank}", "permuting the batch permutes y and grad_x and leaves the statistics",
            _everything(config, start, x, g), _everything(config, start, x[order], g[order]),
            (("y", _rows(order)), ("grad_x", _rows(order)), ("running_mean", same), ("running_var", same)),
        )  # fmt: skip
        for row in (0, 2):
            start = load(**inputs.everything(3))
            yield MetamorphicRelation(
                "BN-EVAL-ROW", f"row{row}-rank{rank}", "in evaluation a row's output is the same alone as among others",
                Program(config, (start, forward(x, "y", training=False))),
                Program(config, (start, forward(x[row : row + 1], "y", training=False))),
                (("y", _rows(np.array([row]))),),
            )  # fmt: skip
        other = np.array(x)
        other[1:] = x[1:] * 50 + 7
        start = load(**inputs.everything(3))
        yield MetamorphicRelation(
            "BN-EVAL-ROW", f"other-rows-changed-rank{rank}",
            "in evaluation a row's output does not depend on the other rows",
            Program(config, (start, forward(x, training=False), forward(x[:1], "y", training=False))),
            Program(config, (start, forward(other, training=False), forward(other[:1], "y", training=False))),
            (("y", same),),
        )  # fmt: skip
    # Of four values a channel the bounds tell something in bfloat16, too, where there are no gradients to look at.
    x, start = inputs.values((2, 3, 1, 2), 4, offset=0.2), load(**inputs.parameters(3))
    flat = _reshaper((4, 3))
    words = "how the values of a channel are laid over batch and positions changes nothing"
    yield MetamorphicRelation(
        "BN-INV-FLATTEN", "four-values", words,
        Program(Config(), (start, forward(x, "y"))), Program(Config(ndim=2), (start, forward(flat(x), "y"))),
        (("y", flat),),
    )  # fmt: skip
    x, g = inputs.values((2, 3, 4, 5), 2), inputs.upstream((2, 3, 4, 5), 1)
    start = load(**inputs.parameters(3))
    shapes: dict[int, tuple[int, ...]] = {2: (40, 3), 3: (2, 3, 20), 5: (2, 3, 4, 1, 5)}
    for rank, flat_shape in shapes.items():
        flat = _reshaper(flat_shape)
        yield MetamorphicRelation(
            "BN-INV-FLATTEN", f"rank4-to-rank{rank}", words,
            _everything(Config(), start, x, g), _everything(Config(ndim=rank), start, flat(x), flat(g)),
            (("y", flat), ("grad_x", flat), ("running_mean", same), ("running_var", same)),
        )  # fmt: skip


def _everything(config: Config, start: Step, x: Array, g: Array) -> Program:
    return Program(config, (start, forward(x, "y", "running_mean", "running_var"), backward(x, g, "grad_x")))


def _rows(order: Any) -> Map:
    return lambda values: values[order]


def _reshaper(shape: tuple[int, ...]) -> Map:
    if len(shape) == 2:
        return lambda values: np.moveaxis(values, 1, -1).reshape(shape)
    return lambda values: values.reshape(shape)


def _values() -> Iterator[MetamorphicRelation]:
    for rank, shape in ((2, (5, 3)), (4, (2, 3, 2, 3))):
        x, config = inputs.grid(shape, rank), Config(ndim=rank, momentum=0.5)
        start = load(**inputs.parameters(3), running_mean=np.zeros(3), running_var=np.ones(3))
        yield MetamorphicRelation(
            "BN-INV-SHIFT", f"rank{rank}", "adding 2 to a channel changes only the running mean, by momentum times 2",
            Program(config, (start, forward(x, "y", "running_mean", "running_var"))),
            Program(config, (start, forward(x + 2, "y", "running_mean", "running_var"))),
            (("y", same), ("running_mean", lambda values: values + 1), ("running_var", same)),
        )  # fmt: skip
        start = load(**inputs.parameters(3))
        g, seen = inputs.grid(shape, rank + 10), ("grad_x", "grad_weight")
        yield MetamorphicRelation(
            "BN-INV-SCALE", f"rank{rank}",
            "scaling x by 4 and eps by 16 leaves y and the weight's gradient, and grad_x is a quarter",
            Program(Config(ndim=rank, eps=1 / 16), (start, forward(x, "y"), backward(x, g, *seen))),
            Program(Config(ndim=rank, eps=1.0), (start, forward(4 * x, "y"), backward(4 * x, g, *seen))),
            (("y", same), ("grad_x", lambda values: values / 4), ("grad_weight", same)),
        )  # fmt: skip


def _small_batches() -> Iterator[MetamorphicRelation]:
    """Four values a channel, of which the bounds tell something in bfloat16, too."""
    x, start = inputs.values(inputs.SMALL[2], 4, offset=0.2), load(**inputs.everything(3))
    one, other = (Program(Config(ndim=2, momentum=momentum), (start, forward(x, "y"))) for momentum in (0.1, 1.0))
    words = "in training y does not depend on the momentum"
    yield MetamorphicRelation("BN-INV-MOMENTUM", "0.1-and-1-four-values", words, one, other, (("y", same),))
    one, other = (Program(Config(ndim=2), (load(**inputs.statistics(3, seed)), forward(x, "y"))) for seed in (1, 2))
    words = "in training y does not depend on the running statistics"
    yield MetamorphicRelation("BN-INV-RUNNING", "four-values", words, one, other, (("y", same),))


def _settings() -> Iterator[MetamorphicRelation]:
    yield from _small_batches()
    for rank in (2, 4):
        x = inputs.values(inputs.SHAPES[rank], 4)
        start = load(**inputs.everything(3))
        for first, second in ((0.1, 1.0), (0.0, 0.5)):
            yield MetamorphicRelation(
                "BN-INV-MOMENTUM", f"{first:g}-and-{second:g}-rank{rank}",
                "in training y does not depend on the momentum",
                Program(Config(ndim=rank, momentum=first), (start, forward(x, "y"))),
                Program(Config(ndim=rank, momentum=second), (start, forward(x, "y"))),
                (("y", same),),
            )  # fmt: skip
        yield MetamorphicRelation(
            "BN-INV-RUNNING", f"rank{rank}", "in training y does not depend on the running statistics",
            Program(Config(ndim=rank), (load(**inputs.statistics(3, 1)), forward(x, "y"))),
            Program(Config(ndim=rank), (load(**inputs.statistics(3, 2)), forward(x, "y"))),
            (("y", same),),
        )  # fmt: skip
        mean, call = np.array([0.5, -0.25, 0.0]), forward(x, "y", training=False)
        upper, lower = np.array([0.75, 0.5, 2.0]), np.array([0.5, 0.25, 1.75])
        yield MetamorphicRelation(
            "BN-INV-EPS-SUM", f"rank{rank}", "the running variance and eps enter evaluation only through their sum",
            Program(Config(ndim=rank, eps=0.25), (load(running_mean=mean, running_var=upper), call)),
            Program(Config(ndim=rank, eps=0.5), (load(running_mean=mean, running_var=lower), call)),
            (("y", same),),
        )  # fmt: skip
        yield MetamorphicRelation(
            "BN-INV-EPS-RUNVAR", f"rank{rank}", "the running statistics do not depend on eps",
            Program(Config(ndim=rank, momentum=1.0, eps=1e-5), (forward(x, "running_mean", "running_var"),)),
            Program(Config(ndim=rank, momentum=1.0, eps=0.5), (forward(x, "running_mean", "running_var"),)),
            (("running_mean", same), ("running_var", same)),
        )  # fmt: skip


def _memory() -> Iterator[MetamorphicRelation]:
    """Strides and the order of the channels: the running variance takes part, whichever estimator it is."""
    seen = ("y", "running_mean", "running_var")
    for rank in (4, 2):
        x, config = inputs.values(inputs.SHAPES[rank], 6), Config(ndim=rank, momentum=1.0)
        for layout in BY_HAND:
            if layout in ("contiguous", "unaligned", "expanded_batch"):
                continue
            yield MetamorphicRelation(
                "BN-LAYOUT-X", f"{layout}-as-contiguous-rank{rank}", "how x lies in memory changes nothing",
                Program(config, (forward(x, *seen),)),
                Program(config, (forward(x, *seen, layout=layout),)),
                tuple((name, same) for name in seen),
            )  # fmt: skip
    for channels in (65, 257):
        shape = (5, channels)
        x, g, state = inputs.values(shape, 7), inputs.upstream(shape, 7), inputs.everything(channels)
        back: Map = lambda values: values[:, ::-1] if values.ndim > 1 else values[::-1]  # noqa: E731  (a map, typed)
        programs = [
            Program(
                Config(channels, ndim=2, momentum=1.0),
                (load(**start), forward(given, *seen), backward(given, upstream, "grad_x", "grad_weight", "grad_bias")),
            )
            for start, given, upstream in (
                (state, x, g),
                ({name: value[::-1] for name, value in state.items()}, x[:, ::-1], g[:, ::-1]),
            )
        ]
        yield MetamorphicRelation(
            "BN-LAYOUT-CHANNELS", f"{channels}-channels-reversed", "the order of the channels changes nothing",
            programs[0], programs[1], tuple((name, back) for name in (*seen, "grad_x", "grad_weight", "grad_bias")),
        )  # fmt: skip


def _channels() -> Iterator[MetamorphicRelation]:
    for rank, shape in ((2, (5, 3)), (4, (2, 3, 4, 5))):
        x, g, state = inputs.values(shape, 5), inputs.upstream(shape, 2), inputs.everything(3)
        for channel in (0, 2):
            pick = _channel(channel)
            start = load(**{name: pick(value) for name, value in state.items()})
            yield MetamorphicRelation(
                "BN-INV-CHANNEL", f"channel{channel}-alone-rank{rank}",
                "a channel's results are the same alone as among others",
                _everything(Config(ndim=rank), load(**state), x, g),
                _everything(Config(1, ndim=rank), start, pick(x), pick(g)),
                (("y", pick), ("grad_x", pick), ("running_mean", pick), ("running_var", pick)),
            )  # fmt: skip


def _channel(channel: int) -> Map:
    alone = slice(channel, channel + 1)
    return lambda values: values[:, alone] if values.ndim > 1 else values[alone]
