"""The factors of the small models, their levels, and what cannot be combined: data, with a reason each.

The first level of a factor is its plainest. `bnconform.cases.models.rows` makes a model of a row.
"""

from __future__ import annotations

from collections.abc import Mapping

from bnconform.cases.covering.factors import Constraint, Factor, Levels

CONVOLUTIONS = ("convolution_2d", "convolution_1d", "convolution_3d")
TRANSPOSED = ("transposed_2d", "transposed_1d", "transposed_3d")
LINEAR = ("linear_rank_2", "linear_rank_3", "linear_rank_4")

FACTORS: tuple[Factor, ...] = (
    Factor(
        "layer",
        (*CONVOLUTIONS, *LINEAR, *TRANSPOSED, "no_layer"),
        "what a BatchNorm is folded into: TinyNeuralNetwork#364, tvm#17752; at rank 3 and 4 the channel of a linear "
        "layer's output is not its last axis; without one there is nothing to fold into",
    ),
    Factor(
        "order",
        (
            "layer_norm", "norm_layer", "layer_norm_norm", "layer_activation_norm", "norm_activation_layer",
            "norm_layer_norm", "layer_norm_layer",
        ),
        "aimet#1957, #2424: before and after; what lies between keeps it from being folded",
    ),
    Factor("groups", ("1", "2", "depthwise"), "aimet#2586: groups are where the axis of a weight is mistaken"),
    Factor("width", ("unequal", "equal"), "an exchanged axis shows in a shape, or only in numbers"),
    Factor("layer_bias", ("yes", "no"), "a bias that there is not must come from somewhere"),
    Factor("affine", ("yes", "no"), "tensorflow#43882: scale or center absent"),
    Factor("tracking", ("yes", "no"), "without running statistics there are no constants to fold"),
    Factor("gamma", ("mixed", "ones", "zero", "negative"), "pytorch#85744 (zero), lc0#779 (negative), inplace_abn#92"),
    Factor(
        "statistics",
        ("far", "large_mean", "no_variance", "tiny_variance", "default"),
        "statistics far from 0 and 1; mean 10^4; variance 0 and 1e-7; those of a layer that was never trained",
    ),
    Factor("epsilon", ("1e-5", "0.37", "1e-12"), "every form of epsilon shows at 0.37; a clamp shows at 1e-12"),
    Factor("padding", ("0", "1"), "what a BatchNorm adds is not what a padded border has"),
    Factor("kernel", ("3", "1"), "a kernel of one is where a convolution and a matrix are exchanged"),
    Factor("stride", ("1", "2"), "TinyNeuralNetwork#364"),
    Factor("dilation", ("1", "2"), "the span of a kernel is not its size"),
    Factor(
        "reader",
        ("none", "of_layer", "of_norm"),
        "what is folded has another reader, which would read what it never computed",
    ),
    Factor(
        "shared",
        ("none", "layer", "norm", "both"),
        "pytorch#197539: a convolution that is called twice is folded for one of the calls",
    ),
    Factor(
        "after",
        (
            "nothing", "relu", "sigmoid", "add", "concatenate", "average_pooling", "padded_average", "max_pooling",
            "padded_maximum", "flatten_linear", "reshape",
        ),
        "what a tool joins with what comes before; a pooling, padded or not, commutes with some of it",
    ),
    Factor(
        "mode",
        ("evaluation", "norm_training", "all_training"),
        "a layer, or the model, that was left in training by mistake",
    ),
)  # fmt: skip

RANKS: Mapping[str, int] = {
    **dict(zip(CONVOLUTIONS, (4, 3, 5), strict=True)),
    **dict(zip(TRANSPOSED, (4, 3, 5), strict=True)),
    **dict(zip(LINEAR, (2, 3, 4), strict=True)),
    "no_layer": 4,
}
"""The rank of what the BatchNorm reads, by the level of `layer`."""


def is_convolution(row: Levels) -> bool:
    """Whether the layer has a kernel, groups and padding."""
    return row["layer"] in (*CONVOLUTIONS, *TRANSPOSED)


def _kernel(row: Levels) -> bool:
    plain = {"groups": "1", "padding": "0", "kernel": "3", "stride": "1", "dilation": "1"}
    return is_convolution(row) or all(row[name] == level for name, level in plain.items())


