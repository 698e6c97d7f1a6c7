"""The pattern around a BatchNorm, in words, and what models that a tool gets wrong have in common.

A model is a row of the table (`bnconform.cases.models`): its levels, and what its nodes are. What all failing models
have and the passing ones lack is found by shutting out, each time, as many of the passing ones as one more trait can.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import combinations

from bnconform.cases.models.factors import FACTORS, RANKS
from bnconform.cases.models.rows import network
from bnconform.cases.models.tables import table
from bnconform.diagnosis.folds.drafts import Site
from bnconform.spec.graph import INPUT, Graph, Node

KINDS: Mapping[str, str] = {
    "linear": "Linear", "convolution": "Conv{}d", "transposed_convolution": "ConvTranspose{}d",
    "batch_normalization": "BatchNorm{}d", "relu": "ReLU", "sigmoid": "Sigmoid", "average_pooling": "AvgPool{}d",
    "max_pooling": "MaxPool{}d", "add": "add", "concatenate": "cat", "flatten": "flatten", "reshape": "reshape",
}  # fmt: skip
"""What nodes are called, with the number of position axes."""

GENERAL: Mapping[str, str] = {
    "Conv": "convolution",
    "ConvTranspose": "transposed convolution",
    "BatchNorm": "BatchNorm",
}
"""What is said of several that differ in their number of position axes."""

PATTERNS_SHOWN = 3
"""Patterns that are told one by one; more are told by what they have in common."""

MOST = 3
"""Traits that are told beside the pattern."""

ENOUGH = 2
"""Failing models that must share what no passing one has, so that it is told."""

WORDS: Mapping[str, Mapping[str, str]] = {
    "groups": {"1": "one group", "2": "two groups", "depthwise": "depthwise"},
    "width": {"equal": "as many outputs as inputs", "unequal": "another number of outputs than inputs"},
    "layer_bias": {"yes": "the layer has a bias", "no": "the layer has no bias"},
    "depthwise": {"yes": "depthwise", "no": "not depthwise"},
    "affine": {"yes": "affine", "no": "no affine"},
    "tracking": {"yes": "running statistics", "no": "no running statistics"},
    "reader": {
        "none": "no other reader", "of_layer": "another reader of the layer",
        "of_norm": "another reader of the BatchNorm",
    },
    "shared": {
        "none": "nothing called twice", "layer": "the layer is called twice", "norm": "the BatchNorm is called twice",
        "both": "layer and BatchNorm are called twice",
    },
    "after": {"nothing": "nothing after it"},
    "mode": {
        "evaluation": "in evaluation", "norm_training": "the BatchNorm left in training",
        "all_training": "all left in training",
    },
}  # fmt: skip
"""A level of a factor in words, where "FACTOR LEVEL" does not say it."""


Trait = tuple[str, frozenset[str]]
"""A factor and the levels of it that are allowed."""


def describe(node: Node, rank: int) -> str:
    """A node in words: what it is, with its rank where the name does not say it."""
    name = KINDS[node.kind].format(max(rank - 2, 1))
    if node.kind == "batch_normalization" and rank == 3:
        return f"{name} of rank 3"
    if node.kind in ("convolution", "transposed_convolution") and any(node.options.get("padding", ())):
        return f"padded {name}"
    return name


@cache
def ranks(network_: Graph) -> Mapping[str, int]:
    """The rank of each result, by its name, and of the input."""
    found = {INPUT: len(network_.shape)}
    for node in network_.nodes:
        rank = found[node.inputs[0]]
        if node.kind == "flatten":
            rank = 2
        elif node.kind == "reshape":
            rank = 1 + len(node.options["to"])
        found[node.name] = rank
    return found


def pattern(network_: Graph, site: Site) -> tuple[str, ...]:
    """The nodes of a site in words, in order."""
    nodes = {node.name: node for node in network_.nodes}
    rank = ranks(network_)
    return tuple(describe(nodes[name], rank[nodes[name].inputs[0]]) for name in site.nodes if name in nodes)


def surroundings(number: int) -> tuple[str, ...]:
    """The first BatchNorm of a model with what stands before and after it."""
    network_ = network(number, "float32")
    norm = next(node for node in network_.nodes if node.kind == "batch_normalization")
    before = [node.name for node in network_.nodes if node.name == norm.inputs[0]]
    after = [node.name for node in network_.nodes if norm.name in node.inputs][:1]
    if before and before[0].startswith(("linear", "convolution", "transposed")):
        after = []
    return pattern(network_, Site((*before, norm.name, *after), norm.name))


def join(patterns: Iterable[tuple[str, ...]]) -> str:
    """Patterns in words: one by one where they are few, else what they have in common; "" for none."""
    every = {parts for parts in patterns if parts}
    plain = {tuple(word.removeprefix("padded ") for word in parts) for parts in every}
    if len(plain) < len(every):  # padding makes no difference
        every = plain
    for told in (every, {tuple(_general(word) for word in parts) for parts in every}):
        if 0 < len(told) <= PATTERNS_SHOWN:
            return ", or ".join(" -> ".join(parts) for parts in sorted(told, key=lambda parts: (len(parts), parts)))
    return "BatchNorm" if every else ""


def _general(word: str) -> str:
    plain = word.removeprefix("padded ").split(" of rank")[0]
    stem = plain[:-2] if plain[-1:] == "d" and plain[-2:-1].isdigit() else plain
    return ("padded " if word.startswith("padded ") else "") + GENERAL.get(stem, stem)


Row = Mapping[str, str]


@cache
def traits(number: int) -> Row:
    """The levels of a model, and coarser ones that several levels share."""
    levels = table()[number]
    kind = levels["layer"].split("_")[0]
    after = (
        levels["after"].replace("padded_", "").replace("maximum", "max_pooling").replace("average", "average_pooling")
    )
    after = after.replace("pooling_pooling", "pooling")
    return {
        **levels, "the layer": "none" if kind == "no" else kind, "rank": str(RANKS[levels["layer"]]),
        "then": after, "depthwise": "yes" if levels["groups"] == "depthwise" else "no",
    }  # fmt: skip


NUMBERS = ("layer_bias", "affine", "gamma", "statistics", "epsilon")
"""Factors that change numbers and not nodes: they are believed only where many failing models have them."""

CHANCE = 0.01
"""How likely a trait may be, at most, to be shared by chance: the share of passing models that have it, to the power
of the number of failing ones; for NUMBERS a tenth of that."""


def common(failing: Iterable[int], passing: Iterable[int], told_already: Iterable[str] = ()) -> list[str]:
    """What the failing models have in common and the passing ones lack, in words, the most telling first.

    What so few failing models may share by chance is not told.

    Args:
        told_already: factors that the pattern says.
    """
    rows = [traits(number) for number in sorted(set(failing))]
    left = [traits(number) for number in sorted(set(passing))]
    hidden = {*told_already, "the layer", "then", "depthwise", "rank"}
    told: list[str] = []
    while left and rows and len(told) < MOST:
        tried = []
        for name in (name for name in rows[0] if name not in hidden):
            levels = frozenset(row[name] for row in rows)
            share = sum(row[name] in levels for row in left) / len(left)
            chance = share ** len(rows) * (10 if name in NUMBERS else 1)
            tried.append((chance, share, len(levels), name, levels))
        chance, share, _, name, levels = min(tried, key=lambda one: one[:3])
        if chance > CHANCE or share == 1:
            break
        told.append(in_words(name, levels))
        left = [row for row in left if row[name] in levels]
    return told


def groups(failing: Iterable[int], passing: Iterable[int]) -> list[tuple[list[int], str]]:
    """Failing models by what each group has that no passing one has, in words; "" for those that have nothing.

    One level of a factor, or up to three of different factors; what most failing models have comes first, and one model
    alone has nothing that can be told from chance.
    """
    rest, good = sorted(set(failing)), [traits(number) for number in sorted(set(passing))]
    found: list[tuple[list[int], str]] = []
    while rest and good:
        best = _best_trait([(number, traits(number)) for number in rest], good)
        if best is None:
            break
        members, words = best
        found.append((members, words))
        rest = [number for number in rest if number not in members]
    return [*found, (rest, "")] if rest else found


def _best_trait(bad: Sequence[tuple[int, Row]], good: Sequence[Row]) -> tuple[list[int], str] | None:
    chosen: tuple[tuple[int, ...], list[int], str] | None = None
    names = [name for name in bad[0][1] if name not in NUMBERS]
    for size in (1, 2, 3):
        for factors in combinations(names, size):
            for levels in {tuple(row[name] for name in factors) for _, row in bad}:
                if any(tuple(row[name] for name in factors) == levels for row in good):
                    continue
                members = [number for number, row in bad if tuple(row[name] for name in factors) == levels]
                rank = (-len(members), size, *(names.index(name) for name in factors))
                if len(members) >= ENOUGH and (chosen is None or rank < chosen[0]):
                    words = [in_words(name, frozenset((level,))) for name, level in zip(factors, levels, strict=True)]
                    chosen = rank, members, ", ".join(words)
    return None if chosen is None else chosen[1:]


_ALL: Mapping[str, frozenset[str]] = {factor.name: frozenset(factor.levels) for factor in FACTORS}


def in_words(name: str, levels: frozenset[str]) -> str:
    """A trait in words: the levels that it allows, or those that it does not where these are fewer."""
    every = _ALL.get(name, frozenset())
    others = every - levels
    if every and len(others) < len(levels) and len(others) <= PATTERNS_SHOWN:
        return f"{_factor(name)} not {_either(name, others)}"
    words = WORDS.get(name, {})
    if all(level in words for level in levels):
        return _either(name, levels)
    return f"{_factor(name)} {_either(name, levels)}"


def _either(name: str, levels: Iterable[str]) -> str:
    words = WORDS.get(name, {})
    told: Sequence[str] = [words.get(level, level.replace("_", " ")) for level in _order(name, levels)]
    return " or ".join(told)


def _order(name: str, levels: Iterable[str]) -> list[str]:
    known = next((factor.levels for factor in FACTORS if factor.name == name), ())
    return sorted(levels, key=lambda level: (known.index(level) if level in known else len(known), level))


def _factor(name: str) -> str:
    said = {"layer": "the layer is a", "the layer": "the layer is a", "after": "after it", "then": "after it"}
    return {**said, "order": "in the order"}.get(name, name.replace("_", " "))
