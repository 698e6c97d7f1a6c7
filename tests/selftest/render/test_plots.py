"""The plots of the page: errors are placed where they belong, and nothing that is odd breaks a picture."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from bnconform.backends import registry
from bnconform.cases.probes import cases_of
from bnconform.cases.program import Array, Probe
from bnconform.judge.check import Check, conduct
from bnconform.judge.subject import Subject
from bnconform.render import plots, report_files
from bnconform.results.observations import encode
from bnconform.results.result import Declaration, Observation, Result
from bnconform.results.run_result import declarations
from bnconform.spec.catalogue import requirement
from bnconform.tests.selftest.rows import row, run


def observe(dtype: str) -> Result:
    """What the hand-written layer answers in the batches that are drawn."""
    subject = Subject("numpy", registry.load("numpy"), "cpu", dtype)
    kept = []
    for identifier, wanted in report_files.SHOWN.items():
        for case in cases_of(identifier, dtype):
            if case.name in wanted and isinstance(case, Probe):
                for outcome in conduct(Check.run, Check(subject, requirement(identifier), case)):
                    kept += [Observation.of("numpy", "cpu", dtype, entry) for entry in outcome.observed]
    return replace(run(row(dtype=dtype)), observations=tuple(kept), declarations=declarations([subject]))


def one_pass(x: Array, eps: float) -> Array:
    """BatchNorm with mean(x**2) - mean(x)**2 in the arithmetic of x."""
    mean = x.mean(0, dtype=x.dtype)
    variance = np.maximum((x * x).mean(0, dtype=x.dtype) - mean * mean, 0)
    return np.asarray((x - mean) / np.sqrt(variance + x.dtype.type(eps)))


@pytest.mark.parametrize(("dtype", "batches"), [("float64", 5), ("float32", 4)])
def test_conditions_of_a_right_layer_lie_within_both_bounds(dtype: str, batches: int) -> None:
    """One point a batch, the condition number about the ratio, the one-pass bound far above at its end."""
    points, problems = report_files.conditions(observe(dtype))
    assert len(points) == batches and not problems
    assert not any(point.beyond_two or point.beyond_one for point in points)
    for point in points:
        ratio = float(point.case.partition("ratio")[2] or 1)
        assert point.condition == pytest.approx(ratio, rel=0.5)
        assert 0 < point.error < point.two_pass <= point.one_pass
    assert points[-1].one_pass > 100 * points[-1].two_pass
    (panel,) = plots.conditioning(points)
    assert "within the two-pass bound" in panel.note and len(panel.rows) == batches


def test_one_pass_variance_is_seen() -> None:
    """An answer with a one-pass variance lies beyond the two-pass bound and within the one-pass bound."""
    found = observe("float32")
    probe = next(case for case in cases_of("BN-NUM-STABLE", "float32") if case.name == "ratio1e3")
    assert isinstance(probe, Probe)
    program = probe.at("float32", "float32")
    x = program.steps[0].x
    assert x is not None
    spoilt = [
        replace(one, array=encode(one_pass(x, program.config.eps))) if one.case == "ratio1e3" else one
        for one in found.observations
    ]
    points, _ = report_files.conditions(replace(found, observations=tuple(spoilt)))
    (point,) = (point for point in points if point.beyond_two)
    assert point.case == "BN-NUM-STABLE ratio1e3" and not point.beyond_one
    (panel,) = plots.conditioning(points)
    assert panel.note.endswith("beyond the two-pass bound, within the one-pass bound") and "var(--bad)" in panel.svg


def test_no_number_is_drawn_at_the_edge() -> None:
    """An answer of NaN is an error without limit, beyond both bounds, and breaks no plot."""
    found = observe("float32")
    shape = (32, 3)
    spoilt = tuple(
        replace(one, array=encode(np.full(shape, np.nan, np.float32))) if one.case == "ratio1e2" else one
        for one in found.observations
    )
    points, _ = report_files.conditions(replace(found, observations=spoilt))
    (point,) = (point for point in points if point.beyond_one)
    assert point.error == np.inf
    (panel,) = plots.conditioning(points)
    assert "beyond both bounds" in panel.note and "nan" not in panel.svg and "inf" not in panel.svg
    ET.fromstring(panel.svg)


def test_unreadable_observation_is_told() -> None:
    """Bytes that are no array, and a declaration that does not exist, are named on the page, and the rest is drawn."""
    found = observe("float32")
    first, *rest = found.observations
    broken = replace(first, array={**first.array, "data": "AAAA"})
    points, problems = report_files.conditions(replace(found, observations=(broken, *rest)))
    assert len(points) == 3 and len(problems) == 1 and "no float32 array" in problems[0]
    strange = (Declaration("numpy", "cpu", {"colour": "red"}, {}),)
    points, problems = report_files.conditions(replace(found, declarations=strange))
    assert not points and "colour" in problems[0]


def test_devices_are_compared_where_there_are_two() -> None:
    """A panel for each pair, cpu first, with the verdicts that differ; none for one device."""
    rows = [row("conforms", device=d, bound_share=0.1) for d in ("cuda:0", "cpu")]
    rows += [row("violates", device="cuda:0", dtype="float64", bound_share=3.0), row(dtype="float64", bound_share=0.2)]
    (panel,) = plots.devices(rows)
    assert panel.title == "cpu (across) and cuda:0 (up)" and panel.note.startswith("2 rows on both, 1 with another")
    assert panel.rows == (
        ("numpy", "float64", "BN-RUN-VAR", "conforms 0.2", "violates 3"),
        ("numpy", "float32", "BN-RUN-VAR", "conforms 0.1", "conforms 0.1"),
    )
    assert plots.devices([row()]) == []


def points(*names: str) -> list[plots.Condition]:
    """Two points of each implementation, the second beyond the two-pass bound."""
    return [
        plots.Condition(name, "cpu", "float32", f"case {power}", 10.0**power, error, 1e-6, 1e-3, beyond, False)
        for name in names
        for power, error, beyond in ((1, 1e-7, False), (3, 1e-4, True))
    ]


def test_implementations_are_told_apart() -> None:
    """By colour and shape, by a key, where a pointer rests, and in the table; the first eight by both of the first."""
    names = [f"backend {number}" for number in range(12)]
    (panel,) = plots.conditioning(points(*names))
    assert [one.name for one in panel.key] == sorted(names)
    assert len({one.colour for one in panel.key[:8]}) == len({one.letter for one in panel.key[:8]}) == 8
    assert len({(one.colour, one.letter) for one in panel.key}) == 12
    titles = [element.text for element in ET.fromstring(panel.svg).iter("{http://www.w3.org/2000/svg}title")]
    assert (
        len(titles) == 24 and "backend 3, case 1: condition number 10, error 1e-07, within the two-pass bound" in titles
    )
    assert len(panel.rows) == 24 and panel.heads[0] == "implementation"


def test_what_lies_beyond_is_ringed() -> None:
    """And the table says so in words."""
    (panel,) = plots.conditioning(points("a"))
    assert panel.svg.count("var(--bad)") >= 1
    assert [line[-1] for line in panel.rows] == [
        "within the two-pass bound", "beyond the two-pass bound, within the one-pass bound",
    ]  # fmt: skip


def test_names_of_adapters_are_not_drawn() -> None:
    """They stand beside the plot, and where a pointer rests, with nothing in them that is obeyed."""
    (panel,) = plots.conditioning(points("<b>$x$\x1b"))
    drawn = [element for element in ET.fromstring(panel.svg).iter() if element.tag.endswith("}text")]
    assert not [element for element in drawn if "x$" in "".join(element.itertext())]
    assert "<b>" not in panel.svg and "\x1b" not in panel.svg


def test_plots_follow_the_page_and_bring_nothing() -> None:
    """Colours are the page's variables, and no style, metadata or address comes with a plot."""
    (panel,) = plots.conditioning(points("a"))
    assert not re.search(r"#(0[1-9a-e])\1\1", panel.svg) and "var(--ink)" in panel.svg and "var(--s1)" in panel.svg
    assert "<style" not in panel.svg and "metadata" not in panel.svg
    assert set(re.findall(r"https?://[^\"]+", panel.svg)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
