"""`judge`, `identify`, `compare` and `read_result` do what the command does, and refuse in one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import bnconform
from bnconform import UserError
from bnconform.api import JudgeProgress
from bnconform.backends.numpy_layer import NumpyBackend
from bnconform.results import result as results
from bnconform.results.completeness import partial
from bnconform.results.result import Result
from bnconform.tests.mutants.catalogue import every
from bnconform.tests.selftest.command import bnconform as command

ADAPTER = """
from bnconform.backends.numpy_layer import NumpyBackend, NumpyLayer

class Layer(NumpyLayer):
    def state(self):
        shown = super().state()
        return shown | {"running_var": None if shown["running_var"] is None else shown["running_var"] / 2}

class Half(NumpyBackend):
    name = "half"
    def build(self, config, device):
        layer = super().build(config, device)
        layer.__class__ = Layer
        return layer
"""


@pytest.fixture(scope="module")
def whole() -> Result:
    """The whole suite on the default backend, in a process of its own."""
    return bnconform.judge("numpy", dtypes=["float64"])


def rows(result: Result) -> list[Any]:
    """What a result says of each requirement."""
    return [(one.key, one.level, one.verdict, one.checks, one.bound_share, one.diagnosis) for one in result.rows]


def test_it_is_what_the_command_says(whole: Result, tmp_path: Path) -> None:
    """The same rows, selection and observations as in the file that the command writes."""
    command(tmp_path, "--backend", "numpy", "--dtype", "float64", "--json", "r.json")
    file = bnconform.read_result(tmp_path / "r.json")
    assert rows(whole) == rows(file)
    assert (whole.selection, whole.completion) == (file.selection, file.completion)
    assert whole.observations == file.observations
    assert (whole.declarations, whole.diagnoses) == (file.declarations, file.diagnoses)
    assert bnconform.compare(whole, os.fspath(tmp_path / "r.json")).status == 0


def test_it_is_complete_and_can_be_written(whole: Result, tmp_path: Path) -> None:
    """A run of all checks is no partial one, of one dtype too, and its file can be read again."""
    assert whole.completion is not None and whole.completion.complete
    assert not partial(whole)
    results.write(tmp_path / "r.json", whole)
    assert bnconform.read_result(str(tmp_path / "r.json")) == whole


@pytest.mark.parametrize("given", [NumpyBackend, NumpyBackend()], ids=["class", "object"])
def test_an_adapter_itself_is_judged_here(given: Any, whole: Result) -> None:
    """An adapter and its class give what its name gives."""
    found = bnconform.judge(given, dtypes=["float64"], requirements=["BN-RUN-VAR", "BN-STATE-READ"])
    wanted = [row for row in rows(whole) if row[0][3] in ("BN-RUN-VAR", "BN-STATE-READ")]
    assert rows(found) == wanted


def test_a_choice_of_requirements_is_a_part(whole: Result) -> None:
    """What was narrowed says so, and by what."""
    found = bnconform.judge("numpy", dtypes=["float64"], requirements=["BN-RUN-VAR"])
    assert found.selection is not None and found.completion is not None and whole.completion is not None
    assert found.selection.narrowed_by == ("requirements BN-RUN-VAR",)
    assert found.completion.checks == whole.completion.checks > found.completion.selected
    assert partial(found).startswith("1 of ")


def test_a_failing_one_is_diagnosed(tmp_path: Path) -> None:
    """A fault in a file is found in another process, explained, and told as it goes."""
    (tmp_path / "mine.py").write_text(ADAPTER)
    told: list[JudgeProgress] = []
    found = bnconform.judge(
        f"{tmp_path / 'mine.py'}:Half",
        dtypes=["float32"],
        requirements=["BN-RUN-INIT-VAR", "BN-RUN-MEAN"],
        progress=told.append,
    )
    assert {row.requirement: row.verdict for row in found.rows} == {
        "BN-RUN-INIT-VAR": "violates",
        "BN-RUN-MEAN": "conforms",
    }
    assert found.diagnoses and found.diagnoses[0].backend == "half"
    assert [one.done for one in told] == list(range(1, len(told) + 1)) and told[-1].total == len(told)
    assert told[-1].failed >= 1
    assert told[0].check.startswith("half:cpu-float32-BN-RUN-")
    [row] = [row for row in found.rows if row.verdict == "violates"]
    assert row.failure is not None and str(tmp_path) in row.failure.key


def test_level_counts_what_fails() -> None:
    """A violated `should` counts as failed at that level only, and stands in the result at both."""
    counter: Any = every()["counter_is_a_fraction"]
    for level, failed in (("must", 0), ("should", 1)):
        told: list[JudgeProgress] = []
        found = bnconform.judge(
            counter, dtypes=["float32"], requirements=["BN-STATE-COUNTER"], level=level, progress=told.append
        )
        assert told[-1].failed == failed
        assert [row.verdict for row in found.rows] == ["violates"]


def test_identify_measures() -> None:
    """The profile has every decision, by name and by adapter."""
    said: list[str] = []
    profile = bnconform.identify("numpy", dtype="float64", progress=said.append)
    assert (profile.backend, profile.dtype, profile.contradictions) == ("numpy", "float64", [])
    assert said
    assert bnconform.identify(NumpyBackend, dtype="float64").point == profile.point


class Needy(NumpyBackend):
    """An adapter that cannot be made without an argument."""

    def __init__(self, needed: int) -> None:
        self.needed = needed


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no such backend": ({"backend": "torch.nnn"}, "unknown backend 'torch.nnn'"),
    "no such file": ({"backend": "nowhere.py:Mine"}, "does not exist: nowhere.py"),
    "all": ({"backend": "all"}, "one backend is judged at a time"),
    "no adapter": ({"backend": object()}, "has no name"),
    "a class that needs something": ({"backend": Needy}, "cannot be made"),
    "dtype": ({"dtypes": ["float8"]}, "unknown dtype 'float8'"),
    "dtype as text": ({"dtypes": "float32"}, "give a list of names"),
    "device": ({"devices": ["cuda:7"]}, "has no device 'cuda:7'"),
    "level": ({"level": "shall"}, "unknown level 'shall'"),
    "requirement": ({"requirements": ["BN-RUN-VAT"]}, "did you mean BN-RUN-VAR"),
    "requirement as text": ({"requirements": "BN-RUN-VAR"}, "give a list of ids"),
    "no requirement": ({"requirements": []}, "give a list of ids"),
    "time": ({"time_limit": 0}, "give numbers above 0"),
    "interpreter": ({"python": "/no/such/python"}, "/no/such/python"),
    "an object elsewhere": ({"backend": NumpyBackend(), "python": "python3"}, "runs in this process"),
}  # fmt: skip


@pytest.mark.parametrize(("given", "words"), REFUSED.values(), ids=list(REFUSED))
def test_refusals(given: dict[str, Any], words: str) -> None:
    """What cannot be carried out is a UserError of one line, which is a ValueError."""
    with pytest.raises(UserError) as caught:
        bnconform.judge(**{"backend": "numpy"} | given)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_are_refused_in_one_line(tmp_path: Path) -> None:
    """A file that is not there, and a choice that chooses nothing."""
    with pytest.raises(UserError, match=r"none\.json"):
        bnconform.read_result(tmp_path / "none.json")
    found = bnconform.judge("numpy", dtypes=["float32"], requirements=["BN-RUN-VAR"])
    with pytest.raises(UserError, match=r"torch\.nn"):
        bnconform.compare(found, found, backends=["torch.nn"])
