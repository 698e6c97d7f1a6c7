"""What it costs to judge tools that deploy models: the table, its page, what is refused; the everyday selection."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bnconform.backends import registry
from bnconform.cli import deployment_costs as command
from bnconform.cli.main import main
from bnconform.errors import UserError
from bnconform.execution.selection import EVERY, TOOLS, Selection
from bnconform.measure import deployment_costs
from bnconform.measure.deployment_costs import BEGIN, END, FILE, Cost, data, table, with_table

BACKENDS = Path(registry.__file__).parent


def test_a_row_says_what_is_the_tools_own() -> None:
    """The share of one tool, and the seconds of all processes where several ran."""
    one = Cost("torch.fx.fuse", 397, 40.0, 26.0, 10.0, 2.0)
    whole = data([one], Cost(TOOLS, 3000, 170.0, 300.0, 150.0, 1.0), "float32", {"torch": "2.13.0"})
    found = table({**whole, "processors": 2})
    assert "| `torch.fx.fuse` | 397 | | 26 | | 2 |" in table({**whole, "processors": 1}), "the clock of a busy machine"
    assert "| `torch.fx.fuse` | 397 | 40 | 26 | 25 % | 2 |" in found
    assert "| `--backend deployments -n 2` | 3000 | 170 | 300 | 150 s, of all processes | 1 |" in found


def test_a_page_without_a_place_is_refused() -> None:
    """The table stands between two marks; what is around them stays."""
    found = data([], None, "float32", {})
    assert with_table(f"a\n{BEGIN}\nold\n{END}\nb", found) == f"a\n{BEGIN}\n{table(found)}\n{END}\nb"
    with pytest.raises(UserError, match="no place for the table"):
        with_table("a page", found)


def test_the_page_has_what_was_measured() -> None:
    """The table of the page is that of the data beside it, and every tool in it is one."""
    found = json.loads((BACKENDS / FILE).read_text(encoding="utf-8"))
    page = (BACKENDS / command.PAGE).read_text(encoding="utf-8")
    assert with_table(page, found) == page
    assert {one["asked"] for one in found["tools"]} <= {*registry.DEPLOYMENTS}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--costs", "--torch", "a.py:make"], "leave --torch"),
        (["--costs", "--tool", "torch.fx.fuze"], "torch.fx.fuse"),
        (["--torch", "a.py:make", "--into", "here"], "--into belongs to --costs"),
    ],
    ids=["with a model", "no such tool", "into without costs"],
)
def test_what_cannot_be_measured_is_refused(given: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line, with exit status 2."""
    assert main(["deploy", *given]) == 2
    assert says in capsys.readouterr().err


def test_a_run_that_fails_is_told() -> None:
    """What cannot be judged has no cost."""
    with pytest.raises(UserError, match="could not be judged"):
        deployment_costs.measure("no.such.backend", "float32")


def test_the_everyday_tools_are_asked_in_single_precision() -> None:
    """Where no dtype is given, and unless a tool is named besides; all tools are asked in every dtype."""
    assert {*EVERY[TOOLS]} == {*registry.EVERYDAY} < {*EVERY[f"{TOOLS}:all"]} == {*registry.DEPLOYMENTS}
    chosen = Selection(in_process=True)
    chosen.keys([TOOLS, "torch.fx.fuse"])
    assert chosen._everyday == {*registry.EVERYDAY} - {"torch.fx.fuse"}
    both = Selection(in_process=True)
    both.keys([TOOLS, f"{TOOLS}:all"])
    assert not both._everyday
