"""Text from the side that executes, fit to be shown: it may hold anything."""

from __future__ import annotations

LONGEST = 4000
"""Characters of a text that are kept."""


def printable(given: object) -> str:
    """A text on one line, of characters that a terminal shows and every encoding has; not too long."""
    text = str(given)[:LONGEST]
    return "".join(
        character if character.isprintable() else " " if character.isspace() else "?" for character in text
    ).strip()
