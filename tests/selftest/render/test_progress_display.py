"""What is shown while a run goes on: a bar where there is a terminal, a line now and then in a log."""

from __future__ import annotations

import io

import pytest

from bnconform.cli.run_display import asks_for_pytests_words
from bnconform.render.progress_display import EVERY_LINE, ProgressDisplay, has_bar


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_log_has_few_lines() -> None:
    """One at the beginning, then one in so many seconds, with what is judged and how many fail."""
    stream, clock = io.StringIO(), Clock()
    display = ProgressDisplay(stream, bar=False, clock=clock)
    display.begin(400, "Judging \x1b[31m")
    for number in range(200):
        clock.now = (number + 1) * EVERY_LINE / 100
        display.advance("mine:cpu-float32", failed=number % 2 == 0)
    display.end()
    assert stream.getvalue().splitlines() == [
        r"Judging \x1b[31m",
        "  25 %: 100 of 400 checks, 50 fail (mine:cpu-float32)",
        "  50 %: 200 of 400 checks, 100 fail (mine:cpu-float32)",
    ]


def test_a_bar_goes_away() -> None:
    """It shows the subject and the count, takes markup for text, and leaves the line empty."""
    stream, clock = Terminal(), Clock()
    display = ProgressDisplay(stream, bar=True, clock=clock)
    display.begin(4, "Judging")
    clock.now = 1.0
    display.advance("a[red]b", failed=True)
    shown = stream.getvalue()
    assert "a[red]b, 1 fail" in shown and "1/4" in shown
    display.end()
    assert stream.getvalue().endswith("\x1b[2K")


@pytest.mark.parametrize(("term", "due"), [("xterm", True), ("dumb", False), ("", False)])
def test_where_a_bar_can_be(term: str, due: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in a pipe, and not on a terminal that cannot move its cursor."""
    monkeypatch.setenv("TERM", term)
    assert has_bar(Terminal()) is due
    assert not has_bar(io.StringIO())


def test_whoever_asks_has_pytests_words() -> None:
    """-v and --tb ask for them; nothing else of pytest's does."""
    assert all(map(asks_for_pytests_words, (["-v"], ["-vv"], ["--verbose"], ["--tb=long"], ["--tb", "short"])))
    assert not asks_for_pytests_words(["-k", "v", "-x", "--durations=1", "--time-limit", "3"])
