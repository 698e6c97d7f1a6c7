"""A figure as SVG to stand inside the page.

Matplotlib draws with the colours of INK, which are then replaced with the page's variables, so that a plot follows the
page from light to dark.
"""

from __future__ import annotations

import io
import math
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = {
    "#010101": "var(--ink)",
    "#020202": "var(--faint)",
    "#030303": "var(--line)",
    "#040404": "var(--first)",
    "#050505": "var(--second)",
    "#060606": "var(--bad)",
    **{f"#{number:02x}{number:02x}{number:02x}": f"var(--s{number - 6})" for number in range(7, 15)},
}
TEXT, FAINT, LINE, FIRST, SECOND, BAD, *SERIES = INK
"""Colours by what they are for; SERIES tells implementations apart, and so do the shapes of MARKERS."""

MARKERS = {
    "o": "\u25cf",
    "s": "\u25a0",
    "^": "\u25b2",
    "D": "\u25c6",
    "v": "\u25bc",
    "P": "\u271a",
    "X": "\u2716",
    "*": "\u2605",
}
"""The shapes of points by Matplotlib's name, with the letter that looks like each."""

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_SETTINGS: Mapping[str, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.edgecolor": LINE,
    "axes.labelcolor": TEXT,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": LINE,
    "grid.linewidth": 0.5,
    "text.color": TEXT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "axes.axisbelow": True,
}


def draw_figure(
    label: str, size: tuple[float, float], draw: Callable[[Axes], None], tips: Mapping[str, str] | None = None
) -> str:
    """The SVG of a figure with one pair of axes, whose ids begin with `label`.

    Args:
        tips: what is said where a pointer rests on a part, by the `gid` that it was drawn with.
    """
    with mpl.rc_context(), warnings.catch_warnings():
        # A letter that the font here lacks is drawn by the reader's.
        warnings.simplefilter("ignore", UserWarning)
        mpl.rcdefaults()
        settings: dict[Any, Any] = {**_SETTINGS, "svg.hashsalt": label}
        mpl.rcParams.update(settings)
        figure = Figure(figsize=size, layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        draw(axes)
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":
                axis.set_major_formatter(lambda value, _: f"1e{round(math.log10(value))}")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg")
    return _for_a_page(buffer.getvalue(), label, tips or {})


def standalone(size: tuple[float, float], draw: Callable[[Figure], None], description: str) -> str:
    """The SVG of a figure as a file of its own, on white, with a description; the same for the same figure."""
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        mpl.rcdefaults()
        settings: dict[Any, Any] = {
            "svg.fonttype": "none", "svg.hashsalt": "bnconform", "font.size": 9, "axes.grid": True,
            "grid.color": "#e0e0e0", "grid.linewidth": 0.5, "axes.spines.right": False, "axes.spines.top": False,
            "axes.axisbelow": True,
        }  # fmt: skip
        mpl.rcParams.update(settings)
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Description": description})
    return buffer.getvalue()


def _for_a_page(text: str, label: str, tips: Mapping[str, str]) -> str:
    """Only what a page needs of an SVG: no metadata, ids that nothing else has, the page's colours and font."""
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    root = ET.fromstring(text)
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style")]:
            parent.remove(child)
    used = set(re.findall(r"""(?:url\(#|href=["']#)([^)"']+)""", text))
    for element in root.iter():
        name = element.attrib.pop("id", None)
        if name is not None and name in tips:
            tip = ET.Element(f"{{{_SVG}}}title")
            tip.text = tips[name]
            element.insert(0, tip)
        if name in used:
            element.set("id", f"{label}-{name}")
        for key, value in element.attrib.items():
            value = re.sub(r"url\(#", f"url(#{label}-", value)
            if key == f"{{{_XLINK}}}href":
                value = value.replace("#", f"#{label}-", 1)
            if key == "style":
                value = re.sub("#(0[1-9a-e])\\1\\1", lambda found: INK[found[0]], value)
                value = value.replace("'DejaVu Sans', 'Bitstream Vera Sans', 'Computer Modern Sans Serif', ", "")
                value = re.sub(r"font: ([\d.]+px)[^;]*", r"font: \1 system-ui, sans-serif", value)
            element.set(key, value)
    root.attrib.pop("width")
    root.attrib.pop("height")
    # A style element of the plot would hold for the whole page.
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")
    root.set("aria-hidden", "true")
    root.set("focusable", "false")
    return re.sub(r">\s+<", "><", ET.tostring(root, encoding="unicode"))
