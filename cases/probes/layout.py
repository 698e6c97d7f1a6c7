"""Probes of memory layout, of channel counts around and past vectors and blocks, of rank and of square shapes."""

from __future__ import annotations

from collections.abc import Iterator

from bnconform.cases import inputs
from bnconform.cases.program import Probe, Program, Step, backward, forward, load
from bnconform.spec.config import Config

BY_HAND = (
    "fortran", "channels_last", "batch_last", "batch_channel_swapped", "every_other_element", "slice_with_offset",
    "every_third_sample", "reversed_batch", "expanded_batch", "unaligned",
)  # fmt: skip
"""Layouts that are asked for at every rank with several calls; all of them are in the covering array."""

RANK_4_ONLY = ("unaligned", "batch_channel_swapped", "every_third_sample", "reversed_batch", "expanded_batch")
"""Layouts of the batch axis, which is the same at every rank, and of the whole."""


EQUAL_LENGTHS = ((4, 4), (3, 3, 3), (3, 3, 3, 3), (2, 3, 4, 4), (3, 3, 3, 3, 3), (2, 3, 4, 4, 2), (2, 3, 2, 4, 4))
"""Shapes in which axes have the same length, so that one order of them in memory can be taken for another."""

OF_AXES = (
    "fortran", "channels_last", "batch_last", "batch_channel_swapped", "transposed_positions",
    "channel_position_swapped",
)  # fmt: skip
"""Layouts that are another order of the axes in memory."""


def probes() -> Iterator[Probe]:
    """The same numbers whatever the strides; every channel, however many there are."""
    yield from _layouts()
    yield from _equal_lengths()
    yield from _many_samples()
    yield from _channels()
    yield from _ranks()


def _layouts() -> Iterator[Probe]:
    """Both x and grad_output as views of other arrays."""
    for rank in (4, 3, 2, 5):
        shape = inputs.SHAPES[rank]
        x, g, config = inputs.values(shape, 1), inputs.upstream(shape), Config(ndim=rank)
        for layout in BY_HAND:
            equal = layout == "expanded_batch"
            if rank != 4 and layout in RANK_4_ONLY:
                continue
            given = x * 0 + x[:1] if equal else x
            upstream = g * 0 + g[:1] if equal else g
            another = "channels_last" if rank > 2 else "fortran"
            steps: tuple[Step, ...] = (
                load(**inputs.everything(3)),
                forward(given, "y", layout=layout),
                forward(given, "y", training=False, layout=layout),
                backward(given, g, "grad_x", "grad_weight", layout=layout),
                backward(given, g, "grad_x", training=False, layout=layout),
            )
            yield Probe("BN-LAYOUT-X", f"{layout}-rank{rank}", Program(config, steps))
            steps = (
                load(**inputs.everything(3)),
                backward(x, upstream, "grad_x", "grad_weight", "grad_bias", grad_layout=layout),
                backward(x, upstream, "grad_x", "grad_weight", "grad_bias", grad_layout=layout, training=False),
                backward(x, upstream, "grad_x", "grad_weight", layout=another, grad_layout=layout),
            )
            yield Probe("BN-LAYOUT-GRAD", f"{layout}-rank{rank}", Program(config, steps))

    x = inputs.values((4, 3, 2, 3), 5, offset=1.2)
    steps = (forward(x * 0 + x[:1], "running_var", layout="expanded_batch"),)
    yield Probe("BN-RUN-VAR", "expanded-batch", Program(Config(momentum=1.0), steps))


