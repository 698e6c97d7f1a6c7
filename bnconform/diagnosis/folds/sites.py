"""Where in a model a wrong fold can be made: each function gives the sites, in the order of their evaluation."""

from __future__ import annotations

from collections.abc import Callable

from bnconform.diagnosis.folds.drafts import ACTIVATIONS, LINEAR, NORM, Draft, Site, pairs, pairs_before, site, sites_of
from bnconform.spec.graph import Node

Where = Callable[[Draft], list[Site]]


def norms(draft: Draft) -> list[Site]:
    """Each BatchNorm with constants, with the layer before it, or else the one after it."""
    found = []
    for norm in draft.norms():
        if draft.has_constants(norm):
            found.append(around(draft, norm))
    return found


def around(draft: Draft, norm: Node) -> Site:
    """A BatchNorm with the layer that it is folded into, as far as there is one."""
    before = draft.source(norm)
    if before is not None and before.kind in LINEAR:
        return site(norm, before, norm)
    after = [node for node in draft.readers(norm.name) if node.kind in LINEAR]
    return site(norm, norm, after[0]) if after else site(norm)


def by_batch(draft: Draft) -> list[Site]:
    """BatchNorms without running statistics."""
    return [around(draft, norm) for norm in draft.norms() if not draft.has_constants(norm)]


def with_array(name: str) -> Where:
    """BatchNorms that have an array."""
    return lambda draft: [one for one in norms(draft) if f"{one.norm}.{name}" in draft.arrays]


def _of_channels(draft: Draft) -> list[tuple[Node, Node]]:
    """(layer, BatchNorm) where the layer's outputs are the channels: not those of a linear layer at rank 3."""
    return [(layer, norm) for layer, norm in pairs(draft) if layer.kind != "linear" or draft.rank(norm) == 2]


def after_layer(draft: Draft) -> list[Site]:
    """BatchNorms that read a layer whose outputs are the channels."""
    return sites_of(_of_channels(draft))


def after_bias(draft: Draft) -> list[Site]:
    """Those that read a layer with a bias."""
    return sites_of([(layer, norm) for layer, norm in _of_channels(draft) if draft.array(layer, "bias") is not None])


def after_no_bias(draft: Draft) -> list[Site]:
    """Those that read a layer without one."""
    return sites_of([(layer, norm) for layer, norm in pairs(draft) if draft.array(layer, "bias") is None])


def beside_features(draft: Draft) -> list[Site]:
    """BatchNorms after or before a linear layer whose last axis is as long as their channels, and not the same.

    Between the layer and a BatchNorm behind it may lie others, and an activation.
    """
    found = []
    for norm in draft.norms():
        shape = draft.shapes[norm.name]
        if not draft.has_constants(norm) or len(shape) == 2 or shape[-1] != shape[1]:
            continue
        before = draft.source(norm)
        between: list[Node] = []
        while before is not None and before.kind in (NORM, *ACTIVATIONS):
            between = [before, *between] if before.kind in ACTIVATIONS else between
            before = draft.source(before)
        after = [node for node in draft.readers(norm.name) if node.kind == "linear"]
        if before is not None and before.kind == "linear":
            found.append(site(norm, before, *between, norm))
        elif after:
            found.append(site(norm, norm, after[0]))
    return found


def square(draft: Draft) -> list[Site]:
    """Layers with as many inputs as outputs."""
    found = []
    for layer, norm in pairs(draft):
        weight = draft.array(layer, "weight")
        same = weight is not None and draft.shapes[layer.inputs[0]][1] == draft.shapes[norm.name][1]
        if same and (layer.kind != "linear" or draft.rank(norm) == 2):
            found.append((layer, norm))
    return sites_of(found)


def sites_in_groups(draft: Draft) -> list[Site]:
    """Those that read a layer of several groups."""
    return sites_of([(a, b) for a, b in pairs(draft) if a.options.get("groups", 1) > 1])


def with_borders(draft: Draft) -> list[Site]:
    """BatchNorms before a convolution of which some position does not see the whole kernel."""
    return sites_of([
        (norm, layer) for norm, layer in pairs_before(draft)
        if layer.kind == "transposed_convolution" or any(layer.options.get("padding", ()))
    ])  # fmt: skip


def past(kinds: tuple[str, ...], *, before: bool) -> Where:
    """BatchNorms with such a node before them, or after them, and a layer beyond it where there must be one."""

    def where(draft: Draft) -> list[Site]:
        found = []
        for norm in draft.norms():
            if not draft.has_constants(norm):
                continue
            if before:
                middle = draft.source(norm)
                if middle is None or middle.kind not in kinds or len(draft.readers(middle.name)) > 1:
                    continue
                layer = draft.source(middle)
                if layer is not None and layer.kind in LINEAR:
                    found.append(site(norm, layer, middle, norm))
                continue
            readers = draft.readers(norm.name)
            if len(readers) == 1 and readers[0].kind in kinds:
                beyond = [node for node in draft.readers(readers[0].name) if node.kind in LINEAR]
                first = draft.source(norm)
                parts = [first] if first is not None and first.kind in LINEAR else []
                found.append(site(norm, *parts, norm, readers[0], *beyond[:1]))
        return found

    return where


def second(draft: Draft) -> list[Site]:
    """BatchNorms that read a BatchNorm."""
    found = []
    for norm in draft.norms():
        before = draft.source(norm)
        if before is not None and before.kind == NORM:
            found.append(site(norm, before, norm))
    return found


def sites_called_twice(draft: Draft) -> list[Site]:
    """Layers that are called twice, each time beside a BatchNorm, or once; the site has what follows the first call."""
    found = []
    for layer in [node for node in draft.nodes if node.kind in LINEAR]:
        calls = draft.calls(layer)
        if len(calls) > 1 and calls[0] is layer and beside(draft, calls):
            found.append(site(beside(draft, calls)[0], *_in_order(layer, beside(draft, calls)[0])))
    return found


def _in_order(layer: Node, norm: Node) -> tuple[Node, Node]:
    return (norm, layer) if norm.name in layer.inputs else (layer, norm)


def beside(draft: Draft, calls: list[Node]) -> list[Node]:
    """The BatchNorm with constants after each call, or before each, as far as there is one."""
    after = [
        reader for call in calls for reader in draft.readers(call.name)
        if reader.kind == NORM and draft.has_constants(reader)
    ]  # fmt: skip
    if after:
        return after
    before = [draft.source(call) for call in calls]
    return [norm for norm in before if norm is not None and norm.kind == NORM and draft.has_constants(norm)]


def norms_called_twice(draft: Draft) -> list[Site]:
    """The calls of BatchNorms that are called twice."""
    return [around(draft, norm) for norm in draft.norms() if len(draft.calls(norm)) > 1 and draft.has_constants(norm)]


def layer_readers(draft: Draft) -> list[Site]:
    """Those that read a layer which has another reader."""
    return sites_of([(layer, norm) for layer, norm in pairs(draft) if len(draft.readers(layer.name)) > 1])


def norm_readers(draft: Draft) -> list[Site]:
    """BatchNorms that a layer and something else read."""
    return sites_of([(norm, layer) for norm, layer in pairs_before(draft) if len(draft.readers(norm.name)) > 1])


def without_affine(draft: Draft) -> list[Site]:
    """BatchNorms with constants and without weight and bias."""
    return [one for one in norms(draft) if f"{one.norm}.weight" not in draft.arrays]
