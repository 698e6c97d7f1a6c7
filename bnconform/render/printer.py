"""Lines in a terminal: never wider than it, in characters that it has, and with nothing in them that it would obey."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from bnconform.results.visible import visible

LABEL = 11
"""Columns of the label before what is said of it."""


class Printer:
    """Prints on a console."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def line(self, text: Text = Text(), indent: int = 0) -> None:  # noqa: B008  nobody changes it
        """Print one line, cut at the console's width."""
        padded = self._safe(Text(" " * indent) + text)
        padded.rstrip()
        self.console.print(padded, highlight=False, no_wrap=True, overflow="crop", crop=True)

    def print_wrapped(self, text: Text, indent: int = 0, *, hanging: int = 0, whole: bool = False) -> None:
        """Print text over as many lines as it needs.

        Args:
            hanging: how much further the lines after the first are indented.
            whole: leave the lines to the terminal, for what is to be copied.
        """
        if whole:
            self.console.print(self._safe(Text(" " * indent) + text), highlight=False, soft_wrap=True)
            return
        safe, room = self._safe(text), max(self.console.width - indent, 1)
        first, *rest = safe.wrap(self.console, room)
        if rest and hanging and room - hanging >= LABEL:
            self.line(first, indent)
            cut = len(first.plain)
            while cut < len(safe.plain) and safe.plain[cut] == " ":
                cut += 1
            rest = list(safe[cut:].wrap(self.console, room - hanging))
            for part in rest:
                self.line(part, indent + hanging)
            return
        for part in (first, *rest):
            self.line(part, indent)

    def print_labelled(self, label: str, text: str, indent: int, *, whole: bool = False) -> None:
        """Print what a label is of, the further lines under the first."""
        self.print_wrapped(Text(f"{label:<{LABEL}}{text}"), indent, hanging=LABEL, whole=whole)

    def _safe(self, text: Text) -> Text:
        # What is written out takes more room than what it stands for, so styles are moved part by part.
        if text.plain.isprintable() and _fits(text.plain, self.console.encoding):
            return text.copy()
        safe = Text(style=text.style)
        for letter, piece in ((part.plain, part) for part in text.divide(range(1, len(text.plain)))):
            shown = visible(letter).encode(self.console.encoding, "replace").decode(self.console.encoding)
            safe.append(shown, piece.spans[-1].style if piece.spans else None)
        return safe


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeError:
        return False
    return True