def _equal_lengths() -> Iterator[Probe]:
    """Every order of the axes in memory where lengths do not tell them apart."""
    for shape in EQUAL_LENGTHS:
        rank, channels = len(shape), shape[1]
        x, g = inputs.values(shape, 3), inputs.upstream(shape, 2)
        # At rank 2 there is one other order, and positions to exchange are there from rank 4 on.
        layouts = OF_AXES[:1] if rank == 2 else OF_AXES[:4] if rank == 3 else OF_AXES
        name = "x".join(map(str, shape))
        for layout in layouts:
            config = Config(num_features=channels, ndim=rank)
            steps: tuple[Step, ...] = (
                load(**inputs.everything(channels)),
                forward(x, "y", layout=layout),
                forward(x, "y", training=False, layout=layout),
                backward(x, g, "grad_x", "grad_weight", layout=layout),
                backward(x, g, "grad_x", "grad_weight", training=False, layout=layout),
            )
            yield Probe("BN-LAYOUT-X", f"{layout}-{name}", Program(config, steps))
            steps = (
                load(**inputs.everything(channels)),
                backward(x, g, "grad_x", "grad_weight", "grad_bias", grad_layout=layout),
                backward(x, g, "grad_x", "grad_weight", "grad_bias", grad_layout=layout, training=False),
                backward(x, g, "grad_x", "grad_weight", layout=layout, grad_layout=layout),
            )
            yield Probe("BN-LAYOUT-GRAD", f"{layout}-{name}", Program(config, steps))


MANY_SAMPLES = ((65, 3, 2, 3), (130, 2, 3, 2), (257, 2, 2, 2), (65, 3, 7), (65, 3, 2, 2, 2))
"""Shapes of more samples than a block has, with channels and positions, so that another order of memory is one."""


def _many_samples() -> Iterator[Probe]:
    """In each order of memory that frameworks have kernels for, in either mode."""
    for shape in MANY_SAMPLES:
        x, g = inputs.values(shape, 71), inputs.upstream(shape, 72)
        config = Config(num_features=shape[1], ndim=len(shape))
        words = "-".join(map(str, shape))
        for layout in ("channels_last", "fortran"):
            for training in (True, False):
                mode = "training" if training else "evaluation"
                steps: tuple[Step, ...] = (
                    load(**inputs.everything(shape[1])),
                    forward(x, "y", training=training, layout=layout),
                    backward(x, g, "grad_x", "grad_weight", "grad_bias", training=training, layout=layout),
                )
                yield Probe("BN-LAYOUT-X", f"{layout}-{words}-{mode}", Program(config, steps))
                upstream = backward(
                    x, g, "grad_x", "grad_weight", "grad_bias", training=training, layout=layout, grad_layout=layout
                )
                steps = (load(**inputs.everything(shape[1])), upstream)
                yield Probe("BN-LAYOUT-GRAD", f"{layout}-{words}-{mode}", Program(config, steps))


