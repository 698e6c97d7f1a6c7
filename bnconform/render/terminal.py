"""A result in the terminal: the matrix, a card for each cause, and last where each implementation stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.console import Console
from rich.text import Text

from bnconform.render import matrix, messages
from bnconform.render.cards import Card, cards
from bnconform.render.evidence import count_compared, first_line
from bnconform.render.printer import Printer
from bnconform.render.standing import BAD, GOOD, PART, next_step, standings
from bnconform.results.failure import VIOLATION
from bnconform.results.result import LEVELS, Result
from bnconform.results.visible import cut_names

IN_FULL = 12
"""Cards that are shown in full; the rest are a line each."""

LONGEST = 400
"""Characters of one entry of a card; a replay shows all of it."""

ALIKE = 4
"""Requirements that are named of those that fail for the same cause."""

STYLES = {GOOD: "bold green", PART: "bold yellow", BAD: "bold red"}

INDENT = 4


def render(
    result: Result,
    titles: Mapping[str, str],
    chapters: Mapping[str, str],
    console: Console,
    between: Callable[[], object] = lambda: None,
) -> None:
    """Print the result on `console`, within its width.

    Args:
        titles, chapters: by requirement; see `matrix.render`.
        between: what else is printed, before the last lines.
    """
    printer = Printer(console)
    matrix.render(result, titles, chapters, printer)
    found = cards(result)
    _cards(printer, found, titles)
    printer.line()
    for sentence in _counts(result):
        printer.print_wrapped(Text(sentence))
    between()
    printer.line()
    for standing in standings(result, found):
        printer.print_wrapped(Text(standing.sentence, STYLES[standing.kind]), hanging=2)
    printer.print_wrapped(Text(next_step(result, found)), hanging=6)


def _cards(printer: Printer, found: Sequence[Card], titles: Mapping[str, str]) -> None:
    if not found:
        return
    printer.line()
    musts = sum(card.level == "must" for card in found)
    order = ", the musts first" if 0 < musts < len(found) else ""
    printer.line(Text(f"What fails: {len(found)} cause{'' if len(found) == 1 else 's'}{order}", "bold"))
    for number, card in enumerate(found, start=1):
        head = Text(f"{number:<3}") + matrix.mark(card.shown)
        head.append(f" {cut_names([card.backend])}  ").append(card.cause, "bold")
        printer.print_wrapped(head, hanging=INDENT)
        if number <= IN_FULL:
            for label, text in entries(card, titles.get(card.shown.requirement, "")):
                printer.print_labelled(label, text, INDENT, whole=label == "replay")


def entries(card: Card, title: str) -> Iterator[messages.Line]:
    """What a card says after its first line, each entry with its label.

    Args:
        title: of the requirement that the case it shows is about.
    """
    row = card.shown
    level = "" if row.level == "must" else f" ({row.level})"
    yield row.verdict, f"{row.requirement}{level}: {title}" if title else f"{row.requirement}{level}"
    if row.failure is not None and row.failure.kind == VIOLATION:
        yield from ((label, _cut(text)) for label, text in messages.entries(row.failure) if label != "diagnosis")
    else:
        # What the cause says already is not said again.
        yield from (("", _cut(line)) for line in row.message.strip().splitlines()[:ALIKE] if line.strip() != card.cause)
        if row.case:
            yield "case", row.case
    if card.flaky:
        yield "flaky", card.flaky
    yield "where", card.places
    if card.checks > 1:
        yield "alike", alike(card)


def alike(card: Card) -> str:
    """How many other checks fail for the same cause, and of which requirements."""
    named = [f"{name} ({many})" if many > 1 else name for name, many in card.requirements[:ALIKE]]
    more = len(card.requirements) - len(named)
    others = card.checks - 1
    text = f"{others} other{'' if others == 1 else 's'} alike; in all {', '.join(named)}"
    return f"{text} and {more} more requirement{'' if more == 1 else 's'}" if more > 0 else text


def _cut(text: str) -> str:
    return first_line(text, LONGEST)


def _counts(result: Result) -> Iterator[str]:
    """The verdicts by level, and the time."""
    parts = []
    for level in LEVELS:
        counts = Counter(row.verdict for row in result.rows if row.level == level)
        if counts:
            words = ", ".join(f"{counts[verdict]} {verdict}" for verdict in matrix.LETTERS if counts[verdict])
            parts.append(f"{level}: {words}")
    compared = count_compared(result.rows)
    yield f"{'; '.join(parts) or 'nothing was judged'}; {compared} in {result.environment.seconds:.1f} s"
    used = [f"{name} {usage.seconds:.1f} s" for name, usage in result.environment.backends.items()]
    if used:
        yield f"inside the backend's own calls, all processes together: {', '.join(used)}"
