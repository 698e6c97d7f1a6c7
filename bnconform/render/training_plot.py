"""The picture of a training: the reference's losses, and the error ratios of every run, step by step, as one SVG.

It stands alone, as a file beside a page of Markdown, on a ground of its own. What it was drawn from is in its
description, as a digest, by which a self-test tells whether it is that of the data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bnconform.render.drawing import standalone
from bnconform.render.plots import series
from bnconform.results.training import TrainingResult, TrainingRow, to_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUANTITIES = {
    "loss": "loss", "running_mean": "running mean", "running_var": "running variance",
    "evaluation_loss": "evaluation loss",
}  # fmt: skip

LEAST, MOST = 1e-4, 1e14
"""The error ratios that are told apart; others are drawn at the edges."""


def digest(result: TrainingResult) -> str:
    """What tells the data of two pictures apart."""
    return hashlib.sha256(to_text(result).encode()).hexdigest()[:16]


def picture(result: TrainingResult) -> str:
    """The SVG: a row of panels for each dtype, one for each quantity; a key of what leaves the bound somewhere."""
    leaving = sorted({row.backend for row in result.rows if row.left_step})
    known = {
        name: (one.marker, colour) for (name, one), colour in zip(series(leaving).items(), _colours(), strict=False)
    }
    dtypes = list(result.bounds)

    def draw(figure: Figure) -> None:
        panels = figure.subplots(len(dtypes) + 1, len(QUANTITIES), squeeze=False)
        _losses(panels[0], result)
        for axes, dtype in zip(panels[1:], dtypes, strict=True):
            for ax, (name, words) in zip(axes, QUANTITIES.items(), strict=True):
                _panel(ax, [row for row in result.rows if row.dtype == dtype], name, known)
                ax.set_title(f"{words}, {dtype}", fontsize=9)
            axes[0].set_ylabel("error over bound")
        handles, labels = _key(panels[0][2], known)
        panels[0][2].legend(handles, labels, loc="upper left", ncols=1 + len(labels) // 9, fontsize=7, frameon=False)

    return standalone((13, 3.2 * (len(dtypes) + 1)), draw, f"Training, data {digest(result)}")


def _colours() -> list[Any]:
    return [mpl.colormaps["tab20"](place % 20) for place in range(64)]


def _losses(axes: Any, result: TrainingResult) -> None:
    for ax, name in zip(axes[:2], ("loss", "evaluation_loss"), strict=True):
        values = result.losses[name]
        ax.plot(range(1, len(values) + 1), values, color="black", linewidth=1.2)
        ax.set_title(f"{QUANTITIES[name]} of the reference", fontsize=9)
    for ax in axes[2:]:
        ax.axis("off")


def _panel(ax: Axes, rows: list[TrainingRow], name: str, known: Mapping[str, tuple[str, Any]]) -> None:
    """Every run's error ratios; those within the bound are grey."""
    ax.axhline(1, color="#c00000", linewidth=1)
    for row in rows:
        values = [min(max(value, LEAST), MOST) for value in row.ratios.get(name, ())]
        steps = range(1, len(values) + 1)
        if row.left_step:
            marker, colour = known[row.backend]
            ax.plot(steps, values, color=colour, marker=marker, markersize=3, markevery=(len(rows) % 3, 7), linewidth=1)
        else:
            ax.plot(steps, values, color="#999999", linewidth=0.7)
    ax.set_yscale("log")
    ax.set_ylim(LEAST / 2, MOST * 2)
    ax.set_xlabel("step")


def _key(ax: Axes, known: Mapping[str, tuple[str, Any]]) -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=4, linewidth=1) for marker, colour in known.values()
    ]
    within = Line2D([], [], color="#999999", linewidth=0.7)
    limit = Line2D([], [], color="#c00000", linewidth=1)
    return [*handles, within, limit], [*known, "within the bound", "the bound"]
