"""`explain` shows everything that the catalogue knows of a requirement."""

from __future__ import annotations

import pytest

from bnconform.cli.explain import explain
from bnconform.errors import UserError
from bnconform.spec.behaviour import decision, decisions
from bnconform.spec.catalogue import fixing, requirement, requirements


def _flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("identifier", requirements())
def test_every_requirement_is_explained_whole(identifier: str) -> None:
    """Id, level, chapter, title, statement, formula, sources and breaks are all on the page, brackets included."""
    one = requirement(identifier)
    # A width that nothing wraps at, so that each text can be looked for as it is.
    page = _flat(explain(identifier, width=2000))
    wanted = [one.id, one.level, one.chapter, one.title, one.statement, one.formula, one.breaks, *one.features]
    wanted += [text for source in one.sources for text in (source.document, source.place, source.title, source.link)]
    assert [text for text in wanted if _flat(text) not in page] == []


@pytest.mark.parametrize("identifier", ["BN-RUN-VAR", "BN-EVAL-STATS", "BN-RUN-MOMENTUM"])
def test_decisions_are_shown_with_every_value_and_its_meaning(identifier: str) -> None:
    """The reader sees what else an implementation might do, and which value is specified."""
    page = _flat(explain(identifier, width=2000))
    for name in requirement(identifier).decisions:
        values = list(decision(name))
        assert f"{values[0]} {values[0].meaning} (specified)" in page
        assert [value for value in values[1:] if f"{value} {value.meaning}" not in page] == []


def test_the_page_fits_the_terminal() -> None:
    """At 100 columns no line of plain text is longer, and none carries trailing blanks or escapes."""
    lines = explain("BN-RUN-VAR").splitlines()
    assert max(map(len, lines)) <= 100
    assert all(line == line.rstrip() and "\x1b" not in line for line in lines)


def test_colours_are_there_when_asked_for() -> None:
    """A terminal that has colours gets them."""
    assert "\x1b[" in explain("BN-RUN-VAR", colour=True)


def test_an_unknown_requirement_is_an_error_with_the_nearest() -> None:
    """The catalogue's own message is passed on; a decision is suggested where it is nearer."""
    with pytest.raises(ValueError, match="did you mean BN-RUN-VAR"):
        explain("BN-RUN-VARR")
    with pytest.raises(UserError, match="did you mean running_variance"):
        explain("runing-variance")


@pytest.mark.parametrize("name", decisions())
def test_every_decision_is_explained(name: str) -> None:
    """Its values with their meanings, the requirement that fixes it, and how another value is declared."""
    page = _flat(explain(name.upper(), width=2000))
    values = list(decision(name))
    assert f"{values[0]} {values[0].meaning} (specified)" in page
    assert [value for value in values[1:] if f"{value} {value.meaning}" not in page] == []
    assert f"bnconform explain {fixing(name).id}" in page
    assert f'deviations = {{"{name}": "{values[1]}"}}' in page


def test_case_does_not_matter() -> None:
    """Ids and decisions are found however they are written."""
    assert explain("bn-run-var") == explain("BN-RUN-VAR")
    assert explain("Running_Variance") == explain("running_variance")
