"""The porting table as pages: a short one on all implementations, one a framework, and one for a way from A to B.

The pages of frameworks stand in a folder `porting` beside the short one. All are Markdown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bnconform.render.evidence import number
from bnconform.results.porting_list import Item, PortingList, Scripts

Data = Mapping[str, Any]

INDEX, FOLDER = "porting.md", "porting"

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


HEADS = ["implementation", "estimator remembered", "default eps", "called", "default weight of the new batch",
         "for the weight w pass"]  # fmt: skip
"""The columns of the table of all implementations."""

GROUPS = {"documents": "what the source documents write out", "numpy": "the hand-written layer of this project"}
"""The groups that are no frameworks, and what they are."""


def group(name: str) -> str:
    """The page on which an implementation stands: that of its framework."""
    return "documents" if name.startswith("documents.") else name.partition("+")[0]


def groups(data: Data) -> dict[str, list[str]]:
    """The implementations of each page, in the order of the table."""
    found: dict[str, list[str]] = {}
    for name in data["cards"]:
        found.setdefault(group(name), []).append(name)
    return found


def pages(data: Data) -> dict[str, str]:
    """All pages, as Markdown, by their paths."""
    return {
        INDEX: index(data),
        **{f"{FOLDER}/{name}.md": framework(data, name, rows) for name, rows in groups(data).items()},
    }


def index(data: Data) -> str:
    """The page that leads to the others."""
    parts = [
        "# What each implementation does, and how to carry a layer from one to another",
        "`bnconform porting --from torch.nn --to flax.nnx` says what there is to do from one framework to another: "
        "names, momentum, epsilon, estimator, axis, dtypes, counter, initial values, what cannot be carried; and it "
        "prints two programs, in the two frameworks' own code, that do it.",
        f"{_measurement(data)} A cell in **bold** is not what the specification asks for. Each name leads to a "
        "page with all that was seen; the numbers and the evidence are in [porting.json](porting.json).",
        _table(HEADS, (_line(name, card, data) for name, card in data["cards"].items())),
        "`not offered` is what an implementation has no default for, or does not have; `?` is what nothing shows.",
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def some(data: Data, names: Sequence[str]) -> str:
    """What stands on the page of a run about those implementations that the table has."""
    parts = [
        f"Measured on {data['date']}, whatever they document. `bnconform porting --from {names[0]} --to B` says what "
        "there is to do to carry a layer from one to another, with the code that does it.",
        _table(HEADS, ([f"`{name}`", *_line(name, data["cards"][name], data)[1:]] for name in names)),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _line(name: str, card: Data, data: Data) -> list[str]:
    link = f"[`{name}`]({FOLDER}/{group(name)}.md)"
    _, kind, right, _ = next(one for one in SEEN if one[0] == "estimator remembered")
    remembered = _bold(summary(data["cells"][name], kind), right) or "?"
    eps, momentum = _defaults(name, card, data)
    own = data["spelling"][name]
    called = f"`{own['eps']}`" if "eps" in own else ""
    given = own.get("momentum", "")
    passed = f"`{given.removeprefix('1 - ')}={'1 - w' if given.startswith('1 - ') else 'w'}`" if given else ""
    return [link, remembered, eps, called, momentum, passed]


def framework(data: Data, name: str, rows: Sequence[str]) -> str:
    """The page on one framework: its implementations side by side, a line for each thing that they do.

    Args:
        rows: the implementations.
    """
    cards = {row: data["cards"][row] for row in rows}
    parts = [
        f"# {name}",
        *([f"This page is about {GROUPS[name]}."] if name in GROUPS else []),
        _measurement(data) + " A cell in **bold** is not what the specification asks for. All implementations stand "
        f"in [the table]({'../' + INDEX}).",
        "## What it does",
        _turn(["default eps", "default weight of the new batch", *(head for head, *_ in SEEN),
                 *(head for head, *_ in COLUMNS)], rows, [_decisions(row, card, data) for row, card in cards.items()]),
        "The first is what most ranks and dtypes show; behind a semicolon stands what others do. An output of one "
        "value a channel is told with the running variance that it leaves.",
        "## Numbers",
        "The dtypes of output and running statistics for an input of each dtype, with single-precision parameters for "
        "half-precision input; how the variance is computed; and the worst error of all that was measured, as a share "
        "of the bound (1 is the limit).",
        _turn(["float64", "float32", "float16", "bfloat16", "variance", "worst share"], rows,
                [_numbers(row, card, data["cells"][row]) for row, card in cards.items()]),
    ]  # fmt: skip
    others = [entry for entry in _others(data) if entry[0].strip("`") in rows]
    if others:
        parts += ["## What else differs", _table(["implementation", "decision", "measured", "documented"], others)]
    parts += [*_replicas(data, name), *_besides(data, name), "## Carrying a layer", *_carrying(data, rows)]
    return "\n\n".join(parts) + "\n"


def profile(data: Data, name: str) -> str:
    """What was measured of one implementation, as a list without a heading, for a page that is about it."""
    card = data["cards"][name]
    heads = ["default eps", "default weight of the new batch", *(head for head, *_ in SEEN),
             *(head for head, *_ in COLUMNS)]  # fmt: skip
    numbers = [f"{dtype}: output, statistics" for dtype in ("float64", "float32", "float16", "bfloat16")]
    lines = [
        *zip(heads, _decisions(name, card, data)[1:], strict=True),
        *zip([*numbers, "variance", "worst error over its bound"], _numbers(name, card, data["cells"][name])[1:],
             strict=True),
        *([decision, f"**{measured}** (documented: {documented})"] for row, decision, measured, documented
          in _others(data) if row == f"`{name}`"),
    ]  # fmt: skip
    return _table(["what", f"`{name}`"], ([head, value] for head, value in lines)) + "\n"


def _carrying(data: Data, rows: Sequence[str]) -> list[str]:
    named = [row for row in rows if data["spelling"][row]]
    parts = []
    if named:
        parts += [
            "What it calls the same thing. `momentum` is the weight of the *new* batch, and the line says what to pass "
            "for it. An array is carried as it is, into the shape that the other keeps it in.",
            _turn(WORDS, named, [[row, *(_word(data, row, word) for word in WORDS)] for row in named]),
            f"`bnconform porting --from {named[0]} --to B` says what there is to do, and prints the code.",
        ]
    return [
        *parts,
        "Each layer was trained for three passes with eps 0.001 and momentum 0.25, in single precision, and its state "
        "loaded into every other, which evaluated other input, trained for one more pass and evaluated again. *Out*: "
        "the worst error of the layer's own evaluation beside the exact one of the state that it shows. *In*: the "
        "worst error of the evaluation of any of these states, and behind the comma that of the statistics after one "
        "more pass and of the evaluation after it, beside an average that goes on from what was loaded. All are shares "
        "of the bound; what is above 1 does not hold.",
        _describe_carried(data, rows),
    ]


def _measurement(data: Data) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in data["packages"].items())
    return (
        f"Measured by `bnconform porting` on {data['date']}, CPU, Python {data['python']}, with {packages}. Everything "
        "here is seen from outside, whatever an implementation documents."
    )


def _turn(heads: Sequence[str], rows: Sequence[str], columns: Sequence[Sequence[str]]) -> str:
    """A table with a column for each implementation; the first cell of each column is its name."""
    lines = ([head, *(column[number] for column in columns)] for number, head in enumerate(heads, 1))
    return _table(["what", *(f"`{row}`" for row in rows)], lines)


# -- from A to B -------------------------------------------------------------------------------------------------------


def way(found: PortingList, data: Data, scripts: Scripts | None = None, ran: Mapping[str, Any] | None = None) -> str:
    """The page on a way from one implementation to another.

    Args:
        scripts: the programs that do it, where there are some. ran: what came of them, as the table keeps it, with the
            "date" and the "packages" of that run.
    """
    parts = [
        f"# From {found.source} to {found.target}",
        f"Measured on {data['date']} by `bnconform porting`, whatever the two document.",
        "## Names",
        _table([f"`{found.source}`", f"`{found.target}`"], (
            [_name_text(data, found.source, word), _name_text(data, found.target, word)] for word, *_ in found.names)),
        "## To do",
        "\n".join(_task(item) for item in found.todo) or "Nothing.",
    ]  # fmt: skip
    if found.alike:
        alike = "; ".join(f"{item.topic} ({item.source})" for item in found.alike)
        parts += [f"Nothing to do for: {alike}."]
    parts += ["## Does it hold?", _holds_from(found), *_code(found, scripts, ran)]
    return "\n\n".join(parts) + "\n"


def _name_text(data: Data, name: str, word: str) -> str:
    """What an implementation calls it, and what its momentum weighs."""
    own = data["spelling"][name].get(word)
    if own is None:
        return f"none ({word})"
    weighs = {"momentum": ", which weighs the new batch"}.get(word, "") if not own.startswith("1 - ") else (
        ", which weighs the old value"
    )  # fmt: skip
    return f"`{own.removeprefix('1 - ')}`{weighs}"


def _task(item: Item) -> str:
    return f"- [ ] **{item.topic}**: {item.action}"


def _holds_from(found: PortingList) -> str:
    if isinstance(found.share, str):
        return f"Not measured: {found.share}."
    if found.share is None:
        return "Not measured."
    words = [
        f"A state that {found.source} had learnt was loaded into {found.target}, which evaluated other input: its "
        f"worst error beside the exact answer was {number(found.share)} of the derived bound"
        + (" (1 is the limit), so it holds" if found.share <= 1 else " (1 is the limit): **it does not hold**")
    ]
    if isinstance(found.continued, float):
        words.append(
            f"after one more training pass {number(found.continued)} of it"
            + ("" if found.continued <= 1 else ", so **the average does not go on from what was loaded** by itself")
        )
    elif found.continued:
        words.append(f"it does not train on: {found.continued}")
    return "; ".join(words) + "."


def _code(found: PortingList, scripts: Scripts | None, ran: Mapping[str, Any] | None) -> list[str]:
    if scripts is None:
        return []
    parts = ["## In code"]
    for name, row in zip((found.source, found.target), scripts.rows, strict=True):
        if name != row:
            parts.append(f"The lines are those of `{row}`, of which `{name}` is a variant.")
    parts += [
        f"`save.py`, where {found.source} is. `read` and `load` are what is needed; what stands below the functions "
        "shows that it holds.",
        f"```python\n{scripts.save}```",
        f"`load.py`, where {found.target} is:",
        f"```python\n{scripts.load}```",
    ]
    if ran is None:
        return [*parts, "These were not run: `--run` runs them."]
    packages = ", ".join(f"{name} {version}" for name, version in ran.get("packages", {}).items())
    when = " ".join(
        filter(None, (f"on {ran['date']}" if "date" in ran else "", f"with {packages}" if packages else ""))
    )
    if "reason" in ran:
        return [*parts, f"They were run {when}, and failed: {ran['reason']}"]
    evaluation, continued = number(ran["evaluation"]), number(ran["continued"])
    off = f"{evaluation} of the derived bound in evaluation and {continued} after one more batch"
    judgement = "both frameworks within" if max(ran["evaluation"], ran["continued"]) <= 1 else "**beyond the bound**:"
    return [
        *parts,
        f"They were run {when}, and printed",
        f"```\n{ran['printed']}```",
        f"Beside the exact answers: {judgement} {off} (1 is the limit; each at the estimator that it remembers by).",
    ]


# -- cells -------------------------------------------------------------------------------------------------------------


def _finding_data(card: Data) -> dict[str, Data]:
    return {entry["coordinate"]: entry for entry in card.get("coordinates", ())}


def _cell(entry: Data) -> str:
    """The measured values, in bold where the specified one is not among them."""
    values = list(entry["values"])
    if entry["specified"] in values:
        return entry["specified"] if len(values) == 1 else " or ".join(values) if len(values) < 4 else "?"
    return f"**{' or '.join(values)}**"


def _decisions(name: str, card: Data, data: Data) -> list[str]:
    found, lacks, cells = _finding_data(card), data["unsupported"][name], data["cells"][name]
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
        for decision, entry in _finding_data(card).items():
            differs = entry["specified"] not in entry["values"]
            if differs and (decision not in shown or decision in documented):
                place = _link(documented[decision]) if decision in documented else "no"
                yield [f"`{name}`", decision, " or ".join(entry["values"]), place]
        if card.get("unexplained"):
            yield [f"`{name}`", "what no decision explains", card["unexplained"][0], "no"]


def _replicas(data: Data, framework: str) -> Iterable[str]:
    """The section about a batch over replicas; nothing where no implementation of the framework has any."""
    found = {row: told for row, told in data.get("replicas", {}).items() if group(row) == framework}
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
    yield _turn(
        names, list(found), [[row, *(_value_text(told[name]) for name in names)] for row, told in found.items()]
    )


def _besides(data: Data, framework: str) -> Iterable[str]:
    """The section about what is given beside y and about frozen layers; nothing where there is neither."""
    found = {row: told for row, told in data.get("besides", {}).items() if group(row) == framework}
    if not found:
        return
    names = list(dict.fromkeys(name for told in found.values() for name in told))
    yield "## Saved statistics, frozen layers"
    yield (
        "What an operator gives beside y: of which statistics, what its inverse deviation and its variance are, and "
        "what there is in evaluation; what a training pass does in a layer that is frozen, and whether weight and bias "
        "then have gradients. `bnconform explain` says what the words mean; `?` is what nothing shows."
    )
    rows = [[row, *(_value_text(told[name]) if name in told else "" for name in names)] for row, told in found.items()]
    yield _turn(names, list(found), rows)


def _value_text(entry: Data) -> str:
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


def _describe_carried(data: Data, names: Sequence[str]) -> str:
    if not data["carried"]:
        return "No layer could be trained."
    notes: dict[str, int] = {}

    def note(reason: str) -> str:
        return f"[{notes.setdefault(reason, len(notes) + 1)}]"

    rows = []
    for name in names:
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
