"""The plots of the page: errors over condition numbers, and devices against each other.

Implementations are told apart by colour and shape, by a key beside the plot, where a pointer rests, and in a table. No
text of an adapter is drawn: it stands beside the plot, where the page escapes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes

from bnconform.render.drawing import BAD, FIRST, LINE, MARKERS, SECOND, SERIES, draw_figure
from bnconform.render.evidence import clean, number
from bnconform.results.result import Row, dtype_order

_LEAST, _MOST = 1e-4, 1e2
"""The error ratios that are told apart; others are drawn at the edges."""

PICTURES = 16
"""Pairs of devices that are drawn; each takes a third of a second, and nobody compares more by eye."""


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
class Series:
    """What stands for one implementation in a plot: a letter of its shape, and the number of its colour, from 1."""

    name: str
    letter: str
    colour: int
    marker: str

    @property
    def ink(self) -> str:
        """What Matplotlib draws it with."""
        return SERIES[self.colour - 1]


@dataclass(frozen=True)
class Panel:
    """A plot with its key and its numbers: `heads` and `rows` of a table that says what it shows.

    `svg` is "" where the table is all there is.
    """

    title: str
    note: str
    svg: str
    key: tuple[Series, ...]
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def series(names: Iterable[str]) -> dict[str, Series]:
    """What stands for each name; the first eight differ in colour and shape, those after them in one of both."""
    shapes = list(MARKERS)
    found = {}
    for place, name in enumerate(dict.fromkeys(names)):
        turn, first = divmod(place, len(SERIES))
        marker = shapes[(first + turn) % len(shapes)]
        found[name] = Series(name, MARKERS[marker], first + 1, marker)
    return found


def conditioning(points: Iterable[Condition]) -> list[Panel]:
    """Error over condition number, one panel for each device and dtype."""

    def place(point: Condition) -> tuple[str, tuple[int, str]]:
        return point.device, dtype_order(point.dtype)

    points = sorted(points, key=lambda point: (*place(point), point.backend, point.condition))
    known = series(point.backend for point in points)
    return [_panel(f"condition-{label}", list(group), known) for label, (_, group) in enumerate(groupby(points, place))]


def _panel(label: str, points: Sequence[Condition], known: Mapping[str, Series]) -> Panel:
    tips = {f"tip-{place}": clean(f"{p.backend}, {p.case}: {_words(p)}") for place, p in enumerate(points)}
    draw = partial(_condition, points=points, limits=_limits(points), known=known)
    rows = tuple(
        (p.backend, p.case, *map(number, (p.condition, p.error, p.two_pass, p.one_pass)), _kind([p])) for p in points
    )
    first = points[0]
    return Panel(
        f"{first.dtype} on {first.device}",
        _kind(points),
        draw_figure(label, (5.4, 3.6), draw, tips),
        tuple(known[name] for name in dict.fromkeys(p.backend for p in points)),
        ("implementation", "batch", "condition number", "error", "two-pass bound", "one-pass bound", "where"),
        rows,
    )


def _words(point: Condition) -> str:
    return f"condition number {number(point.condition)}, error {number(point.error)}, {_kind([point])}"


def _kind(points: Sequence[Condition]) -> str:
    """What the points show, in words."""
    if any(point.beyond_one for point in points):
        return "beyond both bounds"
    if any(point.beyond_two for point in points):
        return "beyond the two-pass bound, within the one-pass bound"
    return "within the two-pass bound"


def _limits(points: Iterable[Condition]) -> tuple[float, float]:
    """The range of a panel."""
    finite = [v for p in points for v in (p.error, p.two_pass, p.one_pass) if 0 < v < math.inf]
    return min(finite, default=1e-16) / 4, max(finite, default=1.0) * 4


def _condition(
    axes: Axes, points: Sequence[Condition], limits: tuple[float, float], known: Mapping[str, Series]
) -> None:
    floor, ceiling = limits
    bounds: dict[float, tuple[float, float]] = {}
    for point in points:
        before = bounds.get(point.condition, (0.0, 0.0))
        bounds[point.condition] = max(before[0], point.two_pass), max(before[1], point.one_pass)
    x = sorted(bounds)
    for which, colour, style in ((0, FIRST, "-"), (1, SECOND, (0, (4, 2)))):
        axes.plot(x, [min(bounds[c][which], ceiling) for c in x], color=colour, linewidth=1.5, linestyle=style)
    for place, point in enumerate(points):
        one = known[point.backend]
        y = min(max(point.error, floor), ceiling)
        ring: dict[str, Any] = {"markeredgewidth": 0}
        if point.beyond_two:
            ring = {"markeredgecolor": BAD, "markeredgewidth": 2.2}
        axes.plot(
            [point.condition], [y], one.marker, color=one.ink, markersize=8 if point.beyond_two else 6, clip_on=False,
            gid=f"tip-{place}", **ring,
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", ylim=(floor, ceiling))
    axes.set_xlabel("condition number of the variance")
    axes.set_ylabel("error of y")


def devices(rows: Iterable[Row]) -> list[Panel]:
    """Error ratios on one device against another, one panel for each pair, cpu first where it is one of them."""
    found: dict[str, dict[tuple[str, str, str], Row]] = {}
    for row in rows:
        found.setdefault(row.device, {})[row.backend, row.dtype, row.requirement] = row
    names = sorted(found, key=lambda name: (name != "cpu", name))
    known = series(row.backend for name in names for row in found[name].values())
    both: dict[tuple[str, str], list[tuple[Row, Row]]] = {}
    for place, name in enumerate(names):
        for other in names[place + 1 :]:
            pairs = [(row, found[other][key]) for key, row in found[name].items() if key in found[other]]
            if pairs:
                both[name, other] = pairs
    # Of many, those are drawn that differ in most verdicts; cpu, which is first, comes before others that are alike.
    shown = sorted(both, key=lambda pair: -sum(a.verdict != b.verdict for a, b in both[pair]))[:PICTURES]
    return [
        _pair(f"devices-{number}" if pair in shown else "", *pair, pairs, known)
        for number, (pair, pairs) in enumerate(both.items())
    ]


def _pair(
    label: str, name: str, other: str, pairs: Sequence[tuple[Row, Row]], known: Mapping[str, Series]
) -> Panel:  # fmt: skip
    measured = [(a, b) for a, b in pairs if a.bound_share is not None and b.bound_share is not None]
    differing = [(a, b) for a, b in pairs if a.verdict != b.verdict]
    # What would be drawn over each other is drawn once.
    drawn_once: dict[tuple[object, ...], tuple[Row, Row]] = {}
    for a, b in measured:
        place = [round(math.log10(_drawable(row.bound_share)), 2) for row in (a, b)]
        drawn_once[a.backend, a.verdict == b.verdict, *place] = a, b
    tips = {
        f"tip-{place}": clean(
            f"{a.backend}, {a.dtype}, {a.requirement}: {a.verdict} {number(a.bound_share)} on {name}, "
            f"{b.verdict} {number(b.bound_share)} on {other}"
        )
        for place, (a, b) in enumerate(drawn_once.values())
    }

    def draw(axes: Axes) -> None:
        axes.plot([_LEAST, _MOST], [_LEAST, _MOST], color=LINE, linewidth=1)
        axes.axvline(1, color=BAD, linewidth=1)
        axes.axhline(1, color=BAD, linewidth=1)
        for place, (a, b) in enumerate(drawn_once.values()):
            one = known[a.backend]
            ring = {} if a.verdict == b.verdict else {"markeredgecolor": BAD, "markeredgewidth": 2.2, "markersize": 8}
            style: dict[str, Any] = {"markersize": 5, "markeredgewidth": 0, **ring}
            xy = [_drawable(a.bound_share)], [_drawable(b.bound_share)]
            axes.plot(*xy, one.marker, color=one.ink, clip_on=False, gid=f"tip-{place}", **style)
        axes.set(xscale="log", yscale="log", xlim=(_LEAST, _MOST), ylim=(_LEAST, _MOST), aspect="equal")
        axes.set_xlabel("error over bound, first device")
        axes.set_ylabel("error over bound, second device")

    rows = tuple(
        (
            a.backend,
            a.dtype,
            a.requirement,
            f"{a.verdict} {number(a.bound_share)}",
            f"{b.verdict} {number(b.bound_share)}",
        )
        for a, b in [*differing, *(pair for pair in measured if pair not in differing)]
    )
    note = (
        f"{len(pairs)} rows on both, {len(differing)} with another verdict (ringed, and first in the table); above the "
        "diagonal the second is worse"
    )
    key = tuple(known[backend] for backend in dict.fromkeys(a.backend for a, _ in measured))
    heads = ("implementation", "dtype", "requirement", name, other)
    picture = draw_figure(label, (4.2, 4.2), draw, tips) if label else ""
    return Panel(f"{name} (across) and {other} (up)", note, picture, key, heads, rows)


def _drawable(share: float | None) -> float:
    return min(max(share or 0.0, _LEAST), _MOST)
