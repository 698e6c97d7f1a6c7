"""Text from the side that executes, fit to be shown: it may hold anything."""

from __future__ import annotations

from bnconform.results.visible import visible

LONGEST = 4000
"""Characters of a text that are kept."""


def printable(given: object) -> str:
    """A text on one line, not too long: what a terminal would obey, a line end among it, is written out."""
    return visible(str(given).strip()[:LONGEST])
