"""The file of a history: what is written is read again, and what cannot be so is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnconform.results import history_file
from bnconform.results.history import History, Release
from bnconform.results.history_file import HistoryFileError, KeptHistory
from bnconform.results.result import Difference
from bnconform.tests.selftest.rows import row, run

BIASED = (Difference("running_variance", "biased"),)


def history() -> History:
    """Five versions: one does not install, one was not needed.

    One requirement is fixed, one gets an error of its own, one comes later.
    """
    made = History("mlx", "mlx", ["1.0", "1.1", "2.0", "2.5", "3.0"])
    wrong = row("violates", backend="mlx", diagnosis=BIASED, bound_share=12.345, message="running_var[0]\nmore")
    crashed = row("crashed", backend="mlx", requirement="BN-EVAL-STATS", message="it died")
    fine = row(backend="mlx", requirement="BN-EVAL-STATS", bound_share=0.5)
    later = row(backend="mlx", requirement="BN-GRAD-BIAS")
    made.releases["1.0"] = Release("1.0", run(wrong, fine))
    made.releases["1.1"] = Release("1.1", problem="no matching distribution")
    made.releases["2.0"] = Release("2.0", run(wrong, crashed))
    made.releases["3.0"] = Release("3.0", run(row(backend="mlx"), crashed, later))
    return made


KEPT = KeptHistory(history(), "cpu", "float32", ("BN-PAIR",))


def changes(found: History) -> list[tuple[object, ...]]:
    """Every change, as the tests compare them."""
    return [
        (one.place, one.before, one.after, one.first, one.second, one.words, one.next_to) for one in found.changes()
    ]


def test_written_and_read_again(tmp_path: Path) -> None:
    """The same changes, days and problems; and the same text."""
    path = tmp_path / "mlx.json"
    history_file.write(path, KEPT)
    found = history_file.read(path)
    assert changes(found.history) == changes(KEPT.history)
    assert sorted((one[-1] for one in changes(found.history)), key=bool) == [False, False, True]
    assert [(one.version, one.problem) for one in found.history.problems] == [("1.1", "no matching distribution")]
    assert [one.result and one.result.environment.started for one in found.history.judged] == ["2026-01-31"] * 3
    assert (found.device, found.dtype, found.left_out) == ("cpu", "float32", ("BN-PAIR",))
    assert history_file.to_text(found) == path.read_text()
    first = found.history.judged[0].result
    assert first is not None
    wrong = next(one for one in first.rows if one.verdict == "violates")
    assert (wrong.bound_share, wrong.summary, wrong.diagnosis) == (12.0, "running_var[0]", BIASED)


def test_what_stays_is_written_once() -> None:
    """A verdict has a line where it begins, and none where it goes on."""
    data = json.loads(history_file.to_text(KEPT))
    assert [one["since"] for one in data["verdicts"]["BN-RUN-VAR"]] == ["1.0", "3.0"]
    assert [(one["since"], one["verdict"]) for one in data["verdicts"]["BN-GRAD-BIAS"]] == [
        ("1.0", "absent"), ("3.0", "conforms"),
    ]  # fmt: skip


def test_all_of_a_folder(tmp_path: Path) -> None:
    """By backend, whatever the files are called."""
    for name, backend in (("a", "mlx"), ("b", "equinox")):
        history_file.write(tmp_path / f"{name}.json", KeptHistory(History(backend, backend, []), "cpu", "float32"))
    assert [kept.history.backend for kept in history_file.read_all(tmp_path)] == ["equinox", "mlx"]


def backwards(data: Any) -> None:
    """The versions in the other order."""
    data["versions"].reverse()


def unknown_version(data: Any) -> None:
    """A verdict since a version that was not judged."""
    data["verdicts"]["BN-RUN-VAR"][1]["since"] = "1.1"


def late(data: Any) -> None:
    """No verdict on the first version."""
    del data["verdicts"]["BN-RUN-VAR"][0]


def unknown_verdict(data: Any) -> None:
    """A word that is no verdict."""
    data["verdicts"]["BN-RUN-VAR"][0]["verdict"] = "good"


def both(data: Any) -> None:
    """A version that was judged and could not be."""
    data["versions"][0]["problem"] = "it does not start"


def no_version(data: Any) -> None:
    """A name that is no version."""
    data["versions"][0]["version"] = "the first"


REFUSED = {
    backwards: "2.5 comes after 3.0",
    unknown_version: "1.1 was not judged",
    late: "the first version was not judged",
    unknown_verdict: "good",
    both: "versions/0",
    no_version: "the first",
}


@pytest.mark.parametrize(("change", "said"), REFUSED.items(), ids=[change.__name__ for change in REFUSED])
def test_refused(change: Callable[[Any], None], said: str, tmp_path: Path) -> None:
    """In one line that names the file."""
    data = json.loads(history_file.to_text(KEPT))
    change(data)
    path = tmp_path / "h.json"
    path.write_text(json.dumps(data))
    with pytest.raises(HistoryFileError, match=said) as refused:
        history_file.read(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)
