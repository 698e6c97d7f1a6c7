"""The regression gate as a user has it: runs with --baseline, and the verbs that write one and judge beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bnconform.cli.main import main
from bnconform.results import result as results
from bnconform.results.baseline import read
from bnconform.results.known_failures import suite
from bnconform.results.result import Row
from bnconform.spec.catalogue import requirements
from bnconform.tests.selftest.command import ADAPTERS, Answer, bnconform

CHANGING = """\
import os
from pathlib import Path

from bnconform.backends.numpy_layer import NumpyBackend, NumpyLayer

FAULT = Path(__file__).with_name("fault")

class Layer(NumpyLayer):
    def _remember(self, mean, variance, count):
        fault = FAULT.read_text()
        if fault == "dies" and self.momentum is None:
            os._exit(3)
        biased = variance * (count - 1) / count
        super()._remember(mean, biased if fault == "biased" else variance, count)

class Changing(NumpyBackend):
    name = "changing"

    def build(self, config, device):
        return Layer(config.num_features, eps=config.eps, momentum=config.momentum, weight=config.weight,
                     bias=config.bias, track_running_stats=config.track_running_stats, ndim=config.ndim,
                     param_dtype=config.param_dtype)

    def build_default(self, num_features, device):
        return Layer(num_features)
"""
"""An adapter whose behaviour the file `fault` beside it decides."""

SMALL = (
    "--backend",
    "layer.py:Changing",
    "--dtype",
    "float32",
    "-k",
    "BN-RUN-VAR-rank or BN-RUN-VAR-momentum-none or BN-RUN-MEAN-rank",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the changing adapter, which is right to begin with."""
    (tmp_path / "layer.py").write_text(CHANGING)
    (tmp_path / "fault").write_text("")
    return tmp_path


def behave(folder: Path, fault: str, *options: str) -> Answer:
    """A small run with the baseline, the adapter behaving so; the result is in r.json."""
    (folder / "fault").write_text(fault)
    answer = bnconform(folder, *SMALL, "--json", "r.json", *options)
    answer.assert_no_traceback()
    return answer


def section(answer: Answer) -> str:
    """What the run says of the baseline."""
    found = re.search(r"^Baseline .*?(?=^The result is in|\Z)", answer.out, re.MULTILINE | re.DOTALL)
    assert found, answer.out
    return found[0]


def test_gate(folder: Path) -> None:
    """A change of behaviour fails with requirement and diagnosis, its return is quiet, a fixed failure is reported."""
    gate = ("--baseline", "known.json")
    assert behave(folder, "").status == 0
    assert bnconform(folder, "baseline", "update", "known.json", "r.json").status == 0
    assert read(folder / "known.json", requirements()) == ()

    broken = behave(folder, "biased", *gate)
    assert broken.status == 1
    assert (
        "NEW: 1 failing row that no entry knows\n    changing violates: running_variance = biased: BN-RUN-VAR"
        in section(broken)
    )

    back = behave(folder, "", *gate)
    assert back.status == 0
    first, part, last = section(back).splitlines()
    assert first == "Baseline known.json: nothing is newly wrong in what was judged, which is only a part"
    assert part.startswith("  ONLY A PART: ") and last == "  0 failing rows known"

    behave(folder, "biased")
    update = bnconform(
        folder, "baseline", "update", "known.json", "r.json", "--reason", "old files", "--link", "https://example.org/7"
    )
    assert update.status == 0
    assert "1 added, 0 changed, 0 dropped" in update.out
    known = behave(folder, "biased", *gate)
    assert known.status == 0
    assert "old files <https://example.org/7>  [cpu float32]" in section(known)
    assert section(known).startswith("Baseline known.json: nothing is newly wrong")

    fixed = behave(folder, "", *gate)
    assert fixed.status == 0
    assert "FIXED" in section(fixed)
    assert "BN-RUN-VAR changing cpu float32: conforms in cpu float32" in section(fixed)

    worse = behave(folder, "dies", *gate)
    assert worse.status == 1
    assert "WORSE: 1 row known to fail less badly" in section(worse)
    assert "the process ended with status 3" in section(worse)


def test_workers_know_the_baseline(folder: Path) -> None:
    """In several processes the same is known, and a worker that dies in a known crash does not fail the run."""
    behave(folder, "biased")
    assert bnconform(folder, "baseline", "update", "known.json", "r.json").status == 0
    known = behave(folder, "biased", "--baseline", "known.json", "-n", "2")
    assert known.status == 0
    assert "1 failing row known, 1 of them not yet explained" in section(known)

    one = ("--in-process", "-n", "1", "-k", "BN-RUN-VAR-momentum-none")
    died = behave(folder, "dies", *one)
    assert died.status == 1, died.out
    assert bnconform(folder, "baseline", "update", "known.json", "r.json").status == 0
    known = behave(folder, "dies", "--baseline", "known.json", *one)
    assert known.status == 0, known.out
    assert "BN-RUN-VAR changing crashed: not yet explained" in section(known)


