"""Many results: which is the current one of each implementation, and what became of it over the versions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bnconform.results.completeness import Completion
from bnconform.results.result import Diagnosis, Result
from bnconform.results.timeline import Timeline, newest, timelines
from bnconform.tests.selftest.rows import row, run

PART = Completion("finished", checks=10, selected=2, finished=2)
WHOLE = Completion("finished", checks=10, selected=10, finished=10)


def at(day: str, *rows: Any, torch: str = "2.13.0", completion: Completion | None = None) -> Result:
    """A result of a day, with a version of torch."""
    found = run(*rows)
    environment = replace(found.environment, started=f"{day}T12:00:00+00:00", packages={"torch": torch})
    return replace(found, environment=environment, completion=completion)


def of_torch(name: str) -> list[str]:
    """The distributions of a backend: torch.nn is torch's, no other is known."""
    return ["torch"] if name == "torch.nn" else []


def verdicts(line: Timeline) -> dict[str, str]:
    """The current verdict of each dtype."""
    return {one.dtype: one.verdict for one in line.current.rows}


def test_each_implementation_has_one() -> None:
    """In the order of their names, whatever the files; nothing of one stands with another."""
    first = at("2026-01-01", row(backend="b"), row(backend="a"))
    first = replace(first, diagnoses=(Diagnosis("b", (), 1, 1, "x"),))
    found = timelines([("1", first), ("2", at("2026-01-02", row(backend="c")))], of_torch)
    assert list(found) == ["a", "b", "c"]
    assert {one.backend for line in found.values() for one in line.current.rows} == {"a", "b", "c"}
    assert [len(line.current.diagnoses) for line in found.values()] == [0, 1, 0]


def test_the_newest_counts() -> None:
    """Whatever the order in which the files are given."""
    old, new = at("2026-01-01", row("violates", message="x")), at("2026-01-02", row())
    for files in ([("old", old), ("new", new)], [("new", new), ("old", old)]):
        line = timelines(files, of_torch)["numpy"]
        assert verdicts(line) == {"float32": "conforms"} and line.label == "2026-01-02"


def test_parts_of_a_split_run_stand_together() -> None:
    """Each device and dtype is the newest of its own."""
    files = [
        ("a", at("2026-01-01", row(dtype="float32"), row("violates", dtype="float64", message="x"))),
        ("b", at("2026-01-01", row(dtype="float16"))),
    ]
    line = timelines(files, of_torch)["numpy"]
    assert verdicts(line) == {"float16": "conforms", "float32": "conforms", "float64": "violates"}
    again = [*files, ("c", replace(at("2026-01-01", row(dtype="float64")), environment=at("2026-01-01").environment))]
    assert verdicts(timelines(again, of_torch)["numpy"])["float64"] == "conforms"


def test_a_part_of_the_suite_is_no_news() -> None:
    """A complete result counts before a newer one of a part, which counts where there is no other."""
    whole = at("2026-01-01", row("violates", message="x"), completion=WHOLE)
    part = at("2026-01-01", row(), completion=PART)
    part = replace(part, environment=replace(part.environment, started="2026-01-01T18:00:00+00:00"))
    assert newest([("whole", whole), ("part", part)]).rows == whole.rows
    assert newest([("part", part)]).rows == part.rows


def test_versions_are_in_their_own_order() -> None:
    """By number, not by letters, and not by the day on which they were judged."""
    files = [
        ("new", at("2026-01-01", row(backend="torch.nn"), torch="2.10.0")),
        ("old", at("2026-01-02", row("violates", backend="torch.nn", message="x"), torch="2.9.1")),
    ]
    line = timelines(files, of_torch)["torch.nn"]
    assert (line.package, line.label, line.history.versions) == ("torch", "2.10.0", ["2.9.1", "2.10.0"])
    [change] = line.history.changes()
    assert (change.before, change.after, change.words) == ("2.9.1", "2.10.0", "fixed")


def test_what_has_no_known_package_is_told_by_the_day() -> None:
    """And a package that some result does not name is not known."""
    line = timelines([("a", at("2026-01-01", row())), ("b", at("2026-02-01", row()))], of_torch)["numpy"]
    assert (line.package, line.history.versions) == ("", ["2026-01-01", "2026-02-01"])
    nameless = at("2026-03-01", row(backend="torch.nn"))
    nameless = replace(nameless, environment=replace(nameless.environment, packages={}))
    files = [("a", at("2026-01-01", row(backend="torch.nn"))), ("b", nameless)]
    assert timelines(files, of_torch)["torch.nn"].package == ""
