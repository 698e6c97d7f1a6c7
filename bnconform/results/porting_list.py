"""What there is to do to carry a layer from one implementation to another, from what `bnconform porting` measured.

Each entry is about one topic: what both do, and what follows. Nothing is measured here, and nothing is text for a
particular face.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnconform.backends import layer_code, registry
from bnconform.backends.parameter_names import WORDS
from bnconform.cases.json_files import JsonForm
from bnconform.results.files import FileError

Data = Mapping[str, Any]
"""The porting table, as `porting.json` has it."""

FILE = "porting.json"
"""What it is called."""


class PortingError(FileError):
    """A porting table that cannot be read; the message says why, in one line."""


_OBJECTS = {"type": "object", "additionalProperties": {"type": "object"}}
FORM = JsonForm(
    "porting table",
    {
        "type": "object",
        "required": ["schema", "date", "python", "packages", "cards", "cells", "defaults", "spelling", "documented",
                     "unsupported", "kept", "untrained", "carried"],
        "properties": {
            "schema": {"const": "bnconform/porting/1"},
            "date": {"type": "string"},
            "python": {"type": "string"},
            "packages": {"type": "object", "additionalProperties": {"type": "string"}},
            "cards": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "properties": {
                        "coordinates": {
                            "type": "array",
                            "items": {"type": "object", "required": ["coordinate", "values", "specified", "meaning"]},
                        },
                        "defaults": {"type": ["object", "null"]},
                    },
                },
            },
            **dict.fromkeys(("cells", "spelling", "unsupported", "documented", "carried"), _OBJECTS),
            "defaults": {
                "type": "object", "additionalProperties": {"type": "object", "required": ["eps", "momentum"]}
            },
        },
    },
    PortingError,
    f"`bnconform porting --into DIR` writes one, {FILE}",
)  # fmt: skip

ARRAYS = WORDS[:4]
NEW_BATCH = 0.1
"""The weight of the new batch in the code for a framework that has no default."""

EPSILON = 1e-5
"""Likewise for epsilon."""

CARRIES = {
    "training": "training", "evaluation": "evaluation", "momentum_none": "momentum=None, the average of all batches",
    "affine": "weight and bias", "affine_off": "a layer without weight and bias",
    "weight_alone": "a layer with a weight and no bias", "bias_alone": "a layer with a bias and no weight",
    "track_running_stats": "running statistics", "track_running_stats_off": "a layer without running statistics",
    "rank_2": "x of shape (N, C)", "rank_3": "x of rank 3", "rank_4": "x of rank 4", "rank_5": "x of rank 5",
    "float64": "float64", "float32": "float32", "float16": "float16", "bfloat16": "bfloat16",
}  # fmt: skip
"""The features of a layer that another may lack, in words; what an adapter can be asked for besides is not carried."""

SHOWN = {"epsilon_form", "running_variance", "initial_running_mean", "initial_running_variance", "initial_weight",
         "initial_bias", "single_value", "empty_batch", "output_dtype", "statistics_dtype",
         "momentum_none", "averaging"}  # fmt: skip
"""The decisions that a topic of their own is about."""


@dataclass(frozen=True)
class Item:
    """One topic.

    Attributes:
        source, target: what each of the two does, in words. action: what to do; "" where there is nothing to do.
    """

    topic: str
    source: str
    target: str
    action: str = ""


@dataclass(frozen=True)
class PortingList:
    """All that there is to do from one implementation to another.

    Attributes:
        names: what each calls the arrays and arguments, by PyTorch's word; "" for what it does not have.
        items: the topics, those with something to do first.
        eps: the source's default. momentum: the weight of the new batch by default, of both, None where there is none.
        share, continued: the worst error of the target's evaluation of a state of the source, over its bound, and of
            one more training pass from there; None, or why not, in words.
    """

    source: str
    target: str
    names: tuple[tuple[str, str, str], ...]
    items: tuple[Item, ...]
    eps: float
    momentum: float
    share: float | str | None
    continued: float | str | None

    @property
    def todo(self) -> list[Item]:
        """The topics with something to do."""
        return [item for item in self.items if item.action]

    @property
    def alike(self) -> list[Item]:
        """The others."""
        return [item for item in self.items if not item.action]


def porting_list(data: Data, source: str, target: str) -> PortingList:
    """The list for two implementations of the table, which must both be in it."""
    pair = _Pair(data, source, target)
    found = [*pair.items()]
    names = tuple((word, pair.a.own(word), pair.b.own(word)) for word in WORDS)
    into = data["carried"].get(source, {}).get(target, {})
    reason = into.get("reason") or data["untrained"].get(source)
    return PortingList(
        source, target, names, tuple(sorted(found, key=lambda item: not item.action)), pair.a.eps, pair.a.momentum,
        into.get("share") if "share" in into else reason, into.get("continued"),
    )  # fmt: skip


@dataclass(frozen=True)
class Scripts:
    """Two programs in the frameworks' own code: one saves a state in carried.npz, the other loads it and compares.

    Attributes:
        rows: the names under which `layer_code` has the lines of both, which may be without their variants.
        momentum: the weight of the new batch that both give, in their own senses.
        remembered: the variance that each was seen to remember at such input, "biased" or "unbiased".
    """

    save: str
    load: str
    rows: tuple[str, str]
    eps: float
    momentum: float
    remembered: tuple[str, str]


PLACE = "float32 4"
"""The dtype and rank of the input of both programs."""


def scripts(data: Data, source: str, target: str) -> Scripts | None:
    """The programs that carry a layer, with the defaults of the source; None where one of the two has no code."""
    rows = layer_code.row(source), layer_code.row(target)
    if not all(rows):
        return None
    side = _Side(data, source)
    first, second = (
        layer_code.layer(row, side.eps, own_momentum(data, name, side.momentum))
        for row, name in zip(rows, (source, target), strict=True)
    )
    one, other = (data["cells"][name].get(PLACE, {}).get("remembered estimator", "") for name in (source, target))
    return Scripts(
        first + layer_code.SAVE, second + layer_code.LOAD, rows, side.eps, side.momentum, (one, other)
    )  # fmt: skip


def find_record(data: Mapping[str, Any], programs: Scripts | None) -> Mapping[str, Any] | None:
    """What came of the programs when the table was made; None where they were not run, or were others."""
    code = data.get("code", {})
    if programs is None or any(code.get("lines", {}).get(row) != digest(row) for row in programs.rows):
        return None
    found = code["ran"].get(programs.rows[0], {}).get(programs.rows[1])
    if found is None:
        return None
    needed = {one for row in programs.rows for one in registry.distributions(row)}
    packages = {name: version for name, version in code["packages"].items() if name in needed}
    return {**found, "date": code["date"], "packages": packages}


def digest(row: str) -> str:
    """By which the code of a framework is told from an earlier one."""
    return hashlib.sha256("".join((layer_code.CODE[row], layer_code.SAVE, layer_code.LOAD)).encode()).hexdigest()[:16]


def read(path: Path) -> dict[str, Any]:
    """A porting table.

    Raises:
        PortingError: where it is missing, or is none.
    """
    data: dict[str, Any] = FORM.read(path)
    for part in ("cells", "defaults", "spelling", "unsupported", "documented"):
        if missing := next((name for name in data["cards"] if name not in data[part]), None):
            raise FORM.refusal(path, f"{part} has no {missing}")
    return data


def own_momentum(data: Data, name: str, new_batch: float) -> float:
    """The weight of the new batch in an implementation's own sense of momentum."""
    own = data["spelling"][name].get("momentum", "")
    return float(f"{1 - new_batch if own.startswith('1 -') else new_batch:.6g}")


