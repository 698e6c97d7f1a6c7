"""Wrong ways to fold a BatchNorm, each as a change of the model that makes it compute what such a fold predicts.

Each entry says where it can be made of a model, and makes it there. The names are told to users after the pattern
around the BatchNorm: "Linear -> BatchNorm1d of rank 3: folded along the features instead of the channels".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bnconform.diagnosis.folds import changes, sites
from bnconform.diagnosis.folds.drafts import ACTIVATIONS, POOLINGS

DEFAULT_EPSILONS = (1e-5, 1e-3, 1e-12)
"""Values that a tool may have in place of the model's epsilon: PyTorch's and ONNX's default, Keras's, and none but a
guard."""


@dataclass(frozen=True)
class WrongFold:
    """One wrong way.

    Attributes:
        words: what it does, to stand after the pattern. where: the sites of a model at which it can be made.
        change: make it there. about: the factors of the models that it is about, which need not be told beside it.
    """

    words: str
    where: sites.Where
    change: changes.Change
    about: tuple[str, ...] = ()


def folds(dtype: str) -> Iterator[WrongFold]:
    """The family, what is seen most often first; of several that hold the first is told."""
    yield WrongFold(
        "folded along the features instead of the channels", sites.beside_features, changes.along_the_last, ("width",)
    )
    yield WrongFold(
        "the other reader of the layer reads the folded result", sites.layer_readers, changes.reader_reads, ("reader",)
    )
    yield WrongFold(
        "the other reader of the layer reads the folded result",
        sites.layer_readers,
        changes.reader_reads_the_last,
        ("reader",),
    )
    yield WrongFold(
        "the other reader of the BatchNorm reads what it was given",
        sites.norm_readers,
        changes.reader_reads,
        ("reader",),
    )
    yield WrongFold(
        "every call of the shared layer is folded with the last BatchNorm",
        sites.sites_called_twice,
        changes.of_all_calls("last"),
        ("shared",),
    )
    yield WrongFold(
        "every call of the shared layer is folded with the first BatchNorm",
        sites.sites_called_twice,
        changes.of_all_calls("first"),
        ("shared",),
    )
    yield WrongFold(
        "every call of the shared layer is folded with all BatchNorms",
        sites.sites_called_twice,
        changes.of_all_calls("all"),
        ("shared",),
    )
    yield WrongFold(
        "the shared BatchNorm is folded once and lost elsewhere",
        sites.norms_called_twice,
        changes.drop_elsewhere,
        ("shared",),
    )
    yield WrongFold(
        "its shift is folded as if every position saw the whole kernel",
        sites.with_borders,
        changes.whole_kernel,
        ("padding",),
    )
    yield WrongFold("folded past the activation", sites.past(ACTIVATIONS, before=True), changes.exchange)
    yield WrongFold("moved past the activation after it", sites.past(ACTIVATIONS, before=False), changes.exchange)
    yield WrongFold("moved past the pooling after it", sites.past(POOLINGS, before=False), changes.exchange)
    yield WrongFold("the second of two BatchNorms is lost", sites.second, changes.drop)
    yield WrongFold(
        "folded along the input of the layer instead of its output", sites.square, changes.along_the_inputs, ("width",)
    )
    yield WrongFold(
        "the factors of the first group are taken for every group",
        sites.sites_in_groups,
        changes.scale_by(changes.first_group),
        ("groups",),
    )
    yield WrongFold(
        "every group adds the folded bias of the first one", sites.sites_in_groups, changes.first_bias, ("groups",)
    )
    yield WrongFold("the factors are taken in reverse order", sites.after_layer, changes.scale_by(lambda k, _: k[::-1]))
    yield WrongFold("the layer's bias is lost", sites.after_bias, changes.bias_lost)
    yield WrongFold("the layer's bias is not scaled", sites.after_bias, changes.bias_not_scaled)
    yield WrongFold(
        "its shift is lost, as the layer has no bias",
        sites.after_no_bias,
        changes.arrays(running_mean=changes.zeros, bias=changes.nothing),
        ("layer_bias",),
    )
    yield WrongFold("its shift is lost", sites.norms, changes.arrays(running_mean=changes.zeros, bias=changes.nothing))
    yield WrongFold(
        "the layer's weight is not scaled", sites.after_layer, changes.scale_by(lambda k, _: np.ones(k.shape))
    )
    yield WrongFold("gamma is folded twice", sites.with_array("weight"), changes.weight(lambda w: w * w))
    yield WrongFold("the absolute value of gamma is folded", sites.with_array("weight"), changes.weight(np.abs))
    yield WrongFold(
        "a gamma of zero is taken as one",
        sites.with_array("weight"),
        changes.weight(lambda w: np.where(w == 0, 1.0, w)),
    )
    yield WrongFold(
        "a negative gamma is taken as zero", sites.with_array("weight"), changes.weight(lambda w: np.maximum(w, 0.0))
    )
    yield WrongFold("gamma is lost", sites.with_array("weight"), changes.arrays(weight=changes.nothing))
    yield WrongFold("beta is lost", sites.with_array("bias"), changes.arrays(bias=changes.nothing))
    yield WrongFold(
        "a gamma that is not there is taken as zero", sites.without_affine, changes.arrays(weight=changes.zeros)
    )
    yield WrongFold(
        "epsilon is added outside of the root", sites.norms, changes.variance(lambda v, e: ((np.sqrt(v) + e) ** 2, 0.0))
    )
    yield WrongFold("epsilon is lost", sites.norms, changes.variance(changes.of_epsilon(0.0)))
    yield WrongFold("epsilon is never smaller than 1e-05", sites.norms, changes.variance(changes.clamp(1e-5)))
    for value in DEFAULT_EPSILONS:
        yield WrongFold(
            f"epsilon is {value:g} instead of its own", sites.norms, changes.variance(changes.of_epsilon(value))
        )
    yield WrongFold(
        "divided by the variance instead of its root", sites.norms, changes.variance(lambda v, e: ((v + e) ** 2, 0.0))
    )
    yield WrongFold("the mean is added instead of subtracted", sites.norms, changes.arrays(running_mean=lambda m: -m))
    yield WrongFold("the mean is not scaled", sites.norms, changes.mean_not_scaled)
    yield WrongFold("normalises by the statistics of the batch", sites.norms, changes.by_the_batch, ("mode",))
    yield WrongFold(
        "statistics that are not there are taken as 0 and 1",
        sites.by_batch,
        changes.arrays(running_mean=changes.zeros, running_var=changes.ones),
    )
    yield WrongFold("the statistics of the example are kept", sites.by_batch, changes.of_the_example)
    yield WrongFold(
        "the statistics of the example are kept in the place of its own", sites.norms, changes.of_the_example
    )
    yield WrongFold("folded twice", sites.norms, changes.twice)
    yield WrongFold("the BatchNorm is lost", sites.norms, changes.drop)
    if dtype in ("float64", "float32"):
        yield WrongFold("the constants are kept in float16", sites.norms, changes.round_values("float16"))
        yield WrongFold("the constants are kept in bfloat16", sites.norms, changes.round_values("bfloat16"))
    if dtype == "float64":
        yield WrongFold("the constants are kept in float32", sites.norms, changes.round_values("float32"))
