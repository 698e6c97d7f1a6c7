"""The rows of a table as programs: what a row's circumstances are, made of calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache

import numpy as np

from bnconform.cases import inputs as families
from bnconform.cases.covering.factors import FACTORS, LONG, Levels, is_allowed, trains
from bnconform.cases.covering.tables import table
from bnconform.cases.covering.values import gradients, inputs, shape
from bnconform.cases.program import ALONG_ONE_AXIS, STATE, Array, Program, Step, backward, forward, load
from bnconform.spec.config import Affine, Config
from bnconform.spec.formats import DTYPES, numpy_dtype, parameter_dtype

REQUIREMENT = "BN-PAIR"
SINGLE = "BN-PAIR-SINGLE"
"""The requirement of every row; and the one that asks the same of half-precision input, computed in single."""

CALLS = ("training", "evaluation", "training_gradient", "evaluation_gradient")
"""The calls of a row, in the order in which they are made, beginning with the one that the row says."""

SMALLEST = 2.0**-20
"""The smallest epsilon of float16 input or parameters: one of 1e-12 is 0 in that format."""

CHANNELS_OF_MANY_UPDATES = 1
"""Channels up to which each of many updates is judged: they took a third of the time of all rows with up to four."""

AFFINE: Mapping[str, Affine] = {"both": True, "neither": False, "weight": "weight", "bias": "bias"}
WIDER = {"float16": "float64", "bfloat16": "float64", "float32": "float64", "float64": "float64"}
NARROWER = {"float16": "float16", "bfloat16": "bfloat16", "float32": "bfloat16", "float64": "float32"}
"""The parameters' dtype by that of x."""

LACKS: Mapping[str, Mapping[str, str]] = {
    "rank": {rank: f"rank_{rank}" for rank in "2345"},
    "affine": {"both": "affine", "neither": "affine_off", "weight": "weight_alone", "bias": "bias_alone"},
    "tracking": {"tracked": "track_running_stats", "untracked": "track_running_stats_off"},
    "momentum": {"None": "momentum_none"},
}
"""The feature that a level needs."""


HALVES = ("float16", "bfloat16")

SINGLES = 2
"""Of so many rows one is asked in half precision for single precision, too."""


@dataclass(frozen=True)
class CoveringRow:
    """One row of a table: a case, as a `Probe` is, whose program is made for a dtype.

    Attributes:
        requirement: its id. name: words that a person can type; unique within the requirement.
        levels: factor -> level. number: its place in the table, which its values are drawn by.
        quality, dtypes: as of a `Probe`.
    """

    requirement: str
    name: str
    levels: Levels
    number: int
    quality: str = ""
    dtypes: tuple[str, ...] = DTYPES

    @cached_property
    def program(self) -> Program:
        """The program in float64."""
        return self.at("float64", "float64")

    def at(self, dtype: str, param_dtype: str) -> Program:
        """The program in a dtype; the row itself says which the parameters have."""
        return _program(tuple(self.levels.items()), dtype, self.number)

    def with_history(self, level: str) -> CoveringRow:
        """The same after other calls, under another name."""
        return replace(self, name=f"{self.name}-{level}", levels={**self.levels, "history": level})

    def adapt(self, lacking: frozenset[str]) -> CoveringRow:
        """The row for an implementation that lacks something: with the plainest level that it has, where it can be.

        It stays as it is where the levels would break a constraint.
        """
        levels = dict(self.levels)
        for factor in FACTORS:
            needs = LACKS.get(factor.name, {})
            if needs.get(levels[factor.name]) in lacking:
                levels[factor.name] = next((one for one in factor.levels if needs.get(one) not in lacking), "")
        if levels == self.levels or "" in levels.values():
            return self
        if levels["rank"] == "2":
            levels["positions"] = "1"
        if levels["history"] == "counted_40000" and levels["momentum"] != "None":
            levels["history"] = "loaded"
        return replace(self, levels=levels) if is_allowed(levels) else self


@cache
def rows(name: str = "shown") -> tuple[CoveringRow, ...]:
    """The rows of a table as cases: each for `REQUIREMENT`, and every second in half precision for `SINGLE`, too.

    "shown", "triples" and "orders" are asked in single precision, and "other_dtypes" in their place in the others.
    "thorough" is everything in every dtype, and a thousand updates in place of a hundred.
    """
    if name == "thorough":
        more = (*_rows("other_dtypes", "other", DTYPES), *_threes(DTYPES))
        longer = (row.with_history("updates_1000") for row in more if row.levels["history"] in LONG)
        return (*_rows("shown", "row", DTYPES), *more, *longer)
    if name == "shown":
        single = ("float32",)
        return (
            *_rows("shown", "row", single), *_threes(single), *_rows("other_dtypes", "other", ("float64", *HALVES))
        )  # fmt: skip
    return tuple(_rows(name, "row", DTYPES))