class _Side:
    """One of the two."""

    def __init__(self, data: Data, name: str) -> None:
        self.name = name
        self.layout = layer_code.layout(name)
        self.names: Mapping[str, str] = data["spelling"][name]
        self.lacks: Mapping[str, str] = data["unsupported"][name]
        self.cells: Mapping[str, Mapping[str, str]] = data["cells"].get(name, {})
        self.card: Mapping[str, Any] = data["cards"][name]
        self.values = {entry["coordinate"]: tuple(entry["values"]) for entry in self.card.get("coordinates", ())}
        self.meanings = {entry["coordinate"]: entry["meaning"] or "" for entry in self.card.get("coordinates", ())}
        measured, has = self.card.get("defaults") or {}, data["defaults"][name]
        self.has_eps, self.has_momentum = has["eps"], has["momentum"]
        self.default_eps = _round(measured.get("eps")) if has["eps"] else None
        self.default_momentum = _round(measured.get("momentum")) if has["momentum"] else None
        self.eps = self.default_eps or EPSILON
        self.momentum = self.default_momentum or NEW_BATCH

    def own(self, word: str) -> str:
        """What it calls something, without how it is to be understood."""
        return self.names.get(word, "").removeprefix("1 - ")

    @property
    def old(self) -> bool:
        """Whether its momentum weighs the old value."""
        return self.names.get("momentum", "").startswith("1 -")

    def see(self, kind: str, dtype: str = "") -> str:
        """What most ranks and dtypes show, or most ranks of one dtype; "" where nothing is seen."""
        found = [str(seen[kind]) for place, seen in self.cells.items() if place.startswith(dtype)]
        return max(found, key=found.count, default="")


def _round(value: float | None) -> float | None:
    """A measured default, which is known to some three digits."""
    return None if value is None else float(f"{value:.3g}")


