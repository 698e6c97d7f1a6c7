"""The page in headless Chromium, opened from a file: filters work, it fits a phone, and no request leaves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bnconform.cli.main import main
from bnconform.render.evidence import clean
from bnconform.results import result as results
from bnconform.spec.catalogue import requirements
from bnconform.tests.selftest.render.browser import SCHEMES, SIZES, VISIBLE, Opened, open_page
from bnconform.tests.selftest.render.test_page import EVIL, hostile
from bnconform.tests.selftest.rows import row, run

BACKENDS = ("alpha", "beta", EVIL)


def choose(found: Opened, **filters: str) -> None:
    """Set filters as a person does."""
    for name, value in filters.items():
        control = found.page.locator(f"#filters [name={name}]")
        control.fill(value) if name == "text" else control.select_option(value)


def rows(found: Opened) -> list[str]:
    """The requirements that the matrix shows."""
    return list(found.page.eval_on_selector_all("#cells tbody tr[data-rule]", VISIBLE + ".map(e => e.dataset.rule)"))


def columns(found: Opened) -> int:
    """How many columns it shows."""
    return int(found.page.eval_on_selector_all("#cells thead tr:nth-child(2) th", VISIBLE + ".length"))


def _result() -> results.Result:
    """Two implementations that conform but for a must, a should and a declared deviation, and a hostile one."""
    made = []
    for number, rule in enumerate(requirements().values()):
        for backend in BACKENDS:
            for dtype in ("float64", "float32"):
                verdict = "conforms"
                if backend == "beta" and dtype == "float32":
                    verdict = {0: "violates", 1: "deviates"}.get(number, "conforms")
                    verdict = "violates" if rule.id == "BN-NUM-STABLE" else verdict
                message = "" if verdict == "conforms" else f"what {backend} does in {rule.id}: {EVIL}"
                share = 0.1 if verdict != "violates" else 7.0
                made.append(row(verdict, backend=backend, dtype=dtype, requirement=rule.id, level=rule.level,
                                message=message, bound_share=share))  # fmt: skip
    return run(*made)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page, as the command writes it."""
    folder = tmp_path_factory.mktemp("page")
    results.write(folder / "r.json", _result())
    assert main(["report", str(folder / "r.json"), "--html", str(folder / "page.html")]) == 0
    return folder / "page.html"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", list(SIZES))
def test_page_opens_and_asks_for_nothing(size: str, scheme: str, chromium: Any, file: Path) -> None:
    """Nothing but the file is requested, nothing complains, and only the boxes in it scroll sideways."""
    found = open_page(chromium, file, size, scheme)
    for _ in range(2):
        found.unfold()
        assert not found.wide()
    found.page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    found.page.wait_for_timeout(200)
    assert found.requests == [file.as_uri()] and found.troubles == []
    paper = found.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(paper.removeprefix("rgb(").split(",")[0]) > 127) == (scheme == "light")


def test_policy_refuses_a_request(chromium: Any, file: Path) -> None:
    """A picture that is added to the page is not loaded, and the browser says why."""
    found = open_page(chromium, file)
    found.page.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}))")
    found.page.wait_for_timeout(200)
    assert any("Content Security Policy" in trouble for trouble in found.troubles)


def test_filters(chromium: Any, file: Path) -> None:
    """Each filter leaves what it is about, they combine, and all can be shown again."""
    found = open_page(chromium, file)
    every = list(requirements())
    assert (rows(found), columns(found)) == (every, 6)
    choose(found, backend="beta")
    assert (rows(found), columns(found)) == (every, 2)
    choose(found, dtype="float32")
    assert columns(found) == 1
    choose(found, verdict="fails")
    assert rows(found) == [every[0], "BN-NUM-STABLE"]
    assert found.page.locator("#told").inner_text() == f"2 of {len(every)} requirements"
    choose(found, level="should")
    assert rows(found) == ["BN-NUM-STABLE"]
    choose(found, level="", verdict="not")
    assert rows(found) == [every[0], every[1], "BN-NUM-STABLE"]
    choose(found, verdict="deviates")
    assert rows(found) == [every[1]]
    choose(found, dtype="float64")
    assert rows(found) == []
    found.page.get_by_role("button", name="Show all").click()
    found.page.wait_for_timeout(100)
    assert (rows(found), columns(found)) == (every, 6)
    choose(found, text="run-var")
    assert rows(found) == [name for name in every if "RUN-VAR" in name]
    found.unfold()
    assert found.page.locator("details.rule:visible").count() == len(rows(found))
    choose(found, text="no such words", backend=clean(EVIL))
    assert rows(found) == [] and found.troubles == []


