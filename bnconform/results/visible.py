"""Text that may hold anything, so that it can be shown: what a terminal, a page or a log would obey is written out."""

from __future__ import annotations

import unicodedata


def visible(text: str, keep: str = "") -> str:
    r"""The text with every control character, line end, mark that turns it round and half of a pair as its escape.

    `\n`, `\x1b` and `\u202e` are then read as such. A space of any width is a space.

    Args:
        keep: characters that stay as they are, such as "\n".
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in keep else _escape(letter) for letter in text)


def _escape(letter: str) -> str:
    return " " if unicodedata.category(letter) == "Zs" else letter.encode("unicode_escape").decode("ascii")


def cut_names(names: list[str], most: int = 8, longest: int = 80) -> str:
    """Names in a row, visible and separated by commas: each cut, and of many the first, with how many more."""
    shown = [visible(name if len(name) <= longest else f"{name[: longest - 3]}...") for name in names[:most]]
    more = [f"{len(names) - most} more"] if len(names) > most else []
    return " and ".join(filter(None, [", ".join(shown), *more])) if more else ", ".join(shown)
