"""Pages in headless Chromium, opened from files, and what happens on them; and axe-core, which finds what shuts out.

Chromium is that of the system, or the one that `playwright install chromium` brought. axe-core is a package of npm: the
file that the variable AXE_CORE names (`axe.min.js`), that of `node_modules` in the clone, or a global one. Where one
of them is missing the tests that need it are left out and say so, but in CI (where the variable CI is set) they fail:
there it must be installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bnconform.cli.main import ROOT

SYSTEM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 120_000
"""Milliseconds that a page may take to open, beside whatever else the machine does."""

SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
SCHEMES = ("light", "dark")
AXE = Path("axe-core", "axe.min.js")

VISIBLE = "all => all.filter(e => e.checkVisibility())"


def lacking(what: str) -> None:
    """Leave a test out because something is not installed, and fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must install {what}")
    pytest.skip(f"{what} is not installed")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        lacking("playwright")
    with sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, SYSTEM)), None)
        try:
            browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        except Error as problem:
            lacking(f"a Chromium that starts ({str(problem).splitlines()[0]})")
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    places = [Path(os.environ["AXE_CORE"])] if os.environ.get("AXE_CORE") else [ROOT / "node_modules" / AXE]
    npm = shutil.which("npm")
    if npm and not places[0].is_file():
        done = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=False)
        places.append(Path(done.stdout.strip() or "/nowhere") / AXE)
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        lacking("axe-core (npm install axe-core)")
    assert found is not None
    return found.read_text(encoding="utf-8")


@dataclass
class Opened:
    """A page that was opened, and what happened on it."""

    page: Any
    requests: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def wide(self) -> bool:
        """Whether the page itself must be scrolled sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))

    def unfold(self) -> None:
        """Open all that is folded."""
        self.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")

    def faults(self, axe: str) -> list[str]:
        """The faults that axe-core finds, serious or not, each with the places where it finds it."""
        found = self.page.evaluate(f"{axe}; axe.run(document, {{resultTypes: ['violations']}})")
        return [
            f"{one['id']}: {one['help']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
            for one in found["violations"]
        ]


def open_page(chromium: Any, file: Path, size: str = "desktop", scheme: str = "light", **context: Any) -> Opened:
    """The page in a window of its own."""
    width, height = SIZES[size]
    view = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **context)
    view.set_default_timeout(PATIENCE)
    found = Opened(view.new_page())
    found.page.on("request", lambda request: found.requests.append(request.url))
    found.page.on("pageerror", lambda error: found.troubles.append(str(error)))
    found.page.on("console", lambda message: found.troubles.append(message.text))
    found.page.on("dialog", lambda dialog: found.troubles.append(dialog.message))
    found.page.goto(file.as_uri())
    return found
