"""What a wrong fold makes of a model, at a site: each function changes the draft."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bnconform.diagnosis.folds.drafts import LINEAR, NORM, Draft, Site
from bnconform.diagnosis.folds.sites import beside
from bnconform.spec.formats import numpy_dtype
from bnconform.spec.graph import Array, Node

Change = Callable[[Draft, Site], None]


def weight(function: Callable[[Array], Array]) -> Change:
    """Another weight in the place of a BatchNorm's."""

    def change(draft: Draft, at: Site) -> None:
        norm = draft.node(at.norm)
        draft.set_arrays(norm, weight=function(draft.arrays[f"{at.norm}.weight"]))

    return change


def variance(function: Callable[[Array, float], tuple[Array, float]]) -> Change:
    """Another variance and epsilon."""

    def change(draft: Draft, at: Site) -> None:
        norm = draft.node(at.norm)
        variance, epsilon = function(draft.arrays[f"{at.norm}.running_var"], float(norm.options["epsilon"]))
        draft.set_arrays(norm, running_var=variance)
        draft.set_options(draft.node(at.norm), epsilon=epsilon)

    return change


def arrays(**values: Callable[[Array], Array | None]) -> Change:
    """Each array of a BatchNorm by a function of its statistics' shape: what is as without it."""

    def change(draft: Draft, at: Site) -> None:
        norm = draft.node(at.norm)
        given = {name: draft.arrays.get(f"{at.norm}.{name}") for name in values}
        like = draft.arrays.get(f"{at.norm}.running_mean", np.zeros(draft.shapes[at.norm][1]))
        draft.set_arrays(norm, **{
            name: function(like if given[name] is None else given[name])  # type: ignore[arg-type]  # None is replaced
            for name, function in values.items()
        })  # fmt: skip

    return change


def along_the_last(draft: Draft, at: Site) -> None:
    """The last axis is taken for the channels."""
    draft.set_options(draft.node(at.norm), axis=-1)


def _parts(draft: Draft, at: Site) -> tuple[Node, Node, Array, Array, Array, Array]:
    """(layer, BatchNorm, k, the layer's bias, the mean, the BatchNorm's bias), zeros for what there is not."""
    norm = draft.node(at.norm)
    layer = next(draft.node(name) for name in at.nodes if draft.node(name).kind in LINEAR)
    factor, _ = draft.constants(norm)
    zeros = np.zeros(factor.shape)
    bias, mean, shift = draft.array(layer, "bias"), draft.array(norm, "running_mean"), draft.array(norm, "bias")
    assert mean is not None
    return layer, norm, factor, zeros if bias is None else bias, mean, zeros if shift is None else shift


def bias_lost(draft: Draft, at: Site) -> None:
    """The layer has no bias."""
    draft.set_arrays(_parts(draft, at)[0], bias=None)


def bias_not_scaled(draft: Draft, at: Site) -> None:
    """The layer's bias is added after the BatchNorm, as it is."""
    layer, norm, factor, bias, *_ = _parts(draft, at)
    draft.set_arrays(layer, bias=None)
    draft.insert_map(norm.name, np.ones(factor.shape), bias)


def mean_not_scaled(draft: Draft, at: Site) -> None:
    """The mean is subtracted after the factor."""
    norm = draft.node(at.norm)
    mean = draft.arrays[f"{at.norm}.running_mean"]
    draft.set_arrays(norm, running_mean=np.zeros(mean.shape))
    draft.insert_map(norm.name, np.ones(mean.shape), -mean)


def scale_by(function: Callable[[Array, Node], Array]) -> Change:
    """Other factors for the layer's weight, beside the right constants."""

    def change(draft: Draft, at: Site) -> None:
        layer, norm, factor, bias, mean, shift = _parts(draft, at)
        draft.set_arrays(layer, bias=None)
        draft.set_map(norm, function(factor, layer), np.zeros(factor.shape), factor * bias)
        draft.insert_map(norm.name, np.ones(factor.shape), shift - factor * mean)

    return change