def _nothing_to_fold(row: Levels) -> bool:
    if row["layer"] != "no_layer":
        return True
    return (
        row["order"] in ("layer_norm", "layer_norm_norm")
        and row["reader"] != "of_layer"
        and row["shared"] in ("none", "norm")
        and row["width"] == "equal"
        and row["layer_bias"] == "no"
    )


def _reader(row: Levels) -> bool:
    return row["reader"] == "none" or row["order"] in ("layer_norm", "layer_norm_norm", "norm_layer")


def _sharing(row: Levels) -> bool:
    if row["shared"] == "none":
        return True
    return row["order"] in ("layer_norm", "norm_layer") and row["reader"] == "none"


CONSTRAINTS: tuple[Constraint, ...] = (
    Constraint(
        ("layer", "groups", "padding", "kernel", "stride", "dilation"),
        _kernel,
        "only a convolution has a kernel",
    ),
    Constraint(
        ("layer", "order", "reader", "shared", "width", "layer_bias"),
        _nothing_to_fold,
        "without a layer there is no order, nobody reads it, and it has no width and no bias",
    ),
    Constraint(("kernel", "dilation"), lambda row: row["kernel"] != "1" or row["dilation"] == "1", "a kernel of one"),
    Constraint(("order", "reader"), _reader, "where two layers or two BatchNorms differ, one reader is one case"),
    Constraint(
        ("order", "reader", "shared"),
        _sharing,
        "a layer that is called twice and has another reader fails for either",
    ),
    Constraint(
        ("affine", "gamma"),
        lambda row: row["affine"] == "yes" or row["gamma"] == "ones",
        "a weight that there is not is one",
    ),
    Constraint(
        ("tracking", "statistics"),
        lambda row: row["tracking"] == "yes" or row["statistics"] == "default",
        "statistics that there are not",
    ),
    Constraint(
        ("tracking", "mode"),
        lambda row: row["tracking"] == "yes" or row["mode"] == "evaluation",
        "without tracking both modes are one",
    ),
    Constraint(
        ("mode", "statistics", "gamma"),
        lambda row: row["mode"] == "evaluation" or (row["statistics"] == "far" and row["gamma"] in ("mixed", "ones")),
        "the modes are told apart where the batch's statistics are not those that were tracked",
    ),
    Constraint(
        ("mode", "reader", "shared"),
        lambda row: row["mode"] == "evaluation" or (row["reader"] == "none" and row["shared"] == "none"),
        "one mistake at a time",
    ),
    Constraint(
        ("mode", "epsilon"),
        lambda row: row["mode"] == "evaluation" or row["epsilon"] == "1e-5",
        "one mistake at a time",
    ),
    Constraint(
        ("tracking", "order"),
        lambda row: row["tracking"] == "yes" or row["order"] != "layer_norm_norm",
        "the second of two normalisations of a batch leaves what is rounding",
    ),
    Constraint(
        ("statistics", "epsilon", "order"),
        lambda row: (
            row["statistics"] != "no_variance"
            or row["epsilon"] != "1e-12"
            or row["order"] not in ("layer_norm_norm", "norm_layer_norm", "layer_norm_layer")
        ),
        "a factor of 10^6, twice, leaves nothing but the larger one",
    ),
    Constraint(
        ("statistics", "order", "layer", "layer_bias", "shared"),
        lambda row: (
            row["statistics"] != "large_mean"
            or (
                row["order"] in ("layer_norm", "layer_norm_layer")
                and row["layer_bias"] == "yes"
                and row["layer"] != "no_layer"
                and row["shared"] == "none"
            )
        ),
        "a trained layer's output has the mean that its BatchNorm tracked: here by its bias",
    ),
)
"""What cannot be combined."""


SHOWING: tuple[Constraint, ...] = (
    Constraint(("mode",), lambda row: row["mode"] == "evaluation", "what a tool does with another mode is left open"),
    Constraint(("tracking",), lambda row: row["tracking"] == "yes", "without constants there is nothing to fold"),
)
"""What a model must obey so that its prediction shows whatever is wrong with a fold."""

TRIPLES = ("layer", "order", "layer_bias")
"""The factors of which every three levels meet: what is folded into what, and whether there is room for the shift."""


def is_allowed(levels: Levels) -> bool:
    """Whether a whole row breaks no constraint."""
    return all(constraint.holds(levels) for constraint in CONSTRAINTS)