def test_a_diagnosis_that_breaks_is_told(folder: Path) -> None:
    """An error of ours fails the run and is named, though the failure that it was to explain is known."""
    behave(folder, "biased", "-k", "BN-RUN-VAR-2-values")
    assert bnconform(folder, "baseline", "update", "known.json", "r.json").status == 0
    sabotage = ("-p", "bnconform.tests.selftest.sabotage.broken_diagnosis")
    found = behave(folder, "biased", "-k", "BN-RUN-VAR-2-values", "--baseline", "known.json", *sabotage)
    assert found.status == 1
    assert "internal error of bnconform, please report it: KeyError" in found.out


def test_declaration_can_be_known(tmp_path: Path) -> None:
    """A declaration that is untrue fails the run, unless its row is known to."""
    untrue = (
        "--backend", f"{ADAPTERS / 'declarations.py'}:Untrue", "--dtype", "float32", "-k", "BN-RUN-VAR-rank",
        "--json", "r.json",
    )  # fmt: skip
    assert bnconform(tmp_path, *untrue).status == 1
    assert bnconform(tmp_path, "baseline", "update", "known.json", "r.json").status == 0
    (entry,) = read(tmp_path / "known.json", requirements())
    assert entry.requirement == "BN-RUN-VAR"
    assert bnconform(tmp_path, *untrue, "--baseline", "known.json").status == 0


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """The result of a whole run in one dtype in which one requirement is violated and all others are met."""
    names = {*suite().requirements["float32"], *suite().once}
    rows = [
        Row("plain", "cpu", "float32", name, "must", "violates" if name == "BN-RUN-VAR" else "conforms", message="off")
        for name in sorted(names)
    ]
    environment = results.Environment("3.12.1", "Linux", "1", {}, {"cpu": "x"}, "2025-01-01T00:00:00+00:00", 1.0)
    path = tmp_path / "r.json"
    results.write(path, results.Result(environment, tuple(rows)))
    return path


def test_entry_that_matches_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a run of all checks an entry without a row fails, in a part of them it is left alone."""
    monkeypatch.setenv("BNCONFORM_EXAMPLES", "1")
    known = folder / "known.json"
    entry = {"backend": "numpy", "device": "cpu", "requirement": "BN-RUN-VAR", "verdict": "violates", "reason": "r"}
    entries = [
        entry | {"dtype": "float64", "requirement": "BN-DTYPE-HALF-RANGE"},
        entry | {"dtype": "float64", "backend": "nunpy"},
    ]
    known.write_text(json.dumps({"schema": "bnconform/baseline/1", "entries": entries}))
    whole = bnconform(folder, "--dtype", "float64", "--baseline", "known.json", "--json", "r.json")
    assert whole.status == 1
    assert "MATCHING NOTHING: 1 entry" in section(whole)
    assert "BN-DTYPE-HALF-RANGE numpy cpu float64: there is no such row" in section(whole)
    assert "1 of nunpy: not in this run" in section(whole)
    small = bnconform(folder, "--dtype", "float64", "--baseline", "known.json", "-k", "BN-RUN-VAR-rank")
    assert small.status == 0
    assert "1 of numpy: of which a part of the checks was run" in section(small)
    assert bnconform(folder, "baseline", "check", "known.json", "r.json").status == 1
    update = bnconform(folder, "baseline", "update", "known.json", "r.json")
    assert "0 added, 0 changed, 1 dropped, 1 as they were" in update.out
    assert bnconform(folder, "baseline", "check", "known.json", "r.json").status == 0


def test_check_says_what_the_run_says(folder: Path) -> None:
    """A result file judged beside a baseline comes to the same as its run did."""
    (folder / "known.json").write_text('{"schema": "bnconform/baseline/1", "entries": []}')
    ran = behave(folder, "biased", "--baseline", "known.json")
    checked = bnconform(folder, "baseline", "check", "known.json", "r.json")
    assert (checked.status, checked.out) == (ran.status, section(ran))


def test_check_at_a_level(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A failure beyond the level asked for does not fail."""
    known = result.with_name("known.json")
    known.write_text('{"schema": "bnconform/baseline/1", "entries": []}')
    result.write_text(result.read_text().replace('"must"', '"should"'))
    assert main(["baseline", "check", str(known), str(result)]) == 0
    assert main(["baseline", "check", str(known), str(result), "--level", "should"]) == 1
    said = capsys.readouterr().out
    assert "NEW: 1 failing row" in said
    assert f"update {known} {result} --level should --reason" in said