def first_group(factor: Array, layer: Node) -> Array:
    """The factors of the first group for every group, (C,)."""
    groups = layer.options["groups"]
    return np.asarray(np.tile(factor[: len(factor) // groups], groups))


def first_bias(draft: Draft, at: Site) -> None:
    """Every group adds the folded bias of the first one."""
    layer, norm, factor, bias, mean, shift = _parts(draft, at)
    zeros = np.zeros(factor.shape)
    draft.set_arrays(layer, bias=None)
    draft.set_map(norm, factor, zeros, first_group(factor * bias, layer))
    draft.insert_map(norm.name, np.ones(factor.shape), first_group(shift - factor * mean, layer))


def along_the_inputs(draft: Draft, at: Site) -> None:
    """The factors scale what the layer reads; the constants of its bias are right."""
    layer, norm, factor, bias, mean, shift = _parts(draft, at)
    ones = np.ones(factor.shape)
    made = Node(NORM, f"{layer.name}_scaled", layer.inputs, f"{layer.name}_scaled", {"epsilon": 0.0})
    draft.shapes = {**draft.shapes, made.name: draft.shapes[layer.inputs[0]]}
    draft.nodes.insert(draft.nodes.index(layer), made)
    draft.set_map(made, factor, np.zeros(factor.shape), np.zeros(factor.shape))
    draft.nodes = [
        Node(node.kind, node.name, (made.name,), node.layer, node.options) if node.name == layer.name else node
        for node in draft.nodes
    ]
    draft.set_arrays(layer, bias=None)
    draft.set_map(norm, ones, np.zeros(factor.shape), factor * bias)
    draft.insert_map(norm.name, ones, shift - factor * mean)


def whole_kernel(draft: Draft, at: Site) -> None:
    """The shift adds to the layer's bias what a position adds that sees the whole kernel."""
    norm, layer = draft.node(at.norm), draft.node(at.nodes[1])
    factor, shift = draft.constants(norm)
    weight = draft.array(layer, "weight")
    assert weight is not None
    groups = layer.options.get("groups", 1)
    split = weight.reshape(weight.shape[0], weight.shape[1], -1).sum(axis=2)
    if layer.kind == "transposed_convolution":  # (C, O / groups)
        per = len(shift) // groups
        added = np.concatenate([
            shift[g * per : (g + 1) * per] @ split[g * per : (g + 1) * per] for g in range(groups)
        ])  # fmt: skip
    else:  # (O, C / groups)
        per, wide = len(shift) // groups, len(split) // groups
        added = np.concatenate([
            split[g * wide : (g + 1) * wide] @ shift[g * per : (g + 1) * per] for g in range(groups)
        ])  # fmt: skip
    draft.set_map(norm, factor, np.zeros(factor.shape), np.zeros(factor.shape))
    draft.insert_map(layer.name, np.ones(added.shape), added)


def exchange(draft: Draft, at: Site) -> None:
    """The BatchNorm and what lies between it and the layer."""
    place = at.nodes.index(at.norm)
    before = [name for name in at.nodes[:place] if draft.node(name).kind not in LINEAR]
    first, second = (before[0], at.norm) if before else (at.norm, at.nodes[place + 1])
    draft.swap(draft.node(first), draft.node(second))


def drop(draft: Draft, at: Site) -> None:
    """The BatchNorm passes on what it reads."""
    draft.set_identity(draft.node(at.norm))


def twice(draft: Draft, at: Site) -> None:
    """The BatchNorm is made of its own result once more."""
    norm = draft.node(at.norm)
    draft.copy_norm(norm, draft.insert_after(norm.name), dict(draft.arrays))


def of_all_calls(which: str) -> Change:
    """A shared layer folded with the first, the last, or all of the BatchNorms beside it, for each of its calls."""

    def change(draft: Draft, at: Site) -> None:
        layer = next(draft.node(name) for name in at.nodes if draft.node(name).kind in LINEAR)
        calls = draft.calls(layer)
        norms = beside(draft, calls)
        follows = norms[0].inputs[0] in {call.name for call in calls}
        chosen = {"first": norms[:1], "last": norms[-1:], "all": norms}[which]
        if which == "all" and len(norms) < 2:
            return
        # Where it is folded into the layer after it, what is folded last meets x first.
        chosen = chosen if follows else chosen[::-1]
        kept = dict(draft.arrays)
        for call in calls:
            mine = [n for n in norms if (n.inputs[0] == call.name if follows else n.name == call.inputs[0])]
            for norm in mine:
                draft.copy_norm(chosen[0], norm, kept)
            place = mine[0].name if mine else call.name
            rest = chosen[1:] if mine else chosen
            if not mine and not follows:
                continue
            for norm in rest[::-1]:
                draft.copy_norm(norm, draft.insert_after(place), kept)

    return change


def drop_elsewhere(draft: Draft, at: Site) -> None:
    """Every call of the BatchNorm but this one."""
    for norm in draft.calls(draft.node(at.norm)):
        if norm.name != at.norm:
            draft.set_identity(draft.node(norm.name))


def reader_reads(draft: Draft, at: Site) -> None:
    """Who else reads the layer reads the BatchNorm; who else reads the BatchNorm reads what that reads."""
    first, second = at.nodes[:2]
    norm = draft.node(at.norm)
    old, new = (first, norm.name) if second == at.norm else (norm.name, norm.inputs[0])
    draft.nodes = [
        node if node.name in (first, second) else
        Node(node.kind, node.name, tuple(new if one == old else one for one in node.inputs), node.layer, node.options)
        for node in draft.nodes
    ]  # fmt: skip


def reader_reads_the_last(draft: Draft, at: Site) -> None:
    """Who else reads the layer reads the last of the BatchNorms that follow one another."""
    first = norm = draft.node(at.norm)
    while readers := [one for one in draft.readers(norm.name) if one.kind == NORM]:
        norm = readers[0]
    draft.nodes = [
        node if node.name == first.name else
        Node(node.kind, node.name, tuple(norm.name if one == at.nodes[0] else one for one in node.inputs), node.layer,
             node.options)
        for node in draft.nodes
    ]  # fmt: skip


def by_the_batch(draft: Draft, at: Site) -> None:
    """There are no running statistics."""
    draft.set_arrays(draft.node(at.norm), running_mean=None, running_var=None)


def of_the_example(draft: Draft, at: Site) -> None:
    """The running statistics are those of the example."""
    mean, variance = draft.example[at.norm]
    draft.set_arrays(draft.node(at.norm), running_mean=mean, running_var=variance)


def round_values(name: str) -> Change:
    """The constants in another format."""
    kind = numpy_dtype(name)

    def change(draft: Draft, at: Site) -> None:
        norm = draft.node(at.norm)
        with np.errstate(all="ignore"):
            factor, shift = (value.astype(kind).astype(np.float64) for value in draft.constants(norm))
        draft.set_map(norm, factor, np.zeros(factor.shape), shift)

    return change


def ones(values: Array) -> Array:
    """Ones of the same shape."""
    return np.ones(values.shape)


def zeros(values: Array) -> Array:
    """Zeros of the same shape."""
    return np.zeros(values.shape)


def nothing(values: Array) -> None:
    """No array."""
    return


def clamp(smallest: float) -> Callable[[Array, float], tuple[Array, float]]:
    """The variance as it is, and an epsilon that is never smaller."""
    return lambda variance, epsilon: (variance, max(epsilon, smallest))


def of_epsilon(value: float) -> Callable[[Array, float], tuple[Array, float]]:
    """The variance as it is, and another epsilon."""
    return lambda variance, epsilon: (variance, value)
