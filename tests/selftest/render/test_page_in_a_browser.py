"""The page in headless Chromium, opened from a file: filters work, it fits a phone, and no request leaves it.

Chromium is that of the system, or the one that `playwright install chromium` brought. Where there is none the tests
are skipped, but in CI (where the variable CI is set) they fail: there it must be installed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bnconform.cli.main import main
from bnconform.render.evidence import clean
from bnconform.results import result as results
from bnconform.spec.catalogue import requirements
from bnconform.tests.selftest.render.test_page import EVIL, hostile
from bnconform.tests.selftest.rows import row, run

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
BACKENDS = ("alpha", "beta", EVIL)
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser; none is a reason to skip, but not in CI."""

    def lacking(what: str) -> None:
        if os.environ.get("CI"):
            pytest.fail(f"CI must install {what}: the page was not opened in a browser")
        pytest.skip(f"{what} is not installed")

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


@dataclass
class Opened:
    """A page that was opened, and what happened on it."""

    page: Any
    requests: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def choose(self, **filters: str) -> None:
        """Set filters as a person does."""
        for name, value in filters.items():
            control = self.page.locator(f"#filters [name={name}]")
            control.fill(value) if name == "text" else control.select_option(value)

    def rows(self) -> list[str]:
        """The requirements that the matrix shows."""
        return list(
            self.page.eval_on_selector_all("#cells tbody tr[data-rule]", _VISIBLE + ".map(e => e.dataset.rule)")
        )

    def columns(self) -> int:
        """How many columns it shows."""
        return int(self.page.eval_on_selector_all("#cells thead tr:nth-child(2) th", _VISIBLE + ".length"))

    def wide(self) -> bool:
        """Whether the page itself must be scrolled sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))


_VISIBLE = "all => all.filter(e => e.checkVisibility())"


def _result() -> results.Result:
    """Two implementations that conform but for a must, a should and a declared deviation, and a hostile one."""
    rows = []
    for number, rule in enumerate(requirements().values()):
        for backend in BACKENDS:
            for dtype in ("float64", "float32"):
                verdict = "conforms"
                if backend == "beta" and dtype == "float32":
                    verdict = {0: "violates", 1: "deviates"}.get(number, "conforms")
                    verdict = "violates" if rule.id == "BN-NUM-STABLE" else verdict
                message = "" if verdict == "conforms" else f"what {backend} does in {rule.id}: {EVIL}"
                share = 0.1 if verdict != "violates" else 7.0
                rows.append(row(verdict, backend=backend, dtype=dtype, requirement=rule.id, level=rule.level,
                                message=message, bound_share=share))  # fmt: skip
    return run(*rows)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page, as the command writes it."""
    folder = tmp_path_factory.mktemp("page")
    results.write(folder / "r.json", _result())
    assert main(["report", str(folder / "r.json"), "--html", str(folder / "page.html")]) == 0
    return folder / "page.html"


def opened(chromium: Any, file: Path, size: str = "desktop", scheme: str = "light", **context: Any) -> Opened:
    """The page in a window of its own."""
    width, height = SIZES[size]
    view = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **context)
    found = Opened(view.new_page())
    found.page.on("request", lambda request: found.requests.append(request.url))
    found.page.on("pageerror", lambda error: found.troubles.append(str(error)))
    found.page.on("console", lambda message: found.troubles.append(message.text))
    found.page.on("dialog", lambda dialog: found.troubles.append(dialog.message))
    found.page.goto(file.as_uri())
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
def test_page_opens_and_asks_for_nothing(size: str, scheme: str, chromium: Any, file: Path) -> None:
    """Nothing but the file is requested, nothing complains, and only the boxes in it scroll sideways."""
    found = opened(chromium, file, size, scheme)
    for _ in range(2):
        found.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        assert not found.wide()
    found.page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    found.page.wait_for_timeout(200)
    assert found.requests == [file.as_uri()] and found.troubles == []
    paper = found.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(paper.removeprefix("rgb(").split(",")[0]) > 127) == (scheme == "light")


def test_policy_refuses_a_request(chromium: Any, file: Path) -> None:
    """A picture that is added to the page is not loaded, and the browser says why."""
    found = opened(chromium, file)
    found.page.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}))")
    found.page.wait_for_timeout(200)
    assert any("Content Security Policy" in trouble for trouble in found.troubles)


