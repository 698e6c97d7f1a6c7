"""Merged layers: a network with one in the place of layer and BatchNorm predicts the same, and bounds are tight."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bnconform.cases.models.build import sample
from bnconform.cases.models.rows import CONSTANTS, models_of, network
from bnconform.spec.error_bounds.merged_layers import errors_of_merge
from bnconform.spec.exact import Exact, arithmetic, floats
from bnconform.spec.formats import DTYPES, format_of, numpy_dtype
from bnconform.spec.graph import Graph, Node
from bnconform.spec.oracle.merged_layers import Merge, constants, merge_layer, merges
from bnconform.spec.oracle.networks import evaluate

NUMBERS = [case.number for case in models_of(CONSTANTS, "float32")]


def without(shown: Graph, merge: Merge, arrays: dict[str, Exact]) -> Graph:
    """The network in which one call is of a layer of its own, and the merged BatchNorms are gone."""
    replaced = {norm.name: norm.inputs[0] for norm in merge.norms}

    def source(name: str) -> str:
        return source(replaced[name]) if name in replaced else name

    nodes: list[Node] = []
    for node in shown.nodes:
        if node.name not in replaced:
            own = replace(node, layer="own") if node is merge.call else node
            nodes.append(replace(own, inputs=tuple(map(source, own.inputs))))
    return Graph(tuple(nodes), {**shown.arrays, **arrays}, shown.shape, shown.dtype)


@pytest.mark.parametrize("number", NUMBERS[::2])
def test_a_network_with_a_merged_layer_predicts_the_same(number: int) -> None:
    """In 320 bits, where nothing else reads what is merged; this evaluates no formula of the merge."""
    shown = network(number, "float32")
    with arithmetic():
        x = sample(shown, 1)
        due = evaluate(shown, x)[shown.output]
        for found in merges(shown).values():
            for merge in found:
                chain = [*merge.before, merge.call, *merge.after]
                if any(sum(one.name in node.inputs for node in shown.nodes) > 1 for one in chain[:-1]):
                    continue
                weight, bias = merge_layer(shown, merge)
                made = without(shown, merge, {"own.weight": weight, "own.bias": bias})
                off = floats(abs(evaluate(made, x)[made.output] - due))
                assert off.max() <= 1e-80 * max(1.0, float(np.abs(floats(due)).max()))


@pytest.mark.parametrize("number", NUMBERS)
def test_only_what_spreads_its_input_takes_nothing_in(number: int) -> None:
    """Without anything to merge BatchNorms stand before transposed or padded convolutions alone."""
    shown = network(number, "float32")
    if merges(shown):
        return
    norms = [node for node in shown.nodes if node.kind == "batch_normalization"]
    layers = {node.name: node for node in shown.nodes if node.kind == "linear" or "convolution" in node.kind}
    read = [node for node in layers.values() if node.inputs[0] in {norm.name for norm in norms}]
    assert read and not any(norm.inputs[0] in layers for norm in norms)
    assert all(node.kind == "transposed_convolution" or any(node.options["padding"]) for node in read)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_bound_is_a_few_roundings(dtype: str) -> None:
    """Ten roundings off is outside of it, where epsilon does not matter much; computing plainly is inside."""
    u, tight = format_of(dtype).unit_roundoff, 0
    for case in models_of(CONSTANTS, dtype)[::4]:
        shown = case.graph(dtype)
        for found in merges(shown).values():
            merge = next((one for one in found if len(one.after) == 1 and not one.before), None)
            if merge is None or merge.call.kind == "transposed_convolution":
                continue
            with arithmetic():
                due, bound = floats(merge_layer(shown, merge)[0]), errors_of_merge(shown, merge)[0]
                factor = floats(constants(shown, merge.after[0])[0]).astype(numpy_dtype(dtype))
            weight = shown.array(merge.call.layer, "weight")
            assert weight is not None
            plain = weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))
            assert (np.abs(plain.astype(np.float64) - due) <= bound).all()
            told = np.abs(due) > 1e-3
            tight += int((bound[told] < 11 * u * np.abs(due[told])).sum())
    assert tight > 20
