"""The list of changes that projects tell of themselves: read, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnconform.results import confirmations
from bnconform.results.confirmations import Citation, ConfirmationError

WHOLE = """
[[change]]
backend = "mlx"
before = "1.0"
after = "1.1"
words = "fixed"
requirements = ["BN-RUN-VAR"]
told = "the running variance is unbiased"
sources = [{link = "https://example.org/1", words = "thread 1"}]
"""


def test_read(tmp_path: Path) -> None:
    """An entry with its sources."""
    path = tmp_path / confirmations.FILE
    path.write_text(WHOLE)
    (one,) = confirmations.read(path)
    assert (one.backend, one.before, one.after, one.words) == ("mlx", "1.0", "1.1", "fixed")
    assert one.requirements == ("BN-RUN-VAR",) and one.sources == (Citation("https://example.org/1", "thread 1"),)


@pytest.mark.parametrize(
    ("was", "is_now"),
    [('before = "1.0"\n', ""), ("sources = [", "source = ["), ('["BN-RUN-VAR"]', "[]"), ("[[change]]", "[[change]")],
    ids=["no version", "no sources", "no requirement", "no TOML"],
)
def test_refused(was: str, is_now: str, tmp_path: Path) -> None:
    """What is not whole, naming the file."""
    assert was in WHOLE
    path = tmp_path / confirmations.FILE
    path.write_text(WHOLE.replace(was, is_now))
    with pytest.raises(ConfirmationError, match=confirmations.FILE):
        confirmations.read(path)