class _Pair:
    """Both sides, and the topics one by one."""

    def __init__(self, data: Data, source: str, target: str) -> None:
        self.a, self.b = _Side(data, source), _Side(data, target)

    def items(self) -> Iterator[Item]:
        """All topics that can be spoken of."""
        for topic in (
            self.axis, self.mode, self.epsilon, self.momentum, self.estimator, self.statistics, self.counter,
            self.initial, self.dtypes, self.edges, self.variance, self.others, self.lacking,
        ):  # fmt: skip
            yield from topic()

    def axis(self) -> Iterator[Item]:
        """Where the channels lie."""
        if self.a.layout and self.b.layout:
            one, other = self.a.layout.axis, self.b.layout.axis
            moved = (
                f"{self.b.name} wants x otherwise, {other}, not {one}: move its axes. The arrays of shape (C,) are "
                "carried as they are."
            )
            yield Item("axis", one, other, "" if one == other else moved)

    def mode(self) -> Iterator[Item]:
        """How training is told from evaluation."""
        if self.a.layout and self.b.layout:
            one, other = self.a.layout.mode, self.b.layout.mode
            yield Item("mode", one, other, "" if one == other else f"Training is told from evaluation by {other}.")

    def epsilon(self) -> Iterator[Item]:
        """Its default, and where it enters."""
        a, b = self.a, self.b
        own = b.own("eps") or "eps"
        value = (
            f"{own}={a.eps:g} (or what your layer has)" if a.default_eps is not None else f"{own} as your layer has it"
        )
        if a.default_eps is not None and a.default_eps == b.default_eps:
            action = ""
        elif b.default_eps is not None:
            action = f"Pass {value}: by default {b.name} takes {b.default_eps:g}."
        else:
            action = f"Pass {value}: {b.name}'s default was not measured." if b.has_eps else (
                f"Pass {value}: {b.name} has no default."
            )  # fmt: skip
        one, other = (_default(side.default_eps, side.has_eps) for side in (a, b))
        yield Item("epsilon", one, other, action)
        first, second = (" or ".join(side.values.get("epsilon_form", ())) for side in (a, b))
        if first and second and first != second:
            yield Item("place of epsilon", first, second, "No epsilon makes the two agree in every channel.")

    def momentum(self) -> Iterator[Item]:
        """What it weighs, and its default."""
        a, b = self.a, self.b
        if not a.own("momentum") or "track_running_stats" in a.lacks:
            return
        if not b.own("momentum"):
            yield Item("momentum", _weight(a), "none", f"{b.name} averages nothing: the caller does.")
            return
        value = f"{b.own('momentum')}={_own(b, a.momentum):g}"
        if a.old != b.old:
            one, other = (_weighs(side) for side in (a, b))
            action = (
                f"`{a.own('momentum')}` weighs {one} in {a.name}, and `{b.own('momentum')}` {other} in {b.name}: pass "
                f"1 minus the one for the other. {_own(a, a.momentum):g} becomes {value}."
            )
        elif a.default_momentum != b.default_momentum:
            action = f"Pass {value}: it weighs the same in both, and the default is another."
        else:
            action = ""
        if action and b.default_momentum is not None and a.default_momentum != b.default_momentum:
            action += f" {b.name}'s own default would weigh the new batch by {b.default_momentum:g}."
        yield Item("momentum", _weight(a), _weight(b), action)

    def estimator(self) -> Iterator[Item]:
        """Which variance is remembered, and by which factor it differs."""
        one, other = (side.see("remembered estimator") for side in (self.a, self.b))
        if not one or not other:
            return
        factors = {("biased", "unbiased"): "n / (n - 1)", ("unbiased", "biased"): "(n - 1) / n"}
        action = ""
        if one != other:
            factor = factors.get((one, other))
            name = self.b.name
            action = (
                f"{name} remembers another variance: {other}."
                if factor is None
                else f"Carry running_var as it is: evaluation then agrees. From there on each batch counts {factor} "
                f"times as much in {name}, n being the values per channel in a batch (N times the positions): "
                f"{_example(one)}. To start from about what {name} would have collected itself, multiply running_var "
                "by that, once many batches have covered the initial value."
            )
        yield Item("remembered variance", one, other, action)

    def statistics(self) -> Iterator[Item]:
        """What else reading and setting the statistics takes."""
        reading = self.a.layout.reading if self.a.layout else ""
        loading = self.b.layout.loading if self.b.layout else ""
        if reading:
            yield Item("reading the statistics", reading, "", f"From {self.a.name}: {reading}.")
        if loading:
            yield Item("setting the statistics", "", loading, f"In {self.b.name}: {loading}.")

    def counter(self) -> Iterator[Item]:
        """What counts batches."""
        one, other = (side.layout.counter if side.layout else "" for side in (self.a, self.b))
        action = ""
        if one and not other:
            action = f"Leave {one} behind: {self.b.name} counts no batches."
        elif other and not one:
            action = (
                f"{self.b.name} counts batches in {other}, {self.a.name} does not."
                + (" Set it to 0; it matters for momentum=None alone." if other == "num_batches_tracked" else "")
            )  # fmt: skip
        if one or other:
            yield Item("counter", one or "none", other or "none", action)

    def initial(self) -> Iterator[Item]:
        """The state of a new layer."""
        kinds = ("initial mean", "initial variance")
        shown = [[side.see(kind) or "?" for kind in kinds] for side in (self.a, self.b)]
        for side, found in zip((self.a, self.b), shown, strict=True):
            found += [" or ".join(side.values.get(name, ("?",))) for name in ("initial_weight", "initial_bias")]
        one, other = (
            f"mean {mean}, variance {variance}, weight {weight}, bias {bias}" for mean, variance, weight, bias in shown
        )
        action = "A new layer starts otherwise: set its state too, if it is evaluated before it was trained."
        yield Item("initial values", one, other, action if one != other else "")

    def dtypes(self) -> Iterator[Item]:
        """What comes out, and what is remembered, for each dtype that both have."""
        told, one, other = [], [], []
        for dtype in ("float64", "float32", "float16", "bfloat16"):
            mine, theirs = (
                [side.see(kind, f"{dtype} ") for kind in ("output dtype", "statistics dtype")]
                for side in (self.a, self.b)
            )
            if not all(mine + theirs):
                continue
            one.append(f"{dtype}: y {mine[0]}, statistics {mine[1]}")
            other.append(f"{dtype}: y {theirs[0]}, statistics {theirs[1]}")
            differs = [
                f"{what} in {new}, not {old}"
                for what, old, new in zip(("y", "the statistics"), mine, theirs, strict=True)
                if old != new
            ]
            told += [f"for x in {dtype} {' and '.join(differs)}"] if differs else []
        if one:
            action = f"{self.b.name} gives {'; '.join(told)}. Cast where the rest of the model counts on it."
            yield Item("dtypes", "; ".join(one), "; ".join(other), action if told else "")

    def edges(self) -> Iterator[Item]:
        """One value a channel, and no value at all."""
        for topic, kind in (("one value a channel", "one value"), ("empty batch", "empty batch")):
            one, other = (side.see(kind) for side in (self.a, self.b))
            if one and other:
                action = f"{self.b.name} answers otherwise in training: {other} ({self.a.name}: {one})."
                yield Item(topic, one, other, action if one != other else "")

    def variance(self) -> Iterator[Item]:
        """How the variance is computed."""
        one, other = (str(side.card.get("algorithm", "")).partition(":")[0] for side in (self.a, self.b))
        known = [word for word in (one, other) if word and not word.startswith("not measured")]
        if len(known) == 2:
            action = (
                "Of channels whose mean is large against their deviation the two lose different digits; centre such "
                "input before comparing them."
            )
            yield Item("computation of the variance", one, other, action if one != other else "")

    def others(self) -> Iterator[Item]:
        """Every other decision in which the two were seen to differ."""
        for name, values in self.a.values.items():
            theirs = self.b.values.get(name, ())
            if name in SHOWN or not theirs or set(values) & set(theirs):
                continue
            one, other = " or ".join(values), " or ".join(theirs)
            means = self.b.meanings[name]
            yield Item(name, one, other, f"{self.b.name} does otherwise: {other}{f' ({means})' if means else ''}.")

    def lacking(self) -> Iterator[Item]:
        """What cannot be carried."""
        for feature, words in CARRIES.items():
            if feature in self.b.lacks and feature not in self.a.lacks:
                yield Item("not carried", words, "lacking", f"{words[:1].upper()}{words[1:]}: {self.b.lacks[feature]}.")


def _default(value: float | None, has: bool) -> str:
    return f"{value:g} by default" if value is not None else "a default that was not measured" if has else "no default"


def _weighs(side: _Side) -> str:
    return "the old value" if side.old else "the new batch"


def _own(side: _Side, new_batch: float) -> float:
    return float(f"{1 - new_batch if side.old else new_batch:.6g}")


def _weight(side: _Side) -> str:
    """What momentum weighs, with its default, in words."""
    own = None if side.default_momentum is None else _own(side, side.default_momentum)
    return f"weighs {_weighs(side)}, {_default(own, side.has_momentum)}"


def _example(first: str) -> str:
    """The factor for some numbers of values."""
    factors = ((n, n / (n - 1) if first == "biased" else (n - 1) / n) for n in (2, 32, 1024))
    return ", ".join(f"{factor:.5g} for n = {n}" for n, factor in factors)
