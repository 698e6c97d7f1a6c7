"""A browser, and what finds faults in pages, for the tests of this folder."""

from __future__ import annotations

from bnconform.tests.selftest.render.browser import axe, chromium

__all__ = ["axe", "chromium"]