def _channels() -> Iterator[Probe]:
    """As many channels as vectors and blocks have, fewer and more."""
    for channels in (1, 2, 8, 32, 64, 65, 256, 257, 1025):
        for rank, shape in ((2, (5, channels)), (4, (2, channels, 1, 3))):
            if channels not in (1, 8, 64, 65, 257) and rank > 2:
                continue
            x, g = inputs.values(shape, 2), inputs.upstream(shape, 1)
            steps: tuple[Step, ...] = (
                load(**inputs.everything(channels)),
                forward(x, "y", "running_mean"),
                forward(x, "y", training=False),
                backward(x, g, "grad_x", "grad_weight", "grad_bias"),
                backward(x, g, "grad_x", "grad_weight", "grad_bias", training=False),
            )
            config = Config(num_features=channels, ndim=rank)
            yield Probe("BN-LAYOUT-CHANNELS", f"{channels}-channels-rank{rank}", Program(config, steps))
    for channels in (4, 16, 33, 128, 129, 512):
        x = inputs.values((5, channels), 8)
        steps = (load(**inputs.everything(channels)), forward(x, "y"), forward(x, "y", training=False))
        config = Config(num_features=channels, ndim=2)
        yield Probe("BN-LAYOUT-CHANNELS", f"{channels}-channels-rank2", Program(config, steps))
    for channels, rank in ((13, 4), (15, 3), (13, 5)):
        # Past a whole vector of eight, and past half of the next: what the tail of a tail would be.
        full: tuple[int, ...] = (2, channels, 2, 3, 1)[:rank]
        x, g = inputs.values(full, 4), inputs.upstream(full, 4)
        last = "channels_last"
        steps = (
            load(**inputs.everything(channels)),
            forward(x, "y", "running_mean", layout=last),
            forward(x, "y", training=False, layout=last),
            backward(x, g, "grad_x", "grad_weight", "grad_bias", layout=last, grad_layout=last),
            backward(x, g, "grad_x", "grad_weight", "grad_bias", training=False, layout=last, grad_layout=last),
        )
        config = Config(num_features=channels, ndim=rank)
        yield Probe("BN-LAYOUT-CHANNELS", f"{channels}-channels-channels_last-rank{rank}", Program(config, steps))
    for shape, layout in (
        ((65, 65), "contiguous"), ((2, 65, 5, 13), "channels_last"), ((9, 9, 8, 8), "channels_last")
    ):  # fmt: skip
        # Many channels with many samples or positions: more elements than the covering array has in one call.
        x, g, channels = inputs.values(shape, 5), inputs.upstream(shape, 5), shape[1]
        steps = (
            load(**inputs.everything(channels)),
            forward(x, "y", "running_mean", layout=layout),
            forward(x, "y", training=False, layout=layout),
            backward(x, g, "grad_x", "grad_weight", "grad_bias", layout=layout, grad_layout=layout),
            backward(x, g, "grad_x", "grad_weight", "grad_bias", training=False, layout=layout, grad_layout=layout),
        )
        config = Config(num_features=channels, ndim=len(shape))
        name = f"{'x'.join(map(str, shape))}-{layout}"
        yield Probe("BN-LAYOUT-CHANNELS", name, Program(config, steps), dtypes=("float64", "float32"))
    for layout in ("channels_last", "every_other_element"):
        x = inputs.values((2, 65, 2, 3), 3)
        steps = (
            load(**inputs.everything(65)),
            forward(x, "y", layout=layout),
            forward(x, "y", training=False, layout=layout),
        )
        yield Probe("BN-LAYOUT-CHANNELS", f"65-channels-{layout}", Program(Config(num_features=65), steps))


def _ranks() -> Iterator[Probe]:
    """Every rank, positions of length 1, and shapes that hide which axis is which."""
    for rank, shape in inputs.SHAPES.items():
        x = inputs.values(shape, 4)
        steps: tuple[Step, ...] = (forward(x, "y"), forward(x, "y", training=False))
        yield Probe("BN-RANK", f"rank{rank}", Program(Config(ndim=rank), steps))
    for rank, shape in {3: (5, 3, 1), 4: (5, 3, 1, 1), 5: (5, 3, 1, 1, 1)}.items():
        x = inputs.values(shape, 5)
        steps = (load(**inputs.everything(3)), forward(x, "y"), forward(x, "y", training=False))
        yield Probe("BN-RANK", f"rank{rank}-positions-of-length-1", Program(Config(ndim=rank), steps))
    # Shapes that hide which axis is which: the batch, or the last axis, is as long as there are channels.
    for name, shape in {
        "square": (3, 3),
        "square-rank3": (3, 3, 3),
        "square-rank4": (3, 3, 3, 3),
        "square-rank5": (3, 3, 3, 3, 3),
        "last-axis-as-channels-rank3": (4, 3, 3),
        "last-axis-as-channels-rank4": (2, 3, 4, 3),
        "last-axis-as-channels-rank5": (2, 3, 1, 4, 3),
        "one-sample-last-axis-as-channels-rank4": (1, 3, 4, 3),
        "one-sample-last-axis-as-channels-rank5": (1, 3, 2, 4, 3),
    }.items():
        x, g = inputs.values(shape, 6), inputs.upstream(shape, 7)
        steps = (
            load(**inputs.everything(3)),
            forward(x, "y"),
            forward(x, "y", training=False),
            backward(x, g, "grad_x"),
            backward(x, g, "grad_x", training=False),
        )
        yield Probe("BN-RANK", name, Program(Config(ndim=len(shape)), steps))