def _threes(dtypes: tuple[str, ...]) -> Iterator[CoveringRow]:
    yield from _rows("triples", "three", dtypes)
    yield from _rows("orders", "order", dtypes)


def _rows(name: str, word: str, dtypes: tuple[str, ...]) -> Iterator[CoveringRow]:
    for number, levels in enumerate(table(name), 1):
        yield CoveringRow(REQUIREMENT, f"{word}{number}", levels, number, "", dtypes)
        halves = tuple(dtype for dtype in HALVES if dtype in dtypes)
        if halves and levels["parameters"] == "usual" and number % SINGLES == 0:
            yield CoveringRow(SINGLE, f"{word}{number}", levels, number, "single", halves)


@lru_cache(64)
def _program(levels: tuple[tuple[str, str], ...], dtype: str, seed: int) -> Program:
    """The same as `program`, kept for a while: it is asked for when it is sent ahead, and again when it is judged."""
    return program(dict(levels), dtype, seed)


def program(levels: Levels, dtype: str, seed: int) -> Program:
    """The program of a row: what went before and the four calls, with everything observed that they show."""
    momentum = None if levels["momentum"] == "None" else float(levels["momentum"])
    kind = {"usual": parameter_dtype(dtype), "wider": WIDER[dtype], "narrower": NARROWER[dtype]}[levels["parameters"]]
    eps = float(levels["epsilon"])
    if eps and "float16" in (dtype, kind):
        eps = max(eps, SMALLEST)
    config = Config(
        int(levels["channels"]), eps, momentum, AFFINE[levels["affine"]],
        levels["tracking"] == "tracked", int(levels["rank"]), dtype, kind,
    )  # fmt: skip
    before = HISTORIES[levels["history"]](Past(levels, config, seed))
    calls = [_observe(call, config) for call in _calls(levels, dtype, seed)]
    made = Program(config, (*before, *calls), reads="end" if levels["reads"] == "end" else "always").cast(dtype, kind)
    steps = list(made.steps)
    if levels["history"] == "other_dtype":
        steps[0] = _of_another_dtype(steps[0], kind)
    if levels["history"] == "refilled":
        steps[len(before)] = replace(steps[len(before)], refills=True)
    return replace(made, steps=tuple(steps))


def _calls(levels: Levels, dtype: str, seed: int) -> list[Step]:
    """The four calls, or those in evaluation, over the same x."""
    x, g = inputs(levels, dtype, seed), gradients(levels, seed)
    first = CALLS.index(levels["begins"])
    found = []
    for call in (*CALLS[first:], *CALLS[:first]):
        training = call.startswith("training")
        if training and not trains(levels):
            continue
        if call.endswith("gradient"):
            grad_layout = levels["grad_layout"]
            step = backward(x, g, training=training, layout=levels["x_layout"], grad_layout=grad_layout)
        else:
            step = forward(x, training=training, layout=levels["x_layout"])
        found.append(step)
    return found


def _observe(step: Step, config: Config) -> Step:
    """The same, with everything observed that it shows; a call that may be refused is judged in nothing."""
    if step.may_refuse:
        return step
    tracked, affine = config.track_running_stats, config.affine is not False
    names = {name for name in STATE if (affine if name in ("weight", "bias") else tracked)}
    names |= {"forward": {"y"}, "backward": {"grad_x", "grad_weight", "grad_bias"}}.get(step.op, set())
    return replace(step, observe=frozenset(names))


def _of_another_dtype(step: Step, kind: str) -> Step:
    """A load of the same numbers in arrays of another dtype: of the widest, or of float32 where that is the layer's."""
    other = numpy_dtype("float32" if kind == "float64" else "float64")

    def keep(name: str, value: Array) -> Array:
        return value if name == "num_batches_tracked" else value.astype(numpy_dtype(kind)).astype(other)

    state = {name: keep(name, value.astype(np.float32)) for name, value in step.state.items()}
    return replace(step, state=state)


@dataclass(frozen=True)
class Past:
    """What the calls before the four are made of."""

    levels: Levels
    config: Config
    seed: int

    def state(self) -> dict[str, Array]:
        """Values for everything that the layer has, far from those of a new one."""
        size = self.config.num_features
        found = families.everything(size, self.seed % 5)
        if self.levels["values"] == "nan_in_weight":
            found["weight"][self.seed % size] = np.nan
        if self.levels["values"] == "zero_weight":
            found["weight"][self.seed % size] = 0.0
        weight, bias = self.config.affine in (True, "weight"), self.config.affine in (True, "bias")
        there = {"weight": weight, "bias": bias}
        return {name: value for name, value in found.items() if there.get(name, self.config.track_running_stats)}

    def load_values(self) -> list[Step]:
        """A load of everything, if there is something."""
        state = self.state()
        layout = ALONG_ONE_AXIS[self.seed % len(ALONG_ONE_AXIS)]
        return [_observe(load((), layout, **state), self.config)] if state else []

    def batch(self, samples: int, seed: int, *, training: bool = True) -> Step:
        """A forward pass over ordinary values; at least two a channel."""
        x = inputs(self.levels, self.config.dtype, seed, max(samples, 1), plain=True)
        if x.size // x.shape[1] < 2:
            x = np.concatenate([x, x + 1.25])
        return _observe(forward(x, training=training), self.config)


