"""The judgement on the layers that a deployed model shows: their weights and biases, with the BatchNorms merged in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from bnconform.execution.deployment_trace import Prediction
from bnconform.judge import deployments
from bnconform.judge.check import Check
from bnconform.judge.deployments import KEPT, Admitted, PredictionComparison, PredictionTruth, compare
from bnconform.judge.outcome import VIOLATES
from bnconform.results.failure import Quantity
from bnconform.spec.error_bounds.merged_layers import errors_of_merge
from bnconform.spec.exact import arithmetic
from bnconform.spec.formats import format_of
from bnconform.spec.graph import Array, Graph
from bnconform.spec.oracle.merged_layers import Merge, merge_layer, merges

MERGED = "the merged "
"""How a quantity of such a layer begins."""

NONE_MERGED = "it shows no layer that a BatchNorm of this model was merged into"
"""What is said of a tool that shows layers, and none of these."""


@dataclass(frozen=True, eq=False)
class MergedComparison:
    """A layer that was shown beside what it holds if certain BatchNorms were merged into it."""

    merge: Merge
    weight: PredictionComparison
    bias: PredictionComparison | None

    @property
    def parts(self) -> list[tuple[str, PredictionComparison]]:
        """What was compared, in words."""
        layer = self.merge.call.layer
        found = [(f"{MERGED}weight of {layer}", self.weight)]
        return found if self.bias is None else [*found, (f"{MERGED}bias of {layer}", self.bias)]

    @property
    def worst(self) -> float:
        """The largest distance over its bound."""
        return max(comparison.worst for _, comparison in self.parts)


@lru_cache(KEPT)
def possible(network: Graph) -> dict[str, list[Merge]]:
    """Whatever may be merged into each layer of a model that has a BatchNorm beside it."""
    return merges(network)


@lru_cache(KEPT)
def truths(network: Graph, merge: Merge, admitted: Admitted) -> tuple[PredictionTruth, PredictionTruth]:
    """What is due of the weight and of the bias of a layer."""
    with arithmetic():
        values = merge_layer(network, merge, single_epsilon=admitted.single_epsilon)
        bounds = errors_of_merge(network, merge, single_epsilon=admitted.single_epsilon, lower=admitted.lower)
    weight, bias = (PredictionTruth(value, bound) for value, bound in zip(values, bounds, strict=True))
    return weight, bias


def beside(network: Graph, merge: Merge, weight: Array, bias: Array | None, admitted: Admitted) -> MergedComparison:
    """A layer beside what is due of it.

    A bias that is not there is not compared: what is added may have a place of its own, and that it is added somewhere
    is seen from the prediction.
    """
    due, shift = truths(network, merge, admitted)
    second = None if bias is None else compare(Prediction(bias), shift)
    return MergedComparison(merge, compare(Prediction(weight), due), second)


def constants(check: Check) -> None:
    """Judge the weight and bias of each layer that a BatchNorm was merged into, where the tool shows them."""
    __tracebackhide__ = True
    trace = deployments.require_deployment(check)
    network, shown = deployments.case_of(check).graph(check.subject.dtype), trace.merged
    if shown is None:
        deployments.refuse(check, "it does not show the layers of what it makes")
    if shown.misfit:
        deployments.fail(check, VIOLATES, problems=(shown.misfit,))
    looked_at = {layer: found for layer, found in possible(network).items() if layer in shown.layers}
    if not looked_at:
        deployments.refuse(check, NONE_MERGED)
    for admitted in deployments.list_admitted(check.subject):
        nearest = [_nearest(network, found, *shown.layers[layer], admitted) for layer, found in looked_at.items()]
        worst = max(nearest, key=lambda one: one.worst)
        if worst.worst <= 1:
            break
    else:
        _accuse(check, worst)
    _check_precision(check, {layer: shown.layers[layer] for layer in looked_at}, admitted.lower or check.subject.dtype)
    if not any(one.merge.norms for one in nearest):
        deployments.refuse(check, NONE_MERGED)
    deployments.record(check, admitted, worst.worst, _count_telling(nearest))


def _nearest(
    network: Graph, looked_at: Sequence[Merge], weight: Array, bias: Array | None, admitted: Admitted
) -> MergedComparison:
    """A layer beside what it may hold that is nearest to it."""
    return min((beside(network, merge, weight, bias, admitted) for merge in looked_at), key=lambda one: one.worst)


def _count_telling(found: Sequence[MergedComparison]) -> int:
    """How many elements the bounds tell anything of."""
    return sum(comparison.told for one in found for _, comparison in one.parts)


def _accuse(check: Check, found: MergedComparison) -> None:
    __tracebackhide__ = True
    what, comparison = max(found.parts, key=lambda part: part[1].worst)
    if comparison.y is not None and comparison.ratios is None:
        held, due = comparison.y.shape, comparison.due.value.shape
        quantity = Quantity(f"shape of {what}", str(held), str(due))
        deployments.fail(check, VIOLATES, share=found.worst, quantity=quantity)
    norms = " and ".join(norm.layer for norm in found.merge.norms) or "no BatchNorm"
    deployments.fail(
        check, VIOLATES, share=found.worst, quantity=comparison.quantity(f"{what}, {norms} merged into it")
    )


def _check_precision(check: Check, layers: dict[str, tuple[Array, Array | None]], dtype: str) -> None:
    """Let the check fail where a layer is held in fewer digits than a dtype has."""
    __tracebackhide__ = True
    declared = format_of(dtype)
    for layer, arrays in layers.items():
        for what, array in zip(("weight", "bias"), arrays, strict=True):
            if array is not None and format_of(str(array.dtype)).unit_roundoff > declared.unit_roundoff:
                quantity = Quantity(f"dtype of {MERGED}{what} of {layer}", str(array.dtype), declared.name)
                deployments.fail(check, VIOLATES, quantity=quantity)
