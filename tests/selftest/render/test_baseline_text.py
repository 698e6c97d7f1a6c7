"""What a run comes to beside a baseline is said shortly: what is alike stands in one line."""

from __future__ import annotations

from bnconform.render.baseline_text import lines
from bnconform.results.baseline import BaselineEntry
from bnconform.results.baseline_check import BaselineVerdict, EntryNote


def test_what_was_fixed_alike_stands_in_one_line() -> None:
    """The requirements of one backend, device and dtype, once for each reason."""
    entry = BaselineEntry("mine", "cpu", "float32", "BN-RUN-VAR", "violates", "old")
    other = BaselineEntry("mine", "cpu", "float32", "BN-PAIR", "violates", "old")
    wide = BaselineEntry("mine", "cpu", "float16", "BN-PAIR", "violates", "old")
    found = BaselineVerdict(
        fixed=(EntryNote(entry, "it conforms"), EntryNote(other, "it conforms"), EntryNote(wide, "it conforms")),
        narrower=(EntryNote(entry, "one needs it"), EntryNote(other, "another does")),
    )
    told = list(lines(found, "known.json", "must"))
    assert "    BN-RUN-VAR, BN-PAIR mine cpu float32: it conforms" in told
    assert "    BN-PAIR mine cpu float16: it conforms" in told
    assert sum("it conforms" in line for line in told) == 2
    assert "    BN-RUN-VAR mine cpu float32: one needs it" in told
    assert "    BN-PAIR mine cpu float32: another does" in told