def test_findings_follow_the_filters(chromium: Any, file: Path) -> None:
    """The evidence of other implementations and dtypes is hidden with them."""
    found = open_page(chromium, file)
    finding = found.page.locator("details.rule [data-finding=violates][data-backend=beta]").first
    assert finding.get_attribute("data-dtypes") == "float32" and finding.get_attribute("hidden") is None
    choose(found, backend="alpha")
    assert finding.get_attribute("hidden") is not None
    choose(found, backend="beta", dtype="float64")
    assert finding.get_attribute("hidden") is not None
    choose(found, dtype="float32")
    assert finding.get_attribute("hidden") is None


def test_cell_leads_to_its_evidence(chromium: Any, file: Path) -> None:
    """By keyboard: the letter of a violation opens the requirement's section, with the message in it."""
    found = open_page(chromium, file)
    first = next(iter(requirements()))
    found.page.locator(f"#cells tr[data-rule={first}] td a").first.focus()
    found.page.keyboard.press("Enter")
    found.page.wait_for_timeout(200)
    assert found.page.locator(f"details[data-rule={first}]").get_attribute("open") is not None
    assert found.page.locator(f"details[data-rule={first}] pre", has_text="what beta does").is_visible()
    assert "<script>alert(1)</script>" in found.page.locator(f"details[data-rule={first}]").inner_text()


def test_heads_stay_while_the_matrix_scrolls(chromium: Any, file: Path) -> None:
    """The names of columns and rows stay in sight, on a phone too."""
    found = open_page(chromium, file, "phone")
    box = found.page.locator(".scroll.tall")
    box.evaluate("one => { one.scrollTop = 900; one.scrollLeft = 60; }")
    place = box.bounding_box()
    head = found.page.locator("#cells thead").bounding_box()
    corner = found.page.locator("#cells thead .head").bounding_box()
    assert abs(head["y"] - place["y"]) < 3 and abs(corner["x"] - place["x"]) < 3
    assert box.evaluate("one => one.scrollWidth > one.clientWidth && one.scrollHeight > one.clientHeight")


def test_page_is_read_without_script(chromium: Any, file: Path) -> None:
    """Without script the matrix and all sections are there, and no filter that would do nothing."""
    found = open_page(chromium, file, java_script_enabled=False)
    assert found.page.locator("#cells tbody tr[data-rule]").count() == len(requirements())
    assert found.page.locator("#cells tbody tr[data-rule]").last.is_visible()
    assert not found.page.locator("#filters").is_visible()
    assert found.page.locator("details.chapter > summary").first.is_visible()


def test_hostile_page_does_nothing(chromium: Any, tmp_path: Path) -> None:
    """A result of which every text is hostile opens no dialog, makes no request and still filters."""
    results.write(tmp_path / "r.json", hostile())
    assert main(["report", str(tmp_path / "r.json"), "--html", str(tmp_path / "page.html")]) == 0
    found = open_page(chromium, tmp_path / "page.html")
    choose(found, verdict="violates")
    found.page.wait_for_timeout(300)
    assert found.requests == [(tmp_path / "page.html").as_uri()] and found.troubles == []
    assert len(rows(found)) == 2 and found.page.evaluate("document.scripts.length") == 1


def test_first_screen_says_it(chromium: Any, file: Path) -> None:
    """Without scrolling: the verdict and the picture; of one implementation the causes, too."""
    found = open_page(chromium, file)
    height = SIZES["desktop"][1]
    for selector in ("ul.standings li", ".heat svg", ".heat .key"):
        box = found.page.locator(selector).first.bounding_box()
        assert box["y"] + box["height"] <= height, selector


def test_filters_stand_in_the_address(chromium: Any, file: Path) -> None:
    """A link shows what its sender saw, and what is shown again has no filter in it."""
    found = open_page(chromium, file)
    choose(found, backend="beta", verdict="fails")
    shown, address = rows(found), found.page.url
    assert address.endswith("#backend=beta&verdict=fails")
    found.page.goto("about:blank")
    found.page.goto(address)
    assert rows(found) == shown and columns(found) == 2
    found.page.get_by_role("button", name="Show all").click()
    found.page.wait_for_timeout(100)
    assert "=" not in found.page.url


def test_what_is_folded_is_printed(chromium: Any, file: Path) -> None:
    """On paper all is unfolded, nothing is cut off, and no control is there."""
    found = open_page(chromium, file)
    found.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    found.page.emulate_media(media="print")
    assert found.page.locator("details:not([open])").count() == 0
    assert not found.page.locator("#filters").is_visible() and not found.page.locator("nav").is_visible()
    assert not found.page.locator(".scroll.tall").evaluate("one => one.scrollHeight > one.clientHeight + 1")


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_nobody_is_shut_out(scheme: str, chromium: Any, axe: str, file: Path) -> None:
    """axe-core finds no fault, with all unfolded."""
    found = open_page(chromium, file, scheme=scheme, bypass_csp=True)
    found.unfold()
    assert found.faults(axe) == []
