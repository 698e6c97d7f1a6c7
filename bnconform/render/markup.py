"""HTML that is safe to show: templates that escape whatever a result says, and Markdown of ours as HTML.

Control characters are replaced. A policy in each page forbids every request, and every script but the page's own.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from bnconform.render.evidence import clean
from bnconform.results.result import FAILURES

TEMPLATES = Path(__file__).parent / "templates"

Link = Callable[[str], str]
"""Where a link of a Markdown text leads, by what it says; "" where it becomes mere words."""


def render(template: str, words: Mapping[str, Any], *, scripted: bool = False) -> str:
    """A page.

    Args:
        words: what the template speaks of. scripted: whether the page has the script that filters its matrix.
    """
    script = (TEMPLATES / "script.js").read_text(encoding="utf-8") if scripted else ""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    shared = {
        "style": Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        "script_policy": Markup(f"; script-src 'sha256-{digest}'" if scripted else ""),
        "failures": FAILURES,
    }
    return _templates().get_template(template).render({**shared, **words})


@cache
def _templates() -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: clean(value) if type(value) is str else value,
    )
    made.filters["breakable"] = breakable
    return made


def breakable(name: str) -> Markup:
    """A name that may be broken after its punctuation."""
    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[._+/:-])", clean(name)))


def https(target: str) -> str:
    """A link that leads out of the page to a document; "" for any other."""
    return target if target.startswith("https://") else ""


def html_of(markdown: str, link: Link = https, *, top: int = 3, name: str = "table") -> Markup:
    """Our own Markdown as HTML; HTML in it is text.

    Args:
        link: where its links lead. top: the level of its highest heading, on the page that it becomes a part of.
        name: of its tables, which are numbered, for those who do not see them.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(clean(markdown))
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) - 1 + top, 6)}"
        if token.type == "table_open":
            token.attrSet("class", "plain")
        for child in token.children or []:
            if child.type == "link_open":
                target = link(str(child.attrGet("href")))
                child.attrs.clear()
                if target:
                    child.attrSet("href", target)
    made = parser.renderer.render(tokens, parser.options, {})
    first, *parts = made.split("<table")
    regions = (f'<div class="scroll fit" role="region" tabindex="0" aria-label="{escape(name)} {place}"><table{part}'
               for place, part in enumerate(parts, 1))  # fmt: skip
    made = "".join([first, *regions]).replace("</table>", "</table></div>")
    made = made.replace("<pre>", '<pre tabindex="0">').replace("<th>", '<th scope="col">')
    return Markup(made.replace("<li>[ ] ", '<li class="task">').replace("<td></td>", "<td>&nbsp;</td>"))
