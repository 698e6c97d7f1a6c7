"""The porting table as a page: what each implementation does, and how to carry a layer from one to another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Data = Mapping[str, Any]

COLUMNS = (
    ("estimator in training", "normalizing_variance", "training"),
    ("estimator remembered", "running_variance", "track_running_stats"),
    ("epsilon", "epsilon_form", ""),
    ("initial mean", "initial_running_mean", "track_running_stats"),
    ("initial variance", "initial_running_variance", "track_running_stats"),
    ("momentum=None", "momentum_none", "momentum_none"),
    ("one value a channel", "single_value", "training"),
    ("empty batch", "empty_batch", "training"),
)
"""Heading and coordinate of the columns that are decisions, and the feature without which there is none."""

WORDS = ("weight", "bias", "running_mean", "running_var", "eps", "momentum")


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
        _table(["implementation", "default eps", "default weight of the new batch", *(name for name, *_ in COLUMNS)],
               (_decisions(name, card, data["unsupported"][name]) for name, card in data["cards"].items())),
        "Where more than one word stands in a cell, what was seen allows each of them.",
        "## Numbers",
        "The dtypes of output and running statistics for an input of each dtype, with single-precision parameters for "
        "half-precision input; how the variance is computed; and the worst error of all that was measured, as a share "
        "of the bound (1 is the limit).",
        _table(["implementation", "float64", "float32", "float16", "bfloat16", "variance", "worst share"],
               (_numbers(name, card) for name, card in data["cards"].items())),
        "## What else differs",
        _table(["implementation", "decision", "measured", "documented"], _others(data)),
        "## Carrying a layer",
        "What each calls the same thing. An array is carried as it is, into the shape that the other keeps it in; "
        "`momentum` here is the weight of the *new* batch, and the column says what to pass for it.",
        _table(["implementation", *WORDS],
               ([f"`{name}`", *(f"`{words[word]}`" if word in words else "none" for word in WORDS)]
                for name, words in data["spelling"].items() if words)),
        "Between two with another eps by default pass it explicitly; between two that remember another estimator the "
        "running variances drift apart by n / (n - 1) as training goes on, and evaluation of what was carried agrees.",
        "Each layer was trained for three passes with eps 0.001 and momentum 0.25, in single precision, its state "
        "loaded into every other, and evaluated there on other input. The number is the worst error of the "
        "output against the exact evaluation of the carried state, as a share of the bound.",
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


def _decisions(name: str, card: Data, lacks: Data) -> list[str]:
    found, defaults = _found(card), card.get("defaults") or {}
    momentum = "cumulative" if defaults.get("cumulative") else _number(defaults.get("momentum"))
    cells = [
        "not offered" if feature in lacks else _cell(found[coordinate]) if coordinate in found else "?"
        for _, coordinate, feature in COLUMNS
    ]
    return [f"`{name}`", _number(defaults.get("eps")), momentum, *cells]


def _numbers(name: str, card: Data) -> list[str]:
    dtypes = card.get("dtypes", {})
    cells = []
    for dtype in ("float64", "float32", "float16", "bfloat16"):
        told = dtypes.get(dtype, {})
        cells.append(f"{told['output']}, {told['statistics']}" if "output" in told else "none")
    variance = str(card.get("algorithm", card.get("reason", "?"))).partition(":")[0]
    return [f"`{name}`", *cells, variance, _number(card.get("share"))]


def _others(data: Data) -> Iterable[list[str]]:
    """What differs from the specification in a decision that has no column, or is documented."""
    shown = {coordinate for _, coordinate, _ in COLUMNS}
    for name, card in data["cards"].items():
        documented = data["documented"].get(name, {})
        for coordinate, entry in _found(card).items():
            differs = entry["specified"] not in entry["values"]
            if differs and (coordinate not in shown or coordinate in documented):
                place = _link(documented[coordinate]) if coordinate in documented else "no"
                yield [f"`{name}`", coordinate, " or ".join(entry["values"]), place]
        if card.get("unexplained"):
            yield [f"`{name}`", "what no decision explains", card["unexplained"][0], "no"]


def _link(text: str) -> str:
    """A link with its words: "https://place: words"."""
    place, _, words = text.partition(": ")
    return f"[{words or place}]({place})"


def _carried(data: Data) -> str:
    carried = data["carried"]
    if not carried:
        return "No layer could be trained."
    names = list(next(iter(carried.values())))
    notes: dict[str, int] = {}
    rows = []
    for donor, told in carried.items():
        cells = [f"`{donor}`"]
        for name in names:
            reason = told[name].get("reason")
            number = notes.setdefault(reason, len(notes) + 1) if reason is not None else 0
            cells.append(f"[{number}]" if number else f"{told[name]['share']:.2f}")
        rows.append(cells)
    for donor, reason in data["untrained"].items():
        rows.append([f"`{donor}`", *(f"[{notes.setdefault(reason, len(notes) + 1)}]" for _ in names)])
    table = _table(["from \\ to", *(f"`{name}`" for name in names)], rows)
    return "\n".join([table, "", *(f"{number}. {reason}" for reason, number in notes.items())])


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.3g}"


def _table(heads: list[str], rows: Iterable[list[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join(lines)