def test_update_with_conditions(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """New entries get the conditions that are given, if they hold where the failure was seen."""
    known = result.with_name("known.json")
    given = ["baseline", "update", str(known), str(result)]
    assert main([*given, "--when", "python>=3.12,<4", "--when", "platform=Lin*", "--when", "device_name=x"]) == 0
    (entry,) = read(known, requirements())
    assert entry.when.as_dict() == {"versions": {"python": "<4,>=3.12"}, "platform": "Lin*", "device_name": "x"}
    known.unlink()
    assert main([*given, "--when", "torch<2"]) == 2
    assert "torch<2 does not hold where BN-RUN-VAR plain cpu float32 failed" in capsys.readouterr().err
    assert not known.exists()


def test_update_drops_what_is_fixed(result: Path) -> None:
    """What a whole run shows to be fixed goes, unless it is to be kept."""
    known = result.with_name("known.json")
    assert main(["baseline", "update", str(known), str(result)]) == 0
    result.write_text(result.read_text().replace('"violates"', '"conforms"'))
    assert main(["baseline", "update", str(known), str(result), "--keep-fixed"]) == 0
    assert len(read(known, requirements())) == 1
    assert main(["baseline", "update", str(known), str(result)]) == 0
    assert read(known, requirements()) == ()


BAD_WORDS = {
    "nothing": ([], ("baseline: the following arguments are required: update|check",)),
    "unknown action": (["show", "known.json"], ("'show'", "update", "check")),
    "no result": (["update", "known.json"], ("baseline update: the following arguments are required: RESULT.json",)),
    "unknown option": (["check", "known.json", "r.json", "--reason", "x"], ("does not take '--reason'",)),
    "unknown level": (["check", "known.json", "r.json", "--level", "can"], ("--level", "'can'")),
    "no value": (["update", "known.json", "r.json", "--reason"], ("--reason",)),
    "both": (["update", "known.json", "r.json", "--keep-fixed", "--drop-fixed"], ("--drop-fixed", "--keep-fixed")),
    "no such result": (["update", "known.json", "gone.json"], ("gone.json", "No such file")),
    "no such baseline": (["check", "gone.json", "r.json"], ("gone.json", "No such file", "baseline update")),
    "baseline is a result": (["update", "r.json", "r.json"], ("is a result, not a baseline",)),
    "result is a baseline": (["check", "known.json", "known.json"], ("known.json is not a result",)),
    "no such folder": (["update", "gone/known.json", "r.json"], ("cannot write the baseline", "gone")),
    "baseline is a folder": (["update", ".", "r.json"], ("cannot write the baseline", "folder")),
    "empty reason": (["update", "known.json", "r.json", "--reason", " "], ("nothing was written", "reason")),
    "link that is none": (
        ["update", "known.json", "r.json", "--link", "wiki"],
        ("nothing was written", "link", "wiki"),
    ),
    "no condition": (["update", "known.json", "r.json", "--when", "torch"], ("--when 'torch'", "torch>=2.11")),
    "empty pattern": (["update", "known.json", "r.json", "--when", "platform="], ("--when 'platform='",)),
    "impossible condition": (["update", "known.json", "r.json", "--when", "torch>3,<2"], ("no version of torch",)),
}
"""Arguments that cannot be carried out, and words of the line that says why."""


@pytest.mark.parametrize("name", BAD_WORDS)
def test_bad_arguments(
    name: str, result: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A request that cannot be carried out gets one line, and no file is touched."""
    arguments, words = BAD_WORDS[name]
    monkeypatch.chdir(result.parent)
    Path("known.json").write_text('{"schema": "bnconform/baseline/1", "entries": []}')
    before = {path.name: path.read_bytes() for path in result.parent.iterdir()}
    assert main(["baseline", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("bnconform: ")
    assert said.err.count("\n") == 1
    assert [word for word in words if word not in said.err] == []
    assert {path.name: path.read_bytes() for path in result.parent.iterdir()} == before


def test_unknown_requirement_in_a_result(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A failure of a requirement that only another version has is not written where nobody could read it again."""
    result.write_text(result.read_text().replace("BN-RUN-VAR", "BN-RUN-FUTURE"))
    assert main(["baseline", "update", str(result.with_name("known.json")), str(result)]) == 2
    assert "no requirement BN-RUN-FUTURE" in capsys.readouterr().err
    assert not result.with_name("known.json").exists()


def test_run_with_an_empty_name(tmp_path: Path) -> None:
    """A name that came out empty, of a variable that is not set, is not taken for a run without a baseline."""
    bnconform(tmp_path, "--baseline", "").assert_refused("cannot read the baseline")


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        (None, [], ("cannot read the baseline", "known.json", "bnconform baseline update")),
        ("{", [], ("known.json is not JSON",)),
        (
            '{"schema": "bnconform/baseline/1", "entries": []}',
            ["--json", "known.json"],
            ("would overwrite the baseline",),
        ),
    ],
    ids=["missing", "no JSON", "overwritten"],
)
def test_run_with_a_bad_baseline(text: str | None, options: list[str], words: tuple[str, ...], tmp_path: Path) -> None:
    """A run whose baseline cannot be used is refused before it begins."""
    if text is not None:
        (tmp_path / "known.json").write_text(text)
    bnconform(tmp_path, "--baseline", "known.json", *options).assert_refused(*words)
    assert [path.read_text() for path in tmp_path.iterdir()] == [text] * (text is not None)
