"""The page of histories: columns of equal versions, marks, changes, what could not be judged, what is confirmed."""

from __future__ import annotations

from bnconform.render import history_page
from bnconform.results.confirmations import Citation, Confirmation
from bnconform.results.history import History, Release
from bnconform.results.history_file import KeptHistory
from bnconform.results.result import Difference
from bnconform.tests.selftest.rows import row, run

BIASED = (Difference("running_variance", "biased"),)


def keep() -> KeptHistory:
    """A variance that is fixed from 1.2 on, an error that comes and stays, and what never changes."""
    history = History("flax.nnx", "flax", ["1.0", "1.1", "1.2", "1.3"])
    always = [row(requirement="BN-EVAL-STATS"), row("unsupported", requirement="BN-MASK-STATS")]
    wrong, small = row("violates", diagnosis=BIASED), row("violates", requirement="BN-ERR-LOAD", level="should")
    history.releases["1.0"] = Release("1.0", run(wrong, small, *always))
    history.releases["1.1"] = Release("1.1", run(wrong, small, *always))
    history.releases["1.2"] = Release("1.2", problem="it says a | b")
    history.releases["1.3"] = Release("1.3", run(row(), small, *always))
    return KeptHistory(history, "cpu", "float32", ("BN-PAIR",))


CONFIRMED = Confirmation(
    "flax.nnx", "1.1", "1.3", "fixed", ("BN-RUN-VAR",), "unbiased now", (Citation("https://example.org/7", "thread 7"),)
)
PAGE = history_page.page([keep()], [CONFIRMED])


def test_versions_with_equal_verdicts_share_a_column() -> None:
    """A requirement that never changes and is not violated has no line."""
    assert "| requirement | level | 1.0 to 1.1 | 1.3 |" in PAGE
    assert "| BN-RUN-VAR | must | V | + |" in PAGE
    assert "| BN-ERR-LOAD | should | v | v |" in PAGE
    assert "BN-EVAL-STATS" not in PAGE and "BN-MASK-STATS" not in PAGE


def test_changes_and_what_is_missing() -> None:
    """Each change with both answers; versions that could not be judged with the reason."""
    assert "| 1.1 -> 1.3 | BN-RUN-VAR (must) | fixed | violates (running_variance = biased) | conforms |" in PAGE
    assert r"- 1.2: it says a \| b" in PAGE
    assert "3 versions of flax, on cpu in float32: 1.0, 1.1, 1.3. Asked: 4 requirements; not asked: 1." in PAGE


def test_overview_and_confirmations() -> None:
    """A line an implementation, which leads to its section; a line a change that is told of, with its links."""
    assert "| [`flax.nnx`](#flaxnnx) | flax | 3 | 1.0 | 1.3 | 1 | 0 | 0 |" in PAGE
    assert "| `flax.nnx` | 1.1 -> 1.3 | fixed | BN-RUN-VAR | unbiased now ([thread 7](https://example.org/7)) |" in PAGE
