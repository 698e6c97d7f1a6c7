"""The porting table as a page: what each implementation does, and how to carry a layer from one to another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Data = Mapping[str, Any]

SEEN: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("estimator in training", "training estimator", ("biased",), "normalizing_variance"),
    ("estimator remembered", "remembered estimator", ("unbiased", "not offered"), "running_variance"),
    ("initial mean", "initial mean", ("0", "not offered"), "initial_running_mean"),
    ("initial variance", "initial variance", ("1", "not offered"), "initial_running_variance"),
    ("one value a channel", "one value", ("refused",), "single_value"),
    ("empty batch", "empty batch", ("statistics kept", "refused", "answered"), "empty_batch"),
)
"""The columns that were looked at in each rank and dtype: heading, kind (see `bnconform.measure.porting_cells`), what
is specified, and the decision that it is about."""

COLUMNS = (("epsilon", "epsilon_form", ""), ("momentum=None", "momentum_none", "momentum_none"))
"""Heading and decision of the columns that are decisions, and the feature without which there is none."""

WORDS = ("weight", "bias", "running_mean", "running_var", "eps", "momentum")
STATISTICS = ("running_mean", "running_var")


def page(data: Data) -> str:
    """The page, as Markdown."""
    packages = ", ".join(f"{name} {version}" for name, version in data["packages"].items())
    parts = [
        "# What each implementation does, and how to carry a layer from one to another",
        f"Measured by `bnconform porting` on {data['date']}, CPU, Python {data['python']}, with {packages}. "
        "Everything here is seen from outside, whatever an implementation documents; `?` is what nothing shows. A cell "
        "in **bold** is not what the specification asks for. The numbers and the evidence for each cell are in "
        "[porting.json](porting.json).",
        "## Decisions",
        _table(["implementation", "default eps", "default weight of the new batch", *(name for name, *_ in SEEN),
                *(name for name, *_ in COLUMNS)],
               (_decisions(name, card, data) for name, card in data["cards"].items())),
        "The first is what most ranks and dtypes show; behind a semicolon stands what others do. An output of one "
        "value a channel is told with the running variance that it leaves. `not offered` is what an implementation has "
        "no default for, or does not have.",
        "## Numbers",
        "The dtypes of output and running statistics for an input of each dtype, with single-precision parameters for "
        "half-precision input; how the variance is computed; and the worst error of all that was measured, as a share "
        "of the bound (1 is the limit).",
        _table(["implementation", "float64", "float32", "float16", "bfloat16", "variance", "worst share"],
               (_numbers(name, card, data["cells"][name]) for name, card in data["cards"].items())),
        "## What else differs",
        _table(["implementation", "decision", "measured", "documented"], _others(data)),
        *_replicas(data),
        "## Carrying a layer",
        "What each calls the same thing. An array is carried as it is, into the shape that the other keeps it in; "
        "`momentum` here is the weight of the *new* batch, and the column says what to pass for it. Running statistics "
        "are named only where carrying them was seen to work in both directions.",
        _table(["implementation", *WORDS],
               ([f"`{name}`", *(_word(data, name, word) for word in WORDS)]
                for name, words in data["spelling"].items() if words)),
        "Between two with another eps by default pass it explicitly; between two that remember another estimator the "
        "running variances drift apart by n / (n - 1) as training goes on, and evaluation of what was carried agrees.",
        "Each layer was trained for three passes with eps 0.001 and momentum 0.25, in single precision, and its state "
        "loaded into every other, which evaluated other input, trained for one more pass and evaluated again. *Out*: "
        "the worst error of the layer's own evaluation beside the exact one of the state that it shows. *In*: the "
        "worst error of the evaluation of any of these states, and behind the comma that of the statistics after one "
        "more pass and of the evaluation after it, beside an average that goes on from what was loaded. All are shares "
        "of the bound; what is above 1 does not hold.",
        _carried(data),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _found(card: Data) -> dict[str, Data]:
    return {entry["coordinate"]: entry for entry in card.get("coordinates", ())}


def _cell(entry: Data) -> str:
    """The measured values, in bold where the specified one is not among them."""
    values = list(entry["values"])
    if entry["specified"] in values:
        return entry["specified"] if len(values) == 1 else " or ".join(values) if len(values) < 4 else "?"
    return f"**{' or '.join(values)}**"


def _decisions(name: str, card: Data, data: Data) -> list[str]:
    found, lacks, cells = _found(card), data["unsupported"][name], data["cells"][name]
    decisions = [
        "not offered" if {feature, "track_running_stats"} & set(lacks) and feature
        else _cell(found[decision]) if decision in found else "?"
        for _, decision, feature in COLUMNS
    ]  # fmt: skip
    seen = [
        _bold(summary(cells, kind), right) or ("not offered" if "training" in lacks else "?")
        for _, kind, right, _ in SEEN
    ]
    return [f"`{name}`", *_defaults(name, card, data), *seen, *decisions]


def _bold(words: str, right: tuple[str, ...]) -> str:
    """The words, in bold where the first of them is not what is specified."""
    return words if not words or words.partition(";")[0] in right else f"**{words}**"


def _defaults(name: str, card: Data, data: Data) -> tuple[str, str]:
    """The default eps and weight of the new batch; those that were not measured because a layer has none are said."""
    defaults, has = card.get("defaults") or {}, data["defaults"][name]
    lacks = data["unsupported"][name]
    eps = _number(defaults.get("eps")) if has["eps"] else "not offered"
    momentum = "cumulative" if defaults.get("cumulative") else _number(defaults.get("momentum"))
    return eps, momentum if has["momentum"] and "track_running_stats" not in lacks else "not offered"


def _numbers(name: str, card: Data, cells: Data) -> list[str]:
    row = []
    for dtype in ("float64", "float32", "float16", "bfloat16"):
        here = {place: seen for place, seen in cells.items() if place.startswith(f"{dtype} ")}
        row.append(f"{summary(here, 'output dtype')}, {summary(here, 'statistics dtype')}" if here else "none")
    variance = str(card.get("algorithm", card.get("reason", "?"))).partition(":")[0]
    return [f"`{name}`", *row, variance, _number(card.get("share"))]


def summary(found: Data, kind: str) -> str:
    """One kind of cell over all ranks and dtypes: the value, or each with where it is seen; "" where nothing is."""
    where: dict[str, list[tuple[str, str]]] = {}
    for place, seen in found.items():
        dtype, _, rank = place.partition(" ")
        where.setdefault(str(seen[kind]), []).append((dtype, rank))
    if len(where) < 2:
        return next(iter(where), "")
    most = max(where, key=lambda value: len(where[value]))
    every = {place.partition(" ")[2] for place in found}
    others = [f"{value} ({_places(places, len(every))})" for value, places in where.items() if value != most]
    return "; ".join([most, *others])


def _places(places: Iterable[tuple[str, str]], every: int) -> str:
    """Dtypes and ranks in words, those of one set of ranks together; the ranks are not named where they are all."""
    ranks: dict[str, list[str]] = {}
    for dtype, rank in places:
        ranks.setdefault(dtype, []).append(rank)
    together: dict[tuple[str, ...], list[str]] = {}
    for dtype, some in ranks.items():
        together.setdefault(tuple(some), []).append(dtype)
    return "; ".join(
        ", ".join(dtypes) if len(some) == every else f"rank {', '.join(some)} in {', '.join(dtypes)}"
        for some, dtypes in together.items()
    )


def _others(data: Data) -> Iterable[list[str]]:
    """What differs from the specification in a decision that has no column, or is documented."""
    shown = {decision for _, decision, _ in COLUMNS} | {decision for *_, decision in SEEN}
    for name, card in data["cards"].items():
        documented = data["documented"].get(name, {})
        for decision, entry in _found(card).items():
            differs = entry["specified"] not in entry["values"]
            if differs and (decision not in shown or decision in documented):
                place = _link(documented[decision]) if decision in documented else "no"
                yield [f"`{name}`", decision, " or ".join(entry["values"]), place]
        if card.get("unexplained"):
            yield [f"`{name}`", "what no decision explains", card["unexplained"][0], "no"]


def _replicas(data: Data) -> Iterable[str]:
    """The section about a batch over replicas; nothing where no implementation has any."""
    found = data.get("replicas", {})
    if not found:
        return
    names = list(next(iter(found.values())))
    yield "## Replicas"
    yield (
        "A batch that is spread over replicas, of the implementations that were seen to have them: whose statistics "
        "normalise, how unequal numbers of values weigh, of which n Bessel's factor is, what each replica remembers, "
        "whose upstream gradients reach x, and what each gives for weight and bias. `bnconform explain` says what the "
        "words mean; `?` is what nothing shows, such as how unequal shards weigh where all must be of one shape."
    )
    rows = ([f"`{key}`", *(_told(told[name]) for name in names)] for key, told in found.items())
    yield _table(["implementation", *names], rows)


def _told(entry: Data) -> str:
    """The value, in bold where it is not the specified one; "?" where several are possible."""
    return _cell(entry) if len(entry["values"]) == 1 else "?"


def _link(text: str) -> str:
    """A link with its words: "https://place: words"."""
    place, _, words = text.partition(": ")
    return f"[{words or place}]({place})"


def _word(data: Data, name: str, word: str) -> str:
    """What an implementation calls it; nothing for statistics that cannot be carried by it."""
    own = data["spelling"][name].get(word)
    if word in STATISTICS and own and not _holds(data, name):
        return "no rule holds" if name in data["kept"] else "not measured"
    return f"`{own}`" if own else "none"


def _holds(data: Data, name: str) -> bool:
    """Whether evaluation goes by the statistics that are shown, and by those that are loaded."""
    out = data["kept"].get(name)
    return out is not None and out <= 1 and (_worst(data, name, "share") or 0) <= 1


def _worst(data: Data, name: str, what: str) -> float | None:
    """The worst share of all states that were loaded into an implementation; None where none was, or none is there."""
    shares = [told[name].get(what) for told in data["carried"].values() if name in told]
    numbers = [share for share in shares if isinstance(share, int | float)]
    return max(numbers, default=None)


def _carried(data: Data) -> str:
    if not data["carried"]:
        return "No layer could be trained."
    notes: dict[str, int] = {}

    def note(reason: str) -> str:
        return f"[{notes.setdefault(reason, len(notes) + 1)}]"

    rows = []
    for name in data["cards"]:
        out = f"{data['kept'][name]:.2f}" if name in data["kept"] else note(data["untrained"].get(name, "not asked"))
        told = next(iter(data["carried"].values()))[name]
        evaluated, continued = _worst(data, name, "share"), _worst(data, name, "continued")
        first = note(told.get("reason", "not asked")) if evaluated is None else f"{evaluated:.2f}"
        refused = next(
            (
                each[name]["continued"]
                for each in data["carried"].values()
                if isinstance(each[name].get("continued"), str)
            ),
            None,
        )
        later = note(refused) if refused else "" if continued is None else f"{continued:.2f}"
        rows.append([f"`{name}`", out, ", ".join(filter(None, (first, later)))])
    table = _table(["implementation", "out", "in"], rows)
    return "\n".join([table, "", *(f"{number}. {reason}" for reason, number in notes.items())])


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.3g}"


def _table(heads: list[str], rows: Iterable[list[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join(lines)
