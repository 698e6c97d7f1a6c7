"""The factors of the covering array, their levels, and what cannot be combined: data, with a reason each.

A row of the table gives each factor one of its levels; `cases.covering.rows` makes a program of it. The first level of
a factor is its plainest: what takes the place of a level that an implementation says it lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from math import prod

Levels = Mapping[str, str]
"""Factor -> level, as the table has them: words and numbers, written out."""

ELEMENTS = 2_200
"""The most elements of x in a row: 2049 times 1, 1025 times 2, 129 times 17, 33 times 65. Four calls are judged for
each, at some 20 microseconds an element where the truth is not known yet, and every large size meets every layout."""

UPDATED_ELEMENTS = 1_100
"""The most elements of the main call of a row whose history is of many calls."""


@dataclass(frozen=True)
class Factor:
    """One circumstance of a call.

    Attributes:
        name: what the table's column is called. levels: the plainest first. reason: why it is a factor.
    """

    name: str
    levels: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Constraint:
    """What cannot be combined.

    Attributes:
        factors: those that it is about. holds: whether the levels of these may stand together. reason: why not others.
    """

    factors: tuple[str, ...]
    holds: Callable[[Levels], bool]
    reason: str


LAYOUTS = (
    "contiguous", "fortran", "channels_last", "batch_last", "batch_channel_swapped", "every_other_element",
    "slice_with_offset", "every_third_sample", "reversed_batch", "reversed_channels", "reversed_width",
    "expanded_batch", "expanded_channels", "expanded_positions", "expanded_everywhere", "channels_last_slice",
    "transposed_positions", "channel_position_swapped", "overlapping", "read_only", "unaligned",
)  # fmt: skip

BLOCKS = ("15", "16", "17", "63", "64", "65", "255", "256", "257", "511", "512", "513", "1025", "2049")
"""Exact multiples of blocks, one past and one short of them, and what is larger than any."""

FACTORS: tuple[Factor, ...] = (
    Factor("rank", ("4", "2", "3", "5"), "NNlib.jl#548: ranks 4 and 5 only; onnxruntime#12754"),
    Factor(
        "samples",
        ("2", "1", "3", "6", *BLOCKS),
        "one; odd and even; around the blocks and vectors of kernels; past what fits one of them",
    ),
    Factor(
        "positions",
        ("15", "1", "tall", "wide", "256", "257", "1031"),
        "none, one row, one column, odd, a block, one past it, more than one of them",
    ),
    Factor(
        "channels",
        ("3", "1", "2", "4", "6", "7", "8", "16", "33", "64", "65", "129", "257", "513", "1025"),
        "vectors and their tails; pytorch#62594: channels past 64 are zero; apex#1768: 65",
    ),
    Factor("x_layout", LAYOUTS, "pytorch#57077, apex#1768, torch-xpu-ops#1429: numbers that depend on strides"),
    Factor(
        "grad_layout",
        LAYOUTS,
        "what reaches the backward pass comes from another operation: a sum gives stride 0 everywhere",
    ),
    Factor(
        "begins",
        ("training", "evaluation", "training_gradient", "evaluation_gradient"),
        "every row makes the four calls; which comes first, and after which history, is seen by a cache",
    ),
    Factor("affine", ("both", "neither", "weight", "bias"), "most libraries have each with or without the other"),
    Factor("tracking", ("tracked", "untracked"), "the truth table of modes and statistics"),
    Factor("momentum", ("0.1", "0", "0.3", "0.0127", "1", "None"), "pytorch#18525: always 1.0; they differ by step"),
    Factor("epsilon", ("1e-5", "0", "1e-12", "0.37"), "tensorflow#8090: silently clamped; eps 0.37 shows every form"),
    Factor(
        "values",
        (
            "ordinary",
            "large_mean",
            "near_constant",
            "constant_channel",
            "huge",
            "tiny",
            "subnormal",
            "nan_in_x",
            "infinity_in_x",
            "nan_in_grad",
            "infinity_in_grad",
            "zero_weight",
            "nan_in_weight",
        ),
        "cancellation, overflow, underflow, and what is not a number in one place only",
    ),
    Factor(
        "history",
        (
            "loaded",
            "first",
            "one_entry",
            "zeros",
            "other_dtype",
            "smaller",
            "larger",
            "equal",
            "evaluated",
            "refused",
            "other_rank",
            "backward_twice",
            "refilled",
            "updates_100",
            "counted_40000",
        ),
        "what a layer keeps from call to call: caches, counters, averages, memory of arrays",
    ),
    Factor("reads", ("always", "end"), "reading the state may be what makes it right"),
    Factor("parameters", ("usual", "wider", "narrower"), "apex, torch-mlir#4480: parameters of another dtype than x"),
)
"""The dtype is one more: `shown` is asked in single precision, `other_dtypes` in the others."""

COUNTS: Mapping[str, int] = {"1": 1, "tall": 5, "wide": 7, "15": 15, "256": 256, "257": 257, "1031": 1031}
"""Positions by level."""

REPEATING = ("expanded_channels", "expanded_everywhere", "overlapping")
SPECIAL = ("nan_in_x", "infinity_in_x", "nan_in_grad", "infinity_in_grad", "nan_in_weight")
INFINITE = ("infinity_in_x", "infinity_in_grad")
IN_WEIGHT = ("nan_in_weight", "zero_weight")
LONG = ("updates_100",)
EQUAL = ("expanded_batch", "expanded_positions", "expanded_everywhere", "overlapping")
"""Layouts of x that leave less variance than the values have, or none."""


def elements(levels: Levels) -> int:
    """The elements of x in the main call."""
    return prod((int(levels["samples"]), COUNTS[levels["positions"]], int(levels["channels"])))


def values_a_channel(levels: Levels) -> int:
    """N = N * prod(S) of the main call."""
    return int(levels["samples"]) * COUNTS[levels["positions"]]


def trains(levels: Levels) -> bool:
    """Whether a row can be asked where the batch's statistics normalise; only its evaluation calls are made otherwise.

    One value a channel has no variance: frameworks refuse it or not, and the chapter of edge cases asks for it.
    Infinity in a batch's own statistics is NaN or infinity, here or there, by the order of operations.
    """
    return values_a_channel(levels) > 1 and levels["values"] not in INFINITE


def _positions(levels: Levels) -> bool:
    rank, positions = levels["rank"], levels["positions"]
    if rank == "2":
        return positions == "1"
    return rank != "3" or positions not in ("tall", "wide")


def _budget(levels: Levels) -> bool:
    return elements(levels) <= (UPDATED_ELEMENTS if levels["history"] in LONG else ELEMENTS)


def _variance(levels: Levels) -> bool:
    if levels["epsilon"] != "0":
        return True
    plain = levels["values"] in ("ordinary", "large_mean", *SPECIAL)
    return plain and levels["x_layout"] not in EQUAL and levels["history"] not in ("zeros", "other_rank", "refused")


def _strides(levels: Levels, layout: str) -> bool:
    if layout in ("transposed_positions", "channel_position_swapped"):
        return int(levels["rank"]) >= 4 and levels["positions"] != "1"
    if layout in ("reversed_width", "expanded_positions"):
        return levels["positions"] != "1"
    if layout in ("expanded_batch", "reversed_batch"):
        return levels["samples"] != "1"
    if layout in ("expanded_channels", "reversed_channels"):
        return levels["channels"] != "1"
    if layout == "overlapping":
        return levels["positions"] != "1" or (levels["rank"] == "2" and levels["channels"] != "1")
    return True


CONSTRAINTS: tuple[Constraint, ...] = (
    Constraint(("rank", "positions"), _positions, "(N, C) has no positions, (N, C, L) one axis of them"),
    Constraint(("samples", "positions", "channels", "history"), _budget, "the budget of elements, see ELEMENTS"),
    Constraint(
        ("samples", "positions", "tracking", "values", "begins"),
        lambda row: trains(row) or (row["tracking"] == "tracked" and row["begins"].startswith("evaluation")),
        "what cannot be asked in training is asked in evaluation, by statistics that are tracked",
    ),
    Constraint(
        ("epsilon", "values", "x_layout", "history"),
        _variance,
        "epsilon 0 only where the variance is not: a division by zero has no answer",
    ),
    Constraint(
        ("epsilon", "values", "samples", "positions"),
        lambda row: row["epsilon"] != "0" or values_a_channel(row) >= 4,
        "of two or three values the variance may come close to 0, and nothing else keeps the quotient finite",
    ),
    Constraint(
        ("rank", "positions", "samples", "channels", "x_layout"),
        lambda row: _strides(row, row["x_layout"]),
        "an axis of one element has no stride of its own",
    ),
    Constraint(
        ("rank", "positions", "samples", "channels", "grad_layout"),
        lambda row: _strides(row, row["grad_layout"]),
        "an axis of one element has no stride of its own",
    ),
    Constraint(
        ("values", "momentum"),
        lambda row: row["values"] not in ("nan_in_x", "infinity_in_x") or row["momentum"] not in ("0", "1"),
        "0 times NaN is NaN, or the old value where nothing is added; whichever of the two momentum weighs",
    ),
    Constraint(
        ("values", "affine"),
        lambda row: row["values"] not in IN_WEIGHT or row["affine"] in ("both", "weight"),
        "a weight that there is not",
    ),
    Constraint(
        ("values", "x_layout"),
        lambda row: row["values"] != "constant_channel" or row["x_layout"] not in REPEATING,
        "the layout repeats other values in its place",
    ),
    Constraint(
        ("values", "x_layout"),
        lambda row: row["values"] not in ("huge", "large_mean") or row["x_layout"] not in EQUAL,
        "without variance the rounding of large values decides, and a right algorithm's may be below -epsilon",
    ),
    Constraint(
        ("values", "parameters"),
        lambda row: row["values"] != "huge" or row["parameters"] != "narrower",
        "their statistics may lie beyond the parameters' format",
    ),
    Constraint(
        ("values", "history"),
        lambda row: row["values"] not in IN_WEIGHT or row["history"] not in ("first", "one_entry"),
        "the weight is loaded with everything else",
    ),
    Constraint(
        ("history", "momentum", "tracking"),
        lambda row: row["history"] != "counted_40000" or (row["momentum"] == "None" and row["tracking"] == "tracked"),
        "the count decides only where the average is cumulative",
    ),
    Constraint(
        ("history", "tracking"),
        lambda row: row["history"] not in ("zeros", *LONG) or row["tracking"] == "tracked",
        "statistics that there are not",
    ),
    Constraint(
        ("history", "affine", "tracking"),
        lambda row: (
            row["history"] not in ("one_entry", "other_dtype")
            or row["affine"] != "neither"
            or row["tracking"] == "tracked"
        ),
        "a layer with nothing to load",
    ),
    Constraint(
        ("history", "momentum"),
        lambda row: row["history"] not in ("refused", "other_rank") or row["momentum"] != "None",
        "whether such a call counts is left open, and a layer need not show its count",
    ),
)

COARSE: Mapping[str, tuple[str, ...]] = {
    "samples": ("2", "3", "17", "65"),
    "positions": ("15", "1", "257"),
    "channels": ("3", "1", "8", "65"),
    "x_layout": (
        "contiguous", "channels_last", "batch_last", "every_other_element", "reversed_batch", "expanded_everywhere",
        "unaligned",
    ),
    "grad_layout": (
        "contiguous", "channels_last", "batch_last", "every_other_element", "reversed_batch", "expanded_everywhere",
        "unaligned",
    ),
    "momentum": ("0.1", "1", "None"),
    "epsilon": ("1e-5", "0.37"),
    "values": ("ordinary", "large_mean", "near_constant", "constant_channel", "huge", "tiny", "nan_in_x"),
    "history": ("loaded", "first", "one_entry", "equal", "evaluated", "backward_twice", "refilled"),
}  # fmt: skip
"""Levels that meet in pairs in dtypes other than single precision; each other one meets every way to begin. The dtype
is then a factor like others: each of its levels meets every level of every factor, and `shown` has what else can meet
in one dtype, the one that implementations are written for first."""

TRIPLES: Mapping[str, tuple[str, ...]] = {
    "rank": ("4", "2", "3", "5"),
    "samples": ("2", "3", "17", "65", "257"),
    "positions": ("15", "1", "257"),
    "channels": ("3", "1", "8", "65"),
    "x_layout": COARSE["x_layout"],
    "begins": ("training", "evaluation", "training_gradient", "evaluation_gradient"),
}
"""Factors and levels of which every three meet: in single precision, and in every dtype in a thorough run."""

ORDERS: Mapping[str, tuple[str, ...]] = {
    "samples": ("2", "1", "3", "16", "17", "65", "257"),
    "positions": ("15", "1", "wide", "257"),
    "channels": ("3", "1", "8", "16", "33", "65", "129"),
    "x_layout": ("channels_last", "fortran"),
    "grad_layout": ("contiguous", "channels_last", "fortran", "expanded_everywhere"),
    "momentum": ("0.1", "0.3", "1", "None"),
    "epsilon": ("1e-5", "0.37"),
    "values": ("ordinary", "large_mean", "constant_channel"),
    "history": ("loaded", "first", "one_entry", "smaller", "equal", "evaluated", "backward_twice", "refilled"),
    "reads": ("always",),
    "parameters": ("usual",),
}
"""Levels of which every pair meets in each of two orders of memory, channels-last and Fortran's: frameworks have code
of its own for these, with blocks, tails and ways through the flags of its own."""

FEW_SHAPES: Mapping[str, tuple[str, ...]] = {
    "samples": ("6", "17"),
    "positions": ("15", "1"),
    "channels": ("3", "65"),
    "history": (
        "loaded", "first", "one_entry", "zeros", "other_dtype", "equal", "evaluated", "refused", "backward_twice",
        "refilled", "updates_100",
    ),
}  # fmt: skip
"""The levels of the table for implementations to which every new shape costs time: all of every other factor."""

FEW_CONFIGURATIONS: Mapping[str, tuple[str, ...]] = {
    **FEW_SHAPES,
    "rank": ("4", "2"),
    "samples": ("6",),
    "x_layout": ("contiguous", "channels_last", "every_other_element", "reversed_batch"),
    "grad_layout": ("contiguous", "channels_last", "expanded_everywhere"),
    "affine": ("both", "neither"),
    "momentum": ("0.1", "None"),
    "epsilon": ("1e-5", "0.37"),
    "values": ("ordinary", "large_mean", "constant_channel", "nan_in_x"),
    "history": ("loaded", "first", "equal", "evaluated", "refilled"),
    "parameters": ("usual",),
}
"""Those for implementations to which every new configuration costs time, too; `Factor.levels` for the rest."""


HIDING: Mapping[str, tuple[str, ...]] = {
    "tracking": ("untracked",),
    "affine": ("neither", "weight", "bias"),
    "momentum": ("0",),
    "values": INFINITE,
    "epsilon": ("0",),
    "parameters": ("wider", "narrower"),
}
"""Levels under which some of what a call shows is not there, or may be refused."""


SELDOM: Mapping[str, tuple[str, ...]] = {"reads": ("end",), "history": LONG}
"""Levels that stand in a row only where they must: what is read at the end only is run twice, and many updates are many
calls."""


def cost(levels: Levels) -> int:
    """What a row costs, in elements judged once: those of the main call, of calls run twice, and calls themselves."""
    calls = 100 if levels["history"] in LONG else 5
    return (elements(levels) + CALL * calls) * (2 if levels["reads"] == "end" else 1)


CALL = 20
"""A call costs as much as so many elements of it."""


def is_allowed(levels: Levels) -> bool:
    """Whether a whole row breaks no constraint."""
    return all(constraint.holds(levels) for constraint in CONSTRAINTS)


@cache
def showing(pair: tuple[str, ...]) -> tuple[Constraint, ...]:
    """What a row must obey to show all that it can of some of its factors: nothing else may hide a part of it."""

    def plain(name: str) -> Constraint:
        return Constraint((name,), lambda row: row[name] not in HIDING[name], "it hides some of what a call shows")

    found = [plain(name) for name in HIDING if name not in pair]
    if "values" not in pair and not {"samples", "positions"} <= {*pair}:
        found.append(Constraint(("samples", "positions", "values"), trains, "training shows most"))
    return tuple(found)


def shows(levels: Levels, pair: tuple[str, ...]) -> bool:
    """Whether a row shows all that it can of some of its factors."""
    return all(constraint.holds(levels) for constraint in showing(pair))
