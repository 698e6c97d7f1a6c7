"""Results of a hundred columns: the page stays of a size that opens, and draws no picture for each of them."""

from __future__ import annotations

from bnconform.render import plots
from bnconform.render.page import PageData, page
from bnconform.render.plots import PICTURES, Condition
from bnconform.results.compare import compare
from bnconform.tests.selftest.rows import grid, run

COLUMNS = [f"backend{number:02}" for number in range(25)]
"""A backend each, in four dtypes: a hundred columns."""

LARGEST = 40_000
"""Bytes of the page that a column may take; a browser opens some tens of megabytes at once."""


def condition(backend: str, *, beyond: bool = False) -> Condition:
    """What one batch showed."""
    return Condition(backend, "cpu", "float32", "ratio1e2", 100.0, 1e-7, 1e-6, 1e-4, beyond, False)


def test_page_of_a_hundred_columns() -> None:
    """It has every column, one strip of the picture for each implementation, and one plot for all of them."""
    result = run(*grid(COLUMNS))
    points = [condition(name, beyond=name == COLUMNS[-1]) for name in COLUMNS]
    text = page(result, PageData(rules=(), conditioning=points))
    assert len({row.key[:3] for row in result.rows}) == 100
    assert len(text) < 100 * LARGEST
    assert all(text.count(f'data-backend="{name}"') for name in COLUMNS)
    assert text.count("<svg") == len(COLUMNS) + 1


def test_one_plot_for_all() -> None:
    """Each implementation is in its key and its table, and what lies beyond a bound is ringed."""
    (panel,) = plots.conditioning([condition(name, beyond=name == COLUMNS[-1]) for name in COLUMNS])
    assert [one.name for one in panel.key] == COLUMNS == [line[0] for line in panel.rows]
    assert "beyond the two-pass bound" in panel.note


def test_many_devices() -> None:
    """Of all pairs of devices as many are drawn; those that are not have their table."""
    devices = tuple(f"device:{number}" for number in range(8))
    panels = plots.devices(grid(["a"], ("float32",), devices))
    assert len(panels) == 8 * 7 // 2
    assert sum(bool(panel.svg) for panel in panels) <= PICTURES


def test_comparison_has_every_column() -> None:
    """Of a hundred with the same hundred."""
    result = run(*grid(COLUMNS))
    assert len(compare(("a", result), ("b", result)).pairs) == 100
