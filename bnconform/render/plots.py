"""The plots of the page: errors over condition numbers, shares of the bound, devices against each other.

No text of an adapter is drawn: it stands beside the plot, where the page escapes it; names of requirements are drawn as
they are, without mathematics in them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from matplotlib.axes import Axes

from bnconform.render.drawing import BAD, FIRST, LINE, SECOND, TEXT, drawn
from bnconform.render.evidence import FAILURES, clean, number
from bnconform.results.result import Row, dtype_order

_LEAST, _MOST = 1e-4, 1e2
"""The shares of a bound that are told apart; others are drawn at the edges."""


PICTURES = 16
"""Panels of a kind that are drawn; each takes a third of a second, and nobody compares more by eye."""


@dataclass(frozen=True)
class Condition:
    """How far the output for one batch was off.

    Attributes:
        case: the probe's name. condition: sqrt(mean(x**2) / variance), the largest of its channels.
        error: the largest of y, in standard deviations; infinite where y is no number.
        two_pass, one_pass: the largest derived bound for both kinds of variance.
        beyond_two, beyond_one: whether the error of some element lies beyond the bound there.
    """

    backend: str
    device: str
    dtype: str
    case: str
    condition: float
    error: float
    two_pass: float
    one_pass: float
    beyond_two: bool
    beyond_one: bool


@dataclass(frozen=True)
class Panel:
    """A plot with its numbers: `heads` and `rows` of a table that says what it shows; `svg` is "" for that alone."""

    title: str
    note: str
    svg: str
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def conditioning(points: Iterable[Condition]) -> list[Panel]:
    """Error over condition number, one panel for each backend, device and dtype; the worst ones are drawn."""

    def place(point: Condition) -> tuple[str, str, tuple[int, str]]:
        return point.backend, point.device, dtype_order(point.dtype)

    panels: list[Panel] = []
    points = list(points)
    limits = {
        dtype: _limits([point for point in points if point.dtype == dtype]) for dtype in {p.dtype for p in points}
    }
    ordered = groupby(sorted(points, key=lambda point: (*place(point), point.condition)), key=place)
    groups = {key: list(group) for key, group in ordered}
    shown = sorted(groups, key=lambda key: _distance(groups[key]), reverse=True)[:PICTURES]
    for key, mine in groups.items():
        first = mine[0]
        rows = tuple(
            (p.case, *(f"{value:.3g}" for value in (p.condition, p.error, p.two_pass, p.one_pass))) for p in mine
        )
        draw = partial(_condition, points=mine, limits=limits[first.dtype])
        panels.append(
            Panel(
                first.backend,
                f"{first.device}, {first.dtype}: {_kind(mine)}",
                drawn(f"condition-{len(panels)}", (3.4, 2.5), draw) if key in shown else "",
                ("batch", "condition number", "error", "two-pass bound", "one-pass bound"),
                rows,
            )
        )
    return panels


def _distance(points: Sequence[Condition]) -> tuple[bool, bool, float]:
    """How far points lie from where they should: beyond which bounds, and the largest error over its bound."""
    ratios = [point.error / point.two_pass if point.two_pass else math.inf for point in points if point.error]
    return any(p.beyond_one for p in points), any(p.beyond_two for p in points), max(ratios, default=0.0)


def _kind(points: Sequence[Condition]) -> str:
    """What the points show, in words."""
    if any(point.beyond_one for point in points):
        return "beyond both bounds"
    if any(point.beyond_two for point in points):
        return "beyond the two-pass bound, within the one-pass bound"
    return "within the two-pass bound"


def _limits(points: Iterable[Condition]) -> tuple[float, float]:
    """The range of all panels of a dtype, so that they can be compared by eye."""
    finite = [v for p in points for v in (p.error, p.two_pass, p.one_pass) if 0 < v < math.inf]
    return min(finite, default=1e-16) / 4, max(finite, default=1.0) * 4


def _condition(axes: Axes, points: Sequence[Condition], limits: tuple[float, float]) -> None:
    x = [point.condition for point in points]
    floor, ceiling = limits
    for bounds, colour, style in (
        ([point.two_pass for point in points], FIRST, "-"),
        ([point.one_pass for point in points], SECOND, (0, (4, 2))),
    ):
        axes.plot(x, [min(bound, ceiling) for bound in bounds], color=colour, linewidth=1.5, linestyle=style)
    within = [point for point in points if not point.beyond_two]
    beyond = [point for point in points if point.beyond_two]
    for some, marker, colour in ((within, "o", TEXT), (beyond, "X", BAD)):
        if not some:
            continue
        ys = [min(max(point.error, floor), ceiling) for point in some]
        axes.plot([point.condition for point in some], ys, marker, color=colour, markersize=5, clip_on=False)
    axes.set(xscale="log", yscale="log", ylim=(floor, ceiling))
    axes.set_xlabel("condition number of the variance")
    axes.set_ylabel("error of y")


def shares(rows: Iterable[Row], order: Sequence[str]) -> Panel | None:
    """The worst share of its bound that each row came to, one line for each requirement; None where none has one."""
    measured: dict[str, list[Row]] = {}
    for row in rows:
        if row.bound_share is not None:
            measured.setdefault(row.requirement, []).append(row)
    names = [name for name in order if name in measured] + sorted(measured.keys() - set(order))
    if not names:
        return None

    def draw(axes: Axes) -> None:
        for place, name in enumerate(names):
            for marker, colour, some in _kinds(measured[name]):
                # What would be drawn over each other is drawn once.
                xs = sorted({round(math.log10(_shown(row.bound_share)), 2) for row in some})
                axes.plot([10**x for x in xs], [place] * len(xs), marker, color=colour, markersize=4, clip_on=False)
        axes.axvline(1, color=BAD, linewidth=1)
        axes.set(xscale="log", xlim=(_LEAST, _MOST), ylim=(len(names) - 0.5, -0.5))
        axes.set_yticks(range(len(names)), [clean(name)[:40] for name in names], parse_math=False)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("share of the bound; 1 is the limit")
        axes.xaxis.set_label_position("top")
        axes.xaxis.tick_top()

    table = []
    for name in names:
        worst = max(measured[name], key=lambda row: row.bound_share or 0)
        table.append((name, number(worst.bound_share), f"{worst.backend} {worst.device} {worst.dtype}"))
    note = "each mark is a row; o conforms, + deviates as declared, x fails; the edges stand for all beyond"
    svg = drawn("shares", (7.2, 0.7 + 0.19 * len(names)), draw)
    return Panel("Share of the bound by requirement", note, svg, ("requirement", "largest", "of"), tuple(table))


def _kinds(rows: Sequence[Row]) -> Iterator[tuple[str, str, list[Row]]]:
    kinds = (
        ("o", FIRST, [row for row in rows if row.verdict not in (*FAILURES, "deviates")]),
        ("+", SECOND, [row for row in rows if row.verdict == "deviates"]),
        ("x", BAD, [row for row in rows if row.verdict in FAILURES]),
    )
    # A line of no points would take room, at a corner of the figure.
    yield from (kind for kind in kinds if kind[2])


def devices(rows: Iterable[Row]) -> list[Panel]:
    """Share of the bound on one device against another, one panel for each pair, cpu first where it is one of them."""
    found: dict[str, dict[tuple[str, str, str], Row]] = {}
    for row in rows:
        found.setdefault(row.device, {})[row.backend, row.dtype, row.requirement] = row
    names = sorted(found, key=lambda name: (name != "cpu", name))
    both: dict[tuple[str, str], list[tuple[Row, Row]]] = {}
    for place, name in enumerate(names):
        for other in names[place + 1 :]:
            pairs = [(row, found[other][key]) for key, row in found[name].items() if key in found[other]]
            if pairs:
                both[name, other] = pairs
    # Of many, those are drawn that differ in most verdicts; cpu, which is first, comes before others that are alike.
    shown = sorted(both, key=lambda pair: -sum(a.verdict != b.verdict for a, b in both[pair]))[:PICTURES]
    return [
        _pair(f"devices-{number}" if pair in shown else "", *pair, pairs)
        for number, (pair, pairs) in enumerate(both.items())
    ]


def _pair(label: str, name: str, other: str, pairs: Sequence[tuple[Row, Row]]) -> Panel:
    measured = [(a, b) for a, b in pairs if a.bound_share is not None and b.bound_share is not None]
    differing = [(a, b) for a, b in pairs if a.verdict != b.verdict]

    def draw(axes: Axes) -> None:
        axes.plot([_LEAST, _MOST], [_LEAST, _MOST], color=LINE, linewidth=1)
        axes.axvline(1, color=BAD, linewidth=1)
        axes.axhline(1, color=BAD, linewidth=1)
        for marker, colour, same in (("o", FIRST, True), ("X", BAD, False)):
            places = {
                tuple(round(math.log10(_shown(row.bound_share)), 2) for row in pair)
                for pair in measured
                if (pair[0].verdict == pair[1].verdict) == same
            }
            if not places:
                continue
            xs, ys = ([10 ** place[axis] for place in sorted(places)] for axis in (0, 1))
            axes.plot(xs, ys, marker, color=colour, markersize=4, clip_on=False)
        axes.set(xscale="log", yscale="log", xlim=(_LEAST, _MOST), ylim=(_LEAST, _MOST), aspect="equal")
        axes.set_xlabel("share of the bound, first device")
        axes.set_ylabel("share of the bound, second device")

    rows = tuple(
        (
            a.backend,
            a.dtype,
            a.requirement,
            f"{a.verdict} {number(a.bound_share)}",
            f"{b.verdict} {number(b.bound_share)}",
        )
        for a, b in differing
    )
    note = (
        f"{len(pairs)} rows on both, {len(differing)} with another verdict (X); above the diagonal the second is worse"
    )
    heads = ("implementation", "dtype", "requirement", name, other)
    picture = drawn(label, (4.2, 4.2), draw) if label else ""
    return Panel(f"{name} (across) and {other} (up)", note, picture, heads, rows)


def _shown(share: float | None) -> float:
    return min(max(share or 0.0, _LEAST), _MOST)
