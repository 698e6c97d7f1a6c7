"""The site in headless Chromium, opened from a folder: every kind of page, on a desk and a phone, light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bnconform.cli.main import main
from bnconform.results import result as results
from bnconform.tests.selftest.render.browser import open_page
from bnconform.tests.selftest.render.test_page import hostile
from bnconform.tests.selftest.render.test_site import FOLD, date
from bnconform.tests.selftest.rows import grid, row, run

PAGES = (
    "index.html", "implementations/torch.nn.html", "requirements/index.html", "requirements/BN-RUN-VAR.html",
    "findings/index.html", "findings/torch-one-accumulator.html", "porting/index.html", "porting/keras.html",
    "porting/from-torch.nn.html", "kill-matrix.html",
)  # fmt: skip
"""One of each kind."""

LOOKED_AT = [(page, "phone", "light") for page in PAGES] + [(page, "desktop", "dark") for page in PAGES[:4]]
"""The pages that are opened: each on a phone, and those that differ most on a desk in the dark."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site as the command writes it."""
    folder = tmp_path_factory.mktemp("site")
    torch = run(*grid(["torch.nn", "mine"]), row("violates", backend="torch.fx.fuse", requirement=FOLD, message="x"))
    results.write(folder / "new.json", date(torch, "2026-02-01"))
    results.write(folder / "old.json", date(run(row(backend="torch.nn")), "2026-01-01", "2.9.0"))
    results.write(folder / "evil.json", hostile())
    given = [str(folder / name) for name in ("new.json", "old.json", "evil.json", "out")]
    assert main(["site", *given]) == 0
    return folder / "out"


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize(("page", "size", "scheme"), LOOKED_AT)
def test_page_opens_and_asks_for_nothing(page: str, size: str, scheme: str, chromium: Any, site: Path) -> None:
    """Nothing but the file is requested, nothing complains, and only the boxes in it scroll sideways."""
    found = open_page(chromium, site / page, size, scheme)
    assert not found.wide()
    found.unfold()
    assert not found.wide()
    assert found.requests == [(site / page).as_uri()] and found.troubles == []


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize(("page", "size", "scheme"), [one for one in LOOKED_AT if one[0] != "kill-matrix.html"])
def test_nobody_is_shut_out(page: str, size: str, scheme: str, chromium: Any, axe: str, site: Path) -> None:
    """axe-core finds no fault, with all unfolded."""
    found = open_page(chromium, site / page, size, scheme, bypass_csp=True)
    found.unfold()
    assert found.faults(axe) == []


def test_links_are_followed_without_script(chromium: Any, site: Path) -> None:
    """From the front page to an implementation, from a cell of its picture to the requirement, and back."""
    found = open_page(chromium, site / "index.html", java_script_enabled=False)
    found.page.locator(".board a.name", has_text="torch.nn").click()
    assert found.page.url.endswith("implementations/torch.nn.html")
    found.page.locator(".heat svg a").first.click()
    assert "/requirements/BN-" in found.page.url
    found.page.get_by_role("link", name="BatchNorm conformance").click()
    assert found.page.url.endswith("/index.html")


def test_a_way_opens_by_its_address(chromium: Any, site: Path) -> None:
    """The browser unfolds what an address leads to, without script."""
    found = open_page(chromium, site / "porting" / "from-torch.nn.html", java_script_enabled=False)
    assert not found.page.locator("[id='flax.nnx']").is_visible()
    found.page.goto((site / "porting" / "from-torch.nn.html").as_uri() + "#flax.nnx")
    assert found.page.locator("[id='flax.nnx'] li.task").first.is_visible()
