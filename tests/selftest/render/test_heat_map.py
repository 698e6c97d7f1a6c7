"""The picture of the matrix: each cell in its place, in the colour of its error ratio, and marked where it fails."""

from __future__ import annotations

import pytest

from bnconform.render.heat_map import GAP, STEPS, heat_map, kind
from bnconform.tests.selftest.rows import CHAPTERS, grid, row

RULES = [{"id": name, "chapter": chapter} for name, chapter in CHAPTERS.items()]


@pytest.mark.parametrize(
    ("verdict", "share", "due"),
    [
        ("conforms", 0.0, "h0"), ("conforms", 0.01, "h0"), ("conforms", 0.02, "h1"), ("conforms", 0.3, "h2"),
        ("conforms", 1.0, "h3"), ("deviates", 0.9, "h3"), ("conforms", None, "n"), ("unsupported", None, "u"),
        ("violates", 1.01, "h4"), ("violates", 11.0, "h5"), ("violates", 2e4, "h6"), ("violates", float("nan"), "h6"),
        ("violates", None, "f"), ("crashed", 0.2, "f"), ("violates", 0.2, "f"), ("untrusted", 0.5, "t"),
    ],
)  # fmt: skip
def test_colour_is_that_of_the_ratio(verdict: str, share: float | None, due: str) -> None:
    """Within the bound four steps, beyond it three; what fails otherwise than by a number has a colour of its own."""
    assert kind(row(verdict, bound_share=share, message="x")) == due


def test_the_limit_is_a_step() -> None:
    """No colour stands for errors on both sides of the bound."""
    assert 1.0 in STEPS and list(STEPS) == sorted(STEPS)


def test_chapters_stand_side_by_side() -> None:
    """In the order of the catalogue, with a gap between them; what was not judged takes no room."""
    found = heat_map(grid(["a"], dtypes=("float32",)), RULES, {})
    assert found is not None
    assert [name for name, _, _ in found.chapters] == list(CHAPTERS.values())
    assert [x for _, x, _ in found.chapters] == pytest.approx([place * (1 + GAP) for place in range(len(CHAPTERS))])
    assert found.width == pytest.approx(len(CHAPTERS) + GAP * (len(CHAPTERS) - 1))
    one = heat_map([row(requirement="BN-NUM-STABLE")], RULES, {})
    assert one is not None and one.width == 1 and len(one.chapters) == 1
    assert heat_map([], RULES, {}) is None


def test_each_dtype_has_its_row() -> None:
    """In the order of dtypes, for each backend and device; or one row has the worst of each requirement."""
    rows = grid(["b", "a"], dtypes=("float32", "float64"), devices=("cpu", "cuda:0"))
    found = heat_map(rows, RULES, {})
    assert found is not None
    assert [(strip.name, strip.device) for strip in found.strips] == [
        ("a", "cpu"), ("a", "cuda:0"), ("b", "cpu"), ("b", "cuda:0"),
    ]  # fmt: skip
    assert all(strip.rows == ("f64", "f32") and len(strip.cells) == 2 * len(CHAPTERS) for strip in found.strips)
    together = heat_map(
        [row(bound_share=0.9), row("violates", dtype="float64", bound_share=3.0, message="x")],
        RULES, {"BN-RUN-VAR": "#BN-RUN-VAR"}, by_dtype=False, names={"numpy": "numpy.html"},
    )  # fmt: skip
    assert together is not None
    [strip] = together.strips
    [cell] = strip.cells
    assert (cell.kind, cell.mark, cell.link, strip.link) == ("h4", True, "#BN-RUN-VAR", "numpy.html")
    assert cell.title == "BN-RUN-VAR, f64: violates, 3 of the bound"


def test_what_fails_is_marked_and_leads_to_its_evidence() -> None:
    """Nothing is told by colour alone, and what conforms leads nowhere."""
    links = {name: f"#{name}" for name in CHAPTERS}
    found = heat_map(grid(["a"]), RULES, links)
    assert found is not None and found.marked
    for cell in found.strips[0].cells:
        verdict = cell.title.partition(": ")[2].partition(",")[0]
        assert cell.mark == (verdict in ("violates", "crashed", "untrusted"))
        assert bool(cell.link) == (verdict not in ("conforms", "unsupported"))


def test_the_numbers_are_told() -> None:
    """The largest ratio of each requirement, with whose it is."""
    found = heat_map(
        [row(bound_share=0.5), row(dtype="float64", bound_share=0.25), row(requirement="BN-NUM-STABLE")], RULES, {}
    )
    assert found is not None
    assert found.ratios == (("BN-RUN-VAR", "0.5", "numpy cpu float32"),)
    assert dict(found.legend) == {"h2": "0.1 to 0.5", "n": "holds, nothing to measure"}