def _smaller(past: Past) -> list[Step]:
    samples = int(past.levels["samples"])
    return [*past.load_values(), past.batch(samples - 1 if samples > 2 else 1, past.seed + 1)]


def _larger(past: Past) -> list[Step]:
    return [*past.load_values(), past.batch(int(past.levels["samples"]) + 1, past.seed + 1)]


def _equal(past: Past) -> list[Step]:
    return [*past.load_values(), past.batch(int(past.levels["samples"]), past.seed + 1)]


def _evaluate(past: Past) -> list[Step]:
    return [*past.load_values(), past.batch(int(past.levels["samples"]), past.seed + 1, training=False)]


def _one_entry(past: Past) -> list[Step]:
    """One entry is loaded alone between two passes in evaluation."""
    state = past.state()
    name = sorted(state)[past.seed % len(state)]
    alone = {name: families.everything(past.config.num_features, past.seed % 5 + 7)[name]}
    first = past.batch(2, past.seed + 1, training=False)
    return [*past.load_values(), first, _observe(load(**alone), past.config)]


def _zeros(past: Past) -> list[Step]:
    """Statistics of zeros, and a count of 0, over others that were loaded before."""
    zeros = np.zeros(past.config.num_features)
    state = {"running_mean": zeros, "running_var": zeros}
    return [*past.load_values(), past.batch(2, past.seed + 1), _observe(load(**state), past.config)]


def _refuse(past: Past) -> list[Step]:
    """A batch of one channel more; but not to a layer of one, whose parameters broadcast in some libraries."""
    if past.config.num_features == 1:
        return [*past.load_values(), past.batch(2, past.seed + 1, training=False)]
    x = families.values((2, past.config.num_features + 1, *shape(past.levels)[2:]), past.seed)
    return [*past.load_values(), replace(forward(x), may_refuse=True)]


def _other_rank(past: Past) -> list[Step]:
    size = (2, past.config.num_features) if past.config.ndim > 2 else (2, past.config.num_features, 3)
    return [*past.load_values(), replace(forward(families.values(size, past.seed)), may_refuse=True)]


def _backward_twice(past: Past) -> list[Step]:
    size = shape(past.levels, max(int(past.levels["samples"]), 2))
    x, g = families.values(size, past.seed + 1), families.upstream(size, past.seed + 1)
    step = backward(x, g, training=trains(past.levels))
    return [*past.load_values(), _observe(step, past.config)]


def _refill(past: Past) -> list[Step]:
    """The array object of the call before is given again, refilled."""
    size = shape(past.levels)
    if size[0] * int(np.prod(size[2:], dtype=int)) < 2:
        return [*past.load_values(), past.batch(1, past.seed + 1, training=False)]
    x = inputs({**past.levels, "values": "ordinary"}, past.config.dtype, past.seed + 1)
    training = trains(past.levels) and past.levels["begins"].startswith("training")
    step = forward(x, training=training, layout=past.levels["x_layout"])
    return [*past.load_values(), _observe(step, past.config)]


def _updates(count: int) -> Callable[[Past], list[Step]]:
    def history(past: Past) -> list[Step]:
        """Many updates by two samples each, judged all where channels are few, else the first and last ones."""
        size = (2, past.config.num_features, *(1,) * (past.config.ndim - 2))
        few = past.config.num_features <= CHANNELS_OF_MANY_UPDATES
        batches = [families.values(size, past.seed + number % 7) for number in range(count)]
        steps = [forward(x + 0.125 * (number % 5)) for number, x in enumerate(batches)]
        judged = [
            _observe(step, past.config) if few or number < 2 or number >= count - 3 else step
            for number, step in enumerate(steps)
        ]
        return [*past.load_values(), *judged]

    return history


def _load_counter(past: Past) -> list[Step]:
    state = past.state()
    return [
        _observe(load(**state, num_batches_tracked=np.asarray(40_000)), past.config),
        past.batch(2, past.seed + 1),
    ]


HISTORIES: Mapping[str, Callable[[Past], list[Step]]] = {
    "first": lambda past: [],
    "loaded": Past.load_values,
    "one_entry": _one_entry,
    "zeros": _zeros,
    "other_dtype": Past.load_values,
    "smaller": _smaller,
    "larger": _larger,
    "equal": _equal,
    "evaluated": _evaluate,
    "refused": _refuse,
    "other_rank": _other_rank,
    "backward_twice": _backward_twice,
    "refilled": _refill,
    "updates_100": _updates(100),
    "updates_1000": _updates(1000),
    "counted_40000": _load_counter,
}
"""The calls before the four, by level of the factor `history`."""