def test_filters(chromium: Any, file: Path) -> None:
    """Each filter leaves what it is about, they combine, and all can be shown again."""
    found = opened(chromium, file)
    every = list(requirements())
    assert (found.rows(), found.columns()) == (every, 6)
    found.choose(backend="beta")
    assert (found.rows(), found.columns()) == (every, 2)
    found.choose(dtype="float32")
    assert found.columns() == 1
    found.choose(verdict="fails")
    assert found.rows() == [every[0], "BN-NUM-STABLE"]
    assert found.page.locator("#told").inner_text() == f"2 of {len(every)} requirements"
    found.choose(level="should")
    assert found.rows() == ["BN-NUM-STABLE"]
    found.choose(level="", verdict="not")
    assert found.rows() == [every[0], every[1], "BN-NUM-STABLE"]
    found.choose(verdict="deviates")
    assert found.rows() == [every[1]]
    found.choose(dtype="float64")
    assert found.rows() == []
    found.page.get_by_role("button", name="Show all").click()
    found.page.wait_for_timeout(100)
    assert (found.rows(), found.columns()) == (every, 6)
    found.choose(text="run-var")
    assert found.rows() == [name for name in every if "RUN-VAR" in name]
    assert found.page.locator("details.rule:visible").count() == len(found.rows())
    found.choose(text="no such words", backend=clean(EVIL))
    assert found.rows() == [] and found.troubles == []


def test_findings_follow_the_filters(chromium: Any, file: Path) -> None:
    """The evidence of other implementations and dtypes is hidden with them."""
    found = opened(chromium, file)
    finding = found.page.locator("details.rule [data-finding=violates][data-backend=beta]").first
    assert finding.get_attribute("data-dtypes") == "float32" and finding.get_attribute("hidden") is None
    found.choose(backend="alpha")
    assert finding.get_attribute("hidden") is not None
    found.choose(backend="beta", dtype="float64")
    assert finding.get_attribute("hidden") is not None
    found.choose(dtype="float32")
    assert finding.get_attribute("hidden") is None


def test_cell_leads_to_its_evidence(chromium: Any, file: Path) -> None:
    """By keyboard: the letter of a violation opens the requirement's section, with the message in it."""
    found = opened(chromium, file)
    first = next(iter(requirements()))
    found.page.locator(f"#cells tr[data-rule={first}] td a").first.focus()
    found.page.keyboard.press("Enter")
    found.page.wait_for_timeout(200)
    assert found.page.locator(f"details#{first}").get_attribute("open") is not None
    assert found.page.locator(f"details#{first} pre", has_text="what beta does").is_visible()
    assert "<script>alert(1)</script>" in found.page.locator(f"details#{first}").inner_text()


def test_heads_stay_while_the_matrix_scrolls(chromium: Any, file: Path) -> None:
    """The names of columns and rows stay in sight, on a phone too."""
    found = opened(chromium, file, "phone")
    box = found.page.locator(".scroll.tall")
    box.evaluate("one => { one.scrollTop = 900; one.scrollLeft = 60; }")
    place = box.bounding_box()
    head = found.page.locator("#cells thead").bounding_box()
    corner = found.page.locator("#cells thead .head").bounding_box()
    assert abs(head["y"] - place["y"]) < 3 and abs(corner["x"] - place["x"]) < 3
    assert box.evaluate("one => one.scrollWidth > one.clientWidth && one.scrollHeight > one.clientHeight")


def test_page_is_read_without_script(chromium: Any, file: Path) -> None:
    """Without script the matrix and all sections are there, and no filter that would do nothing."""
    found = opened(chromium, file, java_script_enabled=False)
    assert found.page.locator("#cells tbody tr[data-rule]").count() == len(requirements())
    assert found.page.locator("#cells tbody tr[data-rule]").last.is_visible()
    assert not found.page.locator("#filters").is_visible()
    assert found.page.locator("details.rule summary").first.is_visible()


def test_hostile_page_does_nothing(chromium: Any, tmp_path: Path) -> None:
    """A result of which every text is hostile opens no dialog, makes no request and still filters."""
    results.write(tmp_path / "r.json", hostile())
    assert main(["report", str(tmp_path / "r.json"), "--html", str(tmp_path / "page.html")]) == 0
    found = opened(chromium, tmp_path / "page.html")
    found.choose(verdict="violates")
    found.page.wait_for_timeout(300)
    assert found.requests == [(tmp_path / "page.html").as_uri()] and found.troubles == []
    assert len(found.rows()) == 2 and found.page.evaluate("document.scripts.length") == 1
